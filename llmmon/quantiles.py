"""Quantiles over sorted runs of values, without merging the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from llmmon.columns import FloatArray, IntArray
from llmmon.partials import VALUE_BITS, KeyArray, Run, Values, sorted_run

_BITS: Final = np.uint64(VALUE_BITS)
_FEW_TARGETS: Final = 4096  # selecting by bisection beats merging the runs up to about here


def quantiles(values: Values, groups: int, ps: Sequence[float], *, pooled: bool) -> FloatArray:
    """Quantiles by linear interpolation, as `numpy.quantile`, in stored units; NaN for empty groups.

    Shape (groups, len(ps)), with one more row at the end for all groups together if `pooled`.
    """
    if groups * len(ps) > _FEW_TARGETS:
        return _of_one_run(sorted_run(values), groups, ps, pooled=pooled)
    selection = _Selection(values.runs, groups, pooled)
    return _interpolated(selection.count, ps, selection.select)


def _interpolated(count: IntArray, ps: Sequence[float], select: Callable[[IntArray], KeyArray]) -> FloatArray:
    """Between the values at the two places next to each quantile, which `select` gives; shape (rows, len(ps))."""
    last = np.maximum(count[:, None] - 1, 0)
    position = last * np.array(ps)
    below = np.floor(position).astype(np.int64)
    found = select(np.stack([below, np.minimum(below + 1, last)])).astype(np.float64)
    result: FloatArray = found[0] + (found[1] - found[0]) * (position - below)
    result[count == 0] = np.nan
    return result


def _of_one_run(run: Run, groups: int, ps: Sequence[float], *, pooled: bool) -> FloatArray:
    """Quantiles where all values stand in one run: looked up at their places."""
    table = _at_places(run, np.arange(groups + 1, dtype=np.uint64) << _BITS, ps)
    if not pooled:
        return table
    values = run.keys & ((np.uint64(1) << _BITS) - np.uint64(1))
    order = np.argsort(values) if run.counts is not None else None
    everything = Run(np.sort(values)) if order is None or run.counts is None else Run(values[order], run.counts[order])
    return np.concatenate([table, _at_places(everything, np.array([0, 1 << VALUE_BITS], np.uint64), ps)])


def _at_places(run: Run, edges: KeyArray, ps: Sequence[float]) -> FloatArray:
    """Quantiles of the values between each two edges; shape (edges - 1, len(ps))."""
    if not len(run.keys):
        return np.full((len(edges) - 1, len(ps)), np.nan)
    before = None if run.counts is None else np.concatenate([[0], run.counts.cumsum()])
    starts = run.keys.searchsorted(edges)
    starts = starts if before is None else before[starts]

    def select(target: IntArray) -> KeyArray:
        ranks = starts[:-1, None] + target
        places = ranks if before is None else before.searchsorted(ranks, "right") - 1
        found: KeyArray = run.keys.take(places, mode="clip") & ((np.uint64(1) << _BITS) - np.uint64(1))
        return found

    return _interpolated(np.diff(starts), ps, select)


class _Selection:
    """Order statistics by bisecting the bits of the value: 36 rounds of `searchsorted`."""

    def __init__(self, runs: Sequence[Run], groups: int, pooled: bool) -> None:
        self.runs = runs
        self.groups = groups
        self.pooled = pooled
        self.base: KeyArray = np.arange(groups + 1, dtype=np.uint64) << _BITS
        self.cumulative = [None if run.counts is None else np.concatenate([[0], run.counts.cumsum()]) for run in runs]
        self.starts = [self._rank(i, self.base) for i in range(len(runs))]
        count = sum((np.diff(start) for start in self.starts), np.zeros(groups, np.int64))
        self.count: IntArray = np.append(count, count.sum()) if pooled else count

    def _rank(self, i: int, keys: KeyArray, side: str = "left") -> IntArray:
        """How many values of a run stand before the keys."""
        place = self.runs[i].keys.searchsorted(keys, side)  # type: ignore[call-overload]
        cumulative = self.cumulative[i]
        found: IntArray = place if cumulative is None else cumulative[place]
        return found

    def select(self, target: IntArray) -> KeyArray:
        """The smallest value with more than `target` values at or below it."""
        low = np.zeros(target.shape, np.uint64)
        high = np.full(target.shape, (1 << VALUE_BITS) - 1, np.uint64)
        while (low < high).any():
            middle = (low + high) >> np.uint64(1)
            enough = self._at_or_below(middle) > target
            high = np.where(enough, middle, high)
            low = np.where(enough, low, middle + np.uint64(1))
        return high

    def _at_or_below(self, value: KeyArray) -> IntArray:
        counted = np.zeros(value.shape, np.int64)
        k = self.groups
        for i in range(len(self.runs)):
            start = self.starts[i]
            keys = self.base[:k, None] | value[:, :k]
            counted[:, :k] += self._rank(i, keys, "right") - start[:k, None]
            if self.pooled:
                everywhere = self.base[:k, None, None] | value[None, :, k]
                counted[:, k] += (self._rank(i, everywhere, "right") - start[:k, None, None]).sum(axis=0)
        return counted
