"""Anomaly rules: incidents of the anomaly monitor as alerts."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.alerting.alert import GroupLabels
from llmmon.alerting.evaluation.rule_type import Histories, RuleType
from llmmon.alerting.evaluation.windows import CLEAR, LEARNING_MINUTES, MET, RuleEvaluation
from llmmon.alerting.history import MONITOR_STEP_US, Stream, stream_of
from llmmon.alerting.rules import AlertRule
from llmmon.anomaly.detectors import DetectorResults, detect
from llmmon.anomaly.detectors.detector import micros
from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.panel import panel_of
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.columns import IntArray
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import MINUTE_US

_MOST_GROUPS: Final = 50

_Key = tuple[str, GroupLabels]


def evaluate_anomalies(history: Aggregates, rule: AlertRule, ends: IntArray) -> RuleEvaluation:
    """Evaluate an anomaly rule at consecutive minutes: the incidents that are open in the last complete bucket."""
    panel = panel_of(history, Grouping(stream_of(rule).by, MONITOR_STEP_US), _MOST_GROUPS)
    if not len(panel):
        return _evaluation(rule, ends, {}, None)
    results = detect(panel, until_us=int(ends[-1]) * MINUTE_US)
    watched: dict[_Key, list[int]] = {}
    for j, column in enumerate(results.columns):
        if rule.metric_name in ("", column.metric) and results.alarm[:, j].any():
            watched.setdefault((column.metric, column.group), []).append(j)
    return _evaluation(rule, ends, watched, results)


def _evaluation(
    rule: AlertRule, ends: IntArray, watched: dict[_Key, list[int]], results: DetectorResults | None
) -> RuleEvaluation:
    shape = (len(watched), len(ends))
    met, value, limit = np.full(shape, CLEAR), np.full(shape, np.nan), np.full(shape, np.nan)
    notes: dict[tuple[int, int], str] = {}
    if results is not None:
        bucket = np.searchsorted(results.ends, ends * MINUTE_US, "right") - 1
        said = _sentences(results)
        for row, (key, columns) in enumerate(watched.items()):
            for j in columns:
                for at in np.flatnonzero((bucket >= 0) & results.alarm[bucket, j]).tolist():
                    i = int(bucket[at])
                    met[row, at], value[row, at] = MET, results.value[i, j]
                    above = results.value[i, j] > results.high[i, j]
                    limit[row, at] = (results.high if above else results.low)[i, j]
                    notes[row, at] = next(
                        (text for since, text in reversed(said.get(key, [])) if since <= int(results.ends[i])), ""
                    )
    groups = tuple((("metric", metric), *group) for metric, group in watched)
    return RuleEvaluation(
        rule, groups, ends, met, value, np.zeros(shape, np.int64), np.zeros(shape, np.bool_), limit, notes
    )


def _sentences(results: DetectorResults) -> dict[_Key, list[tuple[int, str]]]:
    """By metric and group the sentence of each incident, and when it became known."""
    found: dict[_Key, list[tuple[int, str]]] = {}
    for anomaly in anomalies(results):
        said = found.setdefault((anomaly.metric_name, anomaly.group), [])
        said.append((micros(anomaly.timestamp), anomaly.description))
    return found


class AnomalyRuleType(RuleType):
    """`anomaly = true`."""

    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """Everything that the monitor reads, over the time from which it learns."""
        return {stream_of(rule): LEARNING_MINUTES}

    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:  # noqa: ARG002
        """Find the incidents that are open at each minute."""
        return evaluate_anomalies(histories[stream_of(rule)], rule, ends)
