"""What a bare series has never done before: no unit, no season, no distribution is assumed.

Features are its value, its short and its long mean, its steps, how long it has not changed, its distance from a
forecast made from its own past and from its own cycle, and how much its last stretch differs from every earlier one.
Each is compared with its former extremes; the most surprising one raises an alarm, and then there is none for a
fixed number of samples.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np

from llmmon.anomaly.detectors.cycles import Cycle, Forecast, History, RunningMean, Surprise, period_of
from llmmon.anomaly.detectors.detector import NATS_CEILING, UNSCORED, Detection, StreamDetector, Track
from llmmon.text.times import DAY_US, HOUR_US, Clock, utc_now

_PER_NAT: Final = 6
_BINS: Final = 240
_PRIOR: Final = 100.0  # samples that an exponential past counts for
_ROOT: Final = 16


class Ranks:
    """A histogram of nats, with sums of runs of bins beside it so that a rank costs little."""

    def __init__(self) -> None:
        self.bins = [0] * _BINS
        self.runs = [0] * (_BINS // _ROOT)
        self.size = 0

    def add(self, nats: float) -> float:
        """The share of the past with less, as a score in [0, 1); then the number is remembered."""
        place = min(int(nats * _PER_NAT), _BINS - 1)
        run = place // _ROOT
        above = sum(self.runs[run + 1 :]) + sum(self.bins[place + 1 : (run + 1) * _ROOT])
        here = self.bins[place]
        inside = nats * _PER_NAT - place  # how far through its bin: the past there is taken to be even
        tail = math.exp(-min(nats, NATS_CEILING))
        share = (above + here * (1.0 - min(inside, 1.0)) + _PRIOR * tail) / (self.size + _PRIOR)
        self.bins[place] += 1
        self.runs[run] += 1
        self.size += 1
        return 1.0 - min(max(share, 2e-16), 1.0)


_SHORT: Final = 6
_LONG: Final = 48
_LOOK: Final = 512  # samples before a cycle is looked for, and again at every doubling
_SAME_CYCLE: Final = 0.04  # relative difference of lengths
_CLOCK_US: Final = (HOUR_US, DAY_US, 7 * DAY_US)
_ON_THE_CLOCK: Final = 0.05
_BLIND: Final = 3
_STILL: Final = 0.3  # scale of the logarithm of how long a value does not change
_LOW: Final = 0.02  # of the first median: nearer to zero is zero


class _BothWays:
    """A feature of which both large and small values are news."""

    def __init__(self) -> None:
        self.up, self.down = Surprise(), Surprise()

    def nats(self, up: float, down: float | None = None) -> float:
        return max(self.up.nats(up), self.down.nats(-up if down is None else down))


class Features:
    """Value, short and long mean, steps, standing still, the forecast's miss, and the cycle once there is one."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.short, self.long, self.steps = RunningMean(_SHORT), RunningMean(_LONG), RunningMean(_SHORT)
        self.forecast = Forecast()
        self.cycle: Cycle | None = None
        self.value, self.short_mean, self.long_mean, self.missed = (_BothWays() for _ in range(4))
        self.mean_step, self.standing = Surprise(), Surprise(_STILL)
        self.seen, self.still = 0, 0
        self.blind = 0  # samples after a hole, of which the forecast says nothing

    def nats(self, value: float, stamp_us: int) -> dict[str, float]:
        """How surprising each feature is with the next value, which is then remembered."""
        self.seen += 1
        self._bridge(stamp_us)
        x = self.history.scaled(value)
        before = x if self.blind else self.history.ago(1)
        error = 0.0 if self.blind else self._error(x)
        self.still = self.still + 1 if x == before else 0
        short, long, moved = self.short.add(x), self.long.add(x), self.steps.add(abs(x - before))
        found = {
            "value": self.value.nats(x, self._depth(value, x)),
            "short mean": self.short_mean.nats(short),
            "long mean": self.long_mean.nats(long) if self.seen > 2 * _LONG else 0.0,
            "miss of its forecast": self.missed.nats(error),
            "mean step": self.mean_step.nats(moved),
            "time without a change": self.standing.nats(math.log1p(self.still)),
        }
        if self.cycle is not None:
            found.update(self.cycle.nats(x))
        self.history.add(x, stamp_us)
        if self.seen >= _LOOK and self.seen & (self.seen - 1) == 0:
            self._look()
        return found

    def _bridge(self, stamp_us: int) -> None:
        """Fill missing samples with those of the last cycle, or with the last value."""
        missing = self.history.missing(stamp_us) if self.history.size else 0
        self.blind = _BLIND if missing > 1 else max(self.blind - 1, 0)
        for _ in range(missing):
            usual = self.history.ago(self.cycle.length if self.cycle else 1)
            self.history.add(usual, stamp_us)
            self.short.add(usual)
            self.long.add(usual)
            if self.cycle is not None:
                self.cycle.skip()

    def _depth(self, value: float, x: float) -> float:
        """How low a value is: by its ratio to the usual where values are positive."""
        history = self.history
        if not history.positive:
            return -x
        return -math.log(max(value, 0.0) / history.middle + _LOW) - min(value, 0.0) / history.scale

    def _error(self, x: float) -> float:
        """What the forecast misses, in usual misses."""
        history, cycle = self.history, self.cycle
        ago = history.ago(cycle.length) if cycle else 0.0
        around = history.around(cycle.length, 3) if cycle else 0.0
        inputs = np.array([1.0, history.ago(1), history.ago(2), self.short.now, self.long.now, ago, around])
        usual = self.forecast.usual
        return self.forecast.miss(inputs, x) / usual

    def _look(self) -> None:
        length = period_of(self.history.values)
        if length is None:
            return
        length, known = self._by_the_clock(length), self.cycle.length if self.cycle else 0
        if abs(length - known) <= _SAME_CYCLE * known:
            return
        self.cycle = Cycle(length, self.history.values)
        self.forecast.forget_cycle()

    def _by_the_clock(self, length: int) -> int:
        """A cycle of nearly an hour, a day or a week is one."""
        if self.history.step > 0:
            for cycle_us in _CLOCK_US:
                samples = cycle_us / self.history.step
                if abs(length / samples - 1) < _ON_THE_CLOCK:
                    return round(samples)
        return length


_LEAST: Final = 48  # samples before the first verdict
_REFRACTORY: Final = 120  # samples
_CALM: Final = math.log(1 / 0.08)  # nats beyond log(samples): false alarms per e-fold of history
_YOUNG_US: Final = 26 * HOUR_US
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

    def step(self, value: float, stamp_us: int) -> Detection:
        self.seen += 1
        low, high = self.low, self.high
        self.low, self.high = min(low, value), max(high, value)
        if self.features is None:
            self._begin(value, stamp_us)
            return UNSCORED
        found = self.features.nats(value, stamp_us)
        if self.low == self.high:  # never a change: nothing to be surprised at
            return Detection(0.0, low, high, 0.0)
        feature, most = max(found.items(), key=lambda item: item[1])
        nats = -math.log(1.0 - self.rarity.add(most))
        self.held = max(most, self.held * _FADES)
        score = self.lately.add(self.held)
        way = -1.0 if value < (low + high) / 2 else 1.0
        alarm = nats > self._limit(stamp_us) and self.seen >= self.quiet_until
        text = self._alarm(feature, value) if alarm else ""
        return Detection(score, low, high, way * math.sqrt(2 * nats), alarm, text)

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
        young = _YOUNG if stamp_us - self.stamps[0] < _YOUNG_US else 0.0
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
