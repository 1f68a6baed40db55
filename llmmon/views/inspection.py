"""What is shown of `inspect`."""

from __future__ import annotations

from os.path import commonpath
from typing import Any

from llmmon.reports import FileInspection, InspectReport
from llmmon.views import Column, Table, View
from llmmon.views.figures import count, percent


def view_inspection(report: InspectReport) -> View:
    """A table of files; for a single file also its mapping, coverage, and what is missing."""
    tables = [_files(report)]
    notes: list[str] = []
    for file in report.files:
        if len(report.files) == 1:
            tables += _details(file)
        notes += [note if len(report.files) == 1 else f"{file.file}: {note}" for note in file.notes]
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
    missing = tuple((row["field"], row["unlocks"]) for row in file.missing)
    if missing:
        heads = (Column("field", right=False), Column("would unlock", right=False))
        tables.append(Table("not in this log", heads, missing))
    return tables
