"""Relevance: does the answer concern the prompt? Stemmed TF-IDF, and rank among prompts of the same file."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.expected import similarities
from llmmon.quality.scorers.flags import UNKNOWN, Signal
from llmmon.quality.scorers.texts import TERM_BITS, TERM_COUNT, Batch

# The terms of a text that are compared: its first ones hold what it is about.
_MOST_TERMS: Final = 1_500
_ROWS_AT_ONCE: Final = 32
_SHORT_WORDS: Final = 15


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:
    """off_topic: a logistic model of `features`; shrunk for very short answers, which share few words anyway."""
    table = features(batch, lexicon)
    logits = table @ np.array(WEIGHTS) + BIAS
    strengths = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
    strengths *= 0.4 + 0.6 * np.minimum(1.0, batch.word_counts / _SHORT_WORDS)
    alike = similarities(batch)
    found = [UNKNOWN] * len(batch)
    for i, (strength, judged) in enumerate(zip(strengths.tolist(), _judged(batch), strict=True)):
        if judged:
            found[i] = Signal(strength * (1.0 - (alike[i] or 0.0)))
    return {"off_topic": found}


def _judged(batch: Batch) -> list[bool]:
    pairs = zip(batch.prompt_ids, batch.output_words, strict=True)
    return [bool(len(prompt) and prompt.any() and words) for prompt, words in pairs]


def features(batch: Batch, lexicon: Lexicon) -> FloatArray:
    """One row of FEATURES per text, 0 where there is nothing to compare."""
    blocks = [
        _block(
            batch.prompt_ids[i : i + _ROWS_AT_ONCE],
            batch.output_ids[i : i + _ROWS_AT_ONCE],
            lexicon,
        )
        for i in range(0, len(batch), _ROWS_AT_ONCE)
    ]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(FEATURES)))


def _block(prompts: list[IntArray], outputs: list[IntArray], lexicon: Lexicon) -> FloatArray:
    rows = len(outputs)
    p_row, p_term, _ = _terms(prompts)
    o_row, o_term, o_count = _terms(outputs)
    p_weight = lexicon.weights[p_term]
    o_weight = lexicon.weights[o_term] * (1.0 + np.log(o_count))
    p_norm = np.sqrt(np.bincount(p_row, p_weight**2, rows))
    o_norm = np.sqrt(np.bincount(o_row, o_weight**2, rows))
    shared_p, shared_o = _shared(p_row, p_term, o_row, o_term)
    dot = np.bincount(p_row[shared_p], p_weight[shared_p] * o_weight[shared_o], rows)
    own = dot / np.maximum(p_norm * o_norm, 1e-9)
    covered = np.bincount(p_row[shared_p], p_weight[shared_p], rows) / np.maximum(
        np.bincount(p_row, p_weight, rows), 1e-9
    )
    others = _sample_cosines(o_row, o_term, o_weight, o_norm, lexicon)
    return np.column_stack([own, np.sqrt(own), covered, own > 0, *_standing(own, others), np.minimum(1, p_norm / 20)])


def _terms(texts: list[IntArray]) -> tuple[IntArray, IntArray, FloatArray]:
    """The distinct terms of each text: row, term, how often; in order of row and term."""
    cut = [ids[:_MOST_TERMS] for ids in texts]
    row = np.repeat(np.arange(len(cut)), [len(ids) for ids in cut])
    term = np.concatenate(cut) if cut else np.zeros(0, dtype=np.int64)
    key, count = np.unique((row << TERM_BITS | term)[term > 0], return_counts=True)
    return key >> TERM_BITS, key & (TERM_COUNT - 1), count.astype(np.float64)


def _shared(p_row: IntArray, p_term: IntArray, o_row: IntArray, o_term: IntArray) -> tuple[IntArray, IntArray]:
    """Where the same term stands in the same row of both."""
    _, at_p, at_o = np.intersect1d(
        p_row << TERM_BITS | p_term, o_row << TERM_BITS | o_term, assume_unique=True, return_indices=True
    )
    return at_p, at_o


def _sample_cosines(
    row: IntArray, term: IntArray, weight: FloatArray, norm: FloatArray, lexicon: Lexicon
) -> FloatArray:
    """The cosine of each output with each sampled prompt."""
    total = np.zeros((len(norm), lexicon.sample.shape[1]))
    if total.size == 0:
        return total
    column = lexicon.columns[term]
    known = np.flatnonzero(column >= 0)
    starts = np.flatnonzero(np.diff(row[known], prepend=-1))
    if len(starts):
        products = lexicon.sample[column[known]] * weight[known, None].astype(np.float32)
        total[row[known[starts]]] = np.add.reduceat(products, starts, axis=0)
    return total / np.maximum(norm, 1e-9)[:, None]


def _standing(own: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The share of sampled prompts that the output is nearer to than to its own, and how far the nearest leads."""
    if others.shape[1] < 5:
        return np.zeros_like(own), np.zeros_like(own)
    nearer = (others > own[:, None] + 1e-9).mean(axis=1)
    lead = others.max(axis=1) - own
    return nearer, np.clip(lead, 0.0, 1.0)


FEATURES: Final = ("cosine", "root of it", "covered", "any shared", "nearer", "lead", "prompt size")
WEIGHTS: Final = (
    -6.88, -11.29, -0.19, 1.14, -3.15, 22.36, 0.00,
)  # fmt: skip
BIAS: Final = 3.23
