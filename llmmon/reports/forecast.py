"""`cost --forecast month`: what the current period will come to, by group, and how far that has been off before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import InputError
from llmmon.metrics.columns import FloatArray
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import NANO_DOLLARS
from llmmon.pricing.audit import FIGURES, CostPlan, CostTally
from llmmon.pricing.forecast import COVERAGE, LEAST_DAYS, crossing, outlook, rest_of_today
from llmmon.text.times import DAY_US


class ForecastRow(msgspec.Struct, frozen=True):
    """A group (or all) in the period, in US dollars: what is spent, and what the whole period is expected to come to.

    `low_usd` to `high_usd` holds it with a chance of `coverage`; None with less than two weeks of history.
    """

    key: Mapping[str, str | None]
    spent_usd: float
    expected_usd: float
    low_usd: float | None
    high_usd: float | None


class EarlierPeriod(msgspec.Struct, frozen=True):
    """What the same method would have said at the same point of an earlier period, and what it came to."""

    start_us: int
    expected_usd: float
    pace_usd: float  # what was spent until then, carried on evenly
    actual_usd: float
    error: float  # of the expected cost, relative
    pace_error: float


class Forecast(msgspec.Struct, frozen=True):
    """The period, its forecast in all and by group, and its errors in the past.

    `error` is the median relative error over `origins` earlier days of this log of the same forecast for as many days
    ahead, None where there are too few. `budget_crossed_us` is the day on which the budget is expected to be exceeded.
    """

    start_us: int
    end_us: int
    now_us: int
    days_of_history: int
    total: ForecastRow
    groups: tuple[ForecastRow, ...]
    coverage: float
    error: float | None
    origins: int
    earlier: tuple[EarlierPeriod, ...]
    budget_usd: float | None
    budget_crossed_us: int | None


_MOST_EARLIER: Final = 6


class _Days(msgspec.Struct, frozen=True, eq=False):
    """The days of the log in the reader's zone: the first one's number, whole days before today, and today so far."""

    grouping: Grouping
    first: int
    today: int
    elapsed: float  # of today

    def split(self, costs: Mapping[int, int]) -> tuple[FloatArray, float]:
        """Whole days and today so far of a series, in nano-dollars."""
        whole = np.array([costs.get(day, 0) for day in range(self.first, self.today)], np.float64)
        return whole, float(costs.get(self.today, 0))


def forecast_of(
    tallied: CostTally, plan: CostPlan, width_us: int, now_us: int | None, budget_usd: float | None = None
) -> Forecast:
    """The forecast for the period of `width_us` that holds `now_us`; the tally's periods are days.

    Raises `InputError` where no call has a time.
    """
    if now_us is None or not tallied.periods:
        raise InputError("no call has a time, so that there is nothing to forecast")
    grouping, periods = Grouping((), DAY_US, plan.tz), Grouping((), width_us, plan.tz)
    moment = max(0, now_us - 1)
    (today,), (number,) = (each.numbers(np.array([moment])).tolist() for each in (grouping, periods))
    begun = grouping.bucket_start(today)
    elapsed = (now_us - begun) / (grouping.bucket_start(today + 1) - begun)
    days = _Days(grouping, min(group[0] for group in tallied.periods), today, min(1.0, elapsed))
    start, end = periods.bucket_start(number), periods.bucket_start(number + 1)
    opening, closing = grouping.numbers(np.array([start, end - 1])).tolist()
    by_group = _daily(tallied)
    everything = _added(by_group.values())
    total, ahead, found_error, origins = _row({}, everything, days, opening, closing)
    groups = [_row(dict(zip(plan.by, g, strict=True)), c, days, opening, closing)[0] for g, c in by_group.items()]
    crossed = None
    if budget_usd is not None:
        place = crossing(total.spent_usd, ahead / NANO_DOLLARS, budget_usd)
        crossed = None if place is None else grouping.bucket_start(today + place)
        crossed = _day_when_spent(everything, days, opening, budget_usd) or crossed
    return Forecast(
        start_us=start,
        end_us=end,
        now_us=now_us,
        days_of_history=today - days.first,
        total=total,
        groups=tuple(sorted(groups, key=lambda row: -row.expected_usd)),
        coverage=COVERAGE,
        error=found_error,
        origins=origins,
        earlier=tuple(_earlier(everything, days, periods, number, today - opening)),
        budget_usd=budget_usd,
        budget_crossed_us=crossed,
    )


def _daily(tallied: CostTally) -> dict[tuple[str | None, ...], dict[int, int]]:
    """Each group's cost by number of the day, in nano-dollars."""
    logged, calculated = FIGURES.index("logged"), FIGURES.index("calculated")
    found: dict[tuple[str | None, ...], dict[int, int]] = {}
    for (day, *group), sums in tallied.periods.items():
        found.setdefault(tuple(group), {})[day] = sums[logged] + sums[calculated]
    return found


