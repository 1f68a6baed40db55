"""Values that climb or fall steadily over the last window."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime
from typing import ClassVar, Final

import numpy as np

from llmmon.anomaly.detectors.detector import UNSCORED, Z_CEILING, Detection, StreamDetector, Track, moment, rarity
from llmmon.metrics.columns import FloatArray
from llmmon.text.times import Clock, utc_now

_LEAST_T: Final = 4.0  # how clear a slope must be against its own error


class _Line:
    """A least-squares line through the last values, against time."""

    def __init__(self, size: int, threshold: float) -> None:
        self.points: deque[tuple[int, float]] = deque(maxlen=size)
        self.threshold = threshold

    def step(self, value: float, stamp_us: int) -> Detection:
        self.points.append((stamp_us, value))
        if len(self.points) < (self.points.maxlen or 0):
            return UNSCORED
        stamps = np.array([stamp for stamp, _ in self.points], np.int64)
        x = (stamps - stamps.min()).astype(np.float64)
        x = x / x.max() if x.max() > 0 else np.linspace(0.0, 1.0, len(x))
        y = np.array([v for _, v in self.points])
        scale = float(np.abs(y).max()) or 1.0
        change, t = _fit(x, y / scale)
        mean = float((y / scale).mean())
        share = change / abs(mean) if abs(mean) > 1e-12 else 0.0
        alarm = abs(share) > self.threshold and abs(t) > _LEAST_T
        way = "increased" if change > 0 else "decreased"
        text = f"{way} by {abs(share):.1%} of its mean over the last {len(y)} values" if alarm else ""
        reach = abs(mean) * self.threshold * scale
        return Detection(rarity(t), mean * scale - reach, mean * scale + reach, t, alarm, text)


def _fit(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """(change from x = 0 to x = 1, the slope over its standard error)."""
    dx, dy = x - x.mean(), y - y.mean()
    square = float(dx @ dx)
    slope = float(dx @ dy) / square
    rest = dy - slope * dx
    error = math.sqrt(float(rest @ rest) / max(len(x) - 2, 1) / square)
    if abs(slope) <= 1e-9:
        return 0.0, 0.0
    return slope, math.copysign(min(abs(slope) / error, Z_CEILING) if error > 0 else Z_CEILING, slope)


class TrendAnomalyDetector(StreamDetector):
    """Flags a clear change of more than `trend_threshold` of the mean from one end of the window to the other.

    The line is fitted against time, so uneven spacing does not bend it. Judges once the window is full.
    """

    name: ClassVar[str] = "trend"

    def __init__(self, window_size: int = 50, trend_threshold: float = 0.1, *, clock: Clock = utc_now) -> None:
        """Raises ValueError for a window below 3 or a threshold that is not positive."""
        super().__init__(clock)
        if window_size < 3 or not (trend_threshold > 0 and math.isfinite(trend_threshold)):
            raise ValueError("a window holds at least 3 values, and the threshold is positive")
        self.window_size, self.trend_threshold = window_size, trend_threshold

    def remembered(self, value: float, stamp_us: int) -> tuple[datetime, float]:
        """Values with their times."""
        return moment(stamp_us), value

    def track(self, metric_name: str) -> Track:  # noqa: ARG002 - all metrics are judged alike
        """A track without any history."""
        return _Line(self.window_size, self.trend_threshold)
