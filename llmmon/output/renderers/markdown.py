"""A view as Markdown tables, for issues and pull requests."""

from __future__ import annotations

import re
from typing import Final

from llmmon.output.renderers import Page, Rendered
from llmmon.output.views import Table
from llmmon.text.figures import plain

_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|#])")


def render(page: Page) -> Rendered:
    """Headings, a list of headline figures, tables."""
    view = page.view
    parts = [f"## {_escaped(view.title)}\n"] if view.title else []
    parts += [f"**! {_escaped(view.lead)}**\n"] if view.lead else []
    parts += (
        ["".join(f"- **{_escaped(label)}** {_escaped(text)}\n" for label, text in view.headline)]
        if view.headline
        else []
    )
    parts += [_table(table.aligned()) for table in view.tables]
    parts += ["".join(f"- {_escaped(line)}\n" for line in view.lines)] if view.lines else []
    parts += [f"{_escaped(note)}\n" for note in view.notes]
    return Rendered("\n".join(parts))


def _table(table: Table) -> str:
    heads = "| " + " | ".join(_escaped(column.title) for column in table.columns) + " |\n"
    rules = "|" + "|".join("---:" if column.right else "---" for column in table.columns) + "|\n"
    rows = "".join("| " + " | ".join(map(_escaped, row)) + " |\n" for row in table.all_rows)
    note = f"\n{_escaped(table.note)}\n" if table.note else ""
    return f"### {_escaped(table.title)}\n\n{heads}{rules}{rows}{note}"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
