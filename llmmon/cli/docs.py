"""`llmmon docs`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.errors import InputError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_WIDEST: Final = 100  # columns: longer lines are hard to read


def docs(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="[TOPIC]", help="A page or a command. Default: a list.", show_default=False),
    ] = None,
) -> None:
    """Read the documentation in the terminal, offline.

    Examples:
      llmmon docs
      llmmon docs configuration
      llmmon docs summarize
    """
    import shutil

    from llmmon.cli.output import Output
    from llmmon.output.renderers.terminal import markdown_text
    from llmmon.text.names import lookup

    output = Output.of(None, None, quiet=False)
    pages = _pages()
    if topic is None:
        listed = "".join(f"{name:<{max(map(len, pages)) + 2}}{_title(page)}\n" for name, page in pages.items())
        output.write(f"{listed}\nllmmon docs TOPIC shows a page\n")
        return
    page = lookup(pages, topic.casefold().removesuffix(".md"), "page")
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    output.write(markdown_text(page.read_text(encoding="utf-8"), width, colour=output.colour()))


def _pages() -> "dict[str, Traversable]":
    """Each page by its name, those of commands last; raises `InputError` where they are not installed."""
    from importlib.resources import files

    installed = files("llmmon") / "docs"
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "docs"
    if not folder.is_dir():
        raise InputError(
            "the pages of the documentation are not installed", hint="pip install --force-reinstall llmmon"
        )
    found = [page for page in folder.iterdir() if page.name.endswith(".md") and page.name != "README.md"]
    commands = [
        page for page in (folder / "commands").iterdir() if page.name.endswith(".md") and page.name != "README.md"
    ]
    ordered = (*sorted(found, key=lambda page: page.name), *sorted(commands, key=lambda page: page.name))
    return {page.name.removesuffix(".md"): page for page in ordered}


def _title(page: "Traversable") -> str:
    """The first heading of a page."""
    with page.open(encoding="utf-8") as file:
        return file.readline().strip("# \n").replace("`", "")
