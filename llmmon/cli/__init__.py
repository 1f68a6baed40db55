"""The command line: its commands, and `main`, the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from llmmon.cli import commands
from llmmon.errors import EXIT_INPUT, EXIT_INTERRUPTED, LlmmonError


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
    if "--nagios" in sys.argv:
        sys.exit(_as_plugin())
    try:
        application(sys.argv[1:])(prog_name="llmmon")
    except LlmmonError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except MemoryError:
        typer.echo("llmmon: out of memory; try fewer files, or --jobs 1", err=True)
        sys.exit(EXIT_INPUT)
    except Exception as error:
        if "LLMMON_DEBUG" in os.environ:
            raise
        typer.echo(f"llmmon: internal error: {type(error).__name__}: {error}", err=True)
        typer.echo("  try: LLMMON_DEBUG=1 shows where; please report it", err=True)
        sys.exit(EXIT_INPUT)


def _as_plugin() -> int:
    """Run as a plugin of a monitoring system: whatever fails is one line and status 3, UNKNOWN."""
    try:
        return int(application(sys.argv[1:])(prog_name="llmmon", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - a plugin that ends otherwise would be taken for an alert
        from llmmon.renderers.plain import plain

        said = error.format_message() if hasattr(error, "format_message") else str(error) or type(error).__name__
        typer.echo(plain(f"LLMMON UNKNOWN - {said}").replace("|", "/"))
        return 3


def _complain(error: LlmmonError) -> None:
    from llmmon.renderers.plain import plain_lines

    typer.echo(plain_lines(f"llmmon: {error}"), err=True)
    if error.hint:
        typer.echo(f"  try: {error.hint}", err=True)
