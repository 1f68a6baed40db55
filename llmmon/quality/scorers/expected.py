"""Similarity to the reference answer, where one is given."""

from __future__ import annotations

from collections import Counter

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import UNKNOWN, Signal
from llmmon.quality.scorers.texts import Batch, both_ends, words


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """expected_similarity, unknown without a reference."""
    return {"expected_similarity": [UNKNOWN if value is None else Signal(value) for value in similarities(batch)]}


def similarities(batch: Batch) -> list[float | None]:
    """The similarity of each output to its reference; None without one."""
    references = batch.column("expected")
    if not any(references):
        return [None] * len(batch)
    rows = zip(batch.output_words, batch.outputs, references, strict=True)
    return [_similarity(found, text, other) if other else None for found, text, other in rows]


def _similarity(found: list[bytes], output: str, expected: str) -> float:
    """Word F1 as in SQuAD (Rajpurkar 2016), in [0, 1]; 1 if the texts differ in case and punctuation only.

    A short reference (at most 5 words) that a longer answer contains as it is counts as 0.8.
    """
    wanted = words(both_ends(expected))
    if found == wanted:
        return 1.0 if found or output.strip() == expected.strip() else 0.0
    common = sum((Counter(found) & Counter(wanted)).values())
    f1 = 2.0 * common / (len(found) + len(wanted))
    contained = len(wanted) <= 5 and _contains(found, wanted)
    return max(f1, 0.8) if contained else f1


def _contains(found: list[bytes], wanted: list[bytes]) -> bool:
    return b" %s " % b" ".join(wanted) in b" %s " % b" ".join(found) if wanted else False
