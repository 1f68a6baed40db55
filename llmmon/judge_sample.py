"""Which answers a judge is asked about: those with the smallest hashes of their texts, whatever read them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.columns import Columns
from llmmon.errors import UsageError
from llmmon.judge import judge_prompt

_BITS: Final = 64
_MOST: Final = 20_000  # questions are held in memory, at most some 40 KB each


class Sample(msgspec.Struct, frozen=True):
    """At most `limit` answers, and of all answers about the share given."""

    limit: int
    share: float = 1.0

    @classmethod
    def of(cls, text: str) -> Sample:
        """From `100` (answers) or `5%` (of them); raises `UsageError`."""
        number, percent, rest = text.strip().partition("%")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if rest or not (0 < value <= 100 if percent else value >= 1 and value.is_integer()):
            raise UsageError(f"--judge-sample {text!r} is no sample", hint="--judge-sample 100, or --judge-sample 5%")
        return cls(_MOST, value / 100) if percent else cls(min(int(value), _MOST))


class Question(msgspec.Struct, frozen=True, order=True):
    """What the judge is asked about the call at a position; secrets are already taken out of it."""

    rank: int
    position: int
    asked: str


class SampleFold:
    """The sample of the answers that hold any text."""

    def __init__(self, sample: Sample, criteria: Sequence[str]) -> None:
        self._sample = sample
        self._criteria = tuple(criteria)
        self._below = int(sample.share * 2**_BITS)
        self._kept: list[Question] = []

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        positions = np.arange(columns.size) if columns.positions is None else columns.positions
        rows = zip(columns.text("prompt"), columns.text("output"), positions.tolist(), strict=True)
        ranked = sorted((rank_of(p, o), at, p, o) for p, o, at in ((p or "", o, at) for p, o, at in rows) if o)
        chosen = [row for row in ranked if row[0] < self._below][: self._sample.limit]
        worst = self._kept[-1].rank if len(self._kept) == self._sample.limit else 1 << _BITS
        new = [Question(r, at, judge_prompt(p, o, self._criteria)) for r, at, p, o in chosen if r <= worst]
        self._kept = smallest((*self._kept, *new), self._sample.limit)

    def result(self) -> list[Question]:
        """The questions, in the order in which they are asked."""
        return self._kept


def smallest(questions: Iterable[Question], limit: int) -> list[Question]:
    """The first `limit` questions by the hash of their texts."""
    return heapq.nsmallest(limit, questions)


def rank_of(prompt: str, output: str) -> int:
    """A hash of both texts; 64 bits."""
    both = f"{len(prompt)}\n{prompt}{output}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(both, digest_size=_BITS // 8).digest(), "big")
