"""The texts to score: parallel lists, one entry per row, and what the scorers read from them once."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np

from llmmon.metrics.columns import IntArray
from llmmon.quality.scorers.languages import FUNCTION_WORDS, GRAMMAR, PAIRED, detect, stemmer

TERM_BITS: Final = 18
TERM_COUNT: Final = 1 << TERM_BITS
_CACHE_WORDS: Final = 300_000
_STEM_BYTES: Final = 24

_SPACES: Final = bytes(c if chr(c).isalnum() or c >= 128 else 32 for c in range(256))
_WIDE: Final = re.compile("[\u00a0-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]+")
# Scripts without spaces between words: every sign is a word.
_SIGN: Final = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")


def words(text: str) -> list[bytes]:
    """The lower-case words of a text as UTF-8, without punctuation; contractions are one word."""
    lower = text.lower()
    if not lower.isascii():
        lower = lower.replace("’", "")
        lower = _SIGN.sub(r" \g<0> ", _WIDE.sub(" ", lower))
    return lower.encode("utf-8", "replace").translate(_SPACES, b"'").split()


class _TermIds(dict[bytes, int]):
    """A bounded memory of the term number of each word of a language."""

    def __init__(self, language: str | None) -> None:
        self._language = language

    def __missing__(self, word: bytes) -> int:
        if len(self) >= _CACHE_WORDS:
            self.clear()
        self[word] = number = term_id(word, self._language)
        return number


def term_id(word: bytes, language: str | None = None) -> int:
    """The number of a word's stem, from 1; 0 for a function word. `language` None: English."""
    if word in FUNCTION_WORDS.get(language or "english", _NO_WORDS):
        return 0
    stem = word[:_STEM_BYTES]
    reduce = stemmer(language)
    if reduce is not None and (word.isalpha() if language is None else len(word) > 3):
        stem = reduce.stemWord(word.decode("utf-8", "replace")).encode()[:_STEM_BYTES]
    return zlib.crc32(stem) % (TERM_COUNT - 1) + 1


_DIGITS: Final = "0123456789"
_NO_WORDS: Final[frozenset[bytes]] = frozenset()
_MEMORIES: Final[dict[str | None, _TermIds]] = {None: _TermIds(None)}


def _memory(language: str | None) -> _TermIds:
    key = None if language == "english" else language
    if key not in _MEMORIES:
        _MEMORIES[key] = _TermIds(key)
    return _MEMORIES[key]


def term_ids(found: Sequence[bytes], language: str | None = None) -> IntArray:
    """The term number of each word, in order; of each two signs in a row where a script has no spaces."""
    if language in PAIRED:
        return np.array([_pair_id(*pair) for pair in pairwise(found)], dtype=np.int64)
    return np.fromiter(map(_memory(language).__getitem__, found), dtype=np.int64, count=len(found))


def distinct_terms(found: Sequence[bytes], language: str | None = None) -> set[int]:
    """The term numbers of some words, each once and without function words."""
    if language in PAIRED:
        return set(term_ids(found, language).tolist()) - {0}
    return set(map(_memory(language).__getitem__, set(found))) - {0}


def _pair_id(one: bytes, other: bytes) -> int:
    if len(one) < 3 or len(other) < 3:  # a word in Latin letters among the signs
        return term_id(one) if one.isalpha() and len(one) > 1 else 0
    if one in GRAMMAR or other in GRAMMAR or _KANA_LOW <= one <= _KANA_HIGH or _KANA_LOW <= other <= _KANA_HIGH:
        return 0
    return zlib.crc32(one + other) % (TERM_COUNT - 1) + 1


_KANA_LOW, _KANA_HIGH = "\u3041".encode(), "\u309f".encode()  # hiragana: endings and particles


# An enormous text is judged by its two ends, so that the time for it is bounded.
HEAD_CHARS: Final = 48_000
TAIL_CHARS: Final = 16_000

