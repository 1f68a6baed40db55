"""Values far from the mean of those before them, in standard deviations."""

from __future__ import annotations

import math
from collections import deque
from typing import ClassVar, Final

import numpy as np

from llmmon.anomaly.detectors.detector import UNSCORED, Detection, StreamDetector, Track, rarity, units
from llmmon.text.times import Clock, utc_now

_LEAST: Final = 10  # values before the first verdict
_FLAT: Final = 1e-9  # of the mean: spread below this is rounding


class _Window:
    """The last values, outliers drawn in to the edge of the expected range, so that they do not hide others."""

    def __init__(self, size: int, threshold: float) -> None:
        self.values: deque[float] = deque(maxlen=size)
        self.threshold = threshold

    def step(self, value: float, stamp_us: int) -> Detection:  # noqa: ARG002 - evenly spaced or not, all weigh the same
        if len(self.values) < min(_LEAST, self.values.maxlen or _LEAST):
            self.values.append(value)
            return UNSCORED
        history = np.array(self.values)
        scale = float(np.abs(history).max()) or 1.0  # keeps squares of huge values finite
        mean, spread = float((history / scale).mean()) * scale, float((history / scale).std()) * scale
        spread = 0.0 if spread <= _FLAT * abs(mean) else spread
        z = 0.0 if abs(value - mean) <= _FLAT * abs(mean) else units(value - mean, spread)
        reach = self.threshold * (spread or 0.01 * abs(mean) or abs(value - mean) * 0.01)
        self.values.append(min(max(value, mean - reach), mean + reach))
        alarm = abs(z) > self.threshold
        text = f"value {value:.4g} is {abs(z):.1f} standard deviations from the mean {mean:.4g}" if alarm else ""
        return Detection(rarity(z), mean - 2 * spread, mean + 2 * spread, z, alarm, text)


class StatisticalAnomalyDetector(StreamDetector):
    """Flags values more than `z_threshold` standard deviations from the mean of the last `window_size`.

    Judges from the eleventh value on. Where all values were equal, any other is an anomaly.
    """

    name: ClassVar[str] = "statistical"

    def __init__(self, window_size: int = 100, z_threshold: float = 3.0, *, clock: Clock = utc_now) -> None:
        """Raises ValueError for a window below 2 or a threshold that is not positive."""
        super().__init__(clock)
        if window_size < 2 or not (z_threshold > 0 and math.isfinite(z_threshold)):
            raise ValueError("a window holds at least 2 values, and the threshold is positive")
        self.window_size, self.z_threshold = window_size, z_threshold

    def track(self, metric_name: str) -> Track:  # noqa: ARG002 - all metrics are judged alike
        """A track without any history."""
        return _Window(self.window_size, self.z_threshold)
