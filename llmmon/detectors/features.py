"""The features in which a bare series may do what it has never done, each judged against its own past."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from llmmon.detectors.cycle import Cycle
from llmmon.detectors.forecast import Forecast
from llmmon.detectors.history import History, RunningMean
from llmmon.detectors.period import period_of
from llmmon.detectors.surprise import Surprise
from llmmon.series import HOUR_US

_SHORT: Final = 6
_LONG: Final = 48
_LOOK: Final = 512  # samples before a cycle is looked for, and again at every doubling
_SAME_CYCLE: Final = 0.04  # relative difference of lengths
_CLOCK_US: Final = (HOUR_US, 24 * HOUR_US, 168 * HOUR_US)
_ON_THE_CLOCK: Final = 0.05
_BLIND: Final = 3
_STILL: Final = 0.3  # scale of the logarithm of how long a value stands
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
        """Where samples are missing the course of the last cycle stands in, or the last value."""
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
