"""Budget rules: the spend of the current day, week or month, or of any 24 hours, against an amount."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from llmmon.alerting.alert import GroupLabels
from llmmon.alerting.evaluation.rule_type import Histories, Notes, RuleType
from llmmon.alerting.evaluation.windows import CLEAR, MET, RuleEvaluation, RunningSums, keys_in, labels_of
from llmmon.alerting.history import Stream
from llmmon.alerting.rules import AlertRule, Spend, group_text
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.metrics.definitions import METRICS
from llmmon.metrics.grouping import Grouping
from llmmon.pricing.forecast import LEAST_DAYS, expected, rest_of_today
from llmmon.text.figures import money_text
from llmmon.text.times import DAY_US, MINUTE_US, duration_us, local, zone

QUARTER: Final = 15  # minutes; midnights of every time zone fall on quarters of an hour
PERIODS: Final = {"day": 1, "week": 7, "month": 31}  # days at most
LEAST_ELAPSED: Final = 0.2  # of a period, before its pace is projected where there is no history
HISTORY_DAYS: Final = 56  # before a period, from which it is projected
_HOUR, _DAY = 60, 1440  # minutes
_COST: Final = "cost_usd"


class SpendRuleType(RuleType):
    """The rules of `[[budgets]]`."""

    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """Costs by minute for the current quarter of an hour, by quarters of an hour for the rest of the period.

        A projection also takes those by the hour of the weeks before.
        """
        if (rolling := rolling_minutes(_spend(rule).period)) is not None:
            return {Stream(_COST, rule.by, rule.where): rolling}
        quarters = Stream(_COST, rule.by, rule.where, step_us=QUARTER * MINUTE_US)
        days = PERIODS[_spend(rule).period] + 1
        found = {Stream(_COST, rule.by, rule.where): 2 * QUARTER, quarters: days * _DAY}
        if _spend(rule).share is None:
            found[Stream(_COST, rule.by, rule.where, step_us=_HOUR * MINUTE_US)] = (days + HISTORY_DAYS) * _DAY
        return found

    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:  # noqa: ARG002
        """Compute the spend since the period began; a period's last minute still belongs to it."""
        spend = _spend(rule)
        if rolling_minutes(spend.period) is not None:
            return _evaluate_rolling(rule, spend, histories, ends)
        minutes, quarters, *hours = (histories[stream] for stream in self.streams(rule))
        keys = keys_in(rule.by, quarters, minutes)
        groups = labels_of(rule.by, keys)
        starts = period_starts(spend, int(ends[0]) - 1, int(ends[-1])) if len(ends) else np.zeros(2, np.int64)
        place = np.searchsorted(starts, ends - 1, "right") - 1
        begin, until, turn = starts[place], starts[place + 1], ends // QUARTER
        by_quarter = RunningSums(quarters, _COST, keys, int(starts[0]) // QUARTER, int(ends[-1]) // QUARTER)
        spent, count = (
            by_quarter.totals(begin // QUARTER, turn) / METRICS[_COST].scale,
            by_quarter.counts(begin // QUARTER, turn),
        )
        if spend.share is None:
            limit = spend.amount_usd
            value = _pace(spent, turn * QUARTER - begin, until - begin)
            if len(ends):
                past = _Past(hours[0], keys, spend.tz, int(begin[0]), int(until[-1]))
                value = past.projected(value, spent, turn * QUARTER, begin, until, limit)
        else:
            by_minute = RunningSums(minutes, _COST, keys, int(ends[0]) - QUARTER, int(ends[-1]))
            rest = np.maximum(turn * QUARTER, begin)
            value = spent + by_minute.totals(rest, ends) / METRICS[_COST].scale
            count = count + by_minute.counts(rest, ends)
            limit = round(spend.amount_usd * spend.share, 9)  # as exact as the costs are
        with np.errstate(invalid="ignore"):
            met = np.where(value > limit if spend.share is None else value >= limit, MET, CLEAR)
        notes = Notes(met, lambda row, at: _note(spend, groups[row], float(value[row, at]), int(begin[at])))
        gone = np.zeros(met.shape, np.bool_)
        return RuleEvaluation(rule, groups, ends, met, value, count, gone, np.full(met.shape, limit), notes)


def _spend(rule: AlertRule) -> Spend:
    assert isinstance(rule.basis, Spend)  # noqa: S101 - given by RULE_TYPES
    return rule.basis


def _pace(spent: FloatArray, elapsed: IntArray, length: IntArray) -> FloatArray:
    """The projected cost of the whole period at its pace so far; NaN while too little of it has passed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: FloatArray = np.where(elapsed >= LEAST_ELAPSED * length, spent * length / elapsed, np.nan)
    return found


_MOST_GROWTH: Final = 1.5


class _Past:
    """The daily costs of each group before and in the periods that are evaluated, in US dollars, in the time zone."""

    def __init__(
        self, part: Aggregates, keys: Sequence[tuple[str | None, ...]], tz: str, begin: int, until: int
    ) -> None:
        self._grouping = Grouping((), DAY_US, tz)
        first, last = self._numbers(np.array([begin - HISTORY_DAYS * _DAY, until])).tolist()
        starts = [self._grouping.bucket_start(number) // MINUTE_US for number in range(first, last + 2)]
        self._first, self._starts = first, np.array(starts, np.int64)
        places = {key: row for row, key in enumerate(keys)}
        minutes = np.array([group[0] for group in part.groups], np.int64) * _HOUR
        rows = np.array([places.get(group[1:], -1) for group in part.groups], np.int64)
        days = np.searchsorted(self._starts, minutes, "right") - 1
        self._daily = np.zeros((len(keys), len(starts)))
        sums = part.sums.get(_COST)
        if sums is not None:
            inside = (rows >= 0) & (days >= 0)
            np.add.at(self._daily, (rows[inside], days[inside]), sums.total[inside] / METRICS[_COST].scale)
        known = np.flatnonzero(self._daily.any(axis=0))
        self._begun = int(known[0]) if len(known) else len(starts)

    def _numbers(self, minutes: IntArray) -> IntArray:
        return self._grouping.numbers(minutes * MINUTE_US)

    def projected(
        self, pace: FloatArray, spent: FloatArray, turn: IntArray, begin: IntArray, until: IntArray, limit: float
    ) -> FloatArray:
        """The cost of the whole period as `cost --forecast` says it, else by its pace; shape (groups, minutes).

        The pace stands where there are less than two weeks of history. A group that would not exceed the limit if every
        day cost half as much again as its most expensive one is not forecast.
        """
        value = pace.copy()
        moments = np.maximum(turn - 1, begin)
        todays = self._numbers(moments) - self._first
        for today in np.unique(todays).tolist():
            at = np.flatnonzero(todays == today)
            size = today - self._begun
            if size < LEAST_DAYS:
                continue
            opening, closing = self._numbers(np.array([begin[at[0]], until[at[0]] - 1])) - self._first
            ahead = int(closing) - today + 1
            history = self._daily[:, self._begun : today]
            before = self._daily[:, int(opening) : today].sum(axis=1)
            elapsed = (turn[at] - self._starts[today]) / (self._starts[today + 1] - self._starts[today])
            weekday = (int(self._begun) + self._first) % 7  # days are numbered from a Monday on
            for row in range(len(value)):
                mine = spent[row, at]
                if mine.max() + _MOST_GROWTH * ahead * history[row].max() <= limit:
                    value[row, at] = np.fmin(pace[row, at], limit)
                    continue
                days = expected(history[row], weekday, ahead)
                so_far = np.maximum(mine - before[row], 0.0)
                value[row, at] = mine + rest_of_today(days[0], so_far, elapsed.clip(0, 1)) + days[1:].sum()
        return value


def rolling_minutes(period: str) -> int | None:
    """The minutes of a period that ends now, such as 24h; None for periods of the calendar."""
    return None if period in PERIODS else duration_us(period) // MINUTE_US


def _evaluate_rolling(rule: AlertRule, spend: Spend, histories: Histories, ends: IntArray) -> RuleEvaluation:
    """Compute the spend of the last hours or days at each minute."""
    (stream,) = SPEND.streams(rule)
    width, minutes = rolling_minutes(spend.period) or 0, histories[stream]
    keys = keys_in(rule.by, minutes)
    groups = labels_of(rule.by, keys)
    first, last = (int(ends[0]) - width, int(ends[-1])) if len(ends) else (0, 0)
    sums = RunningSums(minutes, _COST, keys, first, last)
    value = sums.totals(ends - width, ends) / METRICS[_COST].scale
    limit = round(spend.amount_usd * (1.0 if spend.share is None else spend.share), 9)
    met = np.where(value >= limit, MET, CLEAR)

    def note(row: int, at: int) -> str:
        whom = f" of {group_text(groups[row])}" if groups[row] else ""
        spent = float(value[row, at])
        share = f"{spent / spend.amount_usd:.0%}".replace("%", " %")
        amount = f"the {money_text(spend.amount_usd)} for any {spend.period}"
        return f"the spend{whom} is {money_text(spent)}, {share} of {amount}"

    gone = np.zeros(met.shape, np.bool_)
    count = sums.counts(ends - width, ends)
    return RuleEvaluation(rule, groups, ends, met, value, count, gone, np.full(met.shape, limit), Notes(met, note))


def _note(spend: Spend, group: GroupLabels, value: float, begin: int) -> str:
    whom = f" of {group_text(group)}" if group else ""
    since = local(begin * MINUTE_US, spend.tz)[:10]
    amount = f"{money_text(spend.amount_usd)} for the {spend.period} from {since}"
    if spend.share is None:
        return f"the spend{whom} is expected to come to {money_text(value)}, more than the {amount}"
    return f"the spend{whom} is {money_text(value)}, {value / spend.amount_usd:.0%} of the {amount}".replace("%", " %")


def period_starts(spend: Spend, first: int, last: int) -> IntArray:
    """The minutes at which periods begin, from the period of minute `first` to the one after that of `last`."""
    if spend.period == "month":
        return _months(spend.tz, first, last)
    grouping = Grouping((), PERIODS[spend.period] * DAY_US, spend.tz)
    numbers = grouping.numbers(np.array([first, last]) * MINUTE_US).tolist()
    starts = [grouping.bucket_start(number) // MINUTE_US for number in range(numbers[0], numbers[1] + 2)]
    return np.array(starts, np.int64)


def _months(tz: str, first: int, last: int) -> IntArray:
    found: list[int] = []
    when = datetime.fromtimestamp(first * 60, UTC).astimezone(zone(tz))
    year, month = when.year, when.month
    while not found or found[-1] <= last:
        start = datetime(year, month, 1, tzinfo=zone(tz))
        found.append(int(start.timestamp()) // 60)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return np.array(found, np.int64)


SPEND: Final = SpendRuleType()
