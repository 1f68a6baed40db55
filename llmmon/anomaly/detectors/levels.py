"""Level detector: bucket means against a baseline with a daily season, in units of their standard error.

r = mean - baseline - season[hour] (- slope x the residual of the metric it depends on); its variance is
the calls' own variance over their number, plus what buckets differ by beyond it. The evidence for a shift
d is (d (|r| - doubt) - d^2/2) / variance: shifts smaller than d/2 never add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from llmmon.anomaly.detectors.evidence import Bad, BlockEvidence, HourBlock, Watch
from llmmon.metrics.columns import BoolArray, FloatArray

ALTERNATIVES: Final = 5  # small up, large up, small down, large down, creeping up
_LIFE_H: Final = 96.0  # hours in which a baseline forgets half of what it knew
_RECENT_H: Final = 30.0  # the same for creeping change, which differs from harmless drift in its pace
_SPREAD_H: Final = 72.0
_SEASON_SD: Final = 0.1  # of log levels between hours, before anything is known
_WEEK_SD: Final = 0.05
_WEEKS: Final = 3 * 168
_BOLD: Final = 3.0  # standard deviations of one call beyond which it says no more
_WARY: Final = 2.0  # the same where single calls are known to stray
_FEW: Final = 600.0  # buckets of few calls that are assumed ...
_STRAYS: Final = 0.004  # ... and the share of them that stray: of normal ones 0.0005 do
_FAR: Final = 3.5  # standard deviations
_READY_H: Final = 24
_READY_CALLS: Final = 60
_TINY: Final = 1e-12


class LevelDetector:
    """Baselines of many levels; all state is (columns) or (hours, columns)."""

    alternatives = ALTERNATIVES

    def __init__(self, watches: Sequence[Watch], given: Sequence[int]) -> None:
        """`given[j]` is the column that explains part of column j, or -1."""
        size = len(watches)
        unit = np.array([1.0 if w.log else w.shifts[0] / 0.25 for w in watches])
        self.season_var, self.week_var = (_SEASON_SD * unit) ** 2, (_WEEK_SD * unit) ** 2
        self.shifts = _shifts(watches)
        self.few, self.stray = np.full(size, _FEW), np.full(size, _FEW * _STRAYS)
        self.up = np.array([w.bad is not Bad.DOWN for w in watches], np.bool_)
        self.down = np.array([w.bad is not Bad.UP for w in watches], np.bool_)
        index = np.array(given, np.int64)
        self.cause, self.explained = np.maximum(index, 0), index >= 0
        self.base, self.weight = np.zeros(size), np.zeros(size)
        self.within, self.within_weight = np.zeros(size), np.zeros(size)
        self.between, self.hourly = (0.05 * unit) ** 2, np.zeros(size)
        self.per_hour = np.ones(size)
        self.day, self.day_weight = np.zeros((24, size)), np.zeros((24, size))
        self.week, self.week_weight = np.zeros((168, size)), np.zeros((168, size))
        self.cross, self.square_cause, self.square = np.zeros(size), np.zeros(size), np.zeros(size)
        self.moved, self.moved_weight = np.zeros(size), np.zeros(size)
        self.recent, self.recent_weight = np.zeros(size), np.zeros(size)  # residual of the last day
        self.hours = np.zeros(size)  # since the first call

    @property
    def ready(self) -> BoolArray:
        """Which columns have enough history; shape (columns)."""
        ready: BoolArray = (self.hours >= _READY_H) & (self.weight >= _READY_CALLS) & (self.within > _TINY)
        return ready

    @property
    def weekly(self) -> BoolArray:
        """Which columns have a season by hour of the week; shape (columns)."""
        weekly: BoolArray = self.hours >= _WEEKS
        return weekly

    def _center(self, block: HourBlock) -> FloatArray:
        week = np.where(self.weekly, self.week[block.of_week], 0.0)
        center: FloatArray = self.base + self.day[block.of_day] + week
        return center

    def _slope(self) -> tuple[FloatArray, FloatArray]:
        """Of each column on its cause, and the share of variance that remains; shape (columns)."""
        prior = 30.0 * self.within[self.cause] + _TINY
        slope = np.where(self.explained, self.cross / (self.square_cause + prior), 0.0)
        shared = self.cross * slope / np.maximum(self.square, _TINY)
        return slope, np.where(self.explained, np.clip(1.0 - shared, 0.05, 1.0), 1.0)

    def _residuals(self, block: HourBlock) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """(residual, raw residual, variance, what the cause explains); each (buckets, columns)."""
        raw = np.where(block.count > 0, block.x - self._center(block), 0.0)
        slope, left = self._slope()
        explained = slope * raw[:, self.cause]
        variance = self.within * left / np.maximum(block.count, 1.0)
        return np.where(block.count > 0, raw - explained, 0.0), raw, variance, explained

    def _trust(self) -> FloatArray:
        """Standard deviations at which a single call is capped: fewer, the more calls stray; shape (columns)."""
        share = (self.stray / self.few - 0.001) / (_STRAYS - 0.001)
        trust: FloatArray = _BOLD - (_BOLD - _WARY) * np.clip(share, 0.0, 1.5)
        return trust

    def _learn_strays(self, r: FloatArray, sampling: FloatArray, used: FloatArray) -> None:
        some = (used > 0) & (used <= 12) & (self.hours > 24)
        far = some & (r * r > _FAR * _FAR * (sampling + self.between))
        keep = 0.5 ** (1.0 / (4 * _LIFE_H))
        self.few = keep * self.few + some.sum(axis=0)
        self.stray = keep * self.stray + far.sum(axis=0)

    def _doubt(self, block: HourBlock) -> FloatArray:
        """How far the baseline with its season may be off: one standard deviation; shape (columns)."""
        noise = np.maximum(self.within, _TINY)
        season = 1.0 / (1.0 / self.season_var + self.day_weight[block.of_day] / noise)
        doubt: FloatArray = np.sqrt(noise / np.maximum(self.weight, 1.0) + season)
        return doubt

    def detect(self, block: HourBlock) -> BlockEvidence:
        """Evidence of a block against the baseline as it was before it."""
        r, _, sampling, explained = self._residuals(block)
        lasting = np.maximum(self.between, self.per_hour * self.hourly)
        variance = sampling + lasting + _TINY
        sd = np.sqrt(variance)
        z = r / sd
        bound = self._trust() * np.minimum(np.sqrt(block.count), 4.0)
        shift = np.clip(z, -bound, bound) * sd
        doubt = self._doubt(block)
        d = self.shifts
        up, down = shift - doubt, -shift - doubt
        # over the hours of a creeping change the errors of the season cancel
        sides = np.stack([up, up, down, down, shift - self.recent], axis=1)
        steps = d * (sides - d / 2) / variance[:, None, :]
        steps = np.where((block.count > 0)[:, None, :], steps, 0.0)
        center = self._center(block) + explained
        reach = 3.0 * sd + doubt
        return BlockEvidence(steps, z, center - reach, center + reach, center)

    def learn(self, block: HourBlock, calm: BoolArray) -> None:
        """Learn from the buckets (buckets, columns) that belong to no incident, and remember where the others lie."""
        r, raw, sampling, _ = self._residuals(block)
        n = block.count
        self.hours += (self.hours > 0) | (n.sum(axis=0) > 0)
        used = np.where(calm, n, 0.0)
        self._learn_slope(raw, used)
        self._learn_spread(r, sampling, block, used)
        self._learn_level(r, block, used)
        away = n - used
        self.moved = 0.9 * self.moved + (away * r).sum(axis=0)
        self.moved_weight = 0.9 * self.moved_weight + away.sum(axis=0)

    def _learn_slope(self, raw: FloatArray, used: FloatArray) -> None:
        keep = 0.5 ** (1.0 / (2 * _LIFE_H))
        cause = raw[:, self.cause]
        weight = np.where(self.hours > 6, np.minimum(used, used[:, self.cause]), 0.0)  # once there is a baseline
        self.cross = keep * self.cross + (weight * raw * cause).sum(axis=0)
        self.square_cause = keep * self.square_cause + (weight * cause * cause).sum(axis=0)
        self.square = keep * self.square + (weight * raw * raw).sum(axis=0)

    def _learn_spread(self, r: FloatArray, sampling: FloatArray, block: HourBlock, used: FloatArray) -> None:
        degrees = np.where(used > 1, used - 1, 0.0)
        pairs = degrees.sum(axis=0)
        keep = 0.5 ** (1.0 / (2 * _LIFE_H))
        self.within_weight = keep * self.within_weight + pairs
        found = (block.spread * np.where(used > 1, used, 0.0)).sum(axis=0) / np.maximum(pairs, 1.0)
        gain = pairs / np.maximum(self.within_weight, 1.0)
        self.within = self.within + gain * (found - self.within)
        settled = (self.hours > 6) & (used.sum(axis=0) > 0)
        importance = np.where(used > 0, 1.0 / (sampling + self.between + _TINY) ** 2, 0.0)
        total = importance.sum(axis=0)
        share = importance / np.where(total > 0, total, 1.0)
        excess = (share * (np.minimum(r * r, 9.0 * (sampling + self.between)) - sampling)).sum(axis=0)
        rate = settled / _SPREAD_H
        self.between = np.maximum(self.between + rate * (excess - self.between), 0.0)
        self._learn_hourly(r, sampling, used, rate)
        self._learn_strays(r, sampling, used)

    def _learn_hourly(self, r: FloatArray, sampling: FloatArray, used: FloatArray, rate: FloatArray) -> None:
        """Variance of whole hours beyond what independent buckets explain: slow wandering."""
        calls = np.maximum(used.sum(axis=0), _TINY)
        share = used / calls
        mean = (share * r).sum(axis=0)
        independent = (share * share * (sampling + self.between)).sum(axis=0)
        trust = self.hourly / np.maximum(self.hourly + independent, _TINY)
        excess = np.minimum(mean * mean, 9.0 * (independent + self.hourly)) - independent
        self.hourly = np.maximum(self.hourly + rate * (0.3 + 0.7 * trust) * (excess - self.hourly), 0.0)
        buckets = 1.0 / np.maximum((share * share).sum(axis=0), _TINY)
        self.per_hour = self.per_hour + rate * (np.minimum(buckets, len(r)) - self.per_hour)

    def _learn_level(self, r: FloatArray, block: HourBlock, used: FloatArray) -> None:
        calls = used.sum(axis=0)
        mean = (used * r).sum(axis=0) / np.maximum(calls, _TINY)
        settled = self.hours > 12
        bound = 3.0 * np.sqrt(self.within / np.maximum(calls, 1.0) + self.between + self.hourly)
        low = np.where(settled & self.down, -bound, -np.inf)
        high = np.where(settled & self.up, bound, np.inf)
        part = np.where(calls > 0, np.clip(mean, low, high), 0.0)
        self.weight = self.weight * 0.5 ** (1.0 / _LIFE_H) + calls
        self.base = self.base + calls / np.maximum(self.weight, 1.0) * part
        warm = np.where(settled, calls, 0.0)  # before that, what is left over is the baseline's
        self.recent_weight = self.recent_weight * 0.5 ** (1.0 / _RECENT_H) + warm
        self.recent = self.recent + warm / np.maximum(self.recent_weight, 1.0) * (part - self.recent)
        self._learn_season(block, warm, part)

    def _learn_season(self, block: HourBlock, warm: FloatArray, part: FloatArray) -> None:
        noise = np.maximum(self.within, _TINY)
        h, w = block.of_day, block.of_week
        self.day_weight[h] = self.day_weight[h] * 0.9 + warm
        self.day[h] += warm / (self.day_weight[h] + noise / self.season_var + _TINY) * part
        self.week_weight[w] = self.week_weight[w] * 0.8 + warm
        left = part - np.where(self.weekly, 0.0, self.week[w])
        self.week[w] += warm / (self.week_weight[w] + noise / self.week_var + _TINY) * left

    def accept(self, columns: BoolArray) -> None:
        """Take the level of a lasting incident as the new baseline."""
        known = columns & (self.moved_weight > 0)
        self.base = np.where(known, self.base + self.moved / np.maximum(self.moved_weight, _TINY), self.base)
        self.weight = np.where(known, np.minimum(self.weight, self.moved_weight), self.weight)
        self.moved = np.where(columns, 0.0, self.moved)
        self.moved_weight = np.where(columns, 0.0, self.moved_weight)


def _shifts(watches: Sequence[Watch]) -> FloatArray:
    rows = [(w.shifts[0], w.shifts[1], w.shifts[0], w.shifts[1], w.drift or w.shifts[0]) for w in watches]
    return np.array(rows, np.float64).reshape(-1, ALTERNATIVES).T
