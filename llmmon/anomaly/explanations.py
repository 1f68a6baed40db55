"""What anomalies are made of: the calls around them are read once more.

Of the calls only sums by field are kept, and of each anomaly a few calls to take examples from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.attribution import Contribution, FieldChange, PeriodSums, causes, contributors
from llmmon.anomaly.detectors.detector import Anomaly
from llmmon.anomaly.panel import LEVELS, PROPORTIONS
from llmmon.formats.detection import tags_in
from llmmon.ingest import sources
from llmmon.ingest.query import Query, read
from llmmon.ingest.scan import Scanned, line_of
from llmmon.ingest.spans import head
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.aggregates import Aggregates, Sums, merge
from llmmon.metrics.aggregation import EXACT_VALUES, AggregatesFold, Measures
from llmmon.metrics.columns import EMPTY, BoolArray, Columns, concat
from llmmon.metrics.definitions import METRICS, QUANTILES, STATISTICS, needed_fields, statistic_name
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import TAG_PREFIX
from llmmon.text.times import DAY_US, HOUR_US, to_us

_FIELDS: Final = ("model", "user", "feature", "error_type", "prompt_version", "provider")
_OF_EXAMPLES: Final = frozenset({"request_id", "error_type", "status_code"})
_MOST_TAGS: Final = 12
_MOST_VALUES: Final = 200  # of one tag: values that identify a call are of no use
_MOST_SHARE: Final = 1.5
_MOST_EXAMPLES: Final = 3
_SAMPLE: Final = 2000  # calls of an incident that examples are taken from
_BEFORE_US: Final = DAY_US
_MOST_US: Final = 2 * DAY_US  # of a change that lasts
_AT_ONCE: Final = 40  # incidents whose calls are read together
_PATIENCE_S: Final = 20.0  # after which no more is searched
_LONGEST_MESSAGE: Final = 200
_MOSTLY: Final = 0.8  # of the change: a cause with so much of it is where examples are taken from
_OF_CALLS: Final = frozenset({"avg", *QUANTILES})  # statistics that a change of the mean explains
_TOTALS: Final = frozenset({"requests", "cost_usd"})
_TAILS: Final = {"latency_p99_ms": "latency_ms", "output_tokens_per_second": "output_tokens_per_second"}


class ExampleCall(msgspec.Struct, frozen=True):
    """A call of an incident: where it stands, what its metric was, and its error; missing is None."""

    file: str
    line: int | None
    request_id: str | None
    timestamp_us: int
    value: float | None
    error_type: str | None
    error_message: str | None
    status_code: int | None


class Explanation(msgspec.Struct, frozen=True):
    """What an anomaly's change is made of: contributors as objects, causes, examples, the commonest error message."""

    contributors: tuple[Mapping[str, Any], ...]
    causes: tuple[Contribution, ...]
    examples: tuple[ExampleCall, ...]
    error_message: str | None


class _Case(msgspec.Struct, frozen=True):
    """An anomaly, the metric of single calls behind it, and its two periods in microseconds."""

    anomaly: Anomaly
    metric: str
    before_us: int
    start_us: int
    end_us: int
    fields: tuple[str, ...]

    @property
    def hours(self) -> tuple[float, float]:
        """The lengths of the time before and of the anomaly."""
        return (self.start_us - self.before_us) / HOUR_US, (self.end_us - self.start_us) / HOUR_US


class _Tally(msgspec.Struct, frozen=True):
    """Of one anomaly: by field the sums before and in it, some of its calls, and the fields that are ids."""

    before: tuple[Aggregates, ...]
    now: tuple[Aggregates, ...]
    calls: Columns
    ids: frozenset[str]


def explained(
    query: Query, anomalies: Sequence[Anomaly], step_us: int, now_us: int, clock: Callable[[], float] = time.monotonic
) -> dict[str, Explanation]:
    """By id what the anomalies are made of, the first ones first; the last are missing where it takes too long.

    The day before an anomaly is what it is compared with. Those of metric samples have no calls and no explanation.
    """
    cases = list(_cases(anomalies, step_us, now_us, [TAG_PREFIX + tag for tag in _tags(query)]))
    found: dict[str, Explanation] = {}
    began = clock()
    for first in range(0, len(cases), _AT_ONCE):
        if first and clock() - began > _PATIENCE_S:
            break
        some = cases[first : first + _AT_ONCE]
        # with messages nothing can come from the cache, so that only errors ask for them
        failures = [case for case in some if case.anomaly.metric_name == "error_rate"]
        for together in (failures, [case for case in some if case.anomaly.metric_name != "error_rate"]):
            found |= _explained(query, together) if together else {}
    return found


