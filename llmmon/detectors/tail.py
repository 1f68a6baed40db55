"""Counts the calls beyond the usual tail of a distribution, against a limit relearned at midnight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from llmmon.detectors.watched import Bad, Watch
from llmmon.series import FloatArray, IntArray, Table

_DAY_US: Final = 86_400_000_000
_BINS: Final = 4096
_WIDTH: Final = 0.015  # in log units: from 1e-12 to 5e14
_LOWEST: Final = np.log(1e-12)
_KEEP: Final = 0.85  # a day
_LEAST_CALLS: Final = 200


class Tails:
    """Histograms of the logarithms of many metrics, (columns, bins), and the limits they imply, (columns)."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.share = np.array([w.tail for w in watches])
        self.below = np.array([w.bad is Bad.DOWN for w in watches], np.bool_)
        self.histogram = np.zeros((len(watches), _BINS))
        self.limit, self.extreme = np.full(len(watches), np.nan), np.full(len(watches), np.nan)
        self.day = -1

    def count(self, starts: IntArray, tables: Sequence[Table]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(calls, calls beyond the limit, what a bucket's extreme may reach), each (buckets, columns)."""
        size = (len(starts), len(tables))
        calls, hits, reach = np.zeros(size), np.zeros(size), np.full(size, np.nan)
        days = starts // _DAY_US
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(starts)]
        for a, b in pairwise(edges):
            if a < b:
                self._turn(int(days[a]))
                for j, table in enumerate(tables):
                    calls[a:b, j], hits[a:b, j] = self._take(j, _part(table, a, b))
                reach[a:b] = self.extreme
        return calls, hits, reach

    def _turn(self, day: int) -> None:
        if day == self.day:
            return
        self.day = day
        running = np.cumsum(self.histogram, axis=1)
        known = running[:, -1] >= _LEAST_CALLS
        self.limit = np.where(known, self._quantile(running, self.share), np.nan)
        self.extreme = np.where(known, self._quantile(running, self.share / 20), np.nan)
        self.histogram *= _KEEP

    def _quantile(self, running: FloatArray, share: FloatArray) -> FloatArray:
        """Where a share of the calls lies beyond, on each column's bad side."""
        rank = np.where(self.below, share, 1.0 - share) * running[:, -1]
        place = (running < rank[:, None]).sum(axis=1) + ~self.below
        limits: FloatArray = np.exp(_LOWEST + _WIDTH * place)
        return limits

    def _take(self, j: int, table: Table) -> tuple[FloatArray, FloatArray]:
        usable = np.isfinite(table.values) & (table.values > 0)
        logs = np.log(np.where(usable, table.values, 1.0))
        place = np.clip((logs - _LOWEST) / _WIDTH, 0, _BINS - 1).astype(np.int64)
        weights = usable.astype(np.float64) if table.weights is None else usable * table.weights
        self.histogram[j] += np.bincount(place, weights, minlength=_BINS)
        limit = self.limit[j]
        if np.isnan(limit):
            nothing = np.zeros(len(table.offsets) - 1)
            return nothing, nothing
        beyond = (table.values < limit) if self.below[j] else (table.values > limit)
        return table.sums(usable.astype(np.float64)), table.sums((usable & beyond).astype(np.float64))


def _part(table: Table, a: int, b: int) -> Table:
    low, high = int(table.offsets[a]), int(table.offsets[b])
    weights = None if table.weights is None else table.weights[low:high]
    return Table(table.offsets[a : b + 1] - low, table.values[low:high], weights)
