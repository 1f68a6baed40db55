"""One metric of one group over time, and many of them on one grid of buckets: what every detector reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.text.times import HOUR_US

GroupLabels = tuple[tuple[str, str | None], ...]  # ((field, name), ...); empty for all calls


class SeriesKind(StrEnum):
    """The kind of a series' numbers, which decides how anomalies are detected in them."""

    LEVEL = "level"  # a distribution per bucket: latency, tokens, cost of a call
    PROPORTION = "proportion"  # hits of count calls: errors, cut-off answers
    COUNT = "count"  # events a bucket, empty buckets included: requests
    TOTAL = "total"  # a sum a bucket: cost
    SAMPLES = "samples"  # readings at their own stamps, no buckets


@dataclass(frozen=True, slots=True)
class BucketValues:
    """Sorted values per bucket: bucket i holds `values[offsets[i]:offsets[i + 1]]`, ascending.

    `offsets` int64 (buckets + 1); `values` float (m); `weights` (m) how often each value counts,
    None for one each. Values may be exact or the centres of bins.
    """

    offsets: IntArray
    values: FloatArray
    weights: IntArray | None = None

    def sums(self, cells: FloatArray) -> FloatArray:
        """The weighted sum per bucket of a number per value, shape (m) to (buckets); 0 for empty buckets."""
        weighed = cells if self.weights is None else cells * self.weights
        out = np.zeros(len(self.offsets) - 1)
        filled = np.flatnonzero(np.diff(self.offsets) > 0)
        if len(filled):
            out[filled] = np.add.reduceat(weighed, self.offsets[filled])
        return out

    def quantile(self, q: float) -> FloatArray:
        """The smallest value that at least the share `q` of a bucket's calls do not exceed; shape (buckets)."""
        out = np.full(len(self.offsets) - 1, np.nan)
        filled = np.flatnonzero(np.diff(self.offsets) > 0)
        if len(filled):
            weights = np.ones(len(self.values)) if self.weights is None else self.weights.astype(np.float64)
            running = np.cumsum(weights)
            first, last = self.offsets[filled], self.offsets[filled + 1] - 1
            before = running[first] - weights[first]
            rank = before + np.maximum(np.ceil(q * (running[last] - before)), 1.0)
            out[filled] = self.values[np.minimum(np.searchsorted(running, rank), last)]
        return out

    def moments(self, *, log: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(count, mean, variance) per bucket of the values, or of their logarithms.

        Only finite values count, and only positive ones under `log`. The mean is NaN without any; the
        variance is the population's, 0 for a single value.
        """
        usable = np.isfinite(self.values) & ((self.values > 0) | (not log))
        if usable.all():  # nearly always, and worth a third of the time
            x = np.log(self.values) if log else self.values
            count = np.diff(self.offsets).astype(np.float64) if self.weights is None else self.sums(np.ones(len(x)))
        else:
            x = np.where(usable, self.values, 1.0)
            x = np.where(usable, np.log(x) if log else x, 0.0)
            count = self.sums(usable.astype(np.float64))
        total, square = self.sums(x), self.sums(x * x)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count > 0, total / count, np.nan)
            variance = np.where(count > 0, np.maximum(square / count - mean * mean, 0.0), 0.0)
        return count, mean, variance


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one group over time; the arrays share one length.

    `starts` int64 epoch microseconds, ascending: half-open buckets of `step_us`, or stamps of samples
    (`step_us` None). `count` is how many calls a bucket rests on. `value` is what is shown: the typical
    value, rate, count or total of the bucket, NaN for a gap. `hits` (proportions) is the numerator; `spread`
    (levels) the variance within a bucket, of logarithms where `value` is a geometric mean; `table` the values
    themselves in public units, of a metric whose tail is watched.
    """

    metric: str
    kind: SeriesKind
    starts: IntArray
    value: FloatArray
    count: FloatArray
    group: GroupLabels = ()
    step_us: int | None = None
    hits: FloatArray | None = None
    spread: FloatArray | None = None
    table: BucketValues | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice) -> Series:
        """The series of a contiguous run of buckets."""
        first, last, stride = rows.indices(len(self))
        if stride != 1:
            raise ValueError("a series is cut, not thinned: the stride must be 1")
        last = max(first, last)
        cut = slice(first, last)
        table = self.table
        if table is not None:
            low, high = int(table.offsets[first]), int(table.offsets[last])
            weights = None if table.weights is None else table.weights[low:high]
            table = BucketValues(table.offsets[first : last + 1] - low, table.values[low:high], weights)
        return Series(
            self.metric,
            self.kind,
            self.starts[cut],
            self.value[cut],
            self.count[cut],
            self.group,
            self.step_us,
            None if self.hits is None else self.hits[cut],
            None if self.spread is None else self.spread[cut],
            table,
        )

    @property
    def ends(self) -> IntArray:
        """When each bucket is complete, epoch microseconds; a sample is at its stamp."""
        return self.starts + (self.step_us or 0)


