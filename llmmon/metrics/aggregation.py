"""Calls -> aggregates -> statistics: `aggregate` for one block, folds for many blocks, `evaluate` for the figures.

A fold takes the blocks of a log one by one (`add`) and gives what they add up to (`result`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.metrics.aggregates import (
    Aggregates,
    GroupIndex,
    Run,
    Sums,
    Values,
    bounded,
    in_one_run,
    known_keys,
    merge,
    regroup,
)
from llmmon.metrics.columns import EMPTY, Columns, FloatArray, IntArray, concat
from llmmon.metrics.definitions import METRICS, QUANTILES, STATISTICS, MetricKind, Statistic
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.quantiles import quantiles
from llmmon.text.times import DAY_US, MINUTE_US, SECOND_US


def evaluate(aggregates: Aggregates, names: Sequence[str], minutes: float | None) -> dict[str, FloatArray]:
    """Statistics of every group, then of all groups together; each of shape (groups + 1,), NaN for missing.

    `minutes` is the length of the time that the calls cover, for rates.
    """
    wanted = [STATISTICS[name] for name in names]
    quantiled = {
        metric: _quantile_table(aggregates, metric, [s for s in wanted if s.metric.name == metric and s.needs_values])
        for metric in dict.fromkeys(s.metric.name for s in wanted if s.needs_values)
    }
    return {
        s.name: quantiled[s.metric.name][s.aggregation] if s.needs_values else _summed(aggregates, s, minutes)
        for s in wanted
    }


def _quantile_table(aggregates: Aggregates, metric: str, wanted: Sequence[Statistic]) -> dict[str, FloatArray]:
    size = len(aggregates) + 1
    if metric not in aggregates.values:
        return {s.aggregation: np.full(size, np.nan) for s in wanted}
    ps = [QUANTILES[s.aggregation] for s in wanted]
    table = quantiles(aggregates.values[metric], len(aggregates), ps, pooled=True) / METRICS[metric].scale
    return {s.aggregation: table[:, column] for column, s in enumerate(wanted)}


def _summed(aggregates: Aggregates, statistic: Statistic, minutes: float | None) -> FloatArray:
    metric = statistic.metric
    sums = aggregates.sums.get(metric.name)
    if sums is None:
        none = not _calls(aggregates) and statistic.name in {"request_count", "error_count"}
        return np.full(len(aggregates) + 1, 0.0 if none else np.nan)
    count = np.append(sums.count, sums.count.sum()).astype(np.float64)
    units = np.append(sums.total, sums.total.sum())
    total = units / metric.scale
    with np.errstate(invalid="ignore", divide="ignore"):
        match statistic.aggregation:
            case "count":
                counted = total if metric.kind is MetricKind.EVENT else count
                return np.where((count == 0) & (metric.name != "requests"), np.nan, counted)
            case "sum":
                return np.where(count == 0, np.nan, total)
            case "rate" if metric.kind is not MetricKind.EVENT:
                amount = total if metric.kind is MetricKind.AMOUNT else count
                return np.where(count == 0, np.nan, amount / (minutes or np.nan))
            case _:
                return np.where(count == 0, np.nan, units / (count * metric.scale))


def _calls(aggregates: Aggregates) -> int:
    """How many calls there are, as far as they were counted."""
    requests = aggregates.sums.get("requests")
    return len(aggregates) if requests is None else int(requests.total.sum())


EXACT_VALUES: Final = 24_000_000  # values that a run keeps exactly; 8 bytes each
_MERGE_EVERY: Final = 64
_FEW_GROUPS: Final = 4096


class AggregatesFold:
    """Aggregates by several groupings at once; more than `most_values` values of one grouping are binned.

    Blocks are merged `merge_every` at a time. Up to `few_groups` groups are numbered once for all blocks, and their
    keys are sorted once, when they are read.
    """

    def __init__(
        self,
        plans: list[tuple[Measures, Grouping]],
        most_values: int,
        merge_every: int = _MERGE_EVERY,
        few_groups: int = _FEW_GROUPS,
    ) -> None:
        self._plans = plans
        self._most_values = most_values
        self._merge_every = merge_every
        self._few_groups = few_groups
        self._pending: list[list[Aggregates]] = [[] for _ in plans]
        self._indexes: list[GroupIndex | None] = [GroupIndex() for _ in plans]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        if not columns.size:
            return
        for place, (measures, grouping) in enumerate(self._plans):
            index, pending = self._indexes[place], self._pending[place]
            pending.append(aggregate(columns, measures, grouping, index, in_order=index is None))
            if index is not None and len(index) > self._few_groups:
                self._indexes[place] = None
                pending[:] = map(in_one_run, pending)
            if len(pending) >= self._merge_every:
                pending[:] = [bounded(merge(pending), self._most_values)]

    def result(self) -> list[Aggregates]:
        """The aggregates of each grouping; values are sorted only where there are many groups."""
        merged = [bounded(merge(pending), self._most_values) for pending in self._pending]
        return [
            in_one_run(aggregates) if index is None else aggregates
            for aggregates, index in zip(merged, self._indexes, strict=True)
        ]


class ColumnsFold:
    """The calls themselves, all of them."""

    def __init__(self) -> None:
        self._blocks: list[Columns] = []

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        self._blocks.append(columns)

    def result(self) -> Columns:
        """All calls, in the order in which they came."""
        return concat(self._blocks) if self._blocks else EMPTY


class TrailingFold(ColumnsFold):
    """The calls of the last `horizon_us` (None: all): those that can still matter while the end is not known."""

    def __init__(self, horizon_us: int | None) -> None:
        super().__init__()
        self._horizon_us = horizon_us
        self._latest = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block, without the calls that are too old by now."""
        dated = columns.dated
        if self._horizon_us is None:
            self._blocks.append(columns if dated.all() else columns.take(dated))
            return
        self._latest = max(self._latest, int(columns.timestamp[dated].max(initial=0)))
        kept = columns.take(dated & (columns.timestamp > self._latest - self._horizon_us))
        if kept.size:
            self._blocks.append(kept)


