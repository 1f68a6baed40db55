"""Quantiles over runs of values, without sorting them all where the groups are few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from llmmon.metrics.aggregates import MAX_VALUE, KeyArray, Run, Values, group_edges, sorted_run
from llmmon.metrics.columns import CodeArray, FloatArray, IntArray

_FEW_GROUPS: Final = 2048  # beyond, sorting all values is faster
_FINEST: Final = 15  # bits of a float32 that are left out: bins of 0.2 to 0.4 %
_COARSEST: Final = 20
_MOST_BINS: Final = 1 << 20
_BLOCK: Final = 1 << 16  # values at a time, which fit the cache
_SMALLEST, _LARGEST = (int(np.float32(size).view(np.int32)) for size in (1, MAX_VALUE + 1))


def quantiles(
    values: Values,
    groups: int,
    ps: Sequence[float],
    *,
    pooled: bool,
    few_groups: int = _FEW_GROUPS,
    most_bins: int = _MOST_BINS,
    block: int = _BLOCK,
) -> FloatArray:
    """Quantiles by linear interpolation, as `numpy.quantile`, in stored units; NaN for empty groups.

    Shape (groups, len(ps)), with one more row at the end for all groups together if `pooled`. The last three
    arguments change how the quantiles are found, not what they are: values of more than `few_groups` groups are
    sorted, those of fewer are counted in at most `most_bins` bins, `block` values at a time.
    """
    if groups > few_groups or not len(values):
        return _of_sorted(sorted_run(values), groups, ps, pooled=pooled)
    bins = _Bins(values.runs, groups, pooled=pooled, most_bins=most_bins, block=block)
    return _interpolated(bins.count, ps, bins.select)


def _interpolated(count: IntArray, ps: Sequence[float], select: Callable[[IntArray], KeyArray]) -> FloatArray:
    """Interpolate between the values next to each quantile, which `select` finds; shape (rows, len(ps))."""
    last = np.maximum(count[:, None] - 1, 0)
    position = last * np.array(ps)
    below = np.floor(position).astype(np.int64)
    found = select(np.stack([below, np.minimum(below + 1, last)])).astype(np.float64)
    result: FloatArray = found[0] + (found[1] - found[0]) * (position - below)
    result[count == 0] = np.nan
    return result


def _of_sorted(run: Run, groups: int, ps: Sequence[float], *, pooled: bool) -> FloatArray:
    """Look the quantiles of one sorted run up at their places."""
    table = _between(run, group_edges(groups), ps)
    if not pooled:
        return table
    return np.concatenate([table, _between(_without_groups(run), group_edges(1), ps)])


def _between(run: Run, edges: KeyArray, ps: Sequence[float]) -> FloatArray:
    """Quantiles of the values between each two edges; shape (edges - 1, len(ps))."""
    if not len(run.keys):
        return np.full((len(edges) - 1, len(ps)), np.nan)
    before = None if run.counts is None else np.concatenate([[0], run.counts.cumsum()])
    starts = run.keys.searchsorted(edges)
    starts = starts if before is None else before[starts]

    def select(target: IntArray) -> KeyArray:
        ranks = starts[:-1, None] + target
        places = ranks if before is None else before.searchsorted(ranks, "right") - 1
        return Run(run.keys.take(places, mode="clip")).values()

    return _interpolated(np.diff(starts), ps, select)


class _Bins:
    """The values of each group counted in bins of some share of their size; the few that matter are then sorted."""

    def __init__(self, runs: Sequence[Run], groups: int, *, pooled: bool, most_bins: int, block: int) -> None:
        self._blocks = _blocks(runs, block)
        self._groups = groups
        self._pooled = pooled
        self._coarse = next(
            (bits for bits in range(_FINEST, _COARSEST) if groups * _size(bits) <= most_bins), _COARSEST
        )
        self._size = _size(self._coarse)
        counted = np.zeros(groups * self._size, np.int64)
        self._binned: list[CodeArray] = []
        for part in self._blocks:
            bins = self._bins(part)
            counted += np.bincount(bins, part.counts, len(counted)).astype(np.int64, copy=False)
            self._binned.append(bins.astype(np.int32))
        by_group = counted.reshape(groups, self._size)
        self._counted = np.concatenate([by_group, by_group.sum(0, keepdims=True)]) if pooled else by_group
        self.count: IntArray = self._counted.sum(1)

    def _bins(self, run: Run) -> IntArray:
        """The bin of each key, in the order of the keys: its group's first, and further by the size of its value."""
        floats = run.values().astype(np.float32).view(np.int32) >> self._coarse
        within = np.maximum(floats - ((_SMALLEST >> self._coarse) - 1), 0)
        bins: IntArray = within + run.groups() * self._size
        return bins

    def select(self, target: IntArray) -> KeyArray:
        """The values at these places of each group's sorted values; shape as given, (2, rows, len(ps))."""
        before = np.concatenate([[0], self._counted.ravel().cumsum()])
        firsts = before[np.arange(len(self._counted)) * self._size]
        places = target + firsts[:, None]
        bins = np.minimum(before.searchsorted(places, "right") - 1, self._counted.size - 1)  # of an empty last group
        inside = places - before[bins]
        kept = self._kept(bins)
        groups = self._groups
        found = [_at(kept, self._bins(kept), bins[:, :groups], inside[:, :groups])]
        if self._pooled:
            values = _without_groups(kept)
            found.append(_at(values, self._bins(values), bins[:, groups:] - groups * self._size, inside[:, groups:]))
        return np.concatenate(found, axis=1)

    def _kept(self, bins: IntArray) -> Run:
        """The values of the wanted bins (of all groups, where the bin is one of all groups together), sorted."""
        wanted = np.zeros(self._counted.shape, np.bool_)
        wanted.ravel()[bins] = True
        if self._pooled:
            wanted[:-1] |= wanted[-1]
        kept = [
            block.take(np.flatnonzero(wanted.ravel().take(binned)))
            for block, binned in zip(self._blocks, self._binned, strict=True)
        ]
        return sorted_run(Values(tuple(Run(part.keys, part.counts, ordered=False) for part in kept)))


def _size(coarse: int) -> int:
    """The number of bins of a group, the first for zero."""
    return (_LARGEST >> coarse) - (_SMALLEST >> coarse) + 2


def _blocks(runs: Sequence[Run], size: int) -> list[Run]:
    """Cut the runs into blocks of `size` keys; join smaller ones without counts."""
    blocks: list[Run] = []
    waiting: list[KeyArray] = []
    for run in runs:
        if run.counts is None and len(run.keys) < size:
            waiting.append(run.keys)
            if sum(map(len, waiting)) >= size:
                blocks.append(Run(np.concatenate(waiting)))
                waiting = []
        else:
            blocks += (run.take(slice(at, at + size)) for at in range(0, len(run.keys), size))
    return [*blocks, Run(np.concatenate(waiting))] if waiting else blocks


def _without_groups(run: Run) -> Run:
    """All values together, in order."""
    return Run(run.values(), run.counts, ordered=False).sorted()


def _at(run: Run, bins: IntArray, wanted: IntArray, inside: IntArray) -> KeyArray:
    """The values at the places `inside` the wanted bins of sorted values; shape as `wanted`."""
    first = bins.searchsorted(wanted)
    if run.counts is None:
        places = first + inside
    else:
        before = np.concatenate([[0], run.counts.cumsum()])
        places = before.searchsorted(before[first] + inside, "right") - 1
    return Run(run.keys.take(places, mode="clip")).values()