def levels(
    metric: str, starts: ArrayLike, step_us: int, table: BucketValues, group: GroupLabels = (), *, log: bool = True
) -> Series:
    """A series of distributions; shown by the geometric mean of each bucket, or the mean without `log`."""
    return level(metric, starts, step_us, table.moments(log=log), group, log=log, table=table)


def level(
    metric: str,
    starts: ArrayLike,
    step_us: int,
    moments: tuple[FloatArray, FloatArray, FloatArray],
    group: GroupLabels = (),
    *,
    log: bool = True,
    table: BucketValues | None = None,
) -> Series:
    """The same of (count, mean, variance) of each bucket's values, or of their logarithms."""
    count, mean, spread = moments
    value = np.where(count > 0, np.exp(mean) if log else mean, np.nan)
    return Series(metric, SeriesKind.LEVEL, _ints(starts), value, count, group, step_us, spread=spread, table=table)


def proportions(
    metric: str, starts: ArrayLike, step_us: int, hits: ArrayLike, count: ArrayLike, group: GroupLabels = ()
) -> Series:
    """A series of shares: `hits` of `count` calls a bucket, both (buckets)."""
    h, n = _floats(hits), _floats(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(n > 0, h / n, np.nan)
    return Series(metric, SeriesKind.PROPORTION, _ints(starts), value, n, group, step_us, h)


def counts(metric: str, starts: ArrayLike, step_us: int, count: ArrayLike, group: GroupLabels = ()) -> Series:
    """A series of events a bucket; the grid holds its empty buckets, as zeros."""
    n = _floats(count)
    return Series(metric, SeriesKind.COUNT, _ints(starts), n.copy(), n, group, step_us)


def totals(
    metric: str, starts: ArrayLike, step_us: int, total: ArrayLike, count: ArrayLike, group: GroupLabels = ()
) -> Series:
    """A series of sums over `count` calls a bucket."""
    return Series(metric, SeriesKind.TOTAL, _ints(starts), _floats(total), _floats(count), group, step_us)


def samples(metric: str, stamps: ArrayLike, values: ArrayLike, group: GroupLabels = ()) -> Series:
    """Readings at their own stamps, put in order of time; equal stamps keep their order."""
    times, readings = _ints(stamps), _floats(values)
    order = np.argsort(times, kind="stable")
    times, readings = times[order], readings[order]
    return Series(metric, SeriesKind.SAMPLES, times, readings, np.isfinite(readings).astype(np.float64), group)


def tables(cells: BucketValues, width: int) -> list[BucketValues]:
    """One table of `width` buckets per group from one over all (group, bucket) cells, group the slower index."""
    out = []
    for first in range(0, len(cells.offsets) - 1, width):
        edges = cells.offsets[first : first + width + 1]
        low, high = int(edges[0]), int(edges[-1])
        weights = None if cells.weights is None else cells.weights[low:high]
        out.append(BucketValues(edges - low, cells.values[low:high], weights))
    return out


def _floats(values: ArrayLike) -> FloatArray:
    return np.asarray(values, np.float64)


def _ints(values: ArrayLike) -> IntArray:
    return np.asarray(values, np.int64)


@dataclass(frozen=True, slots=True)
class Panel:
    """Many series on one grid of buckets, without a hole between first and last; columns are series."""

    starts: IntArray
    step_us: int
    series: tuple[Series, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice) -> Panel:
        """The panel of a contiguous run of buckets."""
        return Panel(self.starts[rows], self.step_us, tuple(one[rows] for one in self.series))


def panel(series: Iterable[Series]) -> Panel:
    """Series of equal bucket grids as one panel; raises ValueError where the grids differ."""
    found = tuple(series)
    if not found:
        return Panel(np.empty(0, np.int64), HOUR_US, ())
    starts, step_us = found[0].starts, found[0].step_us
    if step_us is None:
        raise ValueError("metric samples have no buckets: detect anomalies in one series at a time")
    for one in found[1:]:
        if one.step_us != step_us or (one.starts is not starts and not np.array_equal(one.starts, starts)):
            raise ValueError(f"series {one.metric!r} has another grid of buckets")
    if len(starts) > 1 and np.any(np.diff(starts) != step_us):
        raise ValueError("a grid of buckets has no holes: an empty bucket has count 0")
    return Panel(starts, step_us, found)
