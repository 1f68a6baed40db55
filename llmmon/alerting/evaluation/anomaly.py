"""Anomaly rules: incidents of the anomaly monitor as alerts, one alert for each incident."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from llmmon.alerting.alert import Ended, GroupLabels
from llmmon.alerting.evaluation.rule_type import Histories, RuleType
from llmmon.alerting.evaluation.windows import CLEAR, LEARNING_MINUTES, MET, RuleEvaluation
from llmmon.alerting.history import MONITOR_STEP_US, Stream, stream_of
from llmmon.alerting.rules import INCIDENT, AlertRule
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.columns import IntArray
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import MINUTE_US, to_us

if TYPE_CHECKING:
    from llmmon.anomaly.detectors.detector import Anomaly
    from llmmon.anomaly.incidents import Incident

_MOST_GROUPS: Final = 50


def evaluate_anomalies(history: Aggregates, rule: AlertRule, ends: IntArray) -> RuleEvaluation:
    """Evaluate an anomaly rule at consecutive minutes: each incident from when it was raised until it was surely over.

    The alert of an incident is that of its first series; those that join it change what it says, not whose it is.
    """
    from llmmon.anomaly.anomalies import anomalies
    from llmmon.anomaly.detectors import detect
    from llmmon.anomaly.incidents import Accepted, incidents, with_accepted
    from llmmon.anomaly.panel import panel_of
    from llmmon.anomaly.wording import topic

    panel = panel_of(history, Grouping(stream_of(rule).by, MONITOR_STEP_US), _MOST_GROUPS)
    found: list[Incident] = []
    if len(panel):
        results = detect(panel, until_us=int(ends[-1]) * MINUTE_US)
        every = incidents(anomalies(results), [results])
        baseline = Accepted(before_us=rule.accepted_before_us)
        found = [one for one in with_accepted(every, baseline, int(ends[-1]) * MINUTE_US) if _concerns(one, rule)]
    shape = (len(found), len(ends))
    met, value, limit = np.full(shape, CLEAR), np.full(shape, np.nan), np.full(shape, np.nan)
    minutes = ends * MINUTE_US
    for row, incident in enumerate(found):
        over = incident.resolved
        held = minutes >= _raised_us(incident, rule)
        met[row, held if over is None else held & (minutes < to_us(over))] = MET
        value[row], limit[row] = _figures(incident.lead)
    return RuleEvaluation(
        rule,
        tuple(_group(one) for one in found),
        ends,
        met,
        value,
        np.zeros(shape, np.int64),
        np.zeros(shape, np.bool_),
        limit,
        _Notes(met, found),
        tuple(topic(one.lead.metric_name, one.lead.group) for one in found),
        tuple(Ended.ACCEPTED if one.status == "accepted" else Ended.RECOVERED for one in found),
    )


def _concerns(incident: Incident, rule: AlertRule) -> bool:
    return not rule.metric_name or any(one.metric_name == rule.metric_name for one in incident.members)


def _raised_us(incident: Incident, rule: AlertRule) -> int:
    """When it was raised, or when the rule's metric joined it."""
    mine = [one.timestamp for one in incident.members if rule.metric_name in ("", one.metric_name)]
    return to_us(min(mine))


def _group(incident: Incident) -> GroupLabels:
    """The labels of an incident's alert, which stay as they are however it goes on."""
    from llmmon.anomaly.incidents import incident_id

    first = next(one for one in incident.members if incident_id(one) == incident.id)
    return (("metric", first.metric_name), *first.group, (INCIDENT, incident.id))


def _figures(lead: Anomaly) -> tuple[float, float]:
    """The value that stands out most, and the end of the expected range that it is beyond."""
    low, high = lead.expected_range
    return lead.value, high if lead.value > high or np.isnan(low) else low


class _Notes(Mapping[tuple[int, int], str]):
    """What each incident is while it lasts, and how it ended afterwards; written on demand."""

    def __init__(self, met: IntArray, found: Sequence[Incident]) -> None:
        self._met, self._found = met, found

    def __getitem__(self, place: tuple[int, int]) -> str:
        row, _ = place
        one = self._found[row]
        if self._met[place] != MET:
            return "accepted as the baseline" if one.status == "accepted" else "back to its usual level"
        from llmmon.anomaly.wording import sentence

        lead, end = one.lead, None if one.end is None else to_us(one.end)
        when = (to_us(one.start), end, one.status == "new level")
        return sentence(lead.metric_name, lead.group, one.change, when)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((row, at) for row in range(self._met.shape[0]) for at in range(self._met.shape[1]))

    def __len__(self) -> int:
        return int(self._met.size)


class AnomalyRuleType(RuleType):
    """`anomaly = true`."""

    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """Everything that the monitor reads, over the time from which it learns."""
        return {stream_of(rule): LEARNING_MINUTES}

    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:  # noqa: ARG002
        """Find the incidents that are open at each minute."""
        return evaluate_anomalies(histories[stream_of(rule)], rule, ends)
