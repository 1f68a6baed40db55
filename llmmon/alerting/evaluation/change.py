"""Change rules: a statistic over a window against the same statistic at an earlier time.

The earlier time is taken in whole hours, and its quantiles from values with seven significant bits (at most 0.8 %
off), so that looking back weeks is cheap.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.evaluation.rule_type import Histories, Notes, RuleType, window_history, window_streams
from llmmon.alerting.evaluation.windows import (
    RuleEvaluation,
    RunningSums,
    Windows,
    compared,
    least_count,
    rule_evaluation,
)
from llmmon.alerting.history import Stream, stream_of
from llmmon.alerting.rules import AlertRule, Change, group_text, number_text
from llmmon.metrics.aggregates import Aggregates, Run, Sums, Values, bin_values, pack, sorted_run
from llmmon.metrics.aggregation import evaluate
from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.metrics.definitions import MetricKind
from llmmon.text.times import MINUTE_US

HOUR: Final = 60
WEEK: Final = 7 * 24  # hours
LEAST_COVERED: Final = 24  # hours since the first call that a longer earlier time needs before it is compared with


class ChangeRuleType(RuleType):
    """`change = "+50%"` with `versus = "previous 7d"` or `"same hour last week"`."""

    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """The window by minute, the earlier time by hour."""
        change, window = _change(rule), rule.window_us // MINUTE_US
        earlier = change.earlier_us // MINUTE_US or WEEK * HOUR
        return {**window_streams(rule), _hours(rule): window + earlier + 2 * HOUR}

    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:
        """Compare the statistic at each minute with its earlier value times the factor."""
        change = _change(rule)
        windows = Windows(window_history(histories, rule), rule, ends)
        earlier, rested = _Earlier(histories[_hours(rule)], rule, windows).values()
        limit = earlier * change.factor
        value, count = windows.values(None if everywhere else rule, _easiest(rule, limit))
        least = least_count(rule, windows.statistic)
        judged = (count >= least) & (rested >= max(least, 1)) & (earlier > 0) & ~np.isnan(value)
        with np.errstate(invalid="ignore"):
            held = judged & compared(rule, value, limit)
        evaluation = rule_evaluation(windows, rule, value, count, held)
        return _with_notes(evaluation, limit, earlier)


def _change(rule: AlertRule) -> Change:
    assert isinstance(rule.basis, Change)  # noqa: S101 - given by RULE_TYPES
    return rule.basis


def _hours(rule: AlertRule) -> Stream:
    stream = stream_of(rule)
    return Stream(stream.metric, stream.by, stream.where, stream.values, HOUR * MINUTE_US)


def _easiest(rule: AlertRule, limit: FloatArray) -> FloatArray:
    """By group the threshold that is easiest to meet, of all minutes; shape (groups,)."""
    above = rule.condition in {"gt", "ge"}
    filled = np.where(np.isnan(limit), np.inf if above else -np.inf, limit)
    found: FloatArray = filled.min(axis=1, initial=np.inf) if above else filled.max(axis=1, initial=-np.inf)
    return found


def _with_notes(evaluation: RuleEvaluation, limit: FloatArray, earlier: FloatArray) -> RuleEvaluation:
    """The evaluation with the thresholds that applied, and a sentence where the condition holds."""
    rule, change = evaluation.rule, _change(evaluation.rule)
    what = f"{rule.aggregation} {rule.metric_name}".strip()

    def note(row: int, at: int) -> str:
        value, before = float(evaluation.value[row, at]), float(earlier[row, at])
        if np.isnan(value) or not before > 0:
            return ""  # no data
        whom = f" of {group_text(evaluation.groups[row])}" if evaluation.groups[row] else ""
        much = f"{value / before - 1:+.0%}".replace("%", " %")
        return f"{what}{whom} is {number_text(value)}, {much} against {change.versus} ({number_text(before)})"

    return msgspec.structs.replace(evaluation, threshold=limit, notes=Notes(evaluation.met, note))


class _Earlier:
    """The statistic at the earlier time of each window; arrays are of shape (groups, m)."""

    def __init__(self, hours: Aggregates, rule: AlertRule, windows: Windows) -> None:
        self._hours, self._rule = hours, rule
        self._statistic = windows.statistic
        self._width = max(1, rule.window_us // MINUTE_US)
        change, ends = _change(rule), windows.ends
        low, high = _stretches(change, ends, self._width)
        self._low, self._high, self._of = _distinct(low, high)
        self._keys = [tuple(name for _, name in group) for group in windows.groups]
        first, last = (int(self._low.min()), int(self._high.max())) if len(ends) else (0, 0)
        self._running = RunningSums(hours, self._statistic.metric.name, self._keys, first, last)
        self._first, self._last = first, last

    def values(self) -> tuple[FloatArray, IntArray]:
        """The statistic, NaN where there is none, and its number of calls."""
        count = self._running.counts(self._low, self._high)
        found = self._quantiles() if self._statistic.needs_values else self._summed(count)
        covered = self._high - self._running.begun(self._low, self._high)
        found = np.where(covered >= np.minimum(self._high - self._low, LEAST_COVERED), found, np.nan)
        return found[:, self._of], count[:, self._of]

    def _summed(self, count: IntArray) -> FloatArray:
        """The statistic from sums; sums and counts are scaled from the covered time to the length of the window."""
        name, how = self._statistic.metric.name, self._statistic.aggregation
        total = self._running.totals(self._low, self._high)
        flat = Aggregates(
            groups=tuple((i,) for i in range(count.size)), sums={name: Sums(count.ravel(), total.ravel())}
        )
        found = evaluate(flat, [self._statistic.name], 1.0)[self._statistic.name][:-1].reshape(count.shape)
        covered = (self._high - self._running.begun(self._low, self._high)) * float(HOUR)
        with np.errstate(invalid="ignore", divide="ignore"):
            if how in {"count", "sum"}:
                found = found * self._width / covered
            elif how == "rate" and self._statistic.metric.kind is not MetricKind.EVENT:
                found = found / covered
        blank: FloatArray = np.where(count > 0, found, np.nan)
        return blank

    def _quantiles(self) -> FloatArray:
        out = np.full((len(self._keys), len(self._low)), np.nan)
        values = self._hours.values.get(self._statistic.metric.name)
        if values is None or not len(values):
            return out
        run = bin_values(Values((sorted_run(values),))).runs[0]
        group, value, counts = run.groups(), run.values().view(np.int64), run.weights()
        hour = np.array([key[0] for key in self._hours.groups], np.int64)[group]
        places = {key: i for i, key in enumerate(self._keys)}
        row = np.array([places.get(key[1:], -1) for key in self._hours.groups], np.int64)[group]
        for number in range(len(self._keys)):
            mine = (row == number) & (hour >= self._first) & (hour < self._last)
            if mine.any():
                out[number] = self._of_bins(hour[mine], value[mine], counts[mine])
        return out

    def _of_bins(self, hour: IntArray, value: IntArray, counts: IntArray) -> FloatArray:
        """The quantile of each earlier time, from how often each value occurred in each hour; shape (times,)."""
        bins, place = np.unique(value, return_inverse=True)
        table = np.zeros((self._last - self._first + 1, len(bins)), np.int64)
        np.add.at(table, (hour - self._first + 1, place), counts)
        table = table.cumsum(axis=0)
        held = table[self._high - self._first] - table[self._low - self._first]
        stretch, which = np.nonzero(held)
        flat = Aggregates(
            groups=tuple((i,) for i in range(len(held))),
            values={
                self._statistic.metric.name: Values(
                    (Run(pack(stretch, bins[which]), held[stretch, which]),), exact=False
                )
            },
        )
        return evaluate(flat, [self._statistic.name], None)[self._statistic.name][:-1]


def _stretches(change: Change, ends: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """The hours [low, high) with which each window is compared."""
    begin = (ends - width) // HOUR
    if change.earlier_us:
        return begin - change.earlier_us // MINUTE_US // HOUR, begin
    return begin - WEEK, -(-ends // HOUR) - WEEK


def _distinct(low: IntArray, high: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The distinct earlier times, and the one of each window."""
    pairs, of = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    return pairs[0], pairs[1], of.ravel()
