"""What the commands make of calls while they are read, each fed block after block in every worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.aggregator import Measures, aggregate
from llmmon.columns import EMPTY, Columns, FloatArray, concat
from llmmon.grouping import Grouping
from llmmon.metrics import METRICS
from llmmon.partials import GroupIndex, Partials, Values, coarsen, merge, sorted_run

EXACT_VALUES: Final = 24_000_000  # values that a run keeps exactly; 8 bytes each
_MERGE_EVERY: Final = 64
_FEW_GROUPS: Final = 4096


class PartialsFold:
    """Partials under several groupings at once; values past `most_values` are coarsened."""

    def __init__(
        self, plans: list[tuple[Measures, Grouping]], most_values: int, merge_every: int = _MERGE_EVERY
    ) -> None:
        self._plans = plans
        self._merge_every = merge_every
        self._most_values = most_values
        self._pending: list[list[Partials]] = [[] for _ in plans]
        # few groups are numbered once for all blocks, and their keys are sorted once
        self._indexes: list[GroupIndex | None] = [GroupIndex() for _ in plans]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if not columns.size:
            return
        for place, (measures, grouping) in enumerate(self._plans):
            index, pending = self._indexes[place], self._pending[place]
            pending.append(aggregate(columns, measures, grouping, index, in_order=index is None))
            if index is not None and len(index) > _FEW_GROUPS:
                self._indexes[place] = None
                pending[:] = [_in_order(partials) for partials in pending]
            if len(pending) >= self._merge_every:
                pending[:] = [self._bounded(merge(pending))]

    def _bounded(self, partials: Partials) -> Partials:
        if sum(len(values) for values in partials.values.values()) <= self._most_values:
            return partials
        values = {name: coarsen(values) for name, values in partials.values.items()}
        return Partials(partials.groups, partials.sums, values, partials.first_us, partials.last_us)

    def result(self) -> list[Partials]:
        """One partials a grouping; its values are sorted only where there are many groups."""
        merged = [self._bounded(merge(pending)) for pending in self._pending]
        return [
            _in_order(partials) if index is None else partials
            for partials, index in zip(merged, self._indexes, strict=True)
        ]


def _in_order(partials: Partials) -> Partials:
    values = {name: Values((sorted_run(v),), v.exact) for name, v in partials.values.items() if v.runs}
    return msgspec.structs.replace(partials, values=values)


class ColumnsFold:
    """The calls themselves, all of them."""

    def __init__(self) -> None:
        self._blocks: list[Columns] = []

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        self._blocks.append(columns)

    def result(self) -> Columns:
        """All calls, in the order in which they came."""
        return concat(self._blocks) if self._blocks else EMPTY


class TrailingFold(ColumnsFold):
    """The calls of the last `horizon_us` (None: all): what can still matter while the end is not known."""

    def __init__(self, horizon_us: int | None) -> None:
        super().__init__()
        self._horizon_us = horizon_us
        self._latest = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in, without what has become too old."""
        dated = columns.dated
        if self._horizon_us is None:
            self._blocks.append(columns if dated.all() else columns.take(dated))
            return
        self._latest = max(self._latest, int(columns.timestamp[dated].max(initial=0)))
        kept = columns.take(dated & (columns.timestamp > self._latest - self._horizon_us))
        if kept.size:
            self._blocks.append(kept)


class Beside(msgspec.Struct, frozen=True):
    """What else is to be made of the calls of a reading: the fields it needs, and a fold around the reading's own.

    The wrapping fold's result begins with the parts of the one inside.
    """

    fields: frozenset[str] = frozenset()
    wrap: Callable[[Any], Any] = lambda fold: fold


ALONE: Final = Beside()


class TopFold:
    """The first `limit` calls by a sort key (a metric or field, descending unless `ascending`)."""

    def __init__(self, key: str, limit: int, *, ascending: bool) -> None:
        self._key = key
        self._limit = limit
        self._ascending = ascending
        self._kept: list[Columns] = []
        self._found = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
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
