"""What is shown of `sql`: the rows of a statement."""

from __future__ import annotations

from typing import Any, Final

from llmmon.output.views import Column, Table, View
from llmmon.reports.sql import Answer
from llmmon.text.figures import counted

_NUMBERS: Final = ("INT", "DOUBLE", "FLOAT", "DECIMAL")
_LONGEST: Final = 200  # characters of a cell


def view_answer(answer: Answer, limit: int = 0) -> View:
    """The first `limit` rows (0: all)."""
    names = [name for name, _ in answer.columns]
    rows = [dict(zip(names, row, strict=True)) for row in answer.rows]
    shown = answer.rows[:limit] if limit else answer.rows
    left = len(answer.rows) - len(shown)
    columns = tuple(Column(name, right=any(word in kind for word in _NUMBERS)) for name, kind in answer.columns)
    note = f"and {left:,} more (--limit 0 shows all)" if left else ""
    table = Table(counted(len(rows), "row"), columns, tuple(tuple(map(_cell, row)) for row in shown), note)
    return View(
        data={"columns": [{"name": name, "type": kind} for name, kind in answer.columns], "rows": rows},
        rows=rows,
        tables=(table,) if columns else (),
        lines=() if columns else ("done",),
    ).limited(limit, "rows")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
