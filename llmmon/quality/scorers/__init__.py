"""Scorers: what is wrong with an answer, read from its text alone, and each with a strength and a place.

A member is one function `score(batch, lexicon)`: it gives, for each signal it owns, one `Signal` per row of
the batch. Members are pure, never raise on any text, and judge each row by itself (the lexicon holds what is
known of the whole file), so chunks change nothing. A new member is one file and one row of SCORERS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmmon.quality.scorers import (
    coherence,
    completeness,
    expected,
    format_compliance,
    groundedness,
    language,
    refusal,
    relevance,
    safety,
)
from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import Signal
from llmmon.quality.scorers.texts import Batch

Scorer = Callable[[Batch, Lexicon], dict[str, list[Signal]]]

SCORERS: Final[dict[str, Scorer]] = {
    "relevance": relevance.score,
    "coherence": coherence.score,
    "completeness": completeness.score,
    "refusal": refusal.score,
    "safety": safety.score,
    "format_compliance": format_compliance.score,
    "language": language.score,
    "groundedness": groundedness.score,
    "expected": expected.score,
}
