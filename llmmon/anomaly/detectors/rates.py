"""Judges how much comes in: counts and totals a bucket against their hour of the week, silence included.

The expectation is the profile of the hour of the week times how busy the last hours were against it. The
evidence for a factor f is Poisson's, k log f - e (f - 1), divided by how much more than Poisson it varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from llmmon.anomaly.detectors.evidence import Bad, BlockEvidence, HourBlock, Watch
from llmmon.anomaly.series import BucketValues
from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.text.times import DAY_US, HOUR_US

_BINS: Final = 4096
_WIDTH: Final = 0.015  # in log units: from 1e-12 to 5e14
_LOWEST: Final = np.log(1e-12)
_KEEP: Final = 0.85  # a day
_LEAST_CALLS: Final = 200


class Tails:
    """Histograms of the logarithms of many metrics, (columns, bins), and the limits they imply, (columns)."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.share = np.array([w.tail for w in watches])
        self.below = np.array([w.bad is Bad.DOWN for w in watches], np.bool_)
        self.histogram = np.zeros((len(watches), _BINS))
        self.limit, self.extreme = np.full(len(watches), np.nan), np.full(len(watches), np.nan)
        self.day = -1

    def count(self, starts: IntArray, tables: Sequence[BucketValues]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(calls, calls beyond the limit, what a bucket's extreme may reach), each (buckets, columns)."""
        size = (len(starts), len(tables))
        calls, hits, reach = np.zeros(size), np.zeros(size), np.full(size, np.nan)
        days = starts // DAY_US
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(starts)]
        for a, b in pairwise(edges):
            if a < b:
                self._turn(int(days[a]))
                for j, table in enumerate(tables):
                    calls[a:b, j], hits[a:b, j] = self._take(j, _part(table, a, b))
                reach[a:b] = self.extreme
        return calls, hits, reach

    def _turn(self, day: int) -> None:
        if day == self.day:
            return
        self.day = day
        running = np.cumsum(self.histogram, axis=1)
        known = running[:, -1] >= _LEAST_CALLS
        self.limit = np.where(known, self._quantile(running, self.share), np.nan)
        self.extreme = np.where(known, self._quantile(running, self.share / 20), np.nan)
        self.histogram *= _KEEP

    def _quantile(self, running: FloatArray, share: FloatArray) -> FloatArray:
        """Where a share of the calls lies beyond, on each column's bad side."""
        rank = np.where(self.below, share, 1.0 - share) * running[:, -1]
        place = (running < rank[:, None]).sum(axis=1) + ~self.below
        limits: FloatArray = np.exp(_LOWEST + _WIDTH * place)
        return limits

    def _take(self, j: int, table: BucketValues) -> tuple[FloatArray, FloatArray]:
        usable = np.isfinite(table.values) & (table.values > 0)
        logs = np.log(np.where(usable, table.values, 1.0))
        place = np.clip((logs - _LOWEST) / _WIDTH, 0, _BINS - 1).astype(np.int64)
        weights = usable.astype(np.float64) if table.weights is None else usable * table.weights
        self.histogram[j] += np.bincount(place, weights, minlength=_BINS)
        limit = self.limit[j]
        if np.isnan(limit):
            nothing = np.zeros(len(table.offsets) - 1)
            return nothing, nothing
        beyond = (table.values < limit) if self.below[j] else (table.values > limit)
        return table.sums(usable.astype(np.float64)), table.sums((usable & beyond).astype(np.float64))


def _part(table: BucketValues, a: int, b: int) -> BucketValues:
    low, high = int(table.offsets[a]), int(table.offsets[b])
    weights = None if table.weights is None else table.weights[low:high]
    return BucketValues(table.offsets[a : b + 1] - low, table.values[low:high], weights)


ALTERNATIVES: Final = 5
_RATE_FACTORS: Final = np.array([2.2, 4.0, 1.0, 1.0, 1.6])[:, None]  # of the usual rate ...
_ADDED: Final = np.array([0.015, 0.06, 0.35, 0.15, 0.008])[:, None]  # ... and at least so much more
_LIFE_H: Final = 168.0
_PRIOR_CALLS: Final = 30.0
_LEAST_RATE: Final = 0.002
_NO_ROOM: Final = 0.02  # a rate this near to 1 cannot get worse
_RATE_READY_H: Final = 12
_READY_CALLS: Final = 100


class RateDetector:
    """Usual rates of many shares; all state is (columns)."""

    alternatives = ALTERNATIVES

    def __init__(self, usual: Sequence[float]) -> None:
        """`usual[j]` is the rate to expect of column j before any call was seen."""
        self.usual = np.array(usual, np.float64)
        size = len(self.usual)
        self.hits, self.calls = self.usual * _PRIOR_CALLS, np.full(size, _PRIOR_CALLS)
        self.dispersion = np.ones(size)
        self.moved_hits, self.moved_calls = np.zeros(size), np.zeros(size)
        self.hours = np.zeros(size)

    @property
    def ready(self) -> BoolArray:
        """Which columns have enough history; shape (columns)."""
        ready: BoolArray = (self.hours >= _RATE_READY_H) & (self.calls >= _READY_CALLS + _PRIOR_CALLS)
        return ready

    @property
    def weekly(self) -> BoolArray:
        """Rates have no season; shape (columns)."""
        return np.zeros(len(self.hours), np.bool_)

    def _usual(self) -> tuple[FloatArray, FloatArray]:
        """(the usual rate, the same with its own doubt added); shape (columns)."""
        rate = np.clip(self.hits / self.calls, _LEAST_RATE, 0.999)
        # what was assumed before any call was seen makes no log in which most calls fail look worse than usual
        seen = (self.hits - _PRIOR_CALLS * self.usual) / np.maximum(self.calls - _PRIOR_CALLS, 1.0)
        doubtful = np.maximum(rate + np.sqrt(rate * (1 - rate) / self.calls), seen)
        return rate, np.clip(doubtful, _LEAST_RATE, 0.9995)

    def detect(self, block: HourBlock) -> BlockEvidence:
        """Evidence of a block against the rates as they were before it."""
        rate, p0 = self._usual()
        p1 = np.minimum(np.maximum(_RATE_FACTORS * p0, p0 + _ADDED), 0.5 + p0 / 2)
        k, n = block.x[:, None, :], block.count[:, None, :]
        steps = k * np.log(p1 / p0) + (n - k) * np.log((1 - p1) / (1 - p0))
        steps = np.where(p0 > 1 - 2 * _NO_ROOM, 0.0, steps)
        sd = np.sqrt(rate * (1 - rate) * self.dispersion / np.maximum(block.count, 1.0))
        z = 2 * (np.sqrt(block.x + 0.375) - np.sqrt(block.count * rate + 0.375)) / np.sqrt(self.dispersion)
        low, high = np.clip(rate - 3 * sd, 0.0, 1.0), np.clip(rate + 3 * sd, 0.0, 1.0)
        return BlockEvidence(steps / self.dispersion, np.where(block.count > 0, z, 0.0), low, high, rate + 0.0 * low)

    def learn(self, block: HourBlock, calm: BoolArray) -> None:
        """Learn from the buckets (buckets, columns) that belong to no incident."""
        n, k = np.where(calm, block.count, 0.0), np.where(calm, block.x, 0.0)
        self.hours += (self.hours > 0) | (block.count.sum(axis=0) > 0)
        calls, hits = n.sum(axis=0), k.sum(axis=0)
        rate, _ = self._usual()
        self._learn_dispersion(calls, hits, rate)
        keep = 0.5 ** (1.0 / _LIFE_H)
        bound = calls * rate + 4 * np.sqrt(calls * rate * self.dispersion) + 1.0
        hits = np.where(self.hours > _RATE_READY_H, np.minimum(hits, bound), hits)
        # what is forgotten is replaced by the prior, so that a silent group keeps its doubt
        self.hits = keep * self.hits + (1 - keep) * _PRIOR_CALLS * self.usual + hits
        self.calls = keep * self.calls + (1 - keep) * _PRIOR_CALLS + calls
        self.moved_hits = 0.9 * self.moved_hits + (block.x - k).sum(axis=0)
        self.moved_calls = 0.9 * self.moved_calls + (block.count - n).sum(axis=0)

    def _learn_dispersion(self, calls: FloatArray, hits: FloatArray, rate: FloatArray) -> None:
        expected = calls * rate
        found = (hits - expected) ** 2 / np.maximum(expected * (1 - rate), 0.5)
        gain = np.where((expected > 0.5) & (self.hours > _RATE_READY_H), 1 / 72.0, 0.0)
        self.dispersion = np.maximum(self.dispersion + gain * (np.minimum(found, 12.0) - self.dispersion), 1.0)

    def accept(self, columns: BoolArray) -> None:
        """Take the rate of a lasting incident as the usual one."""
        known = columns & (self.moved_calls > 0)
        self.hits = np.where(known, self.moved_hits + self.usual * _PRIOR_CALLS, self.hits)
        self.calls = np.where(known, self.moved_calls + _PRIOR_CALLS, self.calls)
        self.moved_hits = np.where(columns, 0.0, self.moved_hits)
        self.moved_calls = np.where(columns, 0.0, self.moved_calls)


_TRAFFIC_FACTORS: Final = np.array([1.8, 3.0, 0.55, 0.15, 1.8])[:, None]
_SMALL: Final = np.array([True, False, True, False, True])[:, None]
_TRAFFIC_READY_H: Final = 168
_LEAST_TRAFFIC: Final = 0.3  # expected events a bucket under which silence says nothing
_ROUGH: Final = 0.03  # squared relative error of an expectation, to begin with

_OF_ONE_BUCKET: Final = 7.0  # nats at most for a total, which a single dear call can make: two buckets must agree
_ALIKE: Final = 100.0  # events for which it counts that days have the same course

_MEMORY_US: Final = HOUR_US // 2  # over which wandering adds up before it is let go
_WANDERS: Final = 0.01  # squared relative change of demand from hour to hour


class TrafficDetector:
    """Profiles of many counts and totals; state is (columns) or (168, columns)."""

    alternatives = ALTERNATIVES

    def __init__(self, bad: Sequence[Bad], sums: Sequence[bool]) -> None:
        """`sums[j]` says that column j is a total rather than a count."""
        size = len(bad)
        self.sums = np.array(sums, np.bool_)
        self.profile, self.visits = np.zeros((168, size)), np.zeros((168, size))
        self.usual = np.zeros((168, size))  # the profile, drawn in to hour of day times day of week
        self.busy = np.zeros(size)  # log of how busy the last hours were against the profile
        self.unit = np.ones(size)  # variance over mean: 1 for counts, the size of a call for totals
        self.rough = np.full(size, _ROUGH)
        self.wander = np.full(size, _ROUGH / 12)  # the same of whole hours: slow wandering of demand
        self.moved = np.zeros(size)
        self.moved_hours = np.zeros(size)
        self.hours = np.zeros(size)
        self.step_us = HOUR_US

    @property
    def ready(self) -> BoolArray:
        """Which columns have seen a whole week; shape (columns)."""
        ready: BoolArray = self.hours >= _TRAFFIC_READY_H
        return ready

    @property
    def weekly(self) -> BoolArray:
        """The profile is by hour of the week; shape (columns)."""
        return np.ones(len(self.hours), np.bool_)

    def _expected(self, block: HourBlock) -> FloatArray:
        """Per bucket, between the middles of the hours; shape (buckets, columns)."""
        middle = (block.starts + block.step_us / 2) / HOUR_US - 0.5
        low = np.floor(middle)
        share = (middle - low)[:, None]
        a, b = low.astype(np.int64) % 168, (low.astype(np.int64) + 1) % 168
        known_a, known_b = self.visits[a] > 0, self.visits[b] > 0
        left = np.where(known_a, self.usual[a], self.usual[b])
        right = np.where(known_b, self.usual[b], self.usual[a])
        expected: FloatArray = (1 - share) * left + share * right
        return expected

    def detect(self, block: HourBlock) -> BlockEvidence:
        """Evidence of a block against the profile as it was before it."""
        e = np.maximum(self._expected(block) * np.exp(self.busy) / self.unit, 1e-9)
        k = block.x / self.unit
        spread = 1.0 + self.rough * e
        # wandering can pass for a small change, not for a large one
        slow = 1.0 + np.maximum(self.rough, self.wander * (_MEMORY_US / block.step_us)) * e
        e3, k3 = e[:, None, :], k[:, None, :]
        f = np.broadcast_to(_TRAFFIC_FACTORS, (ALTERNATIVES, e.shape[1]))
        steps = (k3 * np.log(f) - e3 * (f - 1)) / np.where(_SMALL, slow[:, None, :], spread[:, None, :])
        enough = (e * self.unit > 0) & (e > _LEAST_TRAFFIC)
        steps = np.where(enough[:, None, :], steps, np.minimum(steps, 0.0))
        steps = np.where(self.sums, np.minimum(steps, _OF_ONE_BUCKET), steps)
        root = np.sqrt(spread)
        z = np.where(e * self.unit > 1e-6, 2 * (np.sqrt(k + 0.375) - np.sqrt(e + 0.375)) / root, 0.0)
        reach = 3 * np.sqrt(e * spread)
        low, high = np.maximum(e - reach, 0.0) * self.unit, (e + reach) * self.unit
        return BlockEvidence(steps, z, low, high, e * self.unit)

    def learn(self, block: HourBlock, calm: BoolArray) -> None:
        """Learn from the buckets (buckets, columns) that belong to no incident."""
        self.step_us = block.step_us
        seen = block.x.sum(axis=0) > 0
        known = self.hours >= _TRAFFIC_READY_H
        e = self._expected(block)
        part = calm.sum(axis=0)
        got, due = np.where(calm, block.x, 0.0).sum(axis=0), np.where(calm, e, 0.0).sum(axis=0)
        self._learn_spread(block, calm, e, known)
        w = block.of_week
        useful = (part * 2 >= len(block.starts)) & ((self.hours > 0) | seen)
        self.visits[w] += useful
        gain = np.where(useful, np.maximum(1.0 / np.maximum(self.visits[w], 1.0), 0.25), 0.0)
        self.profile[w] += gain * (got / np.maximum(part, 1) - self.profile[w])
        self.usual = self._drawn_in()
        quiet = 3.0 * self.unit
        ratio = np.log((got + quiet) / (due + quiet))
        trust = _WANDERS / (_WANDERS + self.unit / np.maximum(due, 1e-9))  # a steady-state Kalman gain
        fresh = np.where(known & (part > 0), trust * np.clip(ratio - self.busy, -0.5, 0.5), 0.0)
        self.busy = 0.95 * (self.busy + fresh)
        self.hours += (self.hours > 0) | seen
        away = ~calm
        lasting = np.where(away, block.x, 0.0).sum(axis=0) / np.maximum(np.where(away, e, 0.0).sum(axis=0), 1e-9)
        some = away.any(axis=0)
        self.moved = np.where(some, 0.8 * self.moved + lasting, 0.8 * self.moved)
        self.moved_hours = 0.8 * self.moved_hours + some

    def _drawn_in(self) -> FloatArray:
        """The profile, where little was seen nearer to its hour of the day times its day of the week."""
        week = self.profile.reshape(7, 24, -1)
        total = np.maximum(week.sum(axis=(0, 1)), 1e-12)
        product = week.sum(axis=1, keepdims=True) * week.sum(axis=0, keepdims=True) / total
        seen = np.minimum(self.visits, 4.0) * (HOUR_US / self.step_us) * self.profile / self.unit
        share = (seen / (seen + _ALIKE)).reshape(week.shape)
        drawn: FloatArray = (share * week + (1 - share) * product).reshape(self.profile.shape)
        return np.where(self.hours >= _TRAFFIC_READY_H, drawn, self.profile)

    def _learn_spread(self, block: HourBlock, calm: BoolArray, expected: FloatArray, known: BoolArray) -> None:
        level = np.maximum(expected * np.exp(self.busy), 1e-9)
        square = np.where(calm, (block.x - level) ** 2, 0.0).sum(axis=0)
        total = np.where(calm, level, 0.0).sum(axis=0)
        first = np.where(self.sums & (total > 0), _unit_of(block, calm), self.unit)
        gain = np.where(self.hours < 24, 0.2, 0.02) * (total > 0)
        self.unit = np.where(self.sums, self.unit + gain * (first - self.unit), 1.0)
        power = np.where(calm, level * level, 0.0).sum(axis=0)
        excess = (square - self.unit * total) / np.maximum(power, 1e-12)
        solid = known & (total > 6 * self.unit)
        step = np.where(solid, 0.02, 0.0) * (np.clip(excess, -0.5, 0.5) - self.rough)
        self.rough = np.clip(self.rough + step, 0.004, 0.5)
        miss = (np.where(calm, block.x - level, 0.0).sum(axis=0)) ** 2 - self.unit * total
        hourly = np.clip(miss / np.maximum(total * total, 1e-12), -0.3, 0.3)
        self.wander = np.clip(self.wander + np.where(solid, 0.02, 0.0) * (hourly - self.wander), 0.0005, 0.3)

    def accept(self, columns: BoolArray) -> None:
        """Scale the profile to a lasting incident."""
        known = columns & (self.moved_hours > 0)
        factor = np.where(known, self.moved / np.maximum(self.moved_hours, 1e-9), 1.0)
        self.profile, self.usual = self.profile * factor, self.usual * factor
        self.moved = np.where(columns, 0.0, self.moved)
        self.moved_hours = np.where(columns, 0.0, self.moved_hours)


def _unit_of(block: HourBlock, calm: BoolArray) -> FloatArray:
    """Variance over mean of an hour's totals, at least the size of a call; shape (columns)."""
    some = np.maximum(calm.sum(axis=0), 1)
    mean = np.where(calm, block.x, 0.0).sum(axis=0) / some
    spread = np.where(calm, (block.x - mean) ** 2, 0.0).sum(axis=0) / np.maximum(some - 1, 1)
    calls = np.where(calm, block.count, 0.0).sum(axis=0)
    size = mean * some / np.maximum(calls, 1.0)
    unit: FloatArray = np.maximum(spread / np.maximum(mean, 1e-12), size)
    return np.maximum(unit, 1e-12)
