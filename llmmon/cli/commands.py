"""The table of commands; a new one is one file and one row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import typer

from llmmon import __version__

# each is the function, or the group of commands, of its name in the module of its name
COMMANDS: Final = (
    *("summarize", "requests", "anomalies", "cost", "report", "score", "check", "export", "inspect", "watch"),
    *("serve", "simulate", "init", "alerts", "rules", "notify"),
)


def register(app: typer.Typer, arguments: Sequence[str] = ()) -> None:
    """Add `--version` and the commands: only the one that the arguments name, since making options takes time."""
    app.callback()(_top)
    named = next((text for text in arguments if not text.startswith("-")), "")
    alone = named in COMMANDS and "_LLMMON_COMPLETE" not in os.environ
    for name in (named,) if alone else COMMANDS:
        member = getattr(import_module(f"llmmon.cli.{name}"), name)
        if isinstance(member, typer.Typer):
            app.add_typer(member)
        else:
            app.command()(member)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmmon {__version__}")
        raise typer.Exit


def _top(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    pass
