"""The samples of one series on an even grid: scaled, with small holes bridged."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

from llmmon.series import FloatArray

_ROUNDING: Final = 256  # additions after which a sum is made anew: rounding does not add up
_MOST_BRIDGED: Final = 2_000  # samples in one hole
_MOST_KEPT: Final = 40_000
_BOUND: Final = 1e6  # in scaled units


class RunningMean:
    """The mean of the last values of a window, 0 before the first."""

    def __init__(self, size: int) -> None:
        self.values: deque[float] = deque(maxlen=size)
        self.total, self.added = 0.0, 0

    @property
    def now(self) -> float:
        """The mean."""
        return self.total / len(self.values) if self.values else 0.0

    def add(self, value: float) -> float:
        """Take in a value; the mean with it."""
        if len(self.values) == self.values.maxlen:
            self.total -= self.values[0]
        self.values.append(value)
        self.total += value
        self.added += 1
        if self.added % _ROUNDING == 0:
            self.total = math.fsum(self.values)
        return self.total / len(self.values)


class History:
    """A growing array of scaled values; `middle` and `scale` come from the first samples and stay."""

    def __init__(self, stamps: list[int], values: list[float]) -> None:
        """The first samples, in order of time."""
        first = np.array(values)
        largest = float(np.abs(first).max()) or 1.0
        middle = float(np.median(first / largest)) * largest
        spread = float(np.median(np.abs(first / largest - middle / largest))) * largest
        wide = float((first / largest).std()) * largest
        self.middle = middle
        self.scale = max(spread, 0.3 * wide) or abs(middle) or 1.0
        self.step = float(np.median(np.diff(np.array(stamps, np.float64)))) if len(stamps) > 1 else 0.0
        self.positive = bool((first > 0).all())
        self._kept = np.empty(1024)
        self.size = 0
        self.last_us = stamps[0]

    def scaled(self, value: float) -> float:
        """In units in which the first samples are about 1 apart."""
        return max(-_BOUND, min(_BOUND, value / self.scale - self.middle / self.scale))

    def missing(self, stamp_us: int) -> int:
        """How many samples are missing before the one at this stamp."""
        if self.step <= 0:
            return 0
        gap = round((stamp_us - self.last_us) / self.step) - 1
        return gap if 0 < gap <= _MOST_BRIDGED else 0

    def add(self, scaled: float, stamp_us: int) -> None:
        """Take in a sample."""
        if self.size == len(self._kept):
            if self.size >= _MOST_KEPT:
                self._kept[: self.size // 2] = self._kept[self.size - self.size // 2 :]
                self.size //= 2
            else:
                self._kept = np.append(self._kept, np.empty(self.size))
        self._kept[self.size] = scaled
        self.size += 1
        self.last_us = stamp_us

    @property
    def values(self) -> FloatArray:
        """Everything kept, oldest first."""
        return self._kept[: self.size]

    def ago(self, samples: int) -> float:
        """The value so many samples before the next one."""
        return float(self._kept[self.size - samples]) if 0 < samples <= self.size else 0.0

    def around(self, samples: int, reach: int) -> float:
        """The mean of the values within `reach` of so many samples before the next one."""
        middle = self.size - samples
        part = self._kept[max(middle - reach, 0) : middle + reach + 1]
        return float(part.sum()) / len(part) if len(part) else 0.0
