"""`inspect`: what each file is, how its fields are read, how many calls carry them, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import EXIT_INPUT, EXIT_OK
from llmmon.formats import DIALECTS, claimant
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import ReadPlan, head_objects
from llmmon.formats.dialect import Dialect
from llmmon.formats.home_made import GENERIC
from llmmon.formats.json_text import UnreadableError
from llmmon.formats.mapping import SLOTS, Binding, FieldMapping, Slot
from llmmon.formats.reader import SpanReader
from llmmon.formats.suggestions import keys_seen, keys_text, map_options, toml_of
from llmmon.ingest.query import Logs, Query, wanted_of
from llmmon.ingest.rejects import RejectsFile, keep_rejects
from llmmon.ingest.report import SourceReport
from llmmon.ingest.scan import ScanRequest, scan
from llmmon.ingest.selection import Selection
from llmmon.ingest.spans import Source, head
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns
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
    shapes: tuple[ShapeCount, ...] = ()  # of the first lines, the commonest first
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


class Recognised(msgspec.Struct, frozen=True):
    """A dialect of the file: how many records of the head are of it, what it lacks in a plain word."""

    name: str
    title: str
    records: int
    lacks: str


class Explanation(msgspec.Struct, frozen=True):
    """What the head of a file tells: `coverage` is the share of calls that carry each field."""

    layout: str
    splittable: bool
    dialects: tuple[Recognised, ...]
    mapping: tuple[FieldSource, ...]
    calls: int
    coverage: dict[str, float]
    missing: dict[str, str]


def explain(head: bytes, plan: ReadPlan) -> Explanation:
    """What the first bytes of a file (whole lines) and the plan made of them tell; the plan needs all fields."""
    records = head_objects(head, plan.layout, plan.forced)
    counts = Counter(
        plan.label if dialect is None else dialect.name for each in records for dialect, _ in each
    ).most_common()
    reader = SpanReader(plan, Interners())
    reader.feed(head)
    columns = reader.flush().columns
    coverage = _coverage(columns)
    return Explanation(
        layout=plan.layout.kind,
        splittable=plan.splittable,
        dialects=tuple(_recognised(name, count) for name, count in counts),
        mapping=tuple(sources(plan)),
        calls=columns.size,
        coverage=coverage,
        missing={field: use for field, use in UNLOCKS.items() if field not in coverage} if columns.size else {},
    )


def _recognised(name: str, count: int) -> Recognised:
    dialect: Dialect | None = DIALECTS.get(name)
    return Recognised(name, dialect.title if dialect else _TITLES[name], count, dialect.lacks if dialect else "")


_TITLES: Final = {
    GENERIC: "home-made log, read by the names of its keys",
    "llmmon": "llmmon's own record",
    "wrapped": "home-made log around the replies of a provider",
}


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


def _coverage(columns: Columns) -> dict[str, float]:
    found = {
        "timestamp": int(np.count_nonzero(columns.dated)),
        **{name: int(np.count_nonzero(~np.isnan(values))) for name, values in columns.numbers.items()},
        **{name: int(np.count_nonzero(column.codes >= 0)) for name, column in columns.names.items()},
        **{name: sum(text is not None for text in texts) for name, texts in columns.texts.items()},
    }
    return {field: found[field] / columns.size for field in FIELDS if found.get(field)}


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
    source = msgspec.structs.replace(SourceReport.joined(reports), failed=tuple(logs.failed), timezone=query.tz)
    return InspectReport(tuple(files)), source, EXIT_INPUT if logs.failed else EXIT_OK


def _inspect(logs: Logs, number: int, rejects: RejectsFile | None) -> tuple[FileInspection, SourceReport]:
    plan = logs.plans[number]
    streams = {0: logs.streams[number]} if number in logs.streams else {}
    one = ScanRequest(
        (logs.sources[number],), (plan,), ((0, None),), Selection(), engine=logs.query.engine, streams=streams
    )
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
        notes=tuple(_notes(report, calls, plan)),
        shapes=_shapes(logs.sources[number], plan),
        config="\n".join(toml_of(logs.query.dialect, logs.query.root, _overrides(plan))),
    )
    return inspection, report


def _shapes(source: Source, plan: ReadPlan) -> tuple[ShapeCount, ...]:
    """The shapes of the first lines of a file; none of what is read once, or is not one object a line."""
    if not source.seekable or plan.layout.kind != "lines":
        return ()
    first = head(source)
    reader = SpanReader(plan, Interners())
    reader.feed(first)
    columns = reader.flush().columns
    called = set(() if columns.positions is None else columns.positions.tolist())
    found: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for number, line in enumerate(first.split(b"\n")):
        try:
            objects = plan.layout.objects_of(line) if line.strip() else []
        except UnreadableError:
            continue
        for each in objects:
            dialect = claimant(each)
            counts = found.setdefault((dialect.name if dialect else plan.label, tuple(sorted(each))), [0, 0])
            counts[0] += 1
            counts[1] += number in called
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple(ShapeCount(dialect, keys, *counts) for (dialect, keys), counts in ranked)


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
