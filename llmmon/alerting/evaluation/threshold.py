"""A statistic over a window against a fixed threshold."""

from __future__ import annotations

from llmmon.alerting.evaluation.rule_type import Histories, RuleType, window_history, window_streams
from llmmon.alerting.evaluation.windows import RuleEvaluation, evaluate_threshold
from llmmon.alerting.history import Stream
from llmmon.alerting.rules import AlertRule
from llmmon.metrics.columns import IntArray


class ThresholdRuleType(RuleType):
    """`metric`, `aggregation`, `condition`, `threshold`."""

    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """The metric over the window, and until a group is forgotten."""
        return window_streams(rule)

    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:
        """Compare the statistic at each minute with the threshold."""
        return evaluate_threshold(window_history(histories, rule), rule, ends, everywhere=everywhere)
