"""Views of `requests` and `inspect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os.path import commonpath
from typing import Any, Final

from llmmon.metrics.record import TAG_PREFIX
from llmmon.output.views import Column, Table, View
from llmmon.reports.inspection import FileInspection, InspectReport
from llmmon.reports.requests import RequestsReport
from llmmon.text.figures import count, counted, milliseconds, money_text, percent, score

_LONGEST_TEXT: Final = 200


def view_requests(report: RequestsReport) -> View:
    """One row a call; texts below the table where they were asked for."""
    rows = report.rows
    left = report.found - len(rows)
    tags = tuple((tag, tag, _name(tag), False, 0) for tag in sorted(report.asked) if tag.startswith(TAG_PREFIX))
    usual = tuple(column for column in _COLUMNS if column[4] != _IF_ASKED or column[1] in report.asked)
    known = (*usual[:-1], *tags, usual[-1])
    shown = [c for c in known if any(_cell(c, row) not in {"", "-"} for row in rows)] if rows else list(usual)
    ranks = _RANKS_OF_ERRORS if report.asked & _ABOUT_ERRORS else {}
    table = Table(
        title=f"{len(rows):,} of {counted(report.found, 'call')}, {_order(report.sorted_by)}",
        columns=tuple(
            Column(title, right=right, rank=ranks.get(field, 0 if field in report.asked else rank))
            for title, field, _, right, rank in shown
        ),
        rows=tuple(tuple(_cell(column, row) for column in shown) for row in rows),
        note=f"and {left:,} more (--limit 0 shows all)" if left else "",
    )
    texts = tuple(note for row in rows for note in _texts(row))
    return View(
        data={"requests": [dict(row) for row in rows], "found": report.found, "more_requests": left},
        rows=rows,
        tables=(table,),
        notes=texts,
        more={"calls": left},
    )


_ABOUT_ERRORS: Final = {"error", "status", "success", "error_type", "status_code", "error_message"}
# where calls are listed for their errors
_RANKS_OF_ERRORS: Final = {"status": 4, "error_type": 0, "status_code": 1, "error_message": 1, "latency_ms": 2}


def _order(sorted_by: str) -> str:
    return "newest first" if sorted_by == "timestamp" else f"by {sorted_by}"


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['file']}:{row['line']}" if row["line"] is not None else row["file"]


def _name(key: str) -> Any:
    return lambda row: str(row.get(key) or "-")


def _number(key: str, write: Any) -> Any:
    return lambda row: write(row.get(key))


def _time(row: Mapping[str, Any]) -> str:
    return (row["timestamp"] or "-").replace("T", " ").rstrip("Z").split(".")[0]


_Column = tuple[str, str, Callable[[Mapping[str, Any]], str], bool, int]
_IF_ASKED: Final = 99  # the rank of columns that are shown only where they are asked for
# title, field, cell, right-aligned, rank (the highest goes first where the terminal is narrow)
_COLUMNS: Final[tuple[_Column, ...]] = (
    ("time", "timestamp", _time, False, 0),
    ("model", "model", _name("model"), False, 0),
    ("status", "status", _name("status"), False, 4),
    ("code", "status_code", _name("status_code"), True, 2),
    ("error", "error_type", _name("error_type"), False, 2),
    ("message", "error_message", _name("error_message"), False, 3),
    ("latency", "latency_ms", _number("latency_ms", milliseconds), True, 1),
    ("ttft", "time_to_first_token_ms", _number("time_to_first_token_ms", milliseconds), True, 6),
    ("in", "prompt_tokens", _number("prompt_tokens", count), True, 3),
    ("out", "completion_tokens", _number("completion_tokens", count), True, 3),
    ("cost", "cost_usd", _number("cost_usd", money_text), True, 4),
    ("finish", "finish_reason", _name("finish_reason"), False, 7),
    ("user", "user", _name("user"), False, 8),
    ("feature", "feature", _name("feature"), False, _IF_ASKED),
    ("session", "session", _name("session"), False, _IF_ASKED),
    ("provider", "provider", _name("provider"), False, _IF_ASKED),
    ("cached", "cached_tokens", _number("cached_tokens", count), True, _IF_ASKED),
    ("total", "total_tokens", _number("total_tokens", count), True, _IF_ASKED),
    ("quality", "quality_score", _number("quality_score", score), True, 9),
    ("id", "request_id", _name("request_id"), False, 5),
    ("where", "", _place, False, 0),
)


def _cell(column: Any, row: Mapping[str, Any]) -> str:
    text: str = column[2](row)
    return text


def _texts(row: Mapping[str, Any]) -> list[str]:
    found = [(key, row.get(key)) for key in ("prompt", "output")]
    return [f"{_place(row)} {key}: {_short(text)}" for key, text in found if isinstance(text, str)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"


def view_inspection(report: InspectReport) -> View:
    """A table of files; for a single file also its mapping, coverage, and what is missing."""
    tables = [_files(report)]
    notes: list[str] = []
    for file in report.files:
        if len(report.files) == 1:
            tables += _details(file)
        notes += [note if len(report.files) == 1 else f"{file.file}: {note}" for note in file.notes]
        if file.config:
            notes.append("to keep this in llmmon.toml: " + "   ".join(file.config.split("\n")))
    return View(data={"files": [_data(file) for file in report.files]}, rows=[_data(f) for f in report.files],
                tables=tuple(tables), notes=tuple(notes))  # fmt: skip


def _data(file: FileInspection) -> dict[str, Any]:
    return {
        "file": file.file,
        "dialects": dict(file.dialects),
        "mapping": [dict(row) for row in file.mapping],
        "coverage": dict(file.coverage),
        "rejected": file.rejected,
        "missing": [dict(row) for row in file.missing],
        "notes": list(file.notes),
        "shapes": [
            {"dialect": one.dialect, "keys": list(one.keys), "lines": one.lines, "calls": one.calls}
            for one in file.shapes
        ],
        "config": file.config or None,
    }


def _files(report: InspectReport) -> Table:
    columns = (Column("file", right=False), Column("dialect", right=False), Column("lines"), Column("unreadable"))
    rows = []
    folder = _common_folder([file.file for file in report.files])
    for file in report.files:
        names = ", ".join(
            f"{name} ({lines:,})" if len(file.dialects) > 1 else name for name, lines in file.dialects.items()
        )
        rows.append(
            (file.file.removeprefix(folder), names or "-", count(sum(file.dialects.values())), count(file.rejected))
        )
    return Table(f"files in {folder}" if folder else "files", columns, tuple(rows))


def _common_folder(paths: list[str]) -> str:
    """The folders that all paths begin with, with the last slash; empty for one path or none in common."""
    if len(paths) < 2:
        return ""
    try:
        shared = commonpath([path.rpartition("/")[0] for path in paths])
    except ValueError:  # absolute and relative ones
        return ""
    return f"{shared}/" if shared else ""


_MOST_SHAPES: Final = 12


def _details(file: FileInspection) -> list[Table]:
    columns = (
        Column("field", right=False),
        Column("read from", right=False),
        Column("unit", right=False),
        Column("why", right=False, rank=1),
    )
    mapping = tuple((row["field"], row["path"], row["unit"] or "", row["why"]) for row in file.mapping)
    tables = [Table("mapping (change it with --map field=path[:unit])", columns, mapping)] if mapping else []
    coverage = tuple((field, percent(share)) for field, share in file.coverage.items())
    if coverage:
        tables.append(Table("coverage", (Column("field", right=False), Column("calls with it")), coverage))
    if len(file.shapes) > 1:
        of_shapes = (Column("keys", right=False), Column("lines"), Column("calls"))
        shown = tuple((", ".join(one.keys), f"{one.lines:,}", f"{one.calls:,}") for one in file.shapes[:_MOST_SHAPES])
        tables.append(Table("shapes of the lines", of_shapes, shown))
    missing = tuple((row["field"], row["unlocks"]) for row in file.missing)
    if missing:
        heads = (Column("field", right=False), Column("would unlock", right=False))
        tables.append(Table("not in this log", heads, missing))
    return tables
