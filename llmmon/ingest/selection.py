"""Which calls count: those in the time range that the filter keeps, each once in its most complete row."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from llmmon.formats.mapping import CALL_KEY
from llmmon.metrics.columns import MISSING_CODE, MISSING_TIME, BoolArray, Columns, Names
from llmmon.metrics.filters import Filter


class Selection(msgspec.Struct, frozen=True):
    """Which calls count: those in [start, end), dated, that the filter keeps. None is open."""

    start_us: int | None = None
    end_us: int | None = None
    where: Filter | None = None

    @property
    def timed(self) -> bool:
        """Whether calls without a time are left out."""
        return self.start_us is not None or self.end_us is not None

    def inside(self, columns: Columns) -> BoolArray:
        """Which calls fall in the time range; shape (calls,)."""
        kept: BoolArray = columns.timestamp != MISSING_TIME
        if self.start_us is not None:
            kept = kept & (columns.timestamp >= self.start_us)
        return kept if self.end_us is None else kept & (columns.timestamp < self.end_us)


EVERY_CALL: Final = Selection()


class Tally(msgspec.Struct):
    """What became of the calls that were read: `calls == requests + duplicates + outside + filtered`."""

    requests: int = 0
    duplicates: int = 0
    outside: int = 0
    filtered: int = 0
    undated: int = 0
    samples: int = 0
    start_us: int | None = None
    end_us: int | None = None

    def dated(self, columns: Columns) -> None:
        """Count calls without a time, and extend the time that is covered."""
        if columns.size and columns.timestamp.min() == MISSING_TIME:
            self.undated += columns.size - int(np.count_nonzero(columns.dated))
        if bounds := columns.bounds():
            low, high = bounds
            self.start_us = low if self.start_us is None else min(low, self.start_us)
            self.end_us = high if self.end_us is None else max(high, self.end_us)

    def add(self, other: Tally) -> None:
        """Count another's calls too."""
        for name in ("requests", "duplicates", "outside", "filtered", "undated", "samples"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        starts = [t for t in (self.start_us, other.start_us) if t is not None]
        ends = [t for t in (self.end_us, other.end_us) if t is not None]
        self.start_us, self.end_us = min(starts, default=None), max(ends, default=None)

    def select(self, columns: Columns, selection: Selection) -> Columns:
        """The calls in the time range; the others are counted."""
        if not selection.timed:
            return columns
        inside = selection.inside(columns)
        self.outside += int(columns.size - np.count_nonzero(inside))
        return columns if inside.all() else columns.take(inside)

    def filter(self, columns: Columns, selection: Selection) -> Columns:
        """The calls that the filter keeps; the others are counted, and so are they."""
        if selection.where is not None and columns.size:
            kept = selection.where.mask(columns)
            self.filtered += int(columns.size - np.count_nonzero(kept))
            columns = columns if kept.all() else columns.take(kept)
        self.requests += columns.size
        return columns


def keep_most_complete(columns: Columns, key: str = CALL_KEY) -> tuple[Columns, int]:
    """The calls without repeated ones, in their order, and how many were dropped.

    Only rows with a name in the column `key` can repeat each other: by default those of dialects that log a
    call more than once, with `request_id` any. Of such rows the one with the most tokens stays; among equals
    one with a latency, then one with a time, then the last.
    """
    names = columns.names.get(key)
    if names is None:
        return columns, 0
    rest = without_key(columns)
    keyed = np.flatnonzero(names.codes != MISSING_CODE)
    codes = _distinct(names)[names.codes[keyed]]
    order = np.lexsort(
        (
            keyed,
            columns.timestamp[keyed] != MISSING_TIME,
            ~np.isnan(columns.number("latency_ms")[keyed]),
            np.nan_to_num(columns.number("total_tokens")[keyed], nan=-1.0),
            codes,
        )
    )
    last = np.append(codes[order][1:] != codes[order][:-1], True)[: len(order)]
    dropped = keyed[order[~last]]
    if not len(dropped):
        return rest, 0
    kept = np.ones(columns.size, np.bool_)
    kept[dropped] = False
    return rest.take(kept), len(dropped)


def _distinct(names: Names) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each code the first code of the same name: names joined from several sources may hold one twice."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(value, code) for code, value in enumerate(names.values)], np.int64)


def without_key(columns: Columns) -> Columns:
    """The calls without the column that only identifies repeated ones."""
    if CALL_KEY not in columns.names:
        return columns
    names = {name: column for name, column in columns.names.items() if name != CALL_KEY}
    return msgspec.structs.replace(columns, names=names)
