"""What a period will come to: the course of the week and the trend of daily costs, and how far that has been off.

The expected cost of a day is the level of the last weeks, deseasonalized by day of the week and carried on by a damped
trend (Gardner and McKenzie 1985). The course and the trend count as far as they stand out of the noise (James and Stein
1961); a trend of days that resemble their neighbours needs more to do so. The interval and the error are empirical: the
same method, run from every earlier day of the log for as many days ahead. A history too short for that many is measured
over fewer days, and its interval widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import FloatArray, IntArray

COVERAGE: Final = 0.8  # of the interval
LEAST_DAYS: Final = 14  # of history, before which there is no interval
_WEEKS: Final = 8  # that the course of the week is learned from
_HALF_LIFE: Final = 8.0  # days, of the weight of a day in the level
_TREND_HALF_LIFE: Final = 30.0  # and in the trend
_DAMPING: Final = 0.98  # of the trend, a day
_PRIOR_DAYS: Final = 0.1  # of an average weekday that each weekday is mixed with
_MOST_ORIGINS: Final = 120
_OUTLIER: Final = 6.0  # robust standard deviations beyond which a day says no more about the level


# how the error grows with the days ahead: not at all if the level is known, with the square root if it wanders
_WIDENING: Final = 0.35


class Outlook(msgspec.Struct, frozen=True, eq=False):
    """The days ahead, in the unit of the history: what each is expected to cost, and the interval of their sum.

    `low` and `high` are NaN with too little history; `error` is the median relative error of the same forecast from
    earlier days, over `origins` of them.
    """

    days: FloatArray
    low: float
    high: float
    error: float
    origins: int

    @property
    def total(self) -> float:
        """The sum of the days ahead."""
        return float(self.days.sum())


def outlook(history: FloatArray, first_weekday: int, ahead: int) -> Outlook:
    """The next `ahead` days after whole days of history, the first of which is a `first_weekday` (0 to 6)."""
    days = expected(history, first_weekday, ahead)
    errors = past_errors(history, first_weekday, ahead)
    total = float(days.sum())
    if len(errors) < 3 or total <= 0:
        return Outlook(days, np.nan, np.nan, np.nan, len(errors))
    off = float(np.median(np.abs(np.expm1(errors))))
    span = _span(len(history), ahead)
    spread = _quantile_of_t(3 + len(errors) / span) * float(np.sqrt(np.mean(errors**2))) * (ahead / span) ** _WIDENING
    return Outlook(days, total * float(np.exp(-spread)), total * float(np.exp(spread)), off, len(errors))


def expected(history: FloatArray, first_weekday: int, ahead: int) -> FloatArray:
    """What each of the next days is expected to cost; shape (ahead,)."""
    size = len(history)
    if not size or not history.any():
        return np.zeros(ahead)
    weekdays = (first_weekday + np.arange(size + ahead)) % 7
    course = _course(history[-7 * _WEEKS :], weekdays[max(0, size - 7 * _WEEKS) : size])
    smooth = _without_outliers(history / course[weekdays[:size]])
    level, slope = _level_and_slope(smooth[-7 * _WEEKS :])
    steps = np.cumsum(_DAMPING ** np.arange(1, ahead + 1))
    days: FloatArray = np.maximum(level + slope * steps, 0.0) * course[weekdays[size:]]
    return days


def past_errors(history: FloatArray, first_weekday: int, ahead: int) -> FloatArray:
    """Logarithms of actual over expected sums, of the same forecast from earlier days of the history; shape (n,)."""
    size = len(history)
    span = _span(size, ahead)
    origins = range(max(LEAST_DAYS, (size - span) // 2), size - span + 1)  # with about as much history as there is now
    if not origins:
        return np.empty(0)
    chosen = np.unique(np.linspace(origins[0], origins[-1], min(len(origins), _MOST_ORIGINS)).round().astype(int))
    pairs = [
        (float(expected(history[:at], first_weekday, span).sum()), float(history[at : at + span].sum()))
        for at in chosen.tolist()
    ]
    found = [(before, after) for before, after in pairs if before > 0 and after > 0]
    return np.array([np.log(after / before) for before, after in found])


def _span(size: int, ahead: int) -> int:
    """Over how many days errors are measured: where the history is short, what can be seen over fewer must do."""
    return min(ahead, max(1, (size - LEAST_DAYS) // 2))


def _course(days: FloatArray, weekdays: IntArray) -> FloatArray:
    """How much each day of the week usually costs, in averages of all, as far as it is no noise; shape (7,)."""
    if len(days) < _LEAST_OF_COURSE:
        return np.ones(7)
    usual = np.array([np.median(days[weekdays == day]) for day in range(7)])
    counts, mean = np.bincount(weekdays, minlength=7), usual.mean()
    if mean <= 0:
        return np.ones(7)
    course: FloatArray = (counts * usual / mean + _PRIOR_DAYS) / (counts + _PRIOR_DAYS)
    course = np.maximum(course, 0.02)
    rest = days / course[weekdays]
    noise = _MEDIAN_ERROR * _deviation(rest) / max(float(rest.mean()), 1e-9)
    signal = float(course.var(ddof=1))
    kept = max(0.0, 1.0 - noise**2 / float(counts.mean()) / signal) if signal else 0.0
    return np.maximum(1.0 + kept * (course - 1.0), 0.02)


_LEAST_OF_COURSE: Final = 14
_MEDIAN_ERROR: Final = 1.25  # the standard error of a median, in that of a mean


def _deviation(days: FloatArray) -> float:
    """A robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(days - np.median(days))))


