"""Synthetic series and panels with known truth: daily season, log-normal calls, planted incidents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmmon.anomaly.series import (
    BucketValues,
    GroupLabels,
    Panel,
    Series,
    counts,
    levels,
    panel,
    proportions,
    samples,
    totals,
)
from llmmon.metrics.columns import FloatArray
from llmmon.text.times import HOUR_US

STEP_US = 300_000_000
START_US = 1_767_571_200_000_000  # a Monday
BUCKETS_A_DAY = 288

Effect = Callable[[FloatArray], FloatArray]  # day of each bucket -> factor, shape (buckets) to (buckets)


def none(day: FloatArray) -> FloatArray:
    """No incident."""
    return np.ones(len(day))


def between(first: float, last: float, factor: float) -> Effect:
    """`factor` from day `first` to day `last`."""
    return lambda day: np.where((day >= first) & (day < last), factor, 1.0)


def starts_of(days: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The starts of the buckets of so many days."""
    return START_US + STEP_US * np.arange(round(days * BUCKETS_A_DAY), dtype=np.int64)


def days_of(days: float) -> FloatArray:
    """The time of each bucket in days from the start."""
    return np.arange(round(days * BUCKETS_A_DAY)) / BUCKETS_A_DAY


def calls_of(rng: np.random.Generator, days: float, per_day: float, effect: Effect = none) -> FloatArray:
    """Poisson calls a bucket with a busy noon and quiet nights."""
    day = days_of(days)
    rate = per_day / BUCKETS_A_DAY * (1 - 0.7 * np.cos(2 * np.pi * day)) * effect(day)
    return rng.poisson(rate).astype(np.float64)


def table_of(rng: np.random.Generator, calls: FloatArray, middle: FloatArray, sd: float = 0.7) -> BucketValues:
    """Log-normal values around `middle` (buckets), as many as there are calls."""
    n = calls.astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(n)])
    values = np.repeat(middle, n) * np.exp(rng.normal(0.0, sd, int(n.sum())))
    bucket = np.repeat(np.arange(len(n)), n)
    return BucketValues(offsets, values[np.lexsort((values, bucket))])


def service(
    seed: int = 0,
    days: float = 14,
    per_day: float = 6000,
    *,
    group: GroupLabels = (),
    latency: Effect = none,
    errors: Effect = none,
    traffic: Effect = none,
) -> list[Series]:
    """Latency, error rate, requests and cost of one group."""
    rng = np.random.default_rng(seed)
    grid, day = starts_of(days), days_of(days)
    calls = calls_of(rng, days, per_day, traffic)
    hits = rng.binomial(calls.astype(np.int64), np.minimum(0.01 * errors(day), 1.0))
    table = table_of(rng, calls, 900.0 * (1 - 0.1 * np.cos(2 * np.pi * day)) * latency(day))
    cost = np.array([rng.gamma(0.5 * n) if n else 0.0 for n in calls]) * 0.01
    return [
        levels("latency_ms", grid, STEP_US, table, group),
        proportions("error_rate", grid, STEP_US, hits, calls, group),
        counts("requests", grid, STEP_US, calls, group),
        totals("cost_usd", grid, STEP_US, cost, calls, group),
    ]


def watched_service(
    seed: int = 0, days: float = 14, *, latency: Effect = none, errors: Effect = none, traffic: Effect = none
) -> Panel:
    """A panel of `service`."""
    return panel(service(seed, days, latency=latency, errors=errors, traffic=traffic))


def noise(seed: int = 0, size: int = 400, level: float = 10.0, sd: float = 1.0) -> Series:
    """Independent normal samples a minute apart."""
    rng = np.random.default_rng(seed)
    stamps = START_US + 60_000_000 * np.arange(size, dtype=np.int64)
    return samples("queue_depth", stamps, rng.normal(level, sd, size))


def hour_us(day: float) -> int:
    """Epoch microseconds of a time in days from the start, cut to the hour."""
    return START_US + round(day * 24) * HOUR_US
