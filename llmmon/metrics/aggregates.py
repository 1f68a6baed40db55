"""Mergeable statistics of many calls: integer sums, and sorted values for quantiles; nothing else.

Aggregating is merging: chunks, files, processes and machines all use `merge`, and since everything is an
integer the order does not matter. Values are keys `group << 36 | value`, exact, or, past a bound, with the
value coarsened to 7 significant bits (relative error at most 0.8 %).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.metrics.columns import FloatArray, IntArray

KeyArray = NDArray[np.uint64]
GroupKey = tuple[Any, ...]  # (bucket start in microseconds or None, name of each --by field or None...)

VALUE_BITS: Final = 36  # microseconds up to 19 hours
_BITS: Final = np.uint64(VALUE_BITS)
_MASK: Final = np.uint64((1 << VALUE_BITS) - 1)
_KEPT_BITS: Final = 7  # of a coarsened value


class Run(msgspec.Struct, frozen=True, eq=False):
    """Keys, each counted once or `counts` times; sorted if `ordered`."""

    keys: KeyArray
    counts: IntArray | None = None
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.keys) if self.counts is None else int(self.counts.sum())


class Values(msgspec.Struct, frozen=True, eq=False):
    """The values of one metric in every group: runs, merged and sorted only when they are read."""

    runs: tuple[Run, ...] = ()
    exact: bool = True

    def __len__(self) -> int:
        return sum(len(run) for run in self.runs)


class Sums(msgspec.Struct, frozen=True, eq=False):
    """How many calls of each group carry a metric, and the total of its stored units; shape (groups,)."""

    count: IntArray
    total: IntArray


class Aggregates(msgspec.Struct, frozen=True, eq=False):
    """Statistics of calls by group, ready to be merged with those of other calls.

    `sums` and `values` are by metric name; `first_us` and `last_us` bound the dated calls (None without).
    """

    groups: tuple[GroupKey, ...] = ()
    sums: Mapping[str, Sums] = msgspec.field(default_factory=dict)
    values: Mapping[str, Values] = msgspec.field(default_factory=dict)
    first_us: int | None = None
    last_us: int | None = None

    @property
    def exact(self) -> bool:
        """Whether all quantiles are exact."""
        return all(values.exact for values in self.values.values())

    def __len__(self) -> int:
        return len(self.groups)


EMPTY: Final = Aggregates()


class GroupIndex(dict[GroupKey, int]):
    """Numbers the groups in the order in which they first appear."""

    def __missing__(self, group: GroupKey) -> int:
        number = self[group] = len(self)
        return number


def keys_of(groups: IntArray, values: FloatArray) -> KeyArray:
    """Unsorted keys of values (stored units, NaN left out) in the given groups; shape (known values,)."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if np.isnan(low):
        known = ~np.isnan(values)
        return keys_of(groups[known], values[known])
    if low < 0 or high > float(_MASK):
        values = np.clip(values, 0, float(_MASK))
    keys: KeyArray = groups.astype(np.uint64)
    keys <<= _BITS
    keys |= values.astype(np.uint64)
    return keys


def merge(parts: Iterable[Aggregates]) -> Aggregates:
    """All parts as one; groups keep the order of their first appearance."""
    parts = [part for part in parts if part.groups]
    if len(parts) < 2:
        return parts[0] if parts else EMPTY
    index = GroupIndex()
    places = [np.array([index[group] for group in part.groups], np.int64) for part in parts]
    pairs = list(zip(parts, places, strict=True))
    return Aggregates(
        groups=tuple(index),
        sums={name: _merge_sums(name, pairs, len(index)) for name in _names_of(part.sums for part in parts)},
        values={name: _merge_values(name, pairs) for name in _names_of(part.values for part in parts)},
        first_us=min((p.first_us for p in parts if p.first_us is not None), default=None),
        last_us=max((p.last_us for p in parts if p.last_us is not None), default=None),
    )


