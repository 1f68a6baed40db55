"""What is made of answers while they are read: the words they use, and their quality."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.columns import Columns
from llmmon.quality import Overall, QualityColumns, score_texts
from llmmon.scored import Scored, join
from llmmon.scorers.corpus import Corpus, Lexicon
from llmmon.scorers.texts import Texts

SHOWN_NAMES: Final = ("request_id", "model", "user")
SHOWN_CHARS: Final = 2000
_NO_DETAILS: Final[dict[str, str]] = {}


class Method(msgspec.Struct, frozen=True):
    """How answers are judged: what the file's words tell, the flags' thresholds, the formula of `overall`."""

    lexicon: Lexicon
    thresholds: Mapping[str, float]
    overall: Overall = "defects"


def texts_of(columns: Columns) -> Texts:
    """What the scorers read of calls."""
    return Texts(
        outputs=columns.text("output"),
        prompts=columns.text("prompt"),
        expected=columns.text("expected"),
        contexts=columns.text("context"),
        systems=columns.text("system"),
        schemas=columns.text("schema"),
        finish_reasons=columns.name("finish_reason").texts(),
        reasoning_tokens=_numbers(columns, "reasoning_tokens"),
        completion_tokens=_numbers(columns, "completion_tokens"),
    )


def _numbers(columns: Columns, name: str) -> list[float | None]:
    return [None if value != value else value for value in columns.public(name).tolist()]


class ScoredPart(msgspec.Struct, frozen=True, eq=False):
    """What one worker scored: its blocks of calls, texts to show by position, what another fold made of them."""

    blocks: list[Scored]
    texts: dict[int, tuple[str | None, str]]
    also: Any = None


class CorpusFold:
    """The words of all answers and prompts, and how many calls there were, with and without output text."""

    def __init__(self) -> None:
        self._corpus = Corpus.empty()
        self._answers = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        outputs = columns.text("output")
        self._answers += sum(output is not None for output in outputs)
        self._corpus = self._corpus.merge(Corpus.of(Texts(outputs=outputs, prompts=columns.text("prompt"))))

    def result(self) -> tuple[Corpus, int]:
        """The corpus, and how many answers it was made of."""
        return self._corpus, self._answers


class ScoreFold:
    """The quality of the calls, block by block, without their texts but for those of the `keep` worst with a flag."""

    def __init__(self, method: Method, keep: int = 0, also: Any = None) -> None:
        self._method = method
        self._also = also  # another fold, fed the same calls with their texts
        self._keep = keep
        self._blocks: list[Scored] = []
        self._worst: list[tuple[float, int, str | None, str]] = []

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Score a block."""
        if self._also is not None:
            self._also.add(columns, [])
        method = self._method
        quality = score_texts(texts_of(columns), method.lexicon, method.thresholds, method.overall)
        bare = dataclasses.replace(quality, details=[_NO_DETAILS] * columns.size)
        outputs = columns.text("output")
        has_text = np.array([output is not None for output in outputs], np.bool_)
        self._blocks.append(Scored(_bare(columns), has_text, bare))
        if self._keep:
            self._keep_worst(columns, quality)

    def _keep_worst(self, columns: Columns, quality: QualityColumns) -> None:
        positions = np.arange(columns.size) if columns.positions is None else columns.positions
        outputs, prompts = columns.text("output"), columns.text("prompt")
        rows = [i for i, flags in enumerate(quality.flags) if flags]
        new = ((_rank(quality.overall[i]), int(positions[i]), prompts[i], outputs[i] or "") for i in rows)
        worst = heapq.nsmallest(self._keep, (*self._worst, *new), key=lambda item: item[:2])
        self._worst = [
            (rank, at, prompt and prompt[:SHOWN_CHARS], out[:SHOWN_CHARS]) for rank, at, prompt, out in worst
        ]

    def result(self) -> ScoredPart:
        """The scored calls in one block, the worst ones' texts by position, the other fold's result."""
        texts = {at: (prompt, output) for _, at, prompt, output in self._worst}
        also = None if self._also is None else self._also.result()
        return ScoredPart([join(self._blocks)] if self._blocks else [], texts, also)


def _rank(overall: float) -> float:
    return float(np.inf if np.isnan(overall) else overall)


def _bare(columns: Columns) -> Columns:
    """The calls with only what their rows show."""
    return msgspec.structs.replace(
        columns,
        numbers={"quality_score": columns.number("quality_score")},
        names={name: columns.name(name) for name in SHOWN_NAMES},
        texts={},
    )
