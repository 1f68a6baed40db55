"""Mergeable statistics of many calls: integer sums, and sorted values for quantiles; nothing else.

Aggregating is merging: chunks, files, processes and machines all use `merge`. Everything is an integer, so the order
of merging does not matter. A value is held as a key: the number of its group in the high bits, the value in the low
36 bits. Only this module knows that. Values are exact or, past a bound, binned to 7 significant bits (relative error
at most 0.8 %).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.metrics.columns import BoolArray, FloatArray, IntArray

KeyArray = NDArray[np.uint64]
GroupKey = tuple[Any, ...]  # (number of the time bucket, if there are buckets; the name in each --by field, or None)

_VALUE_BITS: Final = 36
MAX_VALUE: Final = (1 << _VALUE_BITS) - 1  # in microseconds, 19 hours
_SHIFT: Final = np.uint64(_VALUE_BITS)
_VALUE_MASK: Final = np.uint64(MAX_VALUE)


def pack(groups: IntArray, values: FloatArray | IntArray | KeyArray) -> KeyArray:
    """Keys of whole values between 0 and `MAX_VALUE` in the given groups; shape as given."""
    keys: KeyArray = groups.astype(np.uint64)
    keys <<= _SHIFT
    keys |= values.astype(np.uint64, copy=False)
    return keys


def known_keys(groups: IntArray, values: FloatArray) -> KeyArray:
    """Unsorted keys of values in stored units, clipped to what a key holds, NaN left out; shape (known values,)."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if np.isnan(low):
        known = ~np.isnan(values)
        return known_keys(groups[known], values[known])
    if low < 0 or high > float(MAX_VALUE):
        values = np.clip(values, 0, float(MAX_VALUE))
    return pack(groups, values)


def group_edges(groups: int) -> KeyArray:
    """The lowest key of each of the groups, and the one after the last group; shape (groups + 1,)."""
    edges: KeyArray = np.arange(groups + 1, dtype=np.uint64) << _SHIFT
    return edges


class Run(msgspec.Struct, frozen=True, eq=False):
    """Keys, each counted once or `counts` times; sorted if `ordered`."""

    keys: KeyArray
    counts: IntArray | None = None
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.keys) if self.counts is None else int(self.counts.sum())

    def groups(self) -> IntArray:
        """The number of each key's group; shape (keys,)."""
        return (self.keys >> _SHIFT).view(np.int64)

    def values(self) -> KeyArray:
        """The value of each key in stored units; shape (keys,)."""
        values: KeyArray = self.keys & _VALUE_MASK
        return values

    def weights(self) -> IntArray:
        """How often each key counts; shape (keys,)."""
        return np.ones(len(self.keys), np.int64) if self.counts is None else self.counts

    def take(self, rows: BoolArray | IntArray | slice) -> Run:
        """The keys at the given places, or those that a mask selects; the places must not change their order."""
        return Run(self.keys[rows], None if self.counts is None else self.counts[rows], self.ordered)

    def in_groups(self, groups: IntArray) -> Run:
        """The same values in other groups, `groups` (keys,) by number; unsorted."""
        return Run(pack(groups, self.values()), self.counts, ordered=False)

    def sorted(self) -> Run:
        """The same keys in order."""
        if self.ordered:
            return self
        if self.counts is None:
            return Run(np.sort(self.keys))
        order = np.argsort(self.keys, kind="stable")
        return Run(self.keys[order], self.counts[order])


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
    """Give each group another number; a sorted run stays sorted, as whole groups are moved."""
    if (places == np.arange(len(places))).all():
        return run
    if not run.ordered:
        return run.in_groups(places[run.groups()])
    edges = run.keys.searchsorted(group_edges(len(places)))
    order = np.argsort(places, kind="stable")
    sizes = np.diff(edges)[order]
    index = np.repeat(edges[:-1][order] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) + np.arange(sizes.sum())
    moved = run.take(index)
    return Run(pack(np.repeat(places[order], sizes), moved.values()), moved.counts)


def only(aggregates: Aggregates, kept: BoolArray) -> Aggregates:
    """The groups for which `kept`, of shape (groups,), is true."""
    places = np.cumsum(kept) - 1

    def selected(run: Run) -> Run:
        groups = run.groups()
        rows = kept[groups]
        left = run.take(rows)
        return Run(pack(places[groups[rows]], left.values()), left.counts, run.ordered)

    return Aggregates(
        groups=tuple(group for group, is_kept in zip(aggregates.groups, kept.tolist(), strict=True) if is_kept),
        sums={name: Sums(s.count[kept], s.total[kept]) for name, s in aggregates.sums.items()},
        values={name: Values(tuple(map(selected, v.runs)), v.exact) for name, v in aggregates.values.items()},
        first_us=aggregates.first_us,
        last_us=aggregates.last_us,
    )


