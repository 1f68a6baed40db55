"""A statistic over a window against a fixed threshold."""

from __future__ import annotations

from llmmon.columns import IntArray
from llmmon.history import Stream
from llmmon.kinds.kind import Kind, Past
from llmmon.kinds.recent import recent_needs, recent_past
from llmmon.readings import Sight, look
from llmmon.rules import AlertRule


class LevelKind(Kind):
    """`metric`, `aggregation`, `condition`, `threshold`."""

    def needs(self, rule: AlertRule) -> dict[Stream, int]:
        """The metric as far as the window, and until a group is forgotten."""
        return recent_needs(rule)

    def sight(self, rule: AlertRule, past: Past, ends: IntArray, *, everywhere: bool) -> Sight:
        """The statistic at each minute."""
        return look(recent_past(past, rule), rule, ends, everywhere=everywhere)
