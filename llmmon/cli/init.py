"""`llmmon init`: write the commented configuration of llmmon.toml next to this file."""

from pathlib import Path
from typing import Annotated

import typer

from llmmon.errors import UsageError


def template() -> str:
    """Return the configuration that `init` writes."""
    from importlib.resources import files

    return (files("llmmon.cli") / "llmmon.toml").read_text("utf-8")


def init(
    path: Annotated[Path, typer.Argument(help="File to write.", show_default=False)] = Path("llmmon.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration file.

    Examples:
      llmmon init
      llmmon init monitoring/llmmon.toml
    """
    from llmmon.cli.output import write_whole

    if path.exists() and not force:
        raise UsageError(f"{path} already exists", hint="--force overwrites it")
    write_whole(path, template().encode())
    typer.echo(f"wrote {path}")
