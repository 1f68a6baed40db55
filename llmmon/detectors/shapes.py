"""How unlike a stretch of a series is to every stretch before it: the left matrix profile, on a coarse grid.

(Yeh et al., 2016; of the past only, as Lu et al., 2022.) Stretches are centred but not scaled, so that a
cycle of another height is news too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

POINTS: Final = 32  # of a stretch, after averaging neighbours
_STRIDE: Final = 4
_MEMORY: Final = 8_192  # points


class Shapes:
    """The past of one series, in points of `factor` samples each."""

    def __init__(self, length: int) -> None:
        """`length` of a stretch in samples."""
        self.factor = max(1, round(length / POINTS))
        self.points = max(8, round(length / self.factor))
        self.series = np.zeros(2 * _MEMORY)
        self.square = np.zeros(2 * _MEMORY)  # squared size of the centred stretch that ends with each point
        self.size = 0
        self.total, self.filled, self.waited = 0.0, 0, 0

    def add(self, value: float) -> float | None:
        """The distance of the stretch that ends with a value from its like; None between stretches."""
        self.total += value
        self.filled += 1
        if self.filled < self.factor:
            return None
        self._append(self.total / self.factor)
        self.total, self.filled = 0.0, 0
        self.waited += 1
        if self.waited < _STRIDE or self.size < 4 * self.points:
            return None
        self.waited = 0
        return self._nearest()

    def _append(self, point: float) -> None:
        if self.size == len(self.series):
            self.series[:_MEMORY], self.square[:_MEMORY] = self.series[_MEMORY:], self.square[_MEMORY:]
            self.size = _MEMORY
        self.series[self.size] = point
        self.size += 1
        if self.size >= self.points:
            last = self.series[self.size - self.points : self.size]
            apart = last - last.sum() / self.points
            self.square[self.size - 1] = float(apart @ apart)

    def _nearest(self) -> float:
        size, end = self.points, self.size - self.points
        first = max(end - _MEMORY, 0)
        stretch, past = self.series[end : self.size], self.series[first:end]
        centred = stretch - stretch.sum() / size
        alike = np.correlate(past, centred, "valid")
        apart = self.square[first + size - 1 : end] - 2.0 * alike
        least = float(apart.min()) + float(self.square[self.size - 1])
        return float(np.sqrt(max(least, 0.0) / size))
