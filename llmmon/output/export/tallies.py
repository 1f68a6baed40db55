"""Calls -> whole numbers by instrument and group, ready to be added: what exported metrics are made of.

Unlike the values of `aggregates` a tally stays small whatever the log: a histogram is its buckets. It is exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats.timestamps import moments
from llmmon.metrics.aggregates import MAX_VALUE, Aggregates, group_edges, sorted_run
from llmmon.metrics.aggregation import Measures, aggregate
from llmmon.metrics.columns import Columns, IntArray
from llmmon.metrics.definitions import METRICS, MetricKind
from llmmon.metrics.grouping import Grouping

Numbers = tuple[int, ...]  # calls with a value, the total of its stored units, then how many in each bucket
Labels = tuple[str | None, ...]

_CLOSED: Final = frozenset({"status"})  # labels of a few known values, which are never cut
OTHER: Final = "other"  # replaces all label values beyond the limit
LONGEST_LABEL: Final = 200  # characters


class Instrument(msgspec.Struct, frozen=True):
    """One metric of `METRICS` by labels (names of the record's fields).

    `bounds` are upper bounds of buckets in stored units, both ends as in Prometheus (a value on a bound is
    below it); none for counters and gauges.
    """

    metric: str
    by: tuple[str, ...]
    bounds: tuple[int, ...] = ()


class Tally(msgspec.Struct, frozen=True):
    """Numbers by metric and labels; `first_us` and `last_us` bound the dated calls."""

    points: Mapping[str, Mapping[Labels, Numbers]] = msgspec.field(default_factory=dict)
    first_us: int | None = None
    last_us: int | None = None


def tally(columns: Columns, instruments: Sequence[Instrument]) -> Tally:
    """The numbers of some calls."""
    points: dict[str, Mapping[Labels, Numbers]] = {}
    for by in dict.fromkeys(instrument.by for instrument in instruments):
        here = [instrument for instrument in instruments if instrument.by == by]
        measures = Measures(tuple(i.metric for i in here), tuple(i.metric for i in here if i.bounds))
        aggregates = aggregate(columns, measures, Grouping(by))
        points |= {i.metric: dict(_points(aggregates, i)) for i in here if i.metric in aggregates.sums}
    dated = columns.timestamp[columns.dated]
    return Tally(points, int(dated.min()) if len(dated) else None, int(dated.max()) if len(dated) else None)


def _points(aggregates: Aggregates, instrument: Instrument) -> Iterator[tuple[Labels, Numbers]]:
    sums = aggregates.sums[instrument.metric]
    columns = [sums.count, sums.total]
    if instrument.bounds:
        columns += list(_buckets(aggregates, instrument).T)
    for labels, numbers in zip(aggregates.groups, zip(*(c.tolist() for c in columns), strict=True), strict=True):
        if numbers[0]:
            yield labels, numbers


def _buckets(aggregates: Aggregates, instrument: Instrument) -> IntArray:
    """How many values of each group lie in each bucket, the last one above all bounds; (groups, bounds + 1)."""
    run = sorted_run(aggregates.values[instrument.metric])
    bounds = np.array([*instrument.bounds, MAX_VALUE], np.uint64)
    first = group_edges(len(aggregates))[:-1, None]
    upto = run.keys.searchsorted((first | bounds).ravel(), "right").reshape(-1, len(bounds))
    start = run.keys.searchsorted(first.ravel())[:, None]
    counts: IntArray = np.diff(upto, axis=1, prepend=start)
    return counts


def add(tallies: Iterable[Tally]) -> Tally:
    """All numbers added up."""
    tallies = list(tallies)
    points: dict[str, dict[Labels, Numbers]] = {}
    for part in tallies:
        for metric, found in part.points.items():
            into = points.setdefault(metric, {})
            for labels, numbers in found.items():
                into[labels] = _added(into[labels], numbers) if labels in into else numbers
    return Tally(
        points,
        min((t.first_us for t in tallies if t.first_us is not None), default=None),
        max((t.last_us for t in tallies if t.last_us is not None), default=None),
    )


def _added(one: Numbers, other: Numbers) -> Numbers:
    return tuple(a + b for a, b in zip(one, other, strict=True))


Timed = tuple[int, dict[str, Any]]


class TallyFold:
    """Tallies of blocks, added up, and of the metric samples among them the last of each name and tags."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._instruments = instruments
        self._total = Tally()
        self._samples: dict[Any, Timed] = {}

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if columns.size:
            self._total = add([self._total, tally(columns, self._instruments)])
        times = moments([sample["timestamp"] for sample in samples]).tolist()
        for when, sample in zip(times, samples, strict=True):
            key = (sample["name"], _series_of(sample))
            if key not in self._samples or self._samples[key][0] <= when:
                self._samples[key] = when, sample

    def result(self) -> tuple[Tally, list[Timed]]:
        """The numbers of all blocks, and their samples with the microsecond of each."""
        return self._total, list(self._samples.values())


def _series_of(sample: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The labels of a series of samples: its tags, except the one of a single request."""
    return frozenset((str(tag), str(value)) for tag, value in sample["tags"].items() if tag != "request_id")


Kept = Mapping[str, frozenset[str]]  # label -> its values that are shown under their own name


def kept_labels(found: Tally, instruments: Sequence[Instrument], limit: int, before: Kept | None = None) -> Kept:
    """The `limit` values of each label that occur most often; those of `before` stay, whatever came since."""
    kept: dict[str, frozenset[str]] = {}
    for label in dict.fromkeys(label for instrument in instruments for label in instrument.by):
        weight: Counter[str] = Counter()
        for instrument in instruments:
            if label in instrument.by:
                weight |= _weights(found, instrument, instrument.by.index(label))  # the larger of each
        old = (before or {}).get(label, frozenset())
        new = sorted(weight.keys() - old - {OTHER}, key=lambda value: (-weight[value], value))
        kept[label] = old | frozenset(new if label in _CLOSED else new[: max(0, limit - len(old))])
    return kept


def _weights(found: Tally, instrument: Instrument, place: int) -> Counter[str]:
    """In how many calls each value of a label occurs; of events only those that happened."""
    column = 1 if METRICS[instrument.metric].kind is MetricKind.EVENT else 0
    weight: Counter[str] = Counter()
    for labels, numbers in found.points.get(instrument.metric, {}).items():
        if (value := labels[place]) is not None:
            weight[shown(value)] += numbers[column]
    return weight


def shown(value: str) -> str:
    """A name as a label's value: of bounded length, control characters as codes that no terminal obeys."""
    short = value if len(value) <= LONGEST_LABEL else value[: LONGEST_LABEL - 1] + "…"
    return _CONTROL.sub(lambda sign: f"\\x{ord(sign[0]):02x}", short)


_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # the newline is escaped anyway


def limited(found: Tally, instruments: Sequence[Instrument], kept: Kept) -> Tally:
    """The tally with all label values beyond those kept added up as `other`."""
    points: dict[str, Mapping[Labels, Numbers]] = {}
    for instrument in instruments:
        into: dict[Labels, Numbers] = {}
        for labels, numbers in found.points.get(instrument.metric, {}).items():
            named = tuple(
                None if value is None else text if (text := shown(value)) in kept[label] else OTHER
                for label, value in zip(instrument.by, labels, strict=True)
            )
            into[named] = _added(into[named], numbers) if named in into else numbers
        if into:
            points[instrument.metric] = into
    return msgspec.structs.replace(found, points=points)
