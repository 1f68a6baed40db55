"""Which calls count, and what became of all the others."""

from __future__ import annotations

import msgspec
import numpy as np

from llmmon.columns import MISSING_TIME, BoolArray, Columns
from llmmon.filters import Filter


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
        """Take note of the calls' times."""
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
