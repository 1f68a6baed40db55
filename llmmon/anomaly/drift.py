"""Slow drift: a test of weeks beside the monitor of minutes.

Each series becomes one value a whole day: hours are weighed by their calls, the shape of the day is taken out, and
hours that stand apart from their day (an incident) count little or not at all. The days are then fitted by a level with
its days of the week and a ramp that begins on some day: the ramp that explains most is the drift. The level rests on
all days before the ramp, so that it does not follow the drift. A step that explains more than any ramp is a new level
and no drift.

The noise of a day is what its calls' own spread gives, or what the days show where that is more; few days count for
less (Student's t as a normal score, Wallace 1959). The threshold allows about one false drift a month and log.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import numpy as np

from llmmon.anomaly.panel import PLAIN
from llmmon.anomaly.series import GroupLabels, Panel, Series, SeriesKind
from llmmon.metrics.columns import FloatArray
from llmmon.text.times import DAY_US, HOUR_US

_THRESHOLD: Final = 3.6  # standard deviations
_LEAST_DAYS: Final = 10
_LEAST_BEFORE: Final = 6  # days of the level before a ramp, unless it begins with the log
_LEAST_RAMP: Final = 3
_WEEKEND_DAYS, _WEEKLY_DAYS = 10, 21  # from which weekends, and every day of the week, have a level of their own
_LEAST_CALLS: Final = 30  # of a day
_MOST_STARTS: Final = 60
_CLIPPED: Final = 2.0  # standard deviations that an hour may be from its day
_FOREIGN: Final = 2.0  # times as many, from which on it does not count
_BURSTS: Final = 3  # hours of a day that may be a burst of errors
_STEP_AHEAD: Final = 0.7  # by which a step must explain more to be one
_HOURS: Final = 24
_LEAST_EFFECT: Final = {"quality_score": 0.03}  # relative to the level before
_LEAST_LEVEL, _LEAST_RATE, _LEAST_POINTS = 0.06, 0.12, 0.0015
# metric -> what follows from it: the longer list is for steps; over days only what is always so
_FOLLOWS: Final = {
    "prompt_tokens": ("time_to_first_token_ms", "latency_ms", "cost_per_request_usd", "cost_per_token_usd"),
    "completion_tokens": ("latency_ms", "cost_per_request_usd", "cost_per_token_usd"),
    "time_to_first_token_ms": ("latency_ms", "output_tokens_per_second"),
    "latency_ms": ("output_tokens_per_second",),
    "cost_per_token_usd": ("cost_per_request_usd",),
    "error_rate": ("quality_score",),
    "truncated_rate": ("quality_score", "completion_tokens"),
}


class Drift(msgspec.Struct, frozen=True):
    """A metric that moves day by day: since when, from where, to where, how much a day.

    `usual` is the level before, `now` what the ramp has reached; `change` and `per_day` are relative to `usual`.
    `z` is how far beyond noise it is. `days` are the values of the whole days, the first of which begins at `first_us`.
    """

    metric: str
    group: GroupLabels
    since_us: int
    until_us: int
    usual: float
    now: float
    change: float
    per_day: float
    calls: int
    z: float
    days: tuple[float | None, ...]
    first_us: int
    also: tuple[tuple[str, GroupLabels, float], ...] = ()  # metric, group and change of what drifts along

    @property
    def id(self) -> str:
        """Twelve signs that stay while the drift goes on."""
        group = "\x1f".join(f"{field}={name}" for field, name in self.group)
        return sha256(f"drift\x1f{self.metric}\x1f{group}".encode()).hexdigest()[:12]


def drifts(panel: Panel) -> list[Drift]:
    """The drifts at the end of a panel, one for those that belong together, the surest first."""
    found = [drift for series in panel.series if (drift := drift_of(series)) is not None]
    return _joined(sorted(found, key=lambda one: -abs(one.z)))


def drift_of(series: Series) -> Drift | None:
    """The drift of one series at its end, None where there is none."""
    days = _days_of(series)
    if days is None:
        return None
    best = _ramp(days)
    if best is None:
        return None
    start, slope, z = best
    length = int(days.numbers[-1]) - start
    before = days.level[days.numbers <= start] if (days.numbers <= start).sum() >= _LEAST_RAMP else days.level[:1]
    reference = float(np.average(before, weights=days.calls[: len(before)]))
    usual, now = days.shown(reference), days.shown(reference + slope * length)
    if usual <= 0:
        return None
    change = now / usual - 1.0
    if abs(change) < _least(series) or (series.kind is SeriesKind.PROPORTION and abs(now - usual) < _LEAST_POINTS):
        return None
    per_day = math.copysign(abs(1.0 + change) ** (1.0 / length) - 1.0, change) if 1.0 + change > 0 else change / length
    ramp = days.numbers > start
    return Drift(
        metric=series.metric,
        group=series.group,
        since_us=days.first_us + (start + 1) * DAY_US,
        until_us=days.first_us + (int(days.numbers[-1]) + 1) * DAY_US,
        usual=usual,
        now=now,
        change=change,
        per_day=per_day if days.kind is SeriesKind.LEVEL and days.is_log else change / length,
        calls=int(days.calls[ramp].sum()),
        z=z,
        days=days.course(),
        first_us=days.first_us,
    )


def _least(series: Series) -> float:
    if series.kind is SeriesKind.PROPORTION:
        return _LEAST_RATE
    return _LEAST_EFFECT.get(series.metric, _LEAST_LEVEL)


class _Days(msgspec.Struct, frozen=True, eq=False):
    """Whole days with enough calls: their numbers, levels on the scale of the fit, variances, calls; shape (days,)."""

    kind: SeriesKind
    is_log: bool
    first_us: int
    numbers: FloatArray
    level: FloatArray
    variance: FloatArray
    calls: FloatArray

    def shown(self, level: float) -> float:
        """A level in the metric's unit."""
        if self.kind is SeriesKind.PROPORTION:
            return math.sin(min(max(level, 0.0), math.pi) / 2) ** 2
        return math.exp(level) if self.is_log else level

    def course(self) -> tuple[float | None, ...]:
        """The days' levels in the metric's unit, None for a day with hardly any call."""
        values: list[float | None] = [None] * (int(self.numbers[-1]) + 1)
        for number, level in zip(self.numbers.tolist(), self.level.tolist(), strict=True):
            values[int(number)] = self.shown(level)
        return tuple(values)


