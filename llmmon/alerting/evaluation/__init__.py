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
from llmmon.alerting.lifecycle import step
from llmmon.alerting.rules import AlertRule, Burn, Change, Spend
from llmmon.metrics.columns import IntArray
from llmmon.text.times import MINUTE_US

__all__ = ["RULE_TYPES", "Histories", "RuleType", "evaluate_rule", "rule_type_of", "streams_of"]

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

    Minutes at which no condition is met and no alert is open are skipped, because a step would change nothing.
    """
    minutes = [int(end) for end in evaluations[0].ends] if evaluations else []
    eventful = _eventful(evaluations)
    rows = _Rows(evaluations, configuration)
    after = dict(state)
    found: list[Transition] = []
    busy = any(_is_active(alert) for alert in after.values())
    for at, minute in enumerate(minutes):
        if not busy and at not in eventful:
            continue
        observations = [evaluation.observation(row, at) for evaluation, row in eventful.get(at, ())]
        if busy:
            observations += rows.of_others(after, observations, at)
        after, happened = step(after, observations, minute * MINUTE_US, configuration=configuration, silences=silences)
        found += happened
        busy = any(_is_active(alert) for alert in after.values())
    return after, found


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
