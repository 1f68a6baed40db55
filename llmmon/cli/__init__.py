"""The command line: its commands, and `main`, the one place where errors become exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import cleandoc
from types import FrameType
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from llmmon import __version__
from llmmon.errors import EXIT_INPUT, EXIT_INTERRUPTED, InputError, LlmmonError, reason_of

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_AGAIN_S: Final = 0.001
_received: list[int] = []


def prepare() -> None:
    """Make the process fit for a run; signals that whoever started it wants ignored stay so."""
    _received.clear()
    _open_streams()
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "0").isdecimal():
            del os.environ[name]  # libraries trip over what is no number
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _ended)
    sys.unraisablehook = _unraisable


def ended_by_signal() -> int | None:
    """The exit code where a signal has ended the run, None where none came."""
    return 128 + _received[0] if _received else None


def finish() -> None:
    """From here on a signal ends the process as it would any other: there is nothing left to be put in order."""
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) == _ended:
            signal.signal(number, signal.SIG_DFL)


def _open_streams() -> None:
    """Standard streams that are closed lead nowhere, so that no file that is opened takes their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the first number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _ended(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _unraisable(found: Any) -> None:
    """A signal that came while an object was let go of would be lost here: it comes once more, a moment later."""
    if isinstance(found.exc_value, KeyboardInterrupt | SystemExit) and _received:
        signal.signal(signal.SIGALRM, lambda *_: _ended(_received[0], None))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
    elif "LLMMON_DEBUG" in os.environ:
        sys.__unraisablehook__(found)


# purpose -> commands; each is the function, or the group of commands, of its name in the module of its name
GROUPS: Final = {
    "Look": ("summarize", "requests", "anomalies", "compare", "score", "report", "watch"),
    "Money": ("cost", "cache", "limits"),
    "Agents": ("sessions", "tools"),
    "Alerts": ("check", "alerts", "rules", "notify", "serve"),
    "Export": ("export", "sql", "mcp"),
    "Set up": ("init", "inspect", "config", "simulate", "docs"),
}
COMMANDS: Final = tuple(name for names in GROUPS.values() for name in names)
_FIRST_STEPS: Final = """\
llmmon analyzes the request logs of LLM applications.

  llmmon summarize LOGS               cost, latency, errors and quality by model
  llmmon requests LOGS --where error  the failing calls, with file and line
  llmmon anomalies LOGS               what broke, when, and what contributed
  llmmon cost LOGS --every month      the bill, and how certain it is
  llmmon check LOGS                   alert rules, for cron; llmmon init sets up

LOGS are files, globs or folders: any JSON lines with a model, tokens or texts.
llmmon --help lists all commands, llmmon docs shows the documentation.
"""


class Commands(TyperGroup):
    """The top of the command line: its commands by what they are for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As any group; without arguments it shows where to start."""
        if not args and not ctx.resilient_parsing:
            typer.echo(_FIRST_STEPS, nl=False)
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """A section for each group of commands."""
        width = max(map(len, self.commands))
        for title, names in GROUPS.items():
            there = [(name, self.commands[name]) for name in names if name in self.commands]
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", command.get_short_help_str(80)) for name, command in there])


# title of a section of options -> the parameters in it; the command's own ones come before them
_SECTIONS: Final = {
    "What is read": (
        *("where", "dialect", "map", "root", "cost", "dedup", "jobs", "engine", "no_cache", "rejects", "config"),
    ),
    "Time": ("window", "since", "until", "now", "tz", "naive_tz"),
    "Grouping": ("by", "every", "sort", "ascending"),
    "Output": ("limit", "show_text", "fail_on", "format", "output_file", "force", "quiet"),
}
_SECTION_OF: Final = {name: title for title, names in _SECTIONS.items() for name in names}


class _Explained:
    """A help page whose examples follow the description, as they are typed."""

    help: str | None

    def format_help_text(self, _ctx: Any, formatter: Any) -> None:
        """The description, then the examples line by line."""
        text, examples = help_parts(self.help)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in examples))


def help_parts(text: str | None) -> tuple[str, list[str]]:
    """The description of a help text, and its examples: the lines below `Examples:`."""
    said, _, examples = cleandoc(text or "").partition("\nExamples:\n")
    return said.rstrip(), [line.strip() for line in examples.splitlines() if line.strip()]


class Command(_Explained, TyperCommand):
    """A command that shows its options by what they are about."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if "_LLMMON_COMPLETE" in os.environ:
            from llmmon.cli.completion import attach

            attach(self.params)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, the options of the command's own, then the shared ones."""
        found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], **{name: [] for name in _SECTIONS}}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                of = "Arguments" if parameter.param_type_name == "argument" else "Options"
                found[_SECTION_OF.get(parameter.name or "", of)].append(record)
        for title, records in found.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class _Members(_Explained, TyperGroup):
    """A command that consists of commands, such as `alerts`."""


def register(app: typer.Typer, arguments: Sequence[str] = ()) -> None:
    """Add `--version` and the commands: only the one that the arguments name, since making options takes time."""
    app.callback()(_top)
    named = next((text for text in arguments if not text.startswith("-")), "")
    alone = named in COMMANDS and "_LLMMON_COMPLETE" not in os.environ
    for name in (named,) if alone else COMMANDS:
        member = getattr(import_module(f"llmmon.cli.{name}"), name)
        if isinstance(member, typer.Typer):
            for inner in member.registered_commands:
                inner.cls = Command
            app.add_typer(member, cls=_Members)
        else:
            app.command(cls=Command)(member)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmmon {__version__}")
        raise typer.Exit


def _top(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line that can run these arguments; all of it where they name no command."""
    app = typer.Typer(
        name="llmmon",
        cls=Commands,
        help="Analyze the request logs of LLM applications: cost, latency, errors and quality.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    register(app, arguments)
    return app


def main() -> None:
    """Run the command line; never shows a traceback."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads cost start-up time, and nothing here uses them
    if not re.fullmatch("[1-9][0-9]{0,4}", os.environ.get("COLUMNS", "1")):
        del os.environ["COLUMNS"]  # no width: libraries that lay out text would fail on it
    prepare()
    try:
        code = _as_plugin() if "--nagios" in sys.argv else _as_command()
        finish()
    except (KeyboardInterrupt, SystemExit):  # a signal after the end of the run
        finish()
        code = ended_by_signal()
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
        if (code := ended_by_signal()) is not None:
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
        return InputError(f"{error.filename}: {reason_of(error)}")
    said = f"internal error: {type(error).__name__}: {error}"
    return InputError(said, hint="LLMMON_DEBUG=1 shows where; please report it")


def _as_plugin() -> int:
    """Run as a plugin of a monitoring system: whatever fails is one line and status 3, UNKNOWN."""
    try:
        return int(application(sys.argv[1:])(prog_name="llmmon", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - a plugin that ends otherwise would be taken for an alert
        from llmmon.text.figures import plain

        said = error.format_message() if hasattr(error, "format_message") else str(error) or type(error).__name__
        said = said if ended_by_signal() is None else "interrupted before it finished"
        typer.echo(plain(f"LLMMON UNKNOWN - {said}").replace("|", "/"))
        return 3


def _complain(error: LlmmonError) -> None:
    from llmmon.text.figures import plain_lines

    typer.echo(plain_lines(f"llmmon: {error}"), err=True)
    if error.hint:
        typer.echo(f"  try: {error.hint}", err=True)