def _names_of(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _merge_sums(name: str, parts: Sequence[tuple[Aggregates, IntArray]], size: int) -> Sums:
    count, total = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for part, places in parts:
        if name in part.sums:
            count[places] += part.sums[name].count
            total[places] += part.sums[name].total
    return Sums(count, total)


def _merge_values(name: str, parts: Sequence[tuple[Aggregates, IntArray]]) -> Values:
    found = [(part.values[name], places) for part, places in parts if name in part.values]
    runs = tuple(_renumbered(run, places) for values, places in found for run in values.runs)
    if all(values.exact for values, _ in found):
        return Values(runs)
    return bin_values(Values(runs))


def _renumbered(run: Run, places: IntArray) -> Run:
    """A run under other group numbers: its groups are moved as blocks, their values stay sorted."""
    if (places == np.arange(len(places))).all():
        return run
    if not run.ordered:
        return Run(_elsewhere(run.keys, places), run.counts, ordered=False)
    edges = run.keys.searchsorted(np.arange(len(places) + 1, dtype=np.uint64) << _BITS)
    order = np.argsort(places, kind="stable")
    sizes = np.diff(edges)[order]
    index = np.repeat(edges[:-1][order] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) + np.arange(sizes.sum())
    keys = (run.keys[index] & _MASK) | (np.repeat(places[order], sizes).astype(np.uint64) << _BITS)
    return Run(keys, None if run.counts is None else run.counts[index])


def _elsewhere(keys: KeyArray, places: IntArray) -> KeyArray:
    """The keys under other group numbers."""
    moved: KeyArray = (keys & _MASK) | (places[(keys >> _BITS).view(np.int64)].astype(np.uint64) << _BITS)
    return moved


def bin_values(values: Values) -> Values:
    """The same values to 7 significant bits, each distinct one once with its count; idempotent."""
    runs = [_coarse(run) for run in values.runs]  # one by one: together they would need several times their memory
    if len(runs) > 1:
        keys, counts = (
            np.concatenate(parts) for parts in zip(*((run.keys, counts_of(run)) for run in runs), strict=True)
        )
        runs = [_coarse(Run(keys, counts))]
    return Values(tuple(runs) or (Run(np.empty(0, np.uint64), np.empty(0, np.int64)),), exact=False)


def _coarse(run: Run) -> Run:
    """A run of which each distinct coarsened value stands once, with its count; its keys need not be sorted."""
    groups = int(run.keys.max() >> _BITS) + 1 if len(run.keys) else 0
    if groups * _BINS > _MOST_BINS:
        return distinct((run.keys & ~_MASK) | _middles(_bins(run.keys & _MASK)), counts_of(run))
    counted = np.zeros(groups * _BINS, np.int64)
    for at in range(0, len(run.keys), _BLOCK):  # in pieces that fit the cache
        keys = run.keys[at : at + _BLOCK]
        counts = None if run.counts is None else run.counts[at : at + _BLOCK]
        bins = _bins(keys & _MASK).view(np.int64) + (keys >> _BITS).view(np.int64) * _BINS
        counted += np.bincount(bins, counts, len(counted)).astype(np.int64, copy=False)
    present = np.flatnonzero(counted)
    keys = _middles((present % _BINS).view(np.uint64)) | ((present // _BINS).view(np.uint64) << _BITS)
    return Run(keys, counted[present])


def distinct(keys: KeyArray, counts: IntArray) -> Run:
    """The keys in order, each once, with the sum of its counts."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
    return Run(keys[first], np.add.reduceat(counts, first) if len(first) else counts)


def counts_of(run: Run) -> IntArray:
    """How often each key of a run counts."""
    return np.ones(len(run.keys), np.int64) if run.counts is None else run.counts


def _bins(values: KeyArray) -> KeyArray:
    """The bin of each value: how many bits are dropped, and the leading ones that are kept."""
    exponents = (values.astype(np.float64).view(np.int64) >> 52) - 1022  # as frexp has them
    dropped = np.maximum(exponents - _KEPT_BITS, 0).view(np.uint64)
    bins: KeyArray = (dropped << np.uint64(_KEPT_BITS)) + (values >> dropped)
    return bins


def _middles(bins: KeyArray) -> KeyArray:
    """The value in the middle of each bin, which is in that bin again."""
    dropped = bins >> np.uint64(_KEPT_BITS)
    leading = bins & np.uint64((1 << _KEPT_BITS) - 1)
    middles: KeyArray = (leading << dropped) | ((np.uint64(1) << dropped) >> np.uint64(1))
    return middles


_BINS: Final = (VALUE_BITS - _KEPT_BITS + 1) << _KEPT_BITS
_MOST_BINS: Final = 1 << 22
_BLOCK: Final = 1 << 16


def sorted_run(values: Values) -> Run:
    """All runs as one sorted run."""
    if len(values.runs) == 1 and values.runs[0].ordered:
        return values.runs[0]
    keys = np.concatenate([run.keys for run in values.runs]) if values.runs else np.empty(0, np.uint64)
    if all(run.counts is None for run in values.runs):
        keys.sort()  # faster than merging: the sort is vectorised
        return Run(keys)
    counts = np.concatenate([counts_of(run) for run in values.runs])
    order = np.argsort(keys, kind="stable")
    return Run(keys[order], counts[order])


def normalised(aggregates: Aggregates) -> Aggregates:
    """One run a metric, groups in order of their names: equal contents are then equal values."""
    order = sorted(range(len(aggregates.groups)), key=lambda i: tuple((v is not None, v) for v in aggregates.groups[i]))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return Aggregates(
        groups=tuple(aggregates.groups[i] for i in order),
        sums={name: Sums(s.count[order], s.total[order]) for name, s in sorted(aggregates.sums.items())},
        values={
            name: Values((_renumbered(sorted_run(v), places),), v.exact)
            for name, v in sorted(aggregates.values.items())
        },
        first_us=aggregates.first_us,
        last_us=aggregates.last_us,
    )


def only(aggregates: Aggregates, kept: NDArray[np.bool_]) -> Aggregates:
    """The groups for which `kept`, of shape (groups,), is true."""
    places = (np.cumsum(kept) - 1).astype(np.uint64)
    return Aggregates(
        groups=tuple(group for group, is_kept in zip(aggregates.groups, kept.tolist(), strict=True) if is_kept),
        sums={name: Sums(s.count[kept], s.total[kept]) for name, s in aggregates.sums.items()},
        values={
            name: Values(tuple(_kept(run, kept, places) for run in v.runs), v.exact)
            for name, v in aggregates.values.items()
        },
        first_us=aggregates.first_us,
        last_us=aggregates.last_us,
    )


def _kept(run: Run, kept: NDArray[np.bool_], places: KeyArray) -> Run:
    groups = (run.keys >> _BITS).astype(np.int64)
    mine = kept[groups]
    keys = (run.keys[mine] & _MASK) | (places[groups[mine]] << _BITS)
    return Run(keys, None if run.counts is None else run.counts[mine], run.ordered)


def regroup(aggregates: Aggregates, groups: Sequence[GroupKey]) -> Aggregates:
    """The aggregates under other groups, one for each of today's; those of the same new group are merged."""
    index = GroupIndex()
    places = np.array([index[group] for group in groups], np.int64)
    size = len(index)
    return Aggregates(
        groups=tuple(index),
        sums={
            name: Sums(_added(s.count, places, size), _added(s.total, places, size))
            for name, s in aggregates.sums.items()
        },
        values={
            name: Values(tuple(_moved(run, places) for run in v.runs), v.exact) for name, v in aggregates.values.items()
        },
        first_us=aggregates.first_us,
        last_us=aggregates.last_us,
    )


def _added(column: IntArray, places: IntArray, size: int) -> IntArray:
    total = np.zeros(size, np.int64)
    np.add.at(total, places, column)
    return total


def _moved(run: Run, places: IntArray) -> Run:
    moved = _elsewhere(run.keys, places)
    order = np.argsort(moved, kind="stable")
    return Run(moved[order], None if run.counts is None else run.counts[order])
