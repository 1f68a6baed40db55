"""Running sums of a stream by group: any stretch of it added up by one subtraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmmon.columns import IntArray
from llmmon.history import Key
from llmmon.partials import Partials


def keys_in(*parts: Partials) -> list[Key]:
    """The groups of histories, in order of their names."""
    found = {group[1:] for part in parts for group in part.groups}
    return sorted(found, key=lambda key: [(name is not None, name or "") for name in key])


class Running:
    """Sums of one metric over buckets from `first` up to `end`, of given groups."""

    def __init__(self, part: Partials, metric: str, keys: Sequence[Key], first: int, end: int) -> None:
        self._first, self._span = first, max(0, end - first)
        sums = part.sums.get(metric)
        places = {key: i for i, key in enumerate(keys)}
        bucket = np.array([group[0] for group in part.groups], np.int64) - first
        row = np.array([places.get(group[1:], -1) for group in part.groups], np.int64)
        inside = (bucket >= 0) & (bucket < self._span) & (row >= 0)
        at = (row[inside], bucket[inside] + 1)
        self._count, self._total = (np.zeros((len(keys), self._span + 1), np.int64) for _ in range(2))
        if sums is not None:
            self._count[at], self._total[at] = sums.count[inside], sums.total[inside]
        self._count, self._total = self._count.cumsum(axis=1), self._total.cumsum(axis=1)

    def counts(self, low: IntArray, high: IntArray) -> IntArray:
        """How many calls lie in buckets [low, high); shape (groups, stretches)."""
        return self._between(self._count, low, high)

    def totals(self, low: IntArray, high: IntArray) -> IntArray:
        """The total of buckets [low, high), in stored units; shape (groups, stretches)."""
        return self._between(self._total, low, high)

    def _between(self, running: IntArray, low: IntArray, high: IntArray) -> IntArray:
        found: IntArray = running[:, self._at(high)] - running[:, self._at(low)]
        return found

    def _at(self, bucket: IntArray) -> IntArray:
        found: IntArray = np.clip(bucket - self._first, 0, self._span)
        return found

    def begun(self, low: IntArray, high: IntArray) -> IntArray:
        """The first bucket of [low, high) with a call, `high` where there is none; shape (groups, stretches)."""
        before = self._count[:, self._at(low)]
        found = np.empty(before.shape, np.int64)
        for row, running in enumerate(self._count):
            found[row] = np.searchsorted(running, before[row], "right") - 1 + self._first
        return np.minimum(found, high)
