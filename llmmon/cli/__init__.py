"""The command line: its commands, and `main`, the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from llmmon.cli import commands, process
from llmmon.errors import EXIT_INPUT, EXIT_INTERRUPTED, InputError, LlmmonError


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line that can run these arguments; all of it where they name no command."""
    app = typer.Typer(
        name="llmmon",
        help="Read the request logs of LLM applications: what they spent, how fast and how broken they were.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    commands.register(app, arguments)
    return app


def main() -> None:
    """Run the command line; never shows a traceback."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads cost start-up time, and nothing here uses them
    process.prepare()
    try:
        code = _as_plugin() if "--nagios" in sys.argv else _as_command()
    finally:
        process.finish()
    sys.exit(code)


def _as_command() -> int | str | None:
    """The exit code of the run."""
    try:
        application(sys.argv[1:])(prog_name="llmmon")
    except SystemExit as ended:
        return _nobody_reads() if isinstance(ended.__context__, BrokenPipeError) else ended.code
    except LlmmonError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except MemoryError:
        _complain(InputError("out of memory", hint="fewer files, a --window, or --jobs 1"))
        return EXIT_INPUT
    except Exception as error:
        if (code := process.ended_by_signal()) is not None:
            return code  # what a library made of the interruption
        if "LLMMON_DEBUG" in os.environ:
            raise
        _complain(_unforeseen(error))
        return EXIT_INPUT
    return 0


def _nobody_reads() -> int:
    """What is left over goes nowhere: that is no fault."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _unforeseen(error: Exception) -> InputError:
    """The message for an error that nobody caught: of a file that cannot be used, or a fault of this program."""
    if isinstance(error, OSError) and error.filename is not None:
        return InputError(f"{error.filename}: {(error.strerror or str(error)).lower()}")
    said = f"internal error: {type(error).__name__}: {error}"
    return InputError(said, hint="LLMMON_DEBUG=1 shows where; please report it")


def _as_plugin() -> int:
    """Run as a plugin of a monitoring system: whatever fails is one line and status 3, UNKNOWN."""
    try:
        return int(application(sys.argv[1:])(prog_name="llmmon", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - a plugin that ends otherwise would be taken for an alert
        from llmmon.renderers.plain import plain

        said = error.format_message() if hasattr(error, "format_message") else str(error) or type(error).__name__
        said = said if process.ended_by_signal() is None else "it was ended before it was done"
        typer.echo(plain(f"LLMMON UNKNOWN - {said}").replace("|", "/"))
        return 3


def _complain(error: LlmmonError) -> None:
    from llmmon.renderers.plain import plain_lines

    typer.echo(plain_lines(f"llmmon: {error}"), err=True)
    if error.hint:
        typer.echo(f"  try: {error.hint}", err=True)