class ExtraFold(msgspec.Struct, frozen=True):
    """A further use of the calls of a reading: the fields it needs, and a fold around the reading's own.

    The result of the outer fold begins with the parts of the inner one.
    """

    fields: frozenset[str] = frozenset()
    wrap: Callable[[Any], Any] = lambda fold: fold


NO_EXTRA_FOLD: Final = ExtraFold()


class TopFold:
    """The first `limit` calls by a sort key (a metric or field, descending unless `ascending`)."""

    def __init__(self, key: str, limit: int, *, ascending: bool) -> None:
        self._key = key
        self._limit = limit
        self._ascending = ascending
        self._kept: list[Columns] = []
        self._found = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        self._found += columns.size
        first = columns.take(top(columns, self._key, self._limit, ascending=self._ascending))
        self._kept.append(first.without_unused_names())
        if len(self._kept) > _MERGE_EVERY:
            self._shrink()

    def _shrink(self) -> None:
        everything = concat(self._kept)
        self._kept = [everything.take(top(everything, self._key, self._limit, ascending=self._ascending))]

    def result(self) -> tuple[Columns, int]:
        """The kept calls, and how many there were."""
        self._shrink()
        return self._kept[0], self._found


def top(columns: Columns, key: str, limit: int, *, ascending: bool) -> Any:
    """Indices of the first calls by a key; missing last, ties in the order of the log; shape (<= limit,)."""
    rank = sort_key(columns, key)
    missing = np.isnan(rank)
    rank = np.where(missing, np.inf, rank if ascending else -rank)
    positions = np.arange(columns.size) if columns.positions is None else columns.positions
    return np.lexsort((positions, rank))[:limit]