Optional = Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Rows to score as parallel lists; a list left empty is missing for all rows.

    `outputs` gives the number of rows; a row whose output is None has no text and gets no scores.
    `schemas` holds what the answer's JSON must keep: a JSON schema, an OpenAI `response_format`,
    a list of required keys, or any of these as JSON text.
    """

    outputs: Optional
    prompts: Optional = ()
    expected: Optional = ()
    contexts: Optional = ()
    finish_reasons: Optional = ()
    reasoning_tokens: Sequence[float | None] = ()
    completion_tokens: Sequence[float | None] = ()
    schemas: Sequence[object] = ()
    systems: Optional = ()

    def __post_init__(self) -> None:
        """Raises ValueError where a list is neither empty nor as long as the outputs."""
        for name in self.__slots__:
            if len(getattr(self, name)) not in (0, len(self.outputs)):
                raise ValueError(f"{name} must hold {len(self.outputs)} rows, not {len(getattr(self, name))}")

    def rows(self, numbers: Sequence[int]) -> Texts:
        """These rows only, in this order."""
        picked = {}
        for name in self.__slots__:
            column = getattr(self, name)
            picked[name] = [column[i] for i in numbers] if len(column) else ()
        return Texts(**picked)


@dataclass(frozen=True)
class Batch:
    """Rows with output text, and the readings of them that several scorers share."""

    texts: Texts
    outputs: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Raises ValueError where a row has no output."""
        outputs = [text for text in self.texts.outputs if text is not None]
        if len(outputs) != len(self.texts.outputs):
            raise ValueError("a batch holds only rows with output text")
        object.__setattr__(self, "outputs", outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    @cached_property
    def prompts(self) -> list[str | None]:
        """The prompts, None where missing or blank."""
        return [text if text and not text.isspace() else None for text in self.column("prompts")]

    @cached_property
    def output_pieces(self) -> list[list[str]]:
        """The pieces of each output between blanks."""
        return [text.split() for text in self.outputs]

    @cached_property
    def output_digits(self) -> list[int]:
        """How many of the digits 0 to 9 each output holds."""
        return [sum(map(text.count, _DIGITS)) for text in self.outputs]

    @cached_property
    def output_words(self) -> list[list[bytes]]:
        """The words of each output (of its two ends, where it is enormous)."""
        return [words(both_ends(text)) for text in self.outputs]

    @cached_property
    def prompt_words(self) -> list[list[bytes]]:
        """The words of each prompt; none where it is missing."""
        return [words(both_ends(text)) if text else [] for text in self.prompts]

    @cached_property
    def output_languages(self) -> list[str | None]:
        """The language or script of each output, None where unsure."""
        return list(map(detect, self.outputs, self.output_words))

    @cached_property
    def prompt_languages(self) -> list[str | None]:
        """The language or script of each prompt, None where unsure or missing."""
        rows = zip(self.prompts, self.prompt_words, strict=True)
        return [detect(text, found) if text else None for text, found in rows]

    @cached_property
    def languages(self) -> list[str | None]:
        """The language in which each row is read: that of the output, else of the prompt, None for English."""
        return list(map(reading_language, self.output_languages, self.prompt_languages))

    @cached_property
    def output_ids(self) -> list[IntArray]:
        """The term of each word of each output, 0 for function words."""
        return list(map(term_ids, self.output_words, self.languages))

    @cached_property
    def prompt_ids(self) -> list[IntArray]:
        """The term of each word of each prompt, 0 for function words."""
        return list(map(term_ids, self.prompt_words, self.languages))

    @cached_property
    def word_counts(self) -> IntArray:
        """How many words each output has."""
        return np.array([len(found) for found in self.output_words], dtype=np.int64)

    def column(self, name: str) -> list[str | None]:
        """A text column of all rows, None where missing."""
        values: Optional = getattr(self.texts, name)
        return list(values) if len(values) else [None] * len(self)

    def numbers(self, name: str) -> list[float | None]:
        """A column of numbers of all rows, None where missing."""
        values: Sequence[float | None] = getattr(self.texts, name)
        return list(values) if len(values) else [None] * len(self)

    def schemas(self) -> list[object]:
        """The schema of each row, None where missing."""
        return list(self.texts.schemas) if len(self.texts.schemas) else [None] * len(self)


def reading_language(answered: str | None, asked: str | None) -> str | None:
    """The language in which the words of a row are read, given those of its answer and its prompt."""
    language = answered or asked
    return None if language == "english" else language


def both_ends(text: str, head: int = HEAD_CHARS, tail: int = TAIL_CHARS) -> str:
    """The text, or its first `head` and last `tail` characters where it is longer."""
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"
