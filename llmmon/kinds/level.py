"""A statistic over a window against a fixed threshold."""

from __future__ import annotations

from llmmon.columns import IntArray
from llmmon.history import Stream, stream_of
from llmmon.kinds.kind import Kind, Past
from llmmon.readings import FORGOTTEN_AFTER, Sight, look
from llmmon.rules import MINUTE_US, AlertRule


class LevelKind(Kind):
    """`metric`, `aggregation`, `condition`, `threshold`."""

    def needs(self, rule: AlertRule) -> dict[Stream, int]:
        """The metric's stream, as far as the window, and until a group is forgotten."""
        return {stream_of(rule): max(rule.window_us // MINUTE_US, FORGOTTEN_AFTER)}

    def sight(self, rule: AlertRule, past: Past, ends: IntArray, *, everywhere: bool) -> Sight:
        """The statistic at each minute."""
        return look(past[stream_of(rule)], rule, ends, everywhere=everywhere)
