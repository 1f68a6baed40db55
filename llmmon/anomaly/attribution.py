"""What contributed to incidents: the calls around them are read once more, and their change decomposed.

Of the calls only sums by field are kept, and of each incident a few calls to take examples from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.detectors.detector import Anomaly, micros, rounded_text
from llmmon.anomaly.panel import LEVELS, PROPORTIONS
from llmmon.formats.detection import tags_in
from llmmon.ingest import sources
from llmmon.ingest.query import Query, read
from llmmon.ingest.spans import head
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.aggregates import Aggregates, Sums, merge
from llmmon.metrics.aggregation import EXACT_VALUES, AggregatesFold, Measures
from llmmon.metrics.columns import EMPTY, BoolArray, Columns, FloatArray, concat
from llmmon.metrics.definitions import METRICS, QUANTILES, STATISTICS, needed_fields, statistic_name
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import TAG_PREFIX
from llmmon.text.times import DAY_US, HOUR_US

_LEAST_SHARE: Final = 0.1  # of the change, under which a part is not named
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Contribution:
    """A part of the calls and its share of the change; `rate + mix + volume` is its absolute part."""

    field: str
    name: str | None
    share: float
    rate: float
    mix: float
    volume: float
    before: float
    now: float
    calls: int
    examples: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """A sentence about it that claims no cause."""
        parts = {"its own change": self.rate, "a different mix": self.mix, "volume": self.volume}
        mostly = max(parts, key=lambda part: abs(parts[part]))
        name = "missing" if self.name is None else self.name
        return (
            f"{self.field} {name} contributed {self.share:.0%} of the change, mostly by {mostly}"
            f" ({rounded_text(self.before)} before, {rounded_text(self.now)} now)"
        )

    def to_dict(self) -> Mapping[str, Any]:
        """As an object in an anomaly's `contributors`."""
        return {
            "field": self.field,
            "name": self.name,
            "share": self.share,
            "rate": self.rate,
            "mix": self.mix,
            "volume": self.volume,
            "before": self.before,
            "now": self.now,
            "calls": self.calls,
            "examples": list(self.examples),
            "text": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class PeriodSums:
    """Calls and the sum of the metric over them, by part of a dimension, in one period; each (parts)."""

    calls: FloatArray
    total: FloatArray
    length: float  # of the period, in any unit that both periods share

    @property
    def mean(self) -> FloatArray:
        """Per call, NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.calls > 0, self.total / self.calls, np.nan)


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field before and now: `names` are its parts, None for calls that have none."""

    field: str
    names: Sequence[str | None]
    before: PeriodSums
    now: PeriodSums


def split(before: PeriodSums, now: PeriodSums, *, total: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(rate, mix, volume) of each part: they add up to the change of the mean, or of the total per time."""
    w0, w1 = before.calls / before.length, now.calls / now.length
    overall0, overall1 = max(float(w0.sum()), _TINY), max(float(w1.sum()), _TINY)
    mean0 = float(before.total.sum()) / max(float(before.calls.sum()), _TINY)
    m0, m1 = before.mean, now.mean
    # a part without calls in one period changed nothing itself: it is mix
    m1 = np.where(np.isnan(m1), np.where(np.isnan(m0), mean0, m0), m1)
    m0 = np.where(np.isnan(m0), m1, m0)
    rate, mix = w1 / overall1 * (m1 - m0), (w1 / overall1 - w0 / overall0) * (m0 - mean0)
    if not total:
        return rate, mix, np.zeros(len(rate))
    return overall1 * rate, overall1 * mix, (w1 - w0) * mean0


def contributors(
    changes: Sequence[FieldChange], *, total: bool = False, min_calls: int = 10, limit: int = 3
) -> list[Contribution]:
    """The parts with the largest shares of the change between two periods, largest first.

    `total` asks for the change of the total (cost, requests) instead of the mean (latency, error rate). Parts
    with fewer than `min_calls` calls in both periods are not named, nor dimensions of a single part.
    """
    found = [part for change in changes for part in _of_change(change, total=total, min_calls=min_calls)]
    found.sort(key=lambda c: (-c.share, c.field, c.name or ""))
    return found[:limit]


def _of_change(change: FieldChange, *, total: bool, min_calls: int) -> list[Contribution]:
    before, now = change.before, change.now
    rate, mix, volume = split(before, now, total=total)
    part = rate + mix + volume
    whole = float(part.sum())
    if abs(whole) < _TINY or np.count_nonzero((before.calls > 0) | (now.calls > 0)) < 2:
        return []
    share = part / whole
    supported = np.maximum(before.calls, now.calls) >= min_calls
    numbers = np.stack([share, rate, mix, volume, _shown(before, total), _shown(now, total)], axis=1)
    out = []
    for k in np.flatnonzero(supported & (share >= _LEAST_SHARE)).tolist():
        a, b, c, d, e, f = numbers[k].tolist()
        out.append(Contribution(change.field, change.names[k], a, b, c, d, e, f, int(now.calls[k])))
    return out


def _shown(parts: PeriodSums, total: bool) -> FloatArray:
    return parts.total / parts.length if total else parts.mean


_FIELDS: Final = ("model", "user", "feature", "error_type", "prompt_version", "provider")
_MOST_TAGS: Final = 12
_MOST_VALUES: Final = 200  # of one tag: values that identify a call are of no use
_MOST_SHARE: Final = 1.5
_MOST_EXAMPLES: Final = 3
_SAMPLE: Final = 2000  # calls of an incident that examples are taken from
_BEFORE_US: Final = DAY_US
_OF_CALLS: Final = frozenset({"avg", *QUANTILES})  # statistics that a change of the mean explains
_TOTALS: Final = frozenset({"requests", "cost_usd"})
_TAILS: Final = {"latency_p99_ms": "latency_ms", "output_tokens_per_second": "output_tokens_per_second"}


class _Case(msgspec.Struct, frozen=True):
    """An incident, the metric of single calls behind it, and its two periods in microseconds."""

    anomaly: Anomaly
    metric: str
    before_us: int
    start_us: int
    end_us: int
    fields: tuple[str, ...]

    @property
    def hours(self) -> tuple[float, float]:
        """The lengths of the time before and of the incident."""
        return (self.start_us - self.before_us) / HOUR_US, (self.end_us - self.start_us) / HOUR_US


class _Tally(msgspec.Struct, frozen=True):
    """Of one incident: by field the sums before and in it, some of its calls, and the fields that are ids."""

    before: tuple[Aggregates, ...]
    now: tuple[Aggregates, ...]
    calls: Columns
    ids: frozenset[str]


def attributed(query: Query, anomalies: Sequence[Anomaly], step_us: int) -> dict[str, Anomaly]:
    """The anomalies by id, with the calls, models, users... whose change makes up theirs.

    The day before an incident is what it is compared with.
    """
    cases = list(_cases(anomalies, step_us, [TAG_PREFIX + tag for tag in _tags(query)]))
    if not cases:
        return {}
    first, last = min(case.before_us for case in cases), max(case.end_us for case in cases)
    around = msgspec.structs.replace(query.quiet(), time=TimeRequest(since=first, until=last))
    fields = needed_fields([statistic_name(METRICS[case.metric], "count") for case in cases])
    fields |= {name for case in cases for name in (*case.fields, *dict(case.anomaly.group), "request_id")}
    found = zip(*read(around, fields, lambda: _CasesFold(cases)).results, strict=True)
    return {case.anomaly.id: _with_contributors(case, _joined(parts)) for case, parts in zip(cases, found, strict=True)}


def _cases(anomalies: Sequence[Anomaly], step_us: int, tags: Sequence[str]) -> Iterator[_Case]:
    for anomaly in anomalies:
        if (metric := _metric(anomaly)) is not None:
            start = micros(anomaly.start or anomaly.timestamp)
            end = max(micros(anomaly.end or anomaly.timestamp), start + step_us)
            fixed = {*dict(anomaly.group), *(() if anomaly.metric_name == "error_rate" else ("error_type",))}
            fields = tuple(field for field in (*_FIELDS, *tags) if field not in fixed)
            yield _Case(anomaly, metric, start - _BEFORE_US, start, end, fields)


def _tags(query: Query) -> list[str]:
    """The tags in the head of each log, the first few."""
    found: dict[str, None] = {}
    for source in sources.find(query.logs).sources:
        try:
            found.update(dict.fromkeys(tags_in(head(source), query.dialect)))
        except (OSError, EOFError, ValueError):
            continue  # it was read a moment ago; without it there are fewer dimensions
    return sorted(found)[:_MOST_TAGS]


class _CasesFold:
    """A tally of every incident."""

    def __init__(self, cases: Sequence[_Case]) -> None:
        self._folds = [_CaseFold(case) for case in cases]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        for fold in self._folds:
            fold.add(columns)

    def result(self) -> list[_Tally]:
        """In the order of the incidents."""
        return [fold.result() for fold in self._folds]


class _CaseFold:
    """A tally of one incident."""

    def __init__(self, case: _Case) -> None:
        self._case = case
        plans = [(Measures((case.metric,), ()), Grouping((field,))) for field in case.fields]
        self._before, self._now = AggregatesFold(plans, EXACT_VALUES), AggregatesFold(plans, EXACT_VALUES)
        self._calls, self._ids = EMPTY, set[str]()

    def add(self, columns: Columns) -> None:
        """Add a block."""
        case, times = self._case, columns.timestamp
        inside = np.flatnonzero((times >= case.before_us) & (times < case.end_us))
        if not len(inside):
            return
        mine = columns.take(inside)
        mine = self._without_ids(mine.take(_in_group(mine, case.anomaly)))
        now = mine.timestamp >= case.start_us
        self._before.add(mine.take(~now), [])
        self._now.add(happening := mine.take(now), [])
        self._calls = _few(concat([self._calls, _few(happening)]))

    def _without_ids(self, columns: Columns) -> Columns:
        """Without tags of which nearly every call has another: they are many and useless."""
        tags = [name for name in columns.names if name.startswith(TAG_PREFIX)]
        self._ids |= {name for name in tags if len(columns.names[name].values) > _MOST_VALUES}
        names = {name: column for name, column in columns.names.items() if name not in self._ids}
        return msgspec.structs.replace(columns, names=names)

    def result(self) -> _Tally:
        """What the calls add up to."""
        return _Tally(tuple(self._before.result()), tuple(self._now.result()), self._calls, frozenset(self._ids))


def _few(calls: Columns) -> Columns:
    """At most `_SAMPLE` of the calls, chosen by a hash of their times, so that any split of them gives the same."""
    order = calls.timestamp.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return calls.take(np.sort(np.argsort(order, kind="stable")[:_SAMPLE])).without_unused_names()


def _joined(parts: Sequence[_Tally]) -> _Tally:
    before, now = ([merge(those) for those in zip(*periods, strict=True)] for periods in _periods(parts))
    calls = concat([part.calls for part in parts])
    calls = _few(calls.take(np.argsort(calls.timestamp, kind="stable")))  # however the log was ordered
    return _Tally(tuple(before), tuple(now), calls, frozenset().union(*(part.ids for part in parts)))


def _periods(parts: Sequence[_Tally]) -> Iterator[list[tuple[Aggregates, ...]]]:
    yield [part.before for part in parts]
    yield [part.now for part in parts]


def _metric(anomaly: Anomaly) -> str | None:
    """The metric of single calls behind a series; None for metric samples."""
    name = anomaly.metric_name
    known = {**LEVELS, **PROPORTIONS, **_TAILS}
    if name in STATISTICS and STATISTICS[name].aggregation in _OF_CALLS:
        known[name] = STATISTICS[name].metric.name
    return known.get(name) or (name if name in METRICS else None)


def _with_contributors(case: _Case, tally: _Tally) -> Anomaly:
    changes = [
        change
        for field, before, now in zip(case.fields, tally.before, tally.now, strict=True)
        if field not in tally.ids
        and (change := _change(field, before, now, case)) is not None
        and (len(change.names) <= _MOST_VALUES or not field.startswith(TAG_PREFIX))
    ]
    parts = contributors(changes, total=case.anomaly.metric_name in _TOTALS)
    # parts that outdo the whole change cancel each other out
    shown = [replace(part, examples=_examples(part, case, tally.calls)) for part in parts if part.share <= _MOST_SHARE]
    return replace(case.anomaly, contributors=tuple(_rounded(part.to_dict()) for part in shown))


def _change(field: str, before: Aggregates, now: Aggregates, case: _Case) -> FieldChange | None:
    """One field's sums of both periods side by side; None where no call has the metric."""
    names = sorted({group[0] for part in (before, now) for group in part.groups}, key=lambda name: (name is None, name))
    if not any(case.metric in part.sums for part in (before, now)):
        return None
    place = {name: k for k, name in enumerate(names)}
    periods = [_parts(part, case.metric, place, length) for part, length in zip((before, now), case.hours, strict=True)]
    return FieldChange(field, names, *periods)


def _parts(aggregates: Aggregates, metric: str, place: Mapping[str | None, int], length: float) -> PeriodSums:
    calls, total = np.zeros(len(place)), np.zeros(len(place))
    at = [place[group[0]] for group in aggregates.groups]
    nothing = np.zeros(len(at), np.int64)
    sums = aggregates.sums.get(metric, Sums(nothing, nothing))
    calls[at], total[at] = sums.count, sums.total / METRICS[metric].scale
    return PeriodSums(calls, total, length)


def _examples(part: Contribution, case: _Case, calls: Columns) -> tuple[str, ...]:
    """Ids of the part's most typical calls: the largest where the metric rose, else the smallest."""
    rows = METRICS[case.metric].rows(calls)
    if rows is None:
        return ()
    mine = np.flatnonzero(_named(calls, part.field, part.name) & ~np.isnan(rows))
    rose = part.rate + part.mix + part.volume > 0
    order = mine[np.argsort(-rows[mine] if rose else rows[mine], kind="stable")]
    ids = calls.take(order).name("request_id").texts()
    return tuple(name for name in ids if name)[:_MOST_EXAMPLES]


def _rounded(part: Mapping[str, Any]) -> dict[str, Any]:
    """Nine digits: what is beyond depends on the order of adding, which is the log's."""
    return {name: float(f"{v:.9g}") if isinstance(v, float) else v for name, v in part.items()}


def _in_group(calls: Columns, anomaly: Anomaly) -> BoolArray:
    mine = np.ones(calls.size, np.bool_)
    for field, value in anomaly.group:
        if field != "error_type":  # its rate is of all calls
            mine &= _named(calls, field, value)
    return mine


def _named(calls: Columns, field: str, value: str | None) -> BoolArray:
    """Which calls have this name in a field."""
    names = calls.name(field)
    code = -1 if value is None else names.values.index(value) if value in names.values else -2
    mine: BoolArray = names.codes == code
    return mine
