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

_SHORT: Final = 6
_LONG: Final = 48
_LOOK: Final = 512  # samples before a cycle is looked for, and again at every doubling
_SAME_CYCLE: Final = 0.2  # relative difference of lengths
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

    def nats(self, value: float, stamp_us: int) -> dict[str, float]:
        """How surprising each feature is with the next value, which is then remembered."""
        self.seen += 1
        self._bridge(stamp_us)
        x, before = self.history.scaled(value), self.history.ago(1)
        error = self._error(x)
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
        for _ in range(self.history.missing(stamp_us) if self.history.size else 0):
            self.history.add(self.history.ago(1), stamp_us)
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
        known = self.cycle.length if self.cycle else 0
        if length is None or abs(length - known) < _SAME_CYCLE * known:
            return
        self.cycle = Cycle(length, self.history.values)
        self.forecast.forget_cycle()
