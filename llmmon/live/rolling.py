"""The calls of the last hours as aggregates by time bucket, bounded whatever their number: what a live display needs.

Buckets are kept in rings, short ones for a short time and long ones for a long time; a window is read from the
first ring that holds all of it. Quantiles are exact while a bucket holds few values, then binned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.aggregates import EMPTY, Aggregates, GroupKey, compact, merge, regroup
from llmmon.metrics.aggregation import Measures, aggregate, evaluate
from llmmon.metrics.columns import Columns
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import MINUTE_US, SECOND_US

# width of the buckets, how long they are kept; each width is a multiple of the first
RINGS: Final = ((10 * SECOND_US, 30 * MINUTE_US), (MINUTE_US, 180 * MINUTE_US), (10 * MINUTE_US, 1440 * MINUTE_US))
LONGEST_US: Final = RINGS[-1][1]
OTHER: Final = "(other)"
MOST_NAMES: Final = 300  # of one field, the rest is `OTHER`
_AHEAD_US: Final = MINUTE_US  # a clock may be ahead of ours by this
_MOST_PARTS: Final = 8
_EXACT_VALUES: Final = 20_000  # of a bucket or window; beyond it values are binned


class _Sum:
    """Aggregates that are added to again and again."""

    def __init__(self, parts: Sequence[Aggregates] = ()) -> None:
        self._parts = list(parts)
        self.version = 0

    def add(self, part: Aggregates) -> None:
        self._parts.append(part)
        self.version += 1
        if len(self._parts) > _MOST_PARTS:
            self.total()

    def total(self) -> Aggregates:
        if len(self._parts) != 1:
            self._parts = [_compact(merge(self._parts))]
        return self._parts[0]


class Recent:
    """Calls by time bucket and by each of `dimensions` (fields to group by; `()` is all calls together)."""

    def __init__(self, dimensions: Sequence[tuple[str, ...]], measures: Measures) -> None:
        self.dimensions = tuple(dict.fromkeys(((), *dimensions)))
        self.measures = measures
        # [ring][dimension][bucket number]
        self._rings: list[dict[tuple[str, ...], dict[int, _Sum]]] = [{d: {} for d in self.dimensions} for _ in RINGS]
        self._windows: dict[tuple[int, tuple[str, ...]], tuple[int, _Sum]] = {}
        # statistics by bucket, with the version of the bucket that they are of
        self._rows: dict[
            tuple[int, tuple[str, ...], int, tuple[str, ...]], tuple[int, dict[GroupKey, list[float]]]
        ] = {}
        self._names: dict[tuple[str, ...], set[GroupKey]] = {d: set() for d in self.dimensions}
        self.last_us: int | None = None
        self.ahead = 0  # calls left out because their time is yet to come

    def add(self, columns: Columns, now_us: int) -> None:
        """Take calls in; those without a time, too old or of the future are left out."""
        ahead = columns.timestamp > now_us + _AHEAD_US
        self.ahead += int(np.count_nonzero(ahead))
        kept = columns.dated & ~ahead & (columns.timestamp >= now_us - LONGEST_US - RINGS[-1][0])
        columns = columns if kept.all() else columns.take(kept)
        if not columns.size:
            return
        self.last_us = max(self.last_us or 0, int(columns.timestamp.max()))
        for first, (width, ring_us) in enumerate(RINGS):  # from the finest ring that still holds them on
            held = columns.timestamp // width >= (now_us - ring_us) // width
            self._add_from(first, columns if held.all() else columns.take(held), now_us)
            columns = columns.take(~held)

    def _add_from(self, first: int, columns: Columns, now_us: int) -> None:
        width = RINGS[first][0]
        numbers = columns.timestamp // width
        for number in np.unique(numbers).tolist():
            inside = numbers == number
            part = columns if inside.all() else columns.take(inside)
            for dimension in self.dimensions:
                found = self._bounded(dimension, aggregate(part, self.measures, Grouping(dimension)))
                for at in range(first, len(RINGS)):
                    self._put(at, dimension, number * width // RINGS[at][0], found, now_us)

    def absorb(self, other: Recent, now_us: int) -> None:
        """Take in what another, of the same dimensions, has counted."""
        self.ahead += other.ahead
        self.last_us = max((t for t in (self.last_us, other.last_us) if t is not None), default=None)
        for at, ring in enumerate(other._rings):
            for dimension, buckets in ring.items():
                for number, bucket in buckets.items():
                    self._put(at, dimension, number, self._bounded(dimension, bucket.total()), now_us)

    def _bounded(self, dimension: tuple[str, ...], found: Aggregates) -> Aggregates:
        """The aggregates with at most so many names."""
        known = self._names[dimension]
        new = [group for group in found.groups if group not in known]
        room = MOST_NAMES - len(known)
        known.update(new[:room])
        if len(new) <= room:
            return found
        other = (OTHER,) * len(dimension)
        return regroup(found, [group if group in known else other for group in found.groups])

    def _put(self, at: int, dimension: tuple[str, ...], number: int, part: Aggregates, now_us: int) -> None:
        """Add to a bucket of a ring, unless it is too old, and to the window that holds it."""
        width, kept = RINGS[at]
        if number >= (now_us - kept) // width:
            self._rings[at][dimension].setdefault(number, _Sum()).add(part)
            first, window = self._windows.get((at, dimension), (0, None))
            if window is not None and number >= first:
                window.add(part)

    def forget(self, now_us: int) -> None:
        """Let go of buckets that are too old, and of names that are in none."""
        for ring, (width, kept) in zip(self._rings, RINGS, strict=True):
            first = (now_us - kept) // width
            for buckets in ring.values():
                for number in [number for number in buckets if number < first]:
                    del buckets[number]
        self._rows = {key: row for key, row in self._rows.items() if key[2] in self._rings[key[0]][key[1]]}
        for dimension, names in self._names.items():
            if len(names) >= MOST_NAMES:
                names &= {g for bucket in self._rings[0][dimension].values() for g in bucket.total().groups}

    def start_of(self, window_us: int, now_us: int) -> int:
        """When the window begins, at the beginning of a bucket."""
        width = RINGS[_ring(window_us)][0]
        return (now_us - window_us) // width * width

    def width_of(self, window_us: int) -> int:
        """How wide the buckets of a window are."""
        return RINGS[_ring(window_us)][0]

    def window(self, dimension: tuple[str, ...], window_us: int, now_us: int) -> Aggregates:
        """The calls of the last `window_us`, by a dimension."""
        at = _ring(window_us)
        first = self.start_of(window_us, now_us) // RINGS[at][0]
        held = self._windows.get((at, dimension))
        if held is None or held[0] != first:
            buckets = self._rings[at][dimension]
            held = (first, _Sum([bucket.total() for number, bucket in buckets.items() if number >= first] or [EMPTY]))
            self._windows[at, dimension] = held
        return held[1].total()

    def show(self, dimensions: Sequence[tuple[str, ...]]) -> None:
        """Keep windows ready only for these dimensions."""
        self._windows = {key: held for key, held in self._windows.items() if key[1] in dimensions}

    def course(
        self, names: Sequence[str], window_us: int, now_us: int, dimension: tuple[str, ...] = (), group: GroupKey = ()
    ) -> list[dict[str, float | None]]:
        """Statistics of all calls, or of a group, in every bucket of the window, the last one incomplete.

        Those of a bucket without a call are empty.
        """
        wanted = tuple(names)
        return [_of_group(known, group) for known in self._buckets(dimension, wanted, window_us, now_us)]

    def courses(
        self, dimension: tuple[str, ...], name: str, window_us: int, now_us: int
    ) -> dict[GroupKey, list[float | None]]:
        """One statistic of every group of a dimension, in every bucket of the window."""
        buckets = self._buckets(dimension, (name,), window_us, now_us)
        groups = dict.fromkeys(group for known in buckets for group in known)
        return {group: [_of_group(known, group).get(name) for known in buckets] for group in groups if group}

    def _buckets(
        self, dimension: tuple[str, ...], names: tuple[str, ...], window_us: int, now_us: int
    ) -> list[dict[GroupKey, dict[str, float]]]:
        at = _ring(window_us)
        width = RINGS[at][0]
        first = self.start_of(window_us, now_us) // width
        return [self._table(at, dimension, number, names) for number in range(first, now_us // width + 1)]

    def _table(
        self, at: int, dimension: tuple[str, ...], number: int, names: tuple[str, ...]
    ) -> dict[GroupKey, dict[str, float]]:
        """The statistics of a bucket, by group, and of all its calls under the empty key."""
        bucket = self._rings[at][dimension].get(number)
        if bucket is None:
            return {}
        place = (at, dimension, number, names)
        known = self._rows.get(place)
        if known is None or known[0] != bucket.version:
            total = bucket.total()
            table = evaluate(total, names, RINGS[at][0] / MINUTE_US)
            rows = {group: [float(table[name][row]) for name in names] for row, group in enumerate(total.groups)}
            known = (bucket.version, {**rows, (): [float(table[name][-1]) for name in names]})
            self._rows[place] = known
        return {group: dict(zip(names, values, strict=True)) for group, values in known[1].items()}


def _of_group(known: dict[GroupKey, dict[str, float]], group: GroupKey) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in known.get(group, {}).items()}


def _ring(window_us: int) -> int:
    return next((at for at, (_, kept) in enumerate(RINGS) if window_us <= kept), len(RINGS) - 1)


def _compact(aggregates: Aggregates) -> Aggregates:
    values = {name: compact(found, _EXACT_VALUES) for name, found in aggregates.values.items()}
    return msgspec.structs.replace(aggregates, values=values)
