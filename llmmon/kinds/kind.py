"""The interface of the family: a rule and a history in, what the rule sees out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from llmmon.columns import IntArray
from llmmon.history import Stream
from llmmon.partials import Partials
from llmmon.readings import MET, Sight
from llmmon.rules import AlertRule

Past = Mapping[Stream, Partials]  # at least as far back as the rule needs


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
