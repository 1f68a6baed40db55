"""A series against its own cycle: how far it departs from the usual course, and how unlike it its last stretch is."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final

import numpy as np

from llmmon.anomaly.detectors.detector import NATS_CEILING
from llmmon.metrics.columns import FloatArray

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
        """Add a value; returns the mean with it."""
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
        """Add a sample."""
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


_SHORTEST: Final = 8  # samples
_CLEAR: Final = 0.3  # least autocorrelation of a cycle
_NEARLY: Final = 0.85  # of the best: a shorter cycle that is nearly as clear is the cycle


def period_of(values: FloatArray) -> int | None:
    """The cycle of evenly spaced finite values in samples, at most half of their number; None without one."""
    size = len(values)
    if size < 4 * _SHORTEST:
        return None
    low, high = np.quantile(values, [0.01, 0.99])
    flat = np.clip(values, low, high)
    flat = flat - np.polyval(np.polyfit(np.arange(size), flat, 1), np.arange(size))
    power = np.abs(np.fft.rfft(flat, 2 * size)) ** 2
    correlation = np.fft.irfft(power)[: size // 2 + 1]
    correlation *= size / (size - np.arange(len(correlation)))  # each lag by its own number of pairs
    if not correlation[0] > 0:
        return None
    correlation = correlation / correlation[0]
    # a cycle has come down before it comes back
    below = np.flatnonzero(correlation < 0.5 * _CLEAR)
    first = max(int(below[0]) if len(below) else len(correlation), _SHORTEST)
    inner = correlation[first:-1]
    peaks = first + np.flatnonzero((inner >= correlation[first - 1 : -2]) & (inner > correlation[first + 1 :]))
    peaks = peaks[correlation[peaks] > _CLEAR]
    if not len(peaks):
        return None
    return _refined(int(peaks[correlation[peaks] >= _NEARLY * correlation[peaks].max()][0]), correlation)


def _refined(length: int, correlation: FloatArray) -> int:
    """From the peaks at multiples of the cycle, doubling, which are as sharp but further out."""
    exact, many = float(length), 1
    while 2 * many * exact * 1.02 < len(correlation):
        many *= 2
        reach = max(1, int(0.25 * exact))
        middle = round(many * exact)
        part = correlation[middle - reach : middle + reach + 1]
        if not part.max() > _CLEAR / 2:
            break
        exact = (middle - reach + int(part.argmax())) / many
    return round(exact)


_FORGETS: Final = 0.9995
_DOUBT: Final = 10.0  # variance of a coefficient before anything is known
_LEAST_GAIN: Final = 1e-12
_SIZE: Final = 7
_BOLD: Final = 4.0  # a miss beyond so many usual ones teaches no more than that


class Forecast:
    """Coefficients on (1, x1, x2, short mean, long mean, x a cycle ago, mean around it)."""

    def __init__(self) -> None:
        self.weights = np.zeros(_SIZE)
        self.weights[1] = 1.0
        self.doubt = np.eye(_SIZE) * _DOUBT
        self.usual = 1.0  # mean absolute miss

    def miss(self, inputs: FloatArray, value: float) -> float:
        """The value minus its forecast from the inputs, shape (7); both in like units near 1."""
        error = value - float(self.weights @ inputs)
        spread = self.doubt @ inputs
        gain = spread / (_FORGETS + float(inputs @ spread))
        bounded = min(max(error, -_BOLD * self.usual), _BOLD * self.usual)
        self.weights = self.weights + gain * bounded
        self.doubt = (self.doubt - np.outer(gain, spread)) / _FORGETS
        trace = float(self.doubt.trace())
        if trace > 10 * _SIZE * _DOUBT:  # inputs that do not vary would let it grow for ever
            self.doubt *= _SIZE * _DOUBT / trace
        self.usual = max(self.usual + 0.01 * (abs(bounded) - self.usual), _LEAST_GAIN)
        return error

    def forget_cycle(self) -> None:
        """The cycle has another length: learn its coefficients afresh."""
        self.weights[5:] = 0.0
        self.doubt[5:, :], self.doubt[:, 5:] = 0.0, 0.0
        self.doubt[5:, 5:] = np.eye(2) * _DOUBT


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


_SHORT: Final = 6
_LEARNS: Final = 0.3  # of a departure, a cycle


class Cycle:
    """The usual course of a cycle of `length` samples."""

    def __init__(self, length: int, past: FloatArray) -> None:
        """`past` (samples), scaled, at least one cycle; the course begins as its last one."""
        self.length = length
        self.usual = past[-length:].copy()
        self.place = 0
        self.apart = RunningMean(_SHORT)
        self.spread = float(np.abs(np.diff(past)).mean()) or 1.0
        self.above, self.below = Surprise(), Surprise()
        self.shapes, self.shape, self.unlike = Shapes(length), Surprise(), 0.0
        for value in past.tolist():
            self._stretch(value)

    def skip(self) -> None:
        """A sample is missing."""
        self.place = (self.place + 1) % self.length

    def _stretch(self, value: float) -> float:
        found = self.shapes.add(value)
        if found is not None:
            self.unlike = self.shape.nats(found)
        return self.unlike

    def nats(self, value: float) -> dict[str, float]:
        """How surprising each feature is with this value."""
        apart = value - float(self.usual[self.place])
        bounded = max(-_BOLD * self.spread, min(_BOLD * self.spread, apart))
        self.spread += 0.005 * (abs(bounded) - self.spread)
        self.usual[self.place] += _LEARNS * bounded
        self.skip()
        mean = self.apart.add(apart)
        return {
            "departure from its cycle": max(self.above.nats(mean), self.below.nats(-mean)),
            "shape of its last stretch": self._stretch(value),
        }