def can_be_explained(anomaly: Anomaly) -> bool:
    """Whether there are calls behind an anomaly."""
    return _metric(anomaly) is not None


def _explained(query: Query, cases: Sequence[_Case]) -> dict[str, Explanation]:
    first, last = min(case.before_us for case in cases), max(case.end_us for case in cases)
    around = msgspec.structs.replace(query.quiet(), time=TimeRequest(since=first, until=last))
    fields = needed_fields([statistic_name(METRICS[case.metric], "count") for case in cases])
    fields |= _OF_EXAMPLES | {name for case in cases for name in (*case.fields, *dict(case.anomaly.group))}
    if any(case.anomaly.metric_name == "error_rate" for case in cases):
        fields |= {"error_message"}
    read_again = read(around, fields, lambda: _CasesFold(cases))
    parts = zip(*read_again.results, strict=True)
    return {
        case.anomaly.id: _explanation(case, _joined(those), read_again.scanned)
        for case, those in zip(cases, parts, strict=True)
    }


def _cases(anomalies: Sequence[Anomaly], step_us: int, now_us: int, tags: Sequence[str]) -> Iterator[_Case]:
    for anomaly in anomalies:
        if (metric := _metric(anomaly)) is not None:
            start = to_us(anomaly.start or anomaly.timestamp)
            end = max(now_us if anomaly.end is None else to_us(anomaly.end), start + step_us)
            fixed = {*dict(anomaly.group), *(() if anomaly.metric_name == "error_rate" else ("error_type",))}
            fields = tuple(field for field in (*_FIELDS, *tags) if field not in fixed)
            yield _Case(anomaly, metric, start - _BEFORE_US, start, min(end, start + _MOST_US), fields)


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


def _explanation(case: _Case, tally: _Tally, scanned: Scanned[Any]) -> Explanation:
    changes = [
        change
        for field, before, now in zip(case.fields, tally.before, tally.now, strict=True)
        if field not in tally.ids
        and (change := _change(field, before, now, case)) is not None
        and (len(change.names) <= _MOST_VALUES or not field.startswith(TAG_PREFIX))
    ]
    total = case.anomaly.metric_name in _TOTALS
    parts = contributors(changes, total=total)
    # parts that outdo the whole change cancel each other out
    shown = [replace(part, examples=_ids(part, case, tally.calls)) for part in parts if part.share <= _MOST_SHARE]
    found = causes(changes, total=total, share=case.anomaly.metric_name in PROPORTIONS)
    chosen = _chosen(case, tally.calls, found)
    return Explanation(
        tuple(_rounded(part.to_dict()) for part in shown),
        tuple(found),
        tuple(_example(chosen, row, case, scanned) for row in range(chosen.size)),
        _message(case, tally.calls),
    )


def _chosen(case: _Case, calls: Columns, found: Sequence[Contribution]) -> Columns:
    """A few typical calls: those of the causes that make up most of the change, with the largest values if it rose."""
    rows = METRICS[case.metric].rows(calls)
    if rows is None:
        return EMPTY
    mine = ~np.isnan(rows)
    if case.anomaly.metric_name in PROPORTIONS:
        mine &= rows > 0
    for part in found:
        narrowed = mine & _named(calls, part.field, part.name)
        mine = narrowed if part.share >= _MOSTLY and narrowed.any() else mine
    change = case.anomaly.change
    rose = change is None or change.shift >= 0
    some = np.flatnonzero(mine)
    return calls.take(some[np.argsort(-rows[some] if rose else rows[some], kind="stable")][:_MOST_EXAMPLES])


def _example(calls: Columns, row: int, case: _Case, scanned: Scanned[Any]) -> ExampleCall:
    file, line = ("", None) if calls.positions is None else line_of(int(calls.positions[row]), scanned)
    rows = METRICS[case.metric].rows(calls)
    value = None if rows is None or np.isnan(rows[row]) else float(rows[row]) / METRICS[case.metric].scale
    request_id, kind, message = (
        calls.name(name).texts()[row] for name in ("request_id", "error_type", "error_message")
    )
    code = float(calls.public("status_code")[row])
    status = None if np.isnan(code) else int(code)
    return ExampleCall(file, line, request_id, int(calls.timestamp[row]), value, kind, _short(message), status)


def _message(case: _Case, calls: Columns) -> str | None:
    """The commonest error message of the calls that failed."""
    texts = calls.name("error_message")
    known = texts.codes[texts.codes >= 0]
    if case.anomaly.metric_name != "error_rate" or not len(known):
        return None
    return _short(texts.values[int(np.bincount(known).argmax())])


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


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


def _ids(part: Contribution, case: _Case, calls: Columns) -> tuple[str, ...]:
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