def _without_outliers(days: FloatArray) -> FloatArray:
    middle = float(np.median(days))
    spread = max(_deviation(days), _LEAST_NOISE * middle)
    return np.clip(days, middle - _OUTLIER * spread, middle + _OUTLIER * spread) if spread > 0 else days


_LEAST_NOISE: Final = 0.1  # of the usual day: of days that are all alike, too, one can be an outlier


def _level_and_slope(days: FloatArray) -> tuple[float, float]:
    """The level at the last day and the change a day, by weighted least squares; a slope within the noise shrinks."""
    age = np.arange(len(days))[::-1].astype(np.float64)
    slope = _slope(age, days) if len(days) >= _LEAST_OF_TREND else 0.0
    recent = 0.5 ** (age / _HALF_LIFE)
    level = float(np.average(days + slope * age, weights=recent))  # each day carried on to the last one
    return level, slope


_LEAST_OF_TREND: Final = 14


def _slope(age: FloatArray, days: FloatArray) -> float:
    weights = 0.5 ** (age / _TREND_HALF_LIFE)
    mean_age, mean = np.average(age, weights=weights), np.average(days, weights=weights)
    spread = float(np.average((age - mean_age) ** 2, weights=weights))
    slope = float(np.average((age - mean_age) * (days - mean), weights=weights)) / spread
    residual = days - mean - slope * (age - mean_age)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    variance = float(np.average(residual**2, weights=weights))
    alike = float(np.average(residual[1:] * residual[:-1], weights=weights[1:])) / variance if variance else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    error = variance * (1 + alike) / (1 - alike) / (effective * spread)
    kept = max(0.0, 1.0 - _NOISE * error / slope**2) if slope else 0.0
    return -kept * slope  # ages count backwards


_MOST_ALIKE: Final = 0.9  # correlation of neighbouring days that is reckoned with
_NOISE: Final = 4.0  # a slope of fewer than two standard errors is none


# two-sided 80 % points of Student's t, by degrees of freedom
_T: Final = ((1, 3.08), (2, 1.89), (3, 1.64), (4, 1.53), (6, 1.44), (10, 1.37), (20, 1.33), (60, 1.30))


def _quantile_of_t(independent: float) -> float:
    """How many standard deviations hold 80 % of errors that so many independent ones were estimated from."""
    return next((point for freedom, point in _T if independent <= freedom), 1.28)


def rest_of_today(whole: FloatArray | float, so_far: FloatArray | float, elapsed: FloatArray | float) -> FloatArray:
    """What is still to come of a day that is expected to cost `whole`, of which a share has elapsed; shape as given.

    A day that is behind is expected to catch up.
    """
    rest = np.multiply(whole, 1 - np.asarray(elapsed))
    behind = np.less(so_far, np.multiply(whole, elapsed))
    found: FloatArray = np.where(behind, np.maximum(rest, np.subtract(whole, so_far)), rest)
    return found


def crossing(spent: float, days: FloatArray, budget: float) -> int | None:
    """Which of the days ahead (from 0) takes the sum over a budget; None if none does."""
    over: Sequence[int] = np.flatnonzero(spent + np.cumsum(days) > budget).tolist()
    return over[0] if over else None
