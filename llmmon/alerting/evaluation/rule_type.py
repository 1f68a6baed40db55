"""Running sums of a stream by group: any stretch of it added up by one subtraction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from llmmon.alerting.evaluation.windows import FORGOTTEN_AFTER, MET, RuleEvaluation
from llmmon.alerting.history import Key, Stream, stream_of
from llmmon.alerting.rules import MINUTE_US, AlertRule
from llmmon.metrics.aggregates import Partials, merge
from llmmon.metrics.columns import IntArray

Histories = Mapping[Stream, Partials]  # at least as far back as the rule needs


class Notes(Mapping[tuple[int, int], str]):
    """The sentences of where a condition is met, written when they are asked for: most never are."""

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
    """One type of rule; without a state of its own."""

    @abstractmethod
    def streams(self, rule: AlertRule) -> dict[Stream, int]:
        """The streams that a rule reads, and how many minutes before the judged one it looks back in each."""

    @abstractmethod
    def evaluate(self, rule: AlertRule, histories: Histories, ends: IntArray, *, everywhere: bool) -> RuleEvaluation:
        """What a rule sees at consecutive minutes.

        What is seen at a minute follows from the calls before it alone, however much more of the past is given.
        """


def window_streams(rule: AlertRule) -> dict[Stream, int]:
    """The streams of a rule's window: its values, which are many, for the window only, sums until a group is gone."""
    stream, window = stream_of(rule), rule.window_us // MINUTE_US
    if not stream.values:
        return {stream: max(window, FORGOTTEN_AFTER)}
    return {stream: window, _sums(stream): max(window, FORGOTTEN_AFTER)}


def window_history(histories: Histories, rule: AlertRule) -> Partials:
    """What `window_streams` asked for, as one history."""
    stream = stream_of(rule)
    if not stream.values:
        return histories[stream]
    return merge([histories[_sums(stream)], msgspec.structs.replace(histories[stream], sums={})])


def _sums(stream: Stream) -> Stream:
    return msgspec.structs.replace(stream, values=False)


def keys_in(*parts: Partials) -> list[Key]:
    """The groups of histories, in order of their names."""
    found = {group[1:] for part in parts for group in part.groups}
    return sorted(found, key=lambda key: [(name is not None, name or "") for name in key])


class Running:
    """Sums of one metric over buckets from `first` up to `end`, of given groups."""

    def __init__(self, part: Partials, metric: str, keys: Sequence[Key], first: int, end: int) -> None:
        self._first, self._span = first, max(0, end - first)
        sums = part.sums.get(metric)
        places = {key: i for i, key in enumerate(keys)}
        bucket = np.array([group[0] for group in part.groups], np.int64) - first
        row = np.array([places.get(group[1:], -1) for group in part.groups], np.int64)
        inside = (bucket >= 0) & (bucket < self._span) & (row >= 0)
        at = (row[inside], bucket[inside] + 1)
        self._count, self._total = (np.zeros((len(keys), self._span + 1), np.int64) for _ in range(2))
        if sums is not None:
            self._count[at], self._total[at] = sums.count[inside], sums.total[inside]
        self._count, self._total = self._count.cumsum(axis=1), self._total.cumsum(axis=1)

    def counts(self, low: IntArray, high: IntArray) -> IntArray:
        """How many calls lie in buckets [low, high); shape (groups, stretches)."""
        return self._between(self._count, low, high)

    def totals(self, low: IntArray, high: IntArray) -> IntArray:
        """The total of buckets [low, high), in stored units; shape (groups, stretches)."""
        return self._between(self._total, low, high)

    def _between(self, running: IntArray, low: IntArray, high: IntArray) -> IntArray:
        found: IntArray = running[:, self._at(high)] - running[:, self._at(low)]
        return found

    def _at(self, bucket: IntArray) -> IntArray:
        found: IntArray = np.clip(bucket - self._first, 0, self._span)
        return found

    def begun(self, low: IntArray, high: IntArray) -> IntArray:
        """The first bucket of [low, high) with a call, `high` where there is none; shape (groups, stretches)."""
        before = self._count[:, self._at(low)]
        found = np.empty(before.shape, np.int64)
        for row, running in enumerate(self._count):
            found[row] = np.searchsorted(running, before[row], "right") - 1 + self._first
        return np.minimum(found, high)
