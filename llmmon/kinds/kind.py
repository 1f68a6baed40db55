"""The interface of the family: a rule and a history in, what the rule sees out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from llmmon.columns import IntArray
from llmmon.history import Stream
from llmmon.partials import Partials
from llmmon.readings import Sight
from llmmon.rules import AlertRule

Past = Mapping[Stream, Partials]  # at least as far back as the rule needs


class Kind(ABC):
    """One kind of rule; without a state of its own."""

    @abstractmethod
    def needs(self, rule: AlertRule) -> dict[Stream, int]:
        """The streams that a rule reads, and how many minutes before the judged one it looks back in each."""

    @abstractmethod
    def sight(self, rule: AlertRule, past: Past, ends: IntArray, *, everywhere: bool) -> Sight:
        """What a rule sees at consecutive minutes.

        What is seen at a minute follows from the calls before it alone, however much more of the past is given.
        """