def _added(series: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for each in series:
        for day, cost in each.items():
            total[day] = total.get(day, 0) + cost
    return total


def _weekday(grouping: Grouping, day: int) -> int:
    noon = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=grouping.bucket_start(day) + DAY_US // 2)
    return noon.weekday()


def _row(
    key: Mapping[str, str | None], costs: Mapping[int, int], days: _Days, opening: int, closing: int
) -> tuple[ForecastRow, FloatArray, float | None, int]:
    """A forecast, with the days ahead (the rest of today first) in nano-dollars, its past error and its origins."""
    whole, so_far = days.split(costs)
    spent = float(sum(cost for day, cost in costs.items() if opening <= day <= days.today))
    found = outlook(whole, _weekday(days.grouping, days.first), closing - days.today + 1)
    ahead = found.days.copy()
    ahead[0] = rest_of_today(ahead[0], so_far, days.elapsed)
    expected = spent + float(ahead.sum())
    share = float(ahead.sum()) / found.total if found.total else 0.0
    known = found.low == found.low
    low, high = (spent + found.low * share, spent + found.high * share) if known else (None, None)
    row = ForecastRow(key, _usd(spent), _usd(expected), _maybe(low), _maybe(high))
    return row, ahead, found.error if known else None, found.origins


def _usd(nano: float) -> float:
    return nano / NANO_DOLLARS


def _maybe(nano: float | None) -> float | None:
    return None if nano is None else _usd(nano)


def _day_when_spent(costs: Mapping[int, int], days: _Days, opening: int, budget_usd: float) -> int | None:
    """The day on which a budget was exceeded already."""
    spent = 0.0
    for day in range(opening, days.today + 1):
        spent += costs.get(day, 0)
        if _usd(spent) > budget_usd:
            return days.grouping.bucket_start(day)
    return None


def _earlier(costs: Mapping[int, int], days: _Days, periods: Grouping, number: int, done: int) -> list[EarlierPeriod]:
    """The same forecast in earlier whole periods, after as many whole days as now (at least one), the latest first."""
    rows = []
    for back in range(1, _MOST_EARLIER + 1):
        start, end = periods.bucket_start(number - back), periods.bucket_start(number - back + 1)
        opening, closing = days.grouping.numbers(np.array([start, end - 1])).tolist()
        at = min(opening + max(1, done), closing)
        if at - days.first < LEAST_DAYS or days.first > opening:
            break
        history = np.array([costs.get(day, 0) for day in range(days.first, at)], np.float64)
        spent = float(sum(costs.get(day, 0) for day in range(opening, at)))
        expected = spent + outlook(history, _weekday(days.grouping, days.first), closing - at + 1).total
        pace = spent / (at - opening) * (closing - opening + 1)
        actual = float(sum(costs.get(day, 0) for day in range(opening, closing + 1)))
        if actual > 0:
            errors = abs(expected / actual - 1), abs(pace / actual - 1)
            rows.append(EarlierPeriod(start, _usd(expected), _usd(pace), _usd(actual), *errors))
    return rows
