"""`inspect`: what each file is, how its fields are read, how many calls carry them, what is missing."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import EXIT_INPUT, EXIT_OK
from llmmon.formats import DIALECTS, claimant
from llmmon.formats.accounting import LongLine
from llmmon.formats.detection import ReadPlan
from llmmon.formats.home_made import GENERIC
from llmmon.formats.json_text import UnreadableError
from llmmon.formats.mapping import SLOTS, Binding, FieldMapping, Slot
from llmmon.formats.suggestions import keys_seen, keys_text, map_options, toml_of
from llmmon.ingest.query import Logs, Query, wanted_of
from llmmon.ingest.rejects import RejectsFile, keep_rejects
from llmmon.ingest.report import SourceReport
from llmmon.ingest.scan import POSITION_BITS, Scanned, ScanRequest, scan
from llmmon.ingest.selection import Selection
from llmmon.ingest.spans import Source, SpanBytes, Stream
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns, IntArray
from llmmon.metrics.record import FIELDS


class ShapeCount(msgspec.Struct, frozen=True):
    """Lines with the same keys: the dialect or `generic`, how many there are, and how many of them are calls."""

    dialect: str
    keys: tuple[str, ...]
    lines: int
    calls: int


class FileInspection(msgspec.Struct, frozen=True):
    """`llmmon inspect` of one file."""

    file: str
    dialects: Mapping[str, int]
    mapping: tuple[Mapping[str, Any], ...]
    coverage: Mapping[str, float]
    rejected: int
    missing: tuple[Mapping[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    shapes: tuple[ShapeCount, ...] = ()  # the commonest first
    config: str = ""  # the lines of llmmon.toml that read the file in this way, where options were needed


class InspectReport(msgspec.Struct, frozen=True):
    """`llmmon inspect`: what each file is."""

    files: tuple[FileInspection, ...]


# what a field that no call carries would make possible
UNLOCKS: Final = {
    "timestamp": "windows, time series, anomalies, alerts",
    "model": "breakdowns by model, prices",
    "latency_ms": "latency quantiles, output speed",
    "time_to_first_token_ms": "how long users wait for the first token",
    "prompt_tokens": "token counts, calculated costs",
    "completion_tokens": "token counts, output speed, calculated costs",
    "cost_usd": "costs as billed (they are calculated from prices where tokens are logged)",
    "error_type": "errors by type",
    "finish_reason": "the rate of answers cut off or withheld",
    "user": "costs and errors by user",
    "request_id": "counting repeated lines once",
    "output": "quality scores",
}


class FieldSource(msgspec.Struct, frozen=True):
    """Where a slot of the record comes from in a dialect, in which unit, and why it is read so."""

    dialect: str
    slot: str
    path: str
    unit: str
    why: str


def sources(plan: ReadPlan) -> Iterator[FieldSource]:
    """Where each field comes from, for the dialects of the file that are read by a mapping."""
    for mapping in plan.mappings:
        name = plan.label if mapping.dialect == GENERIC else mapping.dialect
        for binding in mapping.bindings:
            yield FieldSource(name, binding.slot, ".".join(binding.path), binding.unit, _why(binding, mapping))


def _why(binding: Binding, mapping: FieldMapping) -> str:
    if binding.rank < 0:
        return "set by --map"
    if binding.slot not in SLOTS:
        return "the tag that was asked for"
    if mapping.dialect != GENERIC:
        return f"{mapping.dialect} defines it"
    if binding.kind is Slot.DURATION:
        return _why_unit(binding)
    return "matched by key name"


def _why_unit(binding: Binding) -> str:
    key = binding.path[-1].lower()
    if (key.endswith(binding.unit) and binding.unit in ("ms", "us", "ns")) or key.endswith(("seconds", "sec", "_s")):
        return "the unit is in the name of the key"
    return "the unit that gives a plausible speed or length in most calls of the head"


_ALL_FIELDS: Final = frozenset(FIELDS)


def inspect_logs(query: Query) -> tuple[InspectReport, SourceReport, int]:
    """Every file on its own, read whole; the exit code says whether all could be read."""
    logs = Logs(query, wanted_of(query, _ALL_FIELDS))
    files, reports = [], []
    with keep_rejects(query.rejects) as rejects:
        for number in range(len(logs.sources)):
            inspection, report = _inspect(logs, number, rejects)
            files.append(inspection)
            reports.append(report)
    joined = SourceReport.joined(reports)
    for path, why in joined.failed:
        query.say(f"{path}: {why}")
    source = msgspec.structs.replace(joined, failed=(*logs.failed, *joined.failed), timezone=query.tz)
    return InspectReport(tuple(files)), source, EXIT_INPUT if source.failed else EXIT_OK


def _inspect(logs: Logs, number: int, rejects: RejectsFile | None) -> tuple[FileInspection, SourceReport]:
    plan = logs.plans[number]
    streams = {0: logs.streams[number]} if number in logs.streams else {}
    one = ScanRequest(
        (logs.sources[number],), (plan,), ((0, None),), Selection(), engine=logs.query.engine, streams=streams
    )
    scanned = scan(one, _CoverageFold, rejects)
    if 0 in scanned.unlike and not streams and logs.refit_one(number, scanned.unlike[0]):
        plan = logs.plans[number]
        scanned = scan(msgspec.structs.replace(one, plans=(plan,)), _CoverageFold)
    coverage, called = _merged(scanned.results)
    report, calls = scanned.report, len(called)
    inspection = FileInspection(
        file=report.files[0],
        dialects=report.dialects,
        mapping=tuple(_mapping_rows(plan, report.dialects)),
        coverage={field: count / calls for field, count in coverage.items()} if calls else {},
        rejected=report.rejected,
        missing=tuple(_missing(coverage)) if calls else (),
        notes=tuple(_notes(report, calls, plan)),
        shapes=_shapes(logs.sources[number], plan, scanned, called),
        config="\n".join(toml_of(logs.query.dialect, logs.query.root, _overrides(plan))),
    )
    return inspection, report


def _shapes(source: Source, plan: ReadPlan, scanned: Scanned[Any], called: IntArray) -> tuple[ShapeCount, ...]:
    """The shapes of a file's lines; none of what is read once, or is not one object a line."""
    if not source.seekable or plan.layout.kind != "lines":
        return ()
    found: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for number, line in _numbered_lines(source, scanned):
        try:
            objects = plan.layout.objects_of(line) if line.strip() else []
        except UnreadableError:
            continue
        for each in objects:
            dialect = claimant(each)
            shape = (dialect.name if dialect else plan.label, tuple(sorted(each)))
            if shape not in found and len(found) >= _MOST_SHAPES:
                shape = ("", ())
            counts = found.setdefault(shape, [0, 0])
            counts[0] += 1
            at = int(np.searchsorted(called, number))
            counts[1] += at < len(called) and int(called[at]) == number
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple(ShapeCount(dialect, keys, *counts) for (dialect, keys), counts in ranked)


