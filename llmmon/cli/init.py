"""`llmmon init`."""

from pathlib import Path
from typing import Annotated

import typer

from llmmon.errors import UsageError


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)] = Path("llmmon.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration file.

    Example: llmmon init
    """
    from llmmon.cli.output import write_whole
    from llmmon.template import TEMPLATE

    if path.exists() and not force:
        raise UsageError(f"{path} is already there", hint="--force replaces it")
    write_whole(path, TEMPLATE.encode())
    typer.echo(f"wrote {path}")
