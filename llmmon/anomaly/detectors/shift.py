"""Lasting shifts of a bare series: means of ten samples against the usual spread of such means."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from llmmon.anomaly.detectors.detector import UNSCORED, Detection, StreamDetector, Track, rarity, units
from llmmon.text.times import Clock, utc_now

_BLOCK: Final = 10
_LEAST: Final = 12  # blocks before the first verdict
_MEMORY: Final = 60  # blocks
_SHIFT: Final = 2.0  # spreads
_LIMIT: Final = 12.0  # nats
_CLIP: Final = 5.0
_LASTING: Final = 30  # blocks after which a new level is the usual one


class _Blocks:
    """Mean and spread of block means, frozen during an incident, and two one-sided sums of evidence."""

    def __init__(self) -> None:
        self.block: list[float] = []
        self.mean, self.square, self.seen = 0.0, 0.0, 0
        self.up, self.down, self.open_for = 0.0, 0.0, 0
        self.recent: list[float] = []
        self.detection = UNSCORED

    def step(self, value: float, stamp_us: int) -> Detection:  # noqa: ARG002 - samples are counted, not timed
        self.block.append(value)
        if len(self.block) == _BLOCK:
            mean = math.fsum(v / _BLOCK for v in self.block)
            self.block = []
            self.detection = self._detect(mean)
        return self.detection

    def _detect(self, mean: float) -> Detection:
        if self.seen < _LEAST:
            self._learn(mean)
            return UNSCORED
        spread = math.sqrt(max(self.square, 0.0)) * math.sqrt(1 + 2 / self.seen)
        flat = abs(mean - self.mean) <= 1e-9 * max(abs(mean), abs(self.mean))
        z = 0.0 if flat else units(mean - self.mean, spread)
        bounded = max(-_CLIP, min(_CLIP, z))
        self.up = min(max(0.0, self.up + _SHIFT * (bounded - _SHIFT / 2)), 1.3 * _LIMIT)
        self.down = min(max(0.0, self.down - _SHIFT * (bounded + _SHIFT / 2)), 1.3 * _LIMIT)
        nats = max(self.up, self.down)
        alarm = nats > (0.3 * _LIMIT if self.open_for else _LIMIT)
        self._remember(mean, alarm)
        text = f"the level moved to {mean:.4g}, {abs(z):.1f} usual spreads from {self.mean:.4g}" if alarm else ""
        reach = 3 * spread
        score = min(rarity(max(abs(z), math.sqrt(2 * nats))), 1 - math.exp(-abs(z) - nats) / (self.seen + 1))
        return Detection(score, self.mean - reach, self.mean + reach, z, alarm, text)

    def _remember(self, mean: float, alarm: bool) -> None:
        self.open_for = self.open_for + 1 if alarm else 0
        self.recent = [*self.recent[1 - _LEAST :], mean] if alarm else []
        if not alarm:
            self._learn(mean)
        elif self.open_for >= _LASTING:
            self.mean = math.fsum(self.recent) / len(self.recent)
            self.seen, self.up, self.down, self.open_for = _LEAST, 0.0, 0.0, 0

    def _learn(self, mean: float) -> None:
        self.seen = min(self.seen + 1, _MEMORY)
        gap = mean - self.mean if self.seen > 1 else 0.0
        if self.seen == 1:
            self.mean = mean
        self.mean += gap / self.seen
        self.square += (gap * gap * (1 - 1 / self.seen) - self.square) / self.seen if self.seen > 1 else 0.0


class ShiftAnomalyDetector(StreamDetector):
    """Flags a level that has moved and stays; accepts it as usual after 300 samples."""

    name: ClassVar[str] = "shift"

    def __init__(self, *, clock: Clock = utc_now) -> None:
        super().__init__(clock)

    def track(self, metric_name: str) -> Track:  # noqa: ARG002 - all metrics are judged alike
        """A track without any history."""
        return _Blocks()