_MOST_SHAPES: Final = 1000  # what is of more is counted together, without keys


def _numbered_lines(source: Source, scanned: Scanned[Any]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, each with its position as calls have it; damage ends them, as it did the first reading."""
    reader = SpanBytes()
    with contextlib.closing(reader), contextlib.suppress(OSError, EOFError, zlib.error):
        for number, (span, _) in sorted(scanned.spans.items()):
            position = number << POSITION_BITS
            for chunk in reader.chunks(source, span) if source.splittable else Stream(source).chunks():
                lines = [b""] if isinstance(chunk, LongLine) else bytes(chunk).removesuffix(b"\n").split(b"\n")
                yield from enumerate(lines, position)
                position += len(lines)


class _CoverageFold(ColumnsFold):
    """How many calls carry each field."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}
        self._called = [np.empty(0, np.int64)]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        self._called.append(np.zeros(columns.size, np.int64) if columns.positions is None else columns.positions)
        for field, present in _presence(columns).items():
            self._counts[field] = self._counts.get(field, 0) + int(np.count_nonzero(present))

    def result(self) -> Any:
        return self._counts, np.concatenate(self._called)


def _presence(columns: Columns) -> dict[str, Any]:
    return {
        "timestamp": columns.dated,
        **{name: ~np.isnan(values) for name, values in columns.numbers.items()},
        **{name: found.codes >= 0 for name, found in columns.names.items()},
        **{name: [text is not None for text in texts] for name, texts in columns.texts.items()},
    }


def _merged(results: list[Any]) -> tuple[dict[str, int], IntArray]:
    """How many calls carry each field, and the positions of the calls, in order."""
    counts: dict[str, int] = {}
    for found, _ in results:
        for field, count in found.items():
            counts[field] = counts.get(field, 0) + count
    order = list(FIELDS)
    ranked = sorted(counts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    called: IntArray = np.sort(np.concatenate([np.empty(0, np.int64), *(positions for _, positions in results)]))
    return {field: count for field, count in ranked if count}, called


def _mapping_rows(plan: ReadPlan, dialects: Mapping[str, int]) -> list[dict[str, Any]]:
    """Where each field comes from, in which unit, and why it is read so."""
    return [
        {"dialect": s.dialect, "field": s.slot, "path": s.path, "unit": s.unit or None, "why": s.why}
        for s in sources(plan)
        if s.dialect in dialects
    ]


def _missing(coverage: Mapping[str, int]) -> list[dict[str, str]]:
    return [{"field": field, "unlocks": unlocks} for field, unlocks in UNLOCKS.items() if field not in coverage]


def _overrides(plan: ReadPlan) -> list[Binding]:
    """What `--map` says, with the units that were found."""
    return [binding for binding in plan.extra if binding.rank < 0]


def _notes(report: SourceReport, calls: int, plan: ReadPlan) -> list[str]:
    notes = [f"{DIALECTS[name].title}: {DIALECTS[name].lacks}" for name in report.dialects if _lacks(name)]
    if not calls and not report.samples and not notes:
        seen = keys_seen(mapping.shape for mapping in plan.mappings if mapping.dialect == GENERIC)
        options = " ".join(map_options(seen))
        notes += [f"keys: {keys_text(seen)}"] if seen else []
        tried = f"try {options}" if options else "--map names your own keys"
        notes.append(f"no calls: {tried}, --dialect forces a dialect")
    notes += [f"warning: {warning}" for warning in report.warnings]
    return notes


def _lacks(name: str) -> bool:
    return name in DIALECTS and bool(DIALECTS[name].lacks)
