"""What contributed to incidents: the calls around them are read once more, and their change decomposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np

from llmmon import sources
from llmmon.attribution import Dimension, contributors
from llmmon.columns import BoolArray, Columns, concat
from llmmon.detectors.anomaly import micros
from llmmon.durations import iso
from llmmon.folds import ColumnsFold
from llmmon.formats.tagging import tags_in
from llmmon.incidents import Anomaly
from llmmon.metrics import METRICS, needed_fields, statistic_name
from llmmon.panels import LEVELS, PROPORTIONS
from llmmon.pipeline import Query, read
from llmmon.record import TAG_PREFIX
from llmmon.source_bytes import head

_FIELDS: Final = ("model", "user", "feature", "error_type", "prompt_version", "provider")
_MOST_TAGS: Final = 12
_MOST_VALUES: Final = 200  # of one tag: an id says nothing about what calls have in common
_MOST_SHARE: Final = 1.5
_BEFORE_US: Final = 24 * 3_600_000_000
_TOTALS: Final = frozenset({"requests", "cost_usd"})
_TAILS: Final = {"latency_p99_ms": "latency_ms", "output_tokens_per_second": "output_tokens_per_second"}


def attributed(query: Query, anomalies: Sequence[Anomaly], step_us: int) -> dict[str, Anomaly]:
    """The anomalies by id, with the calls, models, users... whose change makes up theirs.

    The day before an incident is what it is compared with.
    """
    found = {a.id: a for a in anomalies if _metric(a) is not None}
    if not found:
        return {}
    periods = {a.id: _periods(a, step_us) for a in found.values()}
    metrics = {name for a in found.values() if (name := _metric(a)) is not None}
    first, last = min(p[0] for p in periods.values()), max(p[2] for p in periods.values())
    around = msgspec.structs.replace(query, since=iso(first), until=iso(last), say=lambda _: None, progress=None)
    fields = needed_fields([statistic_name(METRICS[name], "count") for name in metrics])
    groups = {field for a in found.values() for field, _ in a.group}
    ranges = [(start, end) for start, _, end in periods.values()]
    tags = {TAG_PREFIX + tag for tag in _tags(query)}
    calls = concat(read(around, fields | {*_FIELDS, *tags, *groups, "request_id"}, lambda: _RangesFold(ranges)).results)
    calls = calls.take(np.argsort(calls.timestamp, kind="stable"))  # however the log was ordered
    return {key: _with_contributors(a, calls, periods[key]) for key, a in found.items()}


def _tags(query: Query) -> list[str]:
    """The tags in the head of each log, the first few."""
    found: dict[str, None] = {}
    for source in sources.find(query.logs).sources:
        try:
            found.update(dict.fromkeys(tags_in(head(source), query.dialect)))
        except (OSError, EOFError, ValueError):
            continue  # it was read a moment ago; without it there are fewer dimensions
    return sorted(found)[:_MOST_TAGS]


class _RangesFold(ColumnsFold):
    """The calls within any of some ranges of time."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._ranges = ranges

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        kept = np.zeros(columns.size, np.bool_)
        for start, end in self._ranges:
            kept |= (columns.timestamp >= start) & (columns.timestamp < end)
        if kept.any():
            super().add(columns.take(kept), samples)


def _metric(anomaly: Anomaly) -> str | None:
    """The metric of single calls behind a series; None for metric samples."""
    name = anomaly.metric_name
    known = {**LEVELS, **PROPORTIONS, **_TAILS}
    return known.get(name) or (name if name in METRICS else None)


def _periods(anomaly: Anomaly, step_us: int) -> tuple[int, int, int]:
    """When the time before begins, when the incident begins, when it ends."""
    start = micros(anomaly.start or anomaly.timestamp)
    end = max(micros(anomaly.end or anomaly.timestamp), start + step_us)
    return start - _BEFORE_US, start, end


def _with_contributors(anomaly: Anomaly, calls: Columns, period: tuple[int, int, int]) -> Anomaly:
    name = _metric(anomaly)
    rows = METRICS[name].rows(calls) if name else None
    if rows is None or name is None:
        return anomaly
    first, start, end = period
    mine = _in_group(calls, anomaly)
    before = mine & (calls.timestamp >= first) & (calls.timestamp < start)
    now = mine & (calls.timestamp >= start) & (calls.timestamp < end)
    parts = contributors(
        _dimensions(calls, anomaly),
        np.ones(calls.size),
        rows / METRICS[name].scale,
        before,
        now,
        ((start - first) / 3.6e9, (end - start) / 3.6e9),
        total=anomaly.metric_name in _TOTALS,
        request_ids=calls.name("request_id").texts(),
    )
    # parts that outdo the whole change cancel each other: they say nothing
    return replace(anomaly, contributors=tuple(_rounded(part.to_dict()) for part in parts if part.share <= _MOST_SHARE))


def _rounded(part: Mapping[str, Any]) -> dict[str, Any]:
    """Nine digits: what is beyond depends on the order of adding, which is the log's."""
    return {name: float(f"{v:.9g}") if isinstance(v, float) else v for name, v in part.items()}


def _in_group(calls: Columns, anomaly: Anomaly) -> BoolArray:
    mine = np.ones(calls.size, np.bool_)
    for field, value in anomaly.group:
        if field == "error_type":  # its rate is of all calls
            continue
        names = calls.name(field)
        code = -1 if value is None else names.values.index(value) if value in names.values else -2
        mine &= names.codes == code
    return mine


def _dimensions(calls: Columns, anomaly: Anomaly) -> list[Dimension]:
    fixed = {field for field, _ in anomaly.group}
    tags = [
        name for name in calls.names if name.startswith(TAG_PREFIX) and len(calls.names[name].values) <= _MOST_VALUES
    ]
    return [
        Dimension(field, calls.names[field].codes.astype(np.int64), calls.names[field].values)
        for field in (*_FIELDS, *sorted(tags))
        if field in calls.names
        and field not in fixed
        and (field != "error_type" or anomaly.metric_name == "error_rate")
    ]