def regroup(aggregates: Aggregates, groups: Sequence[GroupKey]) -> Aggregates:
    """Put each group under the key in `groups` at its place; groups with the same new key are merged."""
    index = GroupIndex()
    places = np.array([index[group] for group in groups], np.int64)

    def added(column: IntArray) -> IntArray:
        total = np.zeros(len(index), np.int64)
        np.add.at(total, places, column)
        return total

    return Aggregates(
        groups=tuple(index),
        sums={name: Sums(added(s.count), added(s.total)) for name, s in aggregates.sums.items()},
        values={
            name: Values(tuple(run.in_groups(places[run.groups()]).sorted() for run in v.runs), v.exact)
            for name, v in aggregates.values.items()
        },
        first_us=aggregates.first_us,
        last_us=aggregates.last_us,
    )


def sorted_run(values: Values) -> Run:
    """All runs as one sorted run."""
    if len(values.runs) == 1:
        return values.runs[0].sorted()
    keys = np.concatenate([run.keys for run in values.runs]) if values.runs else np.empty(0, np.uint64)
    if all(run.counts is None for run in values.runs):
        keys.sort()  # faster than merging: the sort is vectorised
        return Run(keys)
    return Run(keys, np.concatenate([run.weights() for run in values.runs]), ordered=False).sorted()


def distinct(keys: KeyArray, counts: IntArray) -> Run:
    """The keys in order, each once, with the sum of its counts."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
    return Run(keys[first], np.add.reduceat(counts, first) if len(first) else counts)


def in_one_run(aggregates: Aggregates) -> Aggregates:
    """The same aggregates with the values of each metric in one sorted run."""
    values = {name: Values((sorted_run(v),), v.exact) for name, v in aggregates.values.items() if v.runs}
    return msgspec.structs.replace(aggregates, values=values)


def bounded(aggregates: Aggregates, most_values: int) -> Aggregates:
    """The same aggregates, with all values binned if there are more than `most_values`."""
    if sum(len(values) for values in aggregates.values.values()) <= most_values:
        return aggregates
    return msgspec.structs.replace(aggregates, values={n: bin_values(v) for n, v in aggregates.values.items()})


def compact(values: Values, most_values: int) -> Values:
    """The same values in one sorted run, binned if there are more than `most_values`."""
    if len(values) > most_values or (not values.exact and len(values.runs) > 1):
        return bin_values(values)
    return Values((sorted_run(values),), values.exact) if values.runs else values


_KEPT_BITS: Final = 7  # of a binned value
_BINS: Final = (_VALUE_BITS - _KEPT_BITS + 1) << _KEPT_BITS
_MOST_BINS: Final = 1 << 22  # of all groups together; beyond it, sorting takes less memory than counting
_BLOCK: Final = 1 << 16  # values at a time, which fit the cache


def bin_values(values: Values, most_bins: int = _MOST_BINS) -> Values:
    """The same values to 7 significant bits, each distinct one once with its count; idempotent."""
    # one run after the other: together they would need several times their memory
    runs = [_binned(run, most_bins) for run in values.runs]
    if len(runs) > 1:
        keys, counts = np.concatenate([run.keys for run in runs]), np.concatenate([run.weights() for run in runs])
        runs = [_binned(Run(keys, counts, ordered=False), most_bins)]
    return Values(tuple(runs) or (Run(np.empty(0, np.uint64), np.empty(0, np.int64)),), exact=False)


def _binned(run: Run, most_bins: int) -> Run:
    """Each distinct binned value of a run once, with its count; the keys need not be sorted."""
    groups = int(run.groups().max()) + 1 if len(run.keys) else 0
    if groups * _BINS > most_bins:
        return distinct(pack(run.groups(), _middles(_bins(run.values()))), run.weights())
    counted = np.zeros(groups * _BINS, np.int64)
    for at in range(0, len(run.keys), _BLOCK):
        block = run.take(slice(at, at + _BLOCK))
        bins = _bins(block.values()).view(np.int64) + block.groups() * _BINS
        counted += np.bincount(bins, block.counts, len(counted)).astype(np.int64, copy=False)
    present = np.flatnonzero(counted)
    return Run(pack(present // _BINS, _middles((present % _BINS).view(np.uint64))), counted[present])


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
