"""What is shown of `requests`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmmon.money import money_text
from llmmon.reports import RequestsReport
from llmmon.views import Column, Table, View
from llmmon.views.figures import count, milliseconds

_LONGEST_TEXT: Final = 200


def view_requests(report: RequestsReport) -> View:
    """One row a call; texts below the table where they were asked for."""
    rows = report.rows
    left = report.found - len(rows)
    shown = [c for c in _COLUMNS if any(_cell(c, row) not in {"", "-"} for row in rows)] if rows else list(_COLUMNS)
    table = Table(
        title=f"{len(rows):,} of {report.found:,} calls, by {report.sorted_by}",
        columns=tuple(Column(title, right=right, rank=rank) for title, _, right, rank in shown),
        rows=tuple(tuple(_cell(column, row) for column in shown) for row in rows),
        note=f"and {left:,} more (--limit 0 shows all)" if left else "",
    )
    texts = tuple(note for row in rows for note in _texts(row))
    return View(
        data={"requests": [dict(row) for row in rows], "found": report.found}, rows=rows, tables=(table,), notes=texts
    )


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['file']}:{row['line']}" if row["line"] is not None else row["file"]


def _name(key: str) -> Any:
    return lambda row: row.get(key) or "-"


def _number(key: str, write: Any) -> Any:
    return lambda row: write(row.get(key))


def _time(row: Mapping[str, Any]) -> str:
    return (row["timestamp"] or "-").replace("T", " ").rstrip("Z").split(".")[0]


# title, cell, right-aligned, rank
_COLUMNS: Final = (
    ("time", _time, False, 0),
    ("model", _name("model"), False, 0),
    ("status", _name("status"), False, 2),
    ("error", _name("error_type"), False, 1),
    ("latency", _number("latency_ms", milliseconds), True, 0),
    ("ttft", _number("time_to_first_token_ms", milliseconds), True, 6),
    ("in", _number("prompt_tokens", count), True, 3),
    ("out", _number("completion_tokens", count), True, 3),
    ("cost", _number("cost_usd", money_text), True, 4),
    ("finish", _name("finish_reason"), False, 7),
    ("user", _name("user"), False, 8),
    ("id", _name("request_id"), False, 5),
    ("where", _place, False, 0),
)


def _cell(column: Any, row: Mapping[str, Any]) -> str:
    text: str = column[1](row)
    return text


def _texts(row: Mapping[str, Any]) -> list[str]:
    found = [(key, row.get(key)) for key in ("prompt", "output")]
    return [f"{_place(row)} {key}: {_short(text)}" for key, text in found if isinstance(text, str)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