def _days_of(series: Series) -> _Days | None:
    if series.kind not in (SeriesKind.LEVEL, SeriesKind.PROPORTION) or not series.step_us or not len(series):
        return None
    if HOUR_US % series.step_us:
        return None
    first = -(-int(series.starts[0]) // DAY_US)
    number = (int(series.starts[-1]) + series.step_us) // DAY_US - first
    if number < _LEAST_DAYS:
        return None
    skipped, size = (first * DAY_US - int(series.starts[0])) // series.step_us, number * DAY_US // series.step_us
    part = series[skipped : skipped + size]
    shape = (number, _HOURS, HOUR_US // series.step_us)
    rate = series.kind is SeriesKind.PROPORTION
    level, variance, calls = _rates(part, shape) if rate else _levels(part, shape)
    kept = np.flatnonzero(calls >= _LEAST_CALLS)
    if len(kept) < _LEAST_DAYS or kept[-1] < number - 2:
        return None
    return _Days(
        kind=series.kind,
        is_log=not rate and series.metric not in PLAIN,
        first_us=first * DAY_US,
        numbers=kept.astype(np.float64),
        level=level[kept],
        variance=variance[kept],
        calls=calls[kept],
    )


Shape = tuple[int, int, int]


def _levels(series: Series, shape: Shape) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, variance of the mean and calls of each day, of logarithms where the metric is watched by them."""
    count = series.count.reshape(shape)
    value = np.log(series.value) if series.metric not in PLAIN else series.value
    known = np.where(count > 0, np.nan_to_num(value.reshape(shape)), 0.0)
    calls = count.sum(axis=2)
    mean = np.divide((count * known).sum(axis=2), calls, out=np.full(calls.shape, np.nan), where=calls > 0)
    total = calls.sum(axis=1)
    with np.errstate(all="ignore"):
        profile = _median(mean - _median(mean, axis=1)[:, None], axis=0)
        left = mean - profile
        centre = _median(left, axis=1)[:, None]
        scaled = (left - centre) * np.sqrt(calls)
        reach = _CLIPPED * 1.4826 * float(np.nanmedian(np.abs(scaled))) if np.isfinite(scaled).any() else 0.0
        held = np.where(np.abs(scaled) > _FOREIGN * reach, 0.0, np.clip(scaled, -reach, reach))
        steady = centre + held / np.sqrt(calls)
    level = np.divide(np.nansum(calls * steady, axis=1), total, out=np.zeros(len(total)), where=total > 0)
    spread = np.zeros(shape) if series.spread is None else series.spread.reshape(shape)
    within = np.divide((count * spread).sum(axis=(1, 2)), total, out=np.ones(len(total)), where=total > 0)
    return level, np.maximum(within, 1e-9) / np.maximum(total, 1.0), total


def _median(values: FloatArray, axis: int) -> FloatArray:
    """The median of what is known, 0 where nothing is."""
    known = np.isfinite(values).any(axis=axis, keepdims=True)
    filled = np.where(known, values, 0.0)
    found: FloatArray = np.nanmedian(filled, axis=axis)
    return found


def _rates(series: Series, shape: Shape) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Each day's share as an angle, 2 arcsin sqrt(p), whose variance is 1 / calls; bursts of hours are cut."""
    hits = np.zeros(shape[:2]) if series.hits is None else series.hits.reshape(shape).sum(axis=2)
    calls = series.count.reshape(shape).sum(axis=2)
    order = np.argsort(hits, axis=1)[:, : _HOURS - _BURSTS]
    calm_hits, calm_calls = (np.take_along_axis(one, order, axis=1).sum(axis=1) for one in (hits, calls))
    usual = calls * np.divide(calm_hits, calm_calls, out=np.zeros(len(calls)), where=calm_calls > 0)[:, None]
    cut = np.minimum(hits, usual + 3.0 * np.sqrt(usual) + 2.0)
    total = calls.sum(axis=1)
    share = (cut.sum(axis=1) + 0.375) / (total + 0.75)
    return 2.0 * np.arcsin(np.sqrt(np.minimum(share, 1.0))), 1.0 / np.maximum(total, 1.0), total


def _ramp(days: _Days) -> tuple[int, float, float] | None:
    """(last day of the level, slope a day, normal score) of the ramp that explains most, if it is one."""
    base = _season(days)
    weights = 1.0 / np.sqrt(days.variance)
    q, _ = np.linalg.qr(base * weights[:, None])
    left = weights * days.level
    left = left - q @ (q.T @ left)
    last = int(days.numbers[-1])
    starts = [0, *range(_LEAST_BEFORE - 1, last - _LEAST_RAMP + 1)]
    starts = starts[:: max(1, len(starts) // _MOST_STARTS)]
    since = np.maximum(days.numbers[:, None] - np.array(starts, np.float64), 0.0)
    ramps = _explained(q, left, since, weights)
    steps = _explained(q, left, (since > 0).astype(np.float64), weights)
    best = int(np.argmax(np.abs(ramps[0])))
    freedom = len(days.level) - base.shape[1] - 1
    if freedom < _LEAST_RAMP:
        return None
    unexplained = max(float(left @ left) - float(ramps[0][best]) ** 2, 0.0) / freedom
    scale = math.sqrt(max(1.0, unexplained))
    z = _normal(float(ramps[0][best]) / scale, freedom)
    if abs(z) < _THRESHOLD or np.abs(steps[0]).max() / scale > abs(float(ramps[0][best])) / scale + _STEP_AHEAD:
        return None
    return starts[best], float(ramps[1][best]), z


def _season(days: _Days) -> FloatArray:
    """A level, and others for weekends or each day of the week where there are enough days."""
    weekday = (days.numbers.astype(np.int64) + days.first_us // DAY_US + 3) % 7
    columns = [np.ones(len(weekday))]
    if len(weekday) >= _WEEKLY_DAYS:
        columns += [(weekday == day).astype(np.float64) for day in range(6) if (weekday == day).any()]
    elif len(weekday) >= _WEEKEND_DAYS and (weekday >= 5).sum() >= 2:
        columns.append((weekday >= 5).astype(np.float64))
    return np.stack(columns, axis=1)


def _explained(
    q: FloatArray, left: FloatArray, shapes: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """How many standard deviations each shape explains beyond the season, and its size."""
    own = shapes * weights[:, None]
    own = own - q @ (q.T @ own)
    length = np.sqrt((own * own).sum(axis=0))
    usable = length > 1e-6 * np.sqrt(((shapes * weights[:, None]) ** 2).sum(axis=0) + 1e-300)
    along = np.divide(left @ own, length, out=np.zeros(len(length)), where=usable)
    return along, np.divide(along, length, out=np.zeros(len(length)), where=usable)


def _normal(t: float, freedom: int) -> float:
    """The normal score of Student's t (Wallace 1959)."""
    size = math.sqrt(freedom * math.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return math.copysign(size, t)


def _joined(found: Sequence[Drift]) -> list[Drift]:
    """One drift for those of one metric in several groups, and for what follows from it."""
    leads: list[Drift] = []
    for drift in sorted(found, key=lambda one: (_depth(one.metric, found), -abs(one.z))):
        place = next((k for k, lead in enumerate(leads) if _belongs(drift, lead)), None)
        if place is None:
            leads.append(drift)
        else:
            lead = leads[place]
            also = (*lead.also, (drift.metric, drift.group, drift.change))
            leads[place] = msgspec.structs.replace(lead, also=also)
    return sorted(leads, key=lambda one: -abs(one.z))


def _depth(metric: str, found: Iterable[Drift]) -> int:
    """How many of the metrics that drift it follows from."""
    return sum(metric in _FOLLOWS.get(other, ()) for other in {one.metric for one in found})


def _belongs(drift: Drift, lead: Drift) -> bool:
    return drift.metric == lead.metric or drift.metric in _FOLLOWS.get(lead.metric, ())
