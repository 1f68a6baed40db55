"""The table of commands; a new one is one file and one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from llmmon import __version__
from llmmon.cli.alerts import alerts
from llmmon.cli.anomalies import anomalies
from llmmon.cli.check import check
from llmmon.cli.cost import cost
from llmmon.cli.export import export
from llmmon.cli.init import init
from llmmon.cli.inspect import inspect
from llmmon.cli.notify import notify
from llmmon.cli.report import report
from llmmon.cli.requests import requests
from llmmon.cli.rules import rules
from llmmon.cli.score import score
from llmmon.cli.serve import serve
from llmmon.cli.simulate import simulate
from llmmon.cli.summarize import summarize
from llmmon.cli.watch import watch

COMMANDS: Final[tuple[Callable[..., Any], ...]] = (
    summarize,
    requests,
    anomalies,
    cost,
    report,
    score,
    check,
    export,
    inspect,
    watch,
    serve,
    simulate,
    init,
)
GROUPS: Final[tuple[typer.Typer, ...]] = (alerts, rules, notify)  # commands that have commands of their own


def register(app: typer.Typer) -> None:
    """Add every command, and `--version`."""
    app.callback()(_top)
    for command in COMMANDS:
        app.command()(command)
    for group in GROUPS:
        app.add_typer(group)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmmon {__version__}")
        raise typer.Exit


def _top(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    pass
