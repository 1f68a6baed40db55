"""The interface of rule types: which streams a rule reads, and its evaluation at each minute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np

from llmmon.alerting.evaluation.windows import FORGOTTEN_AFTER, MET, RuleEvaluation
from llmmon.alerting.history import Stream, stream_of
from llmmon.alerting.rules import AlertRule
from llmmon.metrics.aggregates import Aggregates, merge
from llmmon.metrics.columns import IntArray
from llmmon.text.times import MINUTE_US

Histories = Mapping[Stream, Aggregates]  # at least as far back as the rule needs


class Notes(Mapping[tuple[int, int], str]):
    """Sentences for the places where a condition is met, written on demand, because most are never read."""

    def __init__(self, met: IntArray, write: Callable[[int, int], str]) -> None:
        self._met, self._write = met, write

    def __getitem__(self, place: tuple[int, int]) -> str:
        if self._met[place] != MET:
            raise KeyError(place)
        return self._write(*place)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(*(places.tolist() for places in np.nonzero(self._met == MET)), strict=True)

    def __len__(self) -> int:
        return int((self._met == MET).sum())


class RuleType(ABC):
    """One type of rule, without any state."""

    @abstractmethod
    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """The streams that a rule reads, and how many minutes before the evaluated one it looks back in each."""

    @abstractmethod
    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:
        """Evaluate a rule at consecutive minutes.

        The result for a minute depends only on the calls before it, however much more history is given.
        """


def window_streams(rule: AlertRule) -> dict[Stream, int]:
    """The streams of a rule's window: values, which are many, for the window only, sums until a group is forgotten."""
    stream, window = stream_of(rule), rule.window_us // MINUTE_US
    if not stream.values:
        return {stream: max(window, FORGOTTEN_AFTER)}
    return {stream: window, _sums(stream): max(window, FORGOTTEN_AFTER)}


def window_history(histories: Histories, rule: AlertRule) -> Aggregates:
    """The streams of `window_streams` as one history."""
    stream = stream_of(rule)
    if not stream.values:
        return histories[stream]
    return merge([histories[_sums(stream)], msgspec.structs.replace(histories[stream], sums={})])


def _sums(stream: Stream) -> Stream:
    return msgspec.structs.replace(stream, values=False)
