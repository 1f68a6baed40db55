"""Groundedness: what the answer says and its context does not. Reported as unsupported by context, nothing more."""

from __future__ import annotations

import re
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import UNKNOWN, Signal, TextSpan
from llmmon.quality.scorers.texts import Batch, both_ends, term_ids, words

NUMBER: Final = re.compile(r"\d(?:[\d,.]{0,18}\d)?")
NAME: Final = re.compile(r"(?<=[a-z,;] )[A-Z][\w'-]{2,40}")
_LEAST_TERMS: Final = 4
_MOST_SPANS: Final = 20


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:
    """unsupported of each output that has a context.

    Strength = 0.45 t + 0.3 n + 0.25 c with t the share of the output's term weight, n of its numbers and c of
    its mid-sentence names that the context does not hold (each counts for t where the output has none).
    """
    contexts = batch.column("contexts")
    if not any(contexts):
        return {"unsupported": [UNKNOWN] * len(batch)}
    rows = enumerate(zip(batch.outputs, contexts, strict=True))
    return {"unsupported": [_signal(text, held, batch, i, lexicon) if held else UNKNOWN for i, (text, held) in rows]}


def _signal(output: str, context: str, batch: Batch, row: int, lexicon: Lexicon) -> Signal:
    terms = {term for term in batch.output_ids[row].tolist() if term}
    if len(terms) < _LEAST_TERMS:
        return UNKNOWN
    held = set(term_ids(words(both_ends(context, 200_000, 50_000)), batch.languages[row]).tolist())
    weights = lexicon.weights
    missing = sum(float(weights[term]) for term in terms - held) / max(1e-9, sum(float(weights[t]) for t in terms))
    text = both_ends(output)
    numbers = _unknown_share(NUMBER, text, context.replace(",", ""))
    names = _unknown_share(NAME, text, context)
    n, number_spans = numbers or (missing, ())
    c, name_spans = names or (missing, ())
    return Signal(0.45 * missing + 0.3 * n + 0.25 * c, tuple(sorted((*number_spans, *name_spans)))[:_MOST_SPANS])


def _unknown_share(pattern: re.Pattern[str], text: str, held: str) -> tuple[float, tuple[TextSpan, ...]] | None:
    found = list(pattern.finditer(text))[:200]
    if not found:
        return None
    unknown = tuple(match.span() for match in found if match.group().replace(",", "") not in held)
    return len(unknown) / len(found), unknown
