"""New records of a bare series: no unit, no season, no distribution assumed.

Four features are followed: the value, its short and its long mean, and the mean absolute step. A value is
novel when one of them leaves its whole former range by a margin; then nothing is said for a fixed number
of samples. Among n values without order or trend the last is a record with probability 1/n, from which
the score follows.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import ClassVar, Final

from llmmon.clock import Clock, utc_now
from llmmon.detectors.streaming import UNJUDGED, Point, StreamDetector, Track

_SHORT: Final = 6
_LONG: Final = 48
_LEAST: Final = 48  # samples before the first verdict
_MARGIN: Final = 0.1  # of the former range
_YOUNG: Final = 40.0  # over the number of samples: a young range needs a wider margin
_REFRACTORY: Final = 120  # samples
_FEATURES: Final = ("value", "short mean", "long mean", "mean step")


class _Mean:
    """The mean of the last values of a window, None until it is full."""

    def __init__(self, size: int) -> None:
        self.values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> float | None:
        self.values.append(value)
        size = len(self.values)
        return math.fsum(v / size for v in self.values) if size == self.values.maxlen else None


class _Records:
    """Former ranges of the features."""

    def __init__(self) -> None:
        self.short, self.long, self.steps = _Mean(_SHORT), _Mean(_LONG), _Mean(_SHORT)
        self.ranges: list[tuple[float, float] | None] = [None] * len(_FEATURES)
        self.seen, self.quiet_until, self.last = 0, 0, math.nan

    def step(self, value: float, stamp_us: int) -> Point:  # noqa: ARG002 - samples are counted, not timed
        moved = 0.0 if math.isnan(self.last) else min(abs(value - self.last), sys.float_info.max)
        self.last = value
        features = [value, self.short.add(value), self.long.add(value), self.steps.add(moved)]
        self.seen += 1
        excess = [_excess(f, r) for f, r in zip(features, self.ranges, strict=True)]
        former = self.ranges[0]
        self.ranges = [_wider(f, r) for f, r in zip(features, self.ranges, strict=True)]
        if self.seen <= _LEAST or former is None:
            return UNJUDGED
        return self._verdict(value, excess, former)

    def _verdict(self, value: float, excess: list[float], former: tuple[float, float]) -> Point:
        # long means and steps start late: their first records are no news
        trusted = [e for k, e in enumerate(excess) if k < 2 or self.seen > 2 * _LEAST]
        most = max(trusted)
        margin = max(_MARGIN, _YOUNG / self.seen)
        alarm = most > margin and self.seen >= self.quiet_until
        if alarm:
            self.quiet_until = self.seen + _REFRACTORY
        feature = _FEATURES[trusted.index(most)]
        text = f"the {feature} left its former range by {most:.0%} of it (value {value:.4g})" if alarm else ""
        z = math.sqrt(2 * (math.log(self.seen) + 6 * max(min(most, 8.0), 0.0))) if most > 0 else 0.0
        return Point(_score(most, self.seen), *former, z, alarm, text)


def _excess(feature: float | None, known: tuple[float, float] | None) -> float:
    """How far beyond a range, in widths of it; negative inside, -0.5 in the middle."""
    if feature is None or known is None:
        return -0.5
    low, high = known
    beyond = max(feature - high, low - feature)
    if high == low:
        return math.inf if beyond > 1e-9 * max(abs(high), abs(feature)) else -0.5
    width = high - low
    return beyond / width if math.isfinite(width) else -0.5


def _wider(feature: float | None, known: tuple[float, float] | None) -> tuple[float, float] | None:
    if feature is None:
        return known
    return (feature, feature) if known is None else (min(known[0], feature), max(known[1], feature))


def _score(excess: float, seen: int) -> float:
    record = 1.0 / (seen + 1)
    if excess > 0:
        return 1.0 - record * math.exp(-min(6 * excess, 30.0))
    return (1.0 - record) * (1.0 - min(1.0, -2.0 * excess))


class NoveltyAnomalyDetector(StreamDetector):
    """Flags values, means or steps beyond anything seen before, at most once in 120 samples."""

    name: ClassVar[str] = "novelty"

    def __init__(self, *, clock: Clock = utc_now) -> None:
        super().__init__(clock)

    def track(self, metric_name: str) -> Track:  # noqa: ARG002 - all metrics are judged alike
        """A track without any history."""
        return _Records()