def sort_key(columns: Columns, key: str) -> FloatArray:
    """A metric's or number field's values, or the timestamp, as floats, NaN for missing; shape (calls,)."""
    if key == "timestamp":
        return np.where(columns.dated, columns.timestamp.astype(np.float64), np.nan)
    if key in METRICS:
        rows = METRICS[key].rows(columns)
        return np.full(columns.size, np.nan) if rows is None else rows
    return columns.number(key)


class Measures(msgspec.Struct, frozen=True):
    """Which metrics to add up, and of which to keep the values."""

    sums: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, statistics: Sequence[str]) -> Measures:
        """What the named statistics need."""
        wanted = [STATISTICS[name] for name in statistics]
        return cls(
            sums=tuple(dict.fromkeys(s.metric.name for s in wanted if not s.needs_values)),
            values=tuple(dict.fromkeys(s.metric.name for s in wanted if s.needs_values)),
        )


def aggregate(
    columns: Columns,
    measures: Measures,
    grouping: Grouping,
    index: GroupIndex | None = None,
    *,
    in_order: bool = True,
) -> Aggregates:
    """The aggregates of these calls by group; calls aggregated with one `index` merge without renumbering.

    Unless they are to be `in_order`, keys are left as they come, for whoever sorts them when all are there.
    """
    index = GroupIndex() if index is None else index
    groups, kept = grouping.rows(columns, index)
    if kept is not None:
        columns = columns.take(kept)
    size = len(index)
    rows = {name: METRICS[name].rows(columns) for name in dict.fromkeys((*measures.sums, *measures.values))}
    everyone = np.bincount(groups, minlength=size)
    bounds = columns.bounds()
    return Aggregates(
        groups=tuple(index),
        sums={name: _sums(found, groups, everyone) for name in measures.sums if (found := rows[name]) is not None},
        values={
            name: _values(groups, found, in_order) for name in measures.values if (found := rows[name]) is not None
        },
        first_us=bounds[0] if bounds else None,
        last_us=bounds[1] if bounds else None,
    )


def _sums(rows: FloatArray, groups: IntArray, everyone: IntArray) -> Sums:
    count = everyone
    total = np.bincount(groups, rows, minlength=len(everyone))  # whole numbers below 2**53: exact
    if np.isnan(total).any():
        known = ~np.isnan(rows)
        groups, rows = groups[known], rows[known]
        count = np.bincount(groups, minlength=len(everyone))
        total = np.bincount(groups, rows, minlength=len(everyone))
    return Sums(count.astype(np.int64), np.rint(total).astype(np.int64))


def _values(groups: IntArray, rows: FloatArray, in_order: bool) -> Values:
    keys = known_keys(groups, rows)
    if in_order:
        keys.sort()
    return Values((Run(keys, ordered=in_order),)) if len(keys) else Values()


# widths in which buckets are kept, each a multiple of the one before; days may begin at any quarter of an hour
WIDTHS: Final = (SECOND_US, 10 * SECOND_US, MINUTE_US, 5 * MINUTE_US, 15 * MINUTE_US, DAY_US)
_SHOWN_S: Final = (1, 2, 5, 10, 20, 30)
_SHOWN_MIN: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440, 7 * 1440, 28 * 1440)
SHOWN: Final = (*(n * SECOND_US for n in _SHOWN_S), *(n * MINUTE_US for n in _SHOWN_MIN))
_MOST_TIMELINE_BUCKETS: Final = 6000
_MERGE_TIMELINE_EVERY: Final = 16
OTHER: Final = "(other)"


class Timelines(msgspec.Struct, frozen=True, eq=False):
    """Aggregates by bucket of `every_us` and by each plan's fields; `parts` in the order of the plans."""

    every_us: int
    parts: tuple[Aggregates, ...]


