"""How surprising one more value of a feature is, in nats, against all it has been before.

The past is kept as the maxima of short blocks, which takes neighbours that look alike for what they are. A
value inside the past is as surprising as its rank; beyond the largest maxima a generalised Pareto tail is
fitted to their excesses by L-moments (Hosking and Wallis, 1987). Where a feature has been more surprising
all along than ranks of a settled series would be (it wanders, it grows), surprise is worth less in
proportion.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import Final

from llmmon.detectors.streaming import NATS_CEILING

BLOCK: Final = 12  # samples
_LEAST_BLOCKS: Final = 4
_MOST_TOP: Final = 40
_TOP_SHARE: Final = 8  # one in so many maxima is in the tail
_SHAPE: Final = 0.25  # of the tail before anything is known
_SHAPE_WEIGHT: Final = 15.0
_SETTLED_WEIGHT: Final = 25.0  # blocks of a settled series that are assumed
_LEAST_SCALE: Final = 0.02  # of the reach of the tail


class Surprise:
    """The past of one feature of which only large values are news."""

    def __init__(self, least_scale: float = 0.0) -> None:
        """`least_scale`: excesses smaller than this are never news, in units of the feature."""
        self.least_scale = least_scale
        self.maxima: list[float] = []
        self.high, self.filled = -math.inf, 0
        self.edge, self.scale, self.shape, self.share = math.inf, 1.0, _SHAPE, 1.0
        self.usual, self.blocks = _SETTLED_WEIGHT, _SETTLED_WEIGHT

    def nats(self, value: float) -> float:
        """The surprise of a value, which is then remembered; 0 until there is a past."""
        found = self._raw(value)
        self._remember(value)
        return found * self.blocks / max(self.usual, self.blocks)

    def _raw(self, value: float) -> float:
        known = len(self.maxima)
        if known < _LEAST_BLOCKS:
            return 0.0
        if value <= self.edge:
            above = known - bisect_left(self.maxima, value)
            return max(-math.log((above + 0.5) / (known + 1.0)), 0.0)
        excess = min((value - self.edge) / self.scale, 1e30) if self.scale > 0 else 1e30
        tail = math.log1p(self.shape * excess) / self.shape if self.shape > 1e-6 else excess
        # a short past says little about what has never been
        return min(tail - math.log(self.share), 3.0 * math.log(known + 1.0), NATS_CEILING)

    def _remember(self, value: float) -> None:
        self.high = max(self.high, value)
        self.filled += 1
        if self.filled == BLOCK:
            if len(self.maxima) >= _LEAST_BLOCKS:
                self.usual += self._raw(self.high)
                self.blocks += 1.0
            insort(self.maxima, self.high)
            self.high, self.filled = -math.inf, 0
            if len(self.maxima) >= _LEAST_BLOCKS:
                self._fit()

    def _fit(self) -> None:
        known = len(self.maxima)
        size = min(max(known // _TOP_SHARE, min(known // 2, 8)), _MOST_TOP)
        self.edge = self.maxima[-size - 1]
        top = [value - self.edge for value in self.maxima[-size:]]
        mean = math.fsum(top) / size
        # second L-moment of the excesses, by probability-weighted moments of the ascending order
        weighed = math.fsum(i * value for i, value in enumerate(top)) / (size * max(size - 1, 1))
        second = 2.0 * weighed - mean
        found = 2.0 - mean / second if second > 0 else 0.0
        shape = (size * found + _SHAPE_WEIGHT * _SHAPE) / (size + _SHAPE_WEIGHT)
        self.shape = min(max(shape, 0.0), 0.8)
        reach = self.maxima[-1] - self.maxima[known // 2]
        floor = max(self.least_scale, _LEAST_SCALE * reach, 1e-9 * abs(self.maxima[-1]))
        self.scale = max(mean * (1.0 - self.shape), floor)
        self.share = size / (known + 1.0)
