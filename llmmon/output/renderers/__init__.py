"""Views as text. `RENDERERS` is the table of formats; a new one is one file and one row."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

import msgspec

from llmmon.ingest.report import SourceReport
from llmmon.metrics.filters import Check
from llmmon.output.views import View
from llmmon.text.names import lookup


class Page(msgspec.Struct, frozen=True):
    """What a renderer is given: the command's name, its view, the source accounting, width and colour."""

    command: str
    view: View
    source: SourceReport
    width: int = 80
    colour: bool = False
    unicode: bool = True
    checks: tuple[Check, ...] = ()  # conditions of `--fail-on`, or rules that were checked


class Rendered(msgspec.Struct, frozen=True):
    """A page as text, and what had to be left out of it to fit (said on stderr)."""

    text: str
    hidden: str = ""


Renderer = Callable[[Page], Rendered]

# format -> the module with its `render`; loaded when used, since rich takes a while
RENDERERS: Final = {
    "table": "llmmon.output.renderers.terminal",
    "json": "llmmon.output.renderers.json",
    "jsonl": "llmmon.output.renderers.jsonl",
    "csv": "llmmon.output.renderers.csv",
    "markdown": "llmmon.output.renderers.markdown",
    "junit": "llmmon.output.renderers.junit",
    "sarif": "llmmon.output.renderers.sarif",
}
ENDINGS: Final = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".md": "markdown",
    ".txt": "table",
    ".sarif": "sarif",
    ".xml": "junit",
}


def renderer(name: str) -> Renderer:
    """The renderer of a format; raises `UsageError`."""
    found: Renderer = import_module(lookup(RENDERERS, name, "format")).render
    return found