class TimelineFold:
    """Aggregates by time bucket and by each plan's fields, in the finest of `widths` that keeps the buckets few."""

    def __init__(
        self, plans: Sequence[tuple[Measures, tuple[str, ...]]], tz: str, most_values: int, widths: Sequence[int]
    ) -> None:
        self._plans = plans
        self._tz = tz
        self._most_values = most_values
        self._widths = list(widths)
        self._pending: list[list[Aggregates]] = [[] for _ in plans]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        if not columns.size:
            return
        for (measures, by), pending in zip(self._plans, self._pending, strict=True):
            pending.append(aggregate(columns, measures, Grouping(by, self._widths[0], self._tz)))
        if len(self._pending[0]) >= _MERGE_TIMELINE_EVERY or len(self._pending[0][-1]) > _MOST_TIMELINE_BUCKETS:
            self._compact()

    def _compact(self) -> None:
        merged = [bounded(merge(pending), self._most_values) for pending in self._pending]
        while len(self._widths) > 1 and len(merged[0]) > _MOST_TIMELINE_BUCKETS:
            before, after = self._widths[:2]
            merged = [widened(p, by, before, after, self._tz) for p, (_, by) in zip(merged, self._plans, strict=True)]
            self._widths.pop(0)
        self._pending = [[aggregates] for aggregates in merged]

    def result(self) -> Timelines:
        """The aggregates, their values in one sorted run each."""
        self._compact()
        return Timelines(self._widths[0], tuple(in_one_run(pending[0]) for pending in self._pending))


def widened(aggregates: Aggregates, by: tuple[str, ...], before_us: int, after_us: int, tz: str) -> Aggregates:
    """The aggregates by bucket and `by` under wider buckets, or as they are."""
    if before_us == after_us:
        return aggregates
    old, new = Grouping(by, before_us, tz), Grouping(by, after_us, tz)
    numbers = sorted({group[0] for group in aggregates.groups})
    starts = np.array([old.bucket_start(number) for number in numbers], np.int64)
    under = dict(zip(numbers, new.numbers(starts).tolist(), strict=True))
    return regroup(aggregates, [(under[group[0]], *group[1:]) for group in aggregates.groups])


def merge_timelines(found: Iterable[Timelines], bys: Sequence[tuple[str, ...]], tz: str) -> Timelines:
    """The timelines of several workers as one, in the widest of their buckets."""
    parts = list(found)
    widest = max(part.every_us for part in parts)
    merged = [
        merge(widened(part.parts[i], by, part.every_us, widest, tz) for part in parts) for i, by in enumerate(bys)
    ]
    return Timelines(widest, tuple(merged))


def shown_width(span_us: int, kept_us: int, most: int) -> int:
    """The narrowest of the usual widths that makes at most `most` buckets and of which kept buckets are parts."""
    usable = [width for width in SHOWN if width % kept_us == 0]
    return next((width for width in usable if span_us / width <= most), usable[-1] if usable else kept_us)


def layers(aggregates: Aggregates, metric: str, scale: int, most: int) -> Mapping[str | None, Mapping[int, float]]:
    """A metric's sum by name and bucket number: the `most` names with the largest sums, the rest as `OTHER`.

    `aggregates` are by bucket and one field.
    """
    sums = aggregates.sums.get(metric)
    if sums is None:
        return {}
    whole: dict[str | None, int] = {}
    for (_, name), total in zip(aggregates.groups, sums.total.tolist(), strict=True):
        whole[name] = whole.get(name, 0) + total
    ranked = sorted((n for n in whole if whole[n]), key=lambda n: (-whole[n], n or ""))
    kept = set(ranked if len(ranked) <= most else ranked[: most - 1])
    found: dict[str | None, dict[int, float]] = {name: {} for name in ranked if name in kept}
    for (number, name), total in zip(aggregates.groups, sums.total.tolist(), strict=True):
        if total:
            into = found.setdefault(name if name in kept else OTHER, {})
            into[number] = into.get(number, 0.0) + total / scale
    return found
