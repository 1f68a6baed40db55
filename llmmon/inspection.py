"""`inspect`: what each file is, how its fields are read, how many calls carry them, what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.columns import Columns
from llmmon.errors import EXIT_INPUT, EXIT_OK
from llmmon.folds import ColumnsFold
from llmmon.formats import DIALECTS
from llmmon.formats.explain import UNLOCKS, sources
from llmmon.formats.reading import ReadPlan
from llmmon.pipeline import Logs, Query
from llmmon.record import FIELDS
from llmmon.rejects import RejectsFile, keep_rejects
from llmmon.reports import FileInspection, InspectReport, SourceReport
from llmmon.scanning import Scan, scan
from llmmon.selection import Selection

_ALL_FIELDS: Final = frozenset(FIELDS)


def inspect_logs(query: Query) -> tuple[InspectReport, SourceReport, int]:
    """Every file on its own, read whole; the exit code says whether all could be read."""
    logs = Logs(query, _ALL_FIELDS)
    files, reports = [], []
    with keep_rejects(query.rejects) as rejects:
        for number in range(len(logs.sources)):
            inspection, report = _inspect(logs, number, rejects)
            files.append(inspection)
            reports.append(report)
    source = msgspec.structs.replace(total(reports), failed=tuple(logs.failed), timezone=query.tz)
    return InspectReport(tuple(files)), source, EXIT_INPUT if logs.failed else EXIT_OK


def _inspect(logs: Logs, number: int, rejects: RejectsFile | None) -> tuple[FileInspection, SourceReport]:
    plan = logs.plans[number]
    streams = {0: logs.streams[number]} if number in logs.streams else {}
    one = Scan((logs.sources[number],), (plan,), ((0, None),), Selection(), engine=logs.query.engine, streams=streams)
    scanned = scan(one, _CoverageFold, rejects)
    coverage, calls = _merged(scanned.results)
    report = scanned.report
    inspection = FileInspection(
        file=report.files[0],
        dialects=report.dialects,
        mapping=tuple(_mapping_rows(plan, report.dialects)),
        coverage={field: count / calls for field, count in coverage.items()} if calls else {},
        rejected=report.rejected,
        missing=tuple(_missing(coverage)) if calls else (),
        notes=tuple(_notes(report, calls)),
    )
    return inspection, report


class _CoverageFold(ColumnsFold):
    """How many calls carry each field."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}
        self._calls = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        self._calls += columns.size
        for field, present in _presence(columns).items():
            self._counts[field] = self._counts.get(field, 0) + int(np.count_nonzero(present))

    def result(self) -> Any:
        return self._counts, self._calls


def _presence(columns: Columns) -> dict[str, Any]:
    return {
        "timestamp": columns.dated,
        **{name: ~np.isnan(values) for name, values in columns.numbers.items()},
        **{name: found.codes >= 0 for name, found in columns.names.items()},
        **{name: [text is not None for text in texts] for name, texts in columns.texts.items()},
    }


def _merged(results: list[Any]) -> tuple[dict[str, int], int]:
    counts: dict[str, int] = {}
    for found, _ in results:
        for field, count in found.items():
            counts[field] = counts.get(field, 0) + count
    order = list(FIELDS)
    ranked = sorted(counts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    return {field: count for field, count in ranked if count}, sum(calls for _, calls in results)


def _mapping_rows(plan: ReadPlan, dialects: Mapping[str, int]) -> list[dict[str, Any]]:
    """Where each field comes from, in which unit, and why it is read so."""
    return [
        {"dialect": s.dialect, "field": s.slot, "path": s.path, "unit": s.unit or None, "why": s.why}
        for s in sources(plan)
        if s.dialect in dialects
    ]


def _missing(coverage: Mapping[str, int]) -> list[dict[str, str]]:
    return [{"field": field, "unlocks": unlocks} for field, unlocks in UNLOCKS.items() if field not in coverage]


def _notes(report: SourceReport, calls: int) -> list[str]:
    notes = [f"{DIALECTS[name].title}: {DIALECTS[name].lacks}" for name in report.dialects if _lacks(name)]
    if not calls and not report.samples and not notes:
        notes.append("no calls: --map names your own keys, --dialect forces a dialect")
    return notes


def _lacks(name: str) -> bool:
    return name in DIALECTS and bool(DIALECTS[name].lacks)


def total(reports: list[SourceReport]) -> SourceReport:
    """The source accounting of several files as one."""
    summed = ("bytes_read", "lines", "blank", "used", "skipped", "rejected", "requests", "samples", "duplicates")
    counts = {name: sum(getattr(report, name) for report in reports) for name in (*summed, "undated")}
    dialects: dict[str, int] = {}
    for report in reports:
        for name, lines in report.dialects.items():
            dialects[name] = dialects.get(name, 0) + lines
    return SourceReport(
        files=tuple(file for report in reports for file in report.files),
        dialects=dialects,
        rejects=tuple(reject for report in reports for reject in report.rejects),
        start_us=min((r.start_us for r in reports if r.start_us is not None), default=None),
        end_us=max((r.end_us for r in reports if r.end_us is not None), default=None),
        **counts,
    )
