"""Incidents of the anomaly monitor."""

from __future__ import annotations

from llmmon.columns import IntArray
from llmmon.history import Stream, stream_of
from llmmon.kinds.kind import Kind, Past
from llmmon.readings import LEARNT, Sight
from llmmon.rules import AlertRule


class AnomalyKind(Kind):
    """`anomaly = true`."""

    def needs(self, rule: AlertRule) -> dict[Stream, int]:
        """All that the monitor reads, as far back as it learns from."""
        return {stream_of(rule): LEARNT}

    def sight(self, rule: AlertRule, past: Past, ends: IntArray, *, everywhere: bool) -> Sight:  # noqa: ARG002
        """The incidents that are open at each minute."""
        from llmmon.vigilance import watch  # the detectors take a while to load

        return watch(past[stream_of(rule)], rule, ends)
