"""Evaluation of rules at every minute: one file a rule type, and the run of the alert lifecycle over the minutes.

`check`, backtests, rule tests and the service use `evaluate_rule` and `evaluate_minutes`. A new rule type is one file
and one row of RULE_TYPES.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from llmmon.alerting.alert import Alert, Alerts, Ended, Observation, Suppression, Transition, alert_id
from llmmon.alerting.evaluation.anomaly import AnomalyRuleType
from llmmon.alerting.evaluation.burn import BurnRuleType
from llmmon.alerting.evaluation.change import ChangeRuleType
from llmmon.alerting.evaluation.rule_type import Histories, RuleType
from llmmon.alerting.evaluation.spend import SPEND
from llmmon.alerting.evaluation.threshold import ThresholdRuleType
from llmmon.alerting.evaluation.windows import CLEAR, RuleEvaluation
from llmmon.alerting.history import Stream
from llmmon.alerting.lifecycle import NEVER_US, next_change_us, step
from llmmon.alerting.rules import AlertRule, Burn, Change, Spend
from llmmon.metrics.columns import BoolArray, IntArray
from llmmon.text.times import MINUTE_US

__all__ = ["RULE_TYPES", "Histories", "RuleType", "evaluate_rule", "rule_type_of", "streams_of"]

_CELLS: Final = 1_000_000  # compared at once
RULE_TYPES: Final[dict[type[Change | Burn | Spend] | str, RuleType]] = {
    "anomaly": AnomalyRuleType(),
    "threshold": ThresholdRuleType(),
    Change: ChangeRuleType(),
    Burn: BurnRuleType(),
    Spend: SPEND,
}


def rule_type_of(rule: AlertRule) -> RuleType:
    """The type of a rule."""
    if rule.basis is not None:
        return RULE_TYPES[type(rule.basis)]
    return RULE_TYPES["anomaly" if rule.anomaly else "threshold"]


def streams_of(rules: Iterable[AlertRule]) -> dict[Stream, int]:
    """The streams that rules read, and how many minutes before the evaluated one any of them looks back."""
    found: dict[Stream, int] = {}
    for rule in rules:
        for stream, minutes in rule_type_of(rule).streams(rule).items():
            found[stream] = max(found.get(stream, 0), minutes)
    return found


def evaluate_rule(rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool = False) -> RuleEvaluation:
    """Evaluate a rule at consecutive minutes; values are made `everywhere`, or only where they decide something."""
    return rule_type_of(rule).evaluate(rule, histories, ends, everywhere=everywhere)


def evaluate_minutes(
    state: Alerts,
    evaluations: Sequence[RuleEvaluation],
    *,
    configuration: str = "",
    silences: Sequence[Suppression] = (),
) -> tuple[dict[str, Alert], list[Transition]]:
    """Step alerts through all minutes of evaluations, which cover the same ones; returns alerts and transitions.

    Minutes at which a step would change nothing are skipped: no condition is met and no alert is open, or all is as at
    the minutes before and after it and no alert is due for anything yet.
    """
    minutes = [int(end) for end in evaluations[0].ends] if evaluations else []
    eventful = _eventful(evaluations)
    alone = not silences and not any(evaluation.rule.inhibits for evaluation in evaluations)
    steady = _steady(evaluations) if alone else np.zeros(len(minutes), np.bool_)
    rows = _Rows(evaluations, configuration)
    after = dict(state)
    found: list[Transition] = []
    busy = any(_is_active(alert) for alert in after.values())
    due_us = 0
    for at, minute in enumerate(minutes):
        now_us = minute * MINUTE_US
        if (not busy and at not in eventful) or (steady[at] and now_us < due_us):
            continue
        observations = [evaluation.observation(row, at) for evaluation, row in eventful.get(at, ())]
        if busy:
            observations += rows.of_others(after, observations, at)
        after, happened = step(after, observations, now_us, configuration=configuration, silences=silences)
        found += happened
        busy = any(_is_active(alert) for alert in after.values())
        due_us = 0 if happened or not steady[at] else _due(after, observations, now_us, configuration)
    return after, found


def _steady(evaluations: Sequence[RuleEvaluation]) -> BoolArray:
    """The minutes at which every evaluation is as at the one before and at the one after."""
    width = len(evaluations[0].ends) if evaluations else 0
    same = np.ones(width + 1, np.bool_)  # between a minute and the one before
    same[[0, width]] = False
    for one in evaluations if width > 2 else ():
        for values in (one.met, one.value, one.count, one.gone, *(() if one.threshold is None else (one.threshold,))):
            rows = max(1, _CELLS // width)
            for block in (values[start : start + rows] for start in range(0, len(values), rows)):
                new, old = block[:, 1:], block[:, :-1]
                same[1:width] &= ((new == old) | ((new != new) & (old != old))).all(axis=0)
        noted = np.array([at for _, at in one.notes], np.int64)
        same[noted] = same[noted + 1] = False
    steady: BoolArray = same[:-1] & same[1:]
    return steady


def _due(alerts: Alerts, observations: Sequence[Observation], now_us: int, configuration: str) -> int:
    """The earliest time at which an alert changes though nothing that is observed does."""
    names = ((alert_id(configuration, one.rule.name, one.group), one) for one in observations)
    found = [next_change_us(alerts[name], one, now_us) for name, one in names if name in alerts]
    return min(found, default=NEVER_US)


def _is_active(alert: Alert) -> bool:
    return not alert.resolved or alert.held


def _eventful(evaluations: Sequence[RuleEvaluation]) -> dict[int, list[tuple[RuleEvaluation, int]]]:
    """By minute the evaluations and rows whose condition is met or kept."""
    found: dict[int, list[tuple[RuleEvaluation, int]]] = {}
    for evaluation in evaluations:
        for row, at in zip(*(places.tolist() for places in np.nonzero(evaluation.met != CLEAR)), strict=True):
            found.setdefault(at, []).append((evaluation, row))
    return found


class _Rows:
    """Finds the row of an alert's group in the evaluations."""

    def __init__(self, evaluations: Sequence[RuleEvaluation], configuration: str) -> None:
        self._evaluations = {evaluation.rule.name: evaluation for evaluation in evaluations}
        self._places = {
            alert_id(configuration, evaluation.rule.name, group): (evaluation, row)
            for evaluation in evaluations
            for row, group in enumerate(evaluation.groups)
        }
        self._configuration = configuration

    def of_others(self, alerts: Alerts, read: Sequence[Observation], at: int) -> list[Observation]:
        """Observations of the active alerts that are not among those already made."""
        done = {alert_id(self._configuration, one.rule.name, one.group) for one in read}
        return [
            self._observation(name, alert, at)
            for name, alert in alerts.items()
            if _is_active(alert) and name not in done and alert.rule in self._evaluations
        ]

    def _observation(self, name: str, alert: Alert, at: int) -> Observation:
        if name in self._places:
            evaluation, row = self._places[name]
            return evaluation.observation(row, at)
        rule = self._evaluations[alert.rule].rule
        if rule.anomaly:
            note = "longer ago than the history that is learned from, so its level is the baseline now"
            return Observation(rule, alert.group, met=False, note=note, ended=Ended.ACCEPTED)
        note = "no calls of this group any more"
        return Observation(rule, alert.group, met=False, note=note, ended=Ended.GROUP_GONE)
