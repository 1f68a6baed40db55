"""How often each term occurs in the scored file, and a sample of its prompts: a value that merges.

Counts are integers and the sample is the prompts with the smallest hashes, so any split of the rows into
chunks or processes, merged in any order, gives the same corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from llmmon.scorers.english import prior_probabilities
from llmmon.scorers.texts import Batch, Texts, both_ends
from llmmon.scorers.words import TERM_COUNT, IntArray, distinct_terms, term_ids, words

FloatArray = npt.NDArray[np.float64]

SAMPLE_PROMPTS: Final = 200
_SAMPLE_TERMS: Final = 64
_PROMPT_HEAD, _PROMPT_TAIL = 3_000, 1_000
_OUTPUT_HEAD: Final = 4_000
_COUNTED_AT_ONCE: Final = 512
# Weight of the shipped table, in documents: decides alone for one pair, and fades in a file of thousands.
_PRIOR_DOCUMENTS: Final = 100.0

Sampled = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Documents seen, in how many each term occurs (one int64 per term), and sampled prompts by hash."""

    documents: int
    frequencies: IntArray
    sample: tuple[Sampled, ...]

    @classmethod
    def empty(cls) -> Corpus:
        """No rows; the neutral element of `merge`."""
        return cls(0, np.zeros(TERM_COUNT, dtype=np.int64), ())

    @classmethod
    def of(cls, texts: Texts) -> Corpus:
        """Counts the rows that have output text; an output and a prompt are a document each."""
        rows = [i for i, output in enumerate(texts.outputs) if output is not None]
        batch = Batch(texts.rows(rows))
        prompts = [text for text in batch.prompts if text]
        documents = [text[:_OUTPUT_HEAD] for text in batch.outputs]
        documents += [both_ends(text, _PROMPT_HEAD, _PROMPT_TAIL) for text in prompts]
        return cls(len(documents), _frequencies(documents), _sample(prompts))

    def merge(self, other: Corpus) -> Corpus:
        """Both together."""
        sample = tuple(sorted({*self.sample, *other.sample})[:SAMPLE_PROMPTS])
        return Corpus(self.documents + other.documents, self.frequencies + other.frequencies, sample)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Corpus):
            return NotImplemented
        same = self.documents == other.documents and self.sample == other.sample
        return same and bool(np.array_equal(self.frequencies, other.frequencies))

    __hash__ = None  # type: ignore[assignment]  # holds an array


def _frequencies(documents: Sequence[str]) -> IntArray:
    total = np.zeros(TERM_COUNT, dtype=np.int64)
    for start in range(0, len(documents), _COUNTED_AT_ONCE):
        terms: list[int] = []
        for text in documents[start : start + _COUNTED_AT_ONCE]:
            terms += distinct_terms(words(text))
        total += np.bincount(np.array(terms, dtype=np.int64), minlength=TERM_COUNT)
    return total


def _sample(prompts: Sequence[str]) -> tuple[Sampled, ...]:
    hashed = {int.from_bytes(_digest(text), "big"): text for text in prompts}
    chosen = sorted(hashed)[:SAMPLE_PROMPTS]
    return tuple((number, _sample_terms(hashed[number])) for number in chosen)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _sample_terms(text: str) -> tuple[int, ...]:
    ids = term_ids(words(both_ends(text, _PROMPT_HEAD, _PROMPT_TAIL))).tolist()
    return tuple(dict.fromkeys(i for i in ids if i))[:_SAMPLE_TERMS]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A corpus made ready for scoring.

    `weights`: idf of each term, ln((N + P) / (n + P p)), with n of N documents of the corpus and the shipped
    probability p counted as P documents; 0 for function words. `columns`: the row of `sample` that holds a
    term, or -1. `sample`: terms by sampled prompts, each prompt's idf vector of length 1.
    """

    weights: FloatArray
    columns: IntArray
    sample: npt.NDArray[np.float32]

    @classmethod
    def of(cls, corpus: Corpus) -> Lexicon:
        """Compiles a corpus; an empty one leaves the shipped table."""
        prior = prior_probabilities()
        share = (corpus.frequencies + _PRIOR_DOCUMENTS * prior) / (corpus.documents + _PRIOR_DOCUMENTS)
        weights = -np.log(np.clip(share, 1e-9, 1.0))
        weights[0] = 0.0
        return cls(weights, *_sample_matrix(weights, [terms for _, terms in corpus.sample]))


def _sample_matrix(weights: FloatArray, sample: list[tuple[int, ...]]) -> tuple[IntArray, npt.NDArray[np.float32]]:
    vocabulary = np.array(sorted({term for terms in sample for term in terms}), dtype=np.int64)
    columns = np.full(TERM_COUNT, -1, dtype=np.int64)
    columns[vocabulary] = np.arange(len(vocabulary))
    matrix = np.zeros((len(vocabulary), len(sample)))
    for k, terms in enumerate(sample):
        chosen = list(terms)
        matrix[columns[chosen], k] = weights[chosen]
    norms = np.sqrt((matrix**2).sum(axis=0))
    return columns, (matrix / np.where(norms > 0, norms, 1.0)).astype(np.float32)
