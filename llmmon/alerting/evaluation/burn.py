"""Burn-rate rules: how fast an error budget is used up, over a long and a short window at once.

Multi-window, multi-burn-rate alerts as in the Site Reliability Workbook (Google, 2018), chapter 5.
"""

from __future__ import annotations

import numpy as np

from llmmon.alerting.alert import GroupLabels
from llmmon.alerting.evaluation.rule_type import Histories, Notes, RuleType
from llmmon.alerting.evaluation.windows import (
    CLEAR,
    FORGOTTEN_AFTER,
    MET,
    RuleEvaluation,
    RunningSums,
    keys_in,
    labels_of,
)
from llmmon.alerting.history import Stream
from llmmon.alerting.rules import AlertRule, Burn, BurnWindows, group_text, number_text
from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.text.times import MINUTE_US, duration_text

CALLS = "requests"


def good_and_all(where: str, good: str, by: tuple[str, ...], step_us: int = MINUTE_US) -> tuple[Stream, Stream]:
    """The streams of the good calls and of all calls."""
    both = f"({where}) and ({good})" if where else good
    return Stream(CALLS, by, both, step_us=step_us), Stream(CALLS, by, where, step_us=step_us)


def allowed(objective: float) -> float:
    """The share of calls that may fail: 0.001 for an objective of 0.999."""
    return round(1.0 - objective, 12)


class BurnRuleType(RuleType):
    """The rules of `[[slos]]`."""

    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """The good calls and all calls, over the longest window."""
        burn = _burn(rule)
        reach = max(FORGOTTEN_AFTER, *(pair.long for pair in burn.pairs))
        return dict.fromkeys(good_and_all(rule.where, burn.good, rule.by), reach)

    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:  # noqa: ARG002
        """Compute the burn rate over the long window of the pair that is exceeded most, or closest to it."""
        burn = _burn(rule)
        good, every = (histories[stream] for stream in good_and_all(rule.where, burn.good, rule.by))
        keys = keys_in(rule.by, every)
        groups = labels_of(rule.by, keys)
        reach = max(FORGOTTEN_AFTER, *(pair.long for pair in burn.pairs))
        bounds = (int(ends[0]) - reach, int(ends[-1])) if len(ends) else (0, 0)
        sums = RunningSums(good, CALLS, keys, *bounds), RunningSums(every, CALLS, keys, *bounds)
        shape = (len(keys), len(ends))
        met, value, limit = np.full(shape, CLEAR), np.full(shape, np.nan), np.full(shape, burn.pairs[0].factor)
        most, short = np.full(shape, -np.inf), np.full(shape, np.nan)
        count, bad, which = (np.zeros(shape, np.int64) for _ in range(3))
        for number, pair in enumerate(burn.pairs):
            failed, calls, rate = _window(sums, ends, pair.long, burn)
            _, _, soon = _window(sums, ends, pair.short, burn)
            with np.errstate(invalid="ignore"):
                held = (rate > pair.factor) & (soon > pair.factor)
                held &= (calls >= max(1, rule.min_count or 0)) & (failed >= burn.min_failures)
                pressing = np.where(np.isnan(rate), -1.0, rate / pair.factor) + np.where(held, 1e9, 0.0)
            better = pressing > most
            most = np.where(better, pressing, most)
            met = np.where(held, MET, met)
            for target, source in ((value, rate), (count, calls), (bad, failed), (short, soon)):
                np.copyto(target, source, where=better)
            np.copyto(limit, pair.factor, where=better)
            np.copyto(which, number, where=better)
        gone = sums[1].counts(ends - reach, ends) == 0
        seen = (value, short, count, bad)
        notes = Notes(met, lambda row, at: _note(rule, groups[row], burn.pairs[which[row, at]], seen, (row, at)))
        return RuleEvaluation(rule, groups, ends, met, value, count, gone, limit, notes)


def _burn(rule: AlertRule) -> Burn:
    assert isinstance(rule.basis, Burn)  # noqa: S101 - given by RULE_TYPES
    return rule.basis


def _window(
    sums: tuple[RunningSums, RunningSums], ends: IntArray, width: int, burn: Burn
) -> tuple[IntArray, IntArray, FloatArray]:
    """Failed calls, all calls, and the burn rate (NaN without calls) of the windows that end there."""
    good, every = (running.counts(ends - width, ends) for running in sums)
    failed = every - good
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(every > 0, failed / every / allowed(burn.objective), np.nan)
    return failed, every, rate


def _note(
    rule: AlertRule,
    group: GroupLabels,
    pair: BurnWindows,
    seen: tuple[FloatArray, FloatArray, IntArray, IntArray],
    place: tuple[int, int],
) -> str:
    rate, soon, calls, failed = (array[place] for array in seen)
    whom = f" of {group_text(group)}" if group else ""
    long, short = (duration_text(minutes * MINUTE_US) for minutes in (pair.long, pair.short))
    return (
        f"the error budget{whom} burns {number_text(float(rate))} times as fast as it may over {long} "
        f"and {number_text(float(soon))} times over {short}: {failed:,} of {calls:,} calls are not {_burn(rule).good}"
    )
