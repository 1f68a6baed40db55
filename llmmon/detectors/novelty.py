"""What a bare series has never done before: no unit, no season, no distribution is assumed.

Followed are its value, its short and its long mean, its steps, how long it stands still, how far it is from
what its own past foretold, how far from its own cycle, and how unlike every earlier stretch the last one is.
Each is judged against its former extremes; the most surprising speaks, and then nothing is said for a fixed
number of samples.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from llmmon.clock import Clock, utc_now
from llmmon.detectors.features import Features
from llmmon.detectors.history import History
from llmmon.detectors.ranks import Ranks
from llmmon.detectors.streaming import UNJUDGED, Point, StreamDetector, Track
from llmmon.series import HOUR_US

_LEAST: Final = 48  # samples before the first verdict
_REFRACTORY: Final = 120  # samples
_CALM: Final = math.log(1 / 0.08)  # nats beyond log(samples): false alarms per e-fold of history
_DAY_US: Final = 26 * HOUR_US
_FADES: Final = 0.5 ** (1 / 24)  # of a surprise, a sample: what follows one belongs to it
_YOUNG: Final = 3.0  # nats more while the series has not seen a day


class _Novelty:
    """The features of one series, and how rare the most surprising of them is."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.values: list[float] = []
        self.features: Features | None = None
        self.rarity, self.lately, self.held = Ranks(), Ranks(), 0.0
        self.seen, self.quiet_until = 0, 0
        self.low, self.high = math.inf, -math.inf

    def step(self, value: float, stamp_us: int) -> Point:
        self.seen += 1
        low, high = self.low, self.high
        self.low, self.high = min(low, value), max(high, value)
        if self.features is None:
            self._begin(value, stamp_us)
            return UNJUDGED
        found = self.features.nats(value, stamp_us)
        if self.low == self.high:  # never a change: nothing to be surprised at
            return Point(0.0, low, high, 0.0)
        feature, most = max(found.items(), key=lambda item: item[1])
        nats = -math.log(1.0 - self.rarity.add(most))
        self.held = max(most, self.held * _FADES)
        score = self.lately.add(self.held)
        way = -1.0 if value < (low + high) / 2 else 1.0
        alarm = nats > self._limit(stamp_us) and self.seen >= self.quiet_until
        text = self._alarm(feature, value) if alarm else ""
        return Point(score, low, high, way * math.sqrt(2 * nats), alarm, text)

    def _begin(self, value: float, stamp_us: int) -> None:
        self.stamps.append(stamp_us)
        self.values.append(value)
        if self.seen == _LEAST:
            features = Features(History(self.stamps, self.values))
            for known, stamp in zip(self.values, self.stamps, strict=True):
                features.nats(known, stamp)
            self.features = features

    def _limit(self, stamp_us: int) -> float:
        """Nats that raise an alarm: the longer the past, the rarer has a record to be."""
        young = _YOUNG if stamp_us - self.stamps[0] < _DAY_US else 0.0
        return math.log(self.seen) + _CALM + young

    def _alarm(self, feature: str, value: float) -> str:
        cycle = self.features.cycle if self.features else None
        self.quiet_until = self.seen + max(_REFRACTORY, cycle.length if cycle else 0)
        return f"the {feature} is beyond all before it (value {value:.4g})"


class NoveltyAnomalyDetector(StreamDetector):
    """Flags what a series has never done before, at most once in 120 samples or a cycle."""

    name: ClassVar[str] = "novelty"

    def __init__(self, *, clock: Clock = utc_now) -> None:
        super().__init__(clock)

    def track(self, metric_name: str) -> Track:  # noqa: ARG002 - all metrics are judged alike
        """A track without any history."""
        return _Novelty()
