"""The command's rows, one JSON object a line."""

from __future__ import annotations

from llmmon.output.renderers import Page, Rendered
from llmmon.output.renderers.json import dumps


def render(page: Page) -> Rendered:
    """One line a row."""
    return Rendered("".join(dumps(row) + "\n" for row in page.view.rows))
