"""A statistic over a window against a fixed threshold."""

from __future__ import annotations

from llmmon.alerting.evaluation.rule_type import Kind, Past, recent_needs, recent_past
from llmmon.alerting.evaluation.windows import RuleEvaluation, evaluate_threshold
from llmmon.alerting.history import Stream
from llmmon.alerting.rules import AlertRule
from llmmon.metrics.columns import IntArray


class LevelKind(Kind):
    """`metric`, `aggregation`, `condition`, `threshold`."""

    def needs(self, rule: AlertRule) -> dict[Stream, int]:
        """The metric as far as the window, and until a group is forgotten."""
        return recent_needs(rule)

    def evaluation(self, rule: AlertRule, past: Past, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:
        """The statistic at each minute."""
        return evaluate_threshold(recent_past(past, rule), rule, ends, everywhere=everywhere)
