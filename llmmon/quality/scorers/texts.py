"""The texts to score: parallel lists, one entry per row, and what the scorers read from them once."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import snowballstemmer  # type: ignore[import-untyped]  # ships no types

from llmmon.metrics.columns import IntArray

TERM_BITS: Final = 18
TERM_COUNT: Final = 1 << TERM_BITS
_CACHE_WORDS: Final = 300_000
_STEM_BYTES: Final = 24

_SPACES: Final = bytes(c if chr(c).isalnum() or c >= 128 else 32 for c in range(256))
_WIDE: Final = re.compile("[\u00a0-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]+")
# Scripts without spaces between words: every sign is a word.
_SIGN: Final = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")

FUNCTION_WORDS: Final = frozenset(
    b"""a about above after again against all also am an and any are as at be because been before being below
    between both but by can cannot cant could did do does doing dont down during each few for from further get
    give had has have having he her here hers him his how i if im in into is it its itself ive just let like make
    me more most much must my need no nor not now of off on once one only or other our ours out over own please
    provide same shall she should so some such than that thats the their theirs them then there these they this
    those through to too under until up upon us use using very want was we were what whats when where which while
    who whom whose why will with would write yes you your yours youre""".split()
)


def words(text: str) -> list[bytes]:
    """The lower-case words of a text as UTF-8, without punctuation; contractions are one word."""
    lower = text.lower()
    if not lower.isascii():
        lower = lower.replace("’", "")
        lower = _SIGN.sub(r" \g<0> ", _WIDE.sub(" ", lower))
    return lower.encode("utf-8", "replace").translate(_SPACES, b"'").split()


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    return snowballstemmer.stemmer("english")


class _TermIds(dict[bytes, int]):
    """A bounded memory of the term number of each word."""

    def __missing__(self, word: bytes) -> int:
        if len(self) >= _CACHE_WORDS:
            self.clear()
        self[word] = number = term_id(word)
        return number


def term_id(word: bytes) -> int:
    """The number of a word's stem, from 1; 0 for a function word."""
    if word in FUNCTION_WORDS:
        return 0
    stem = word[:_STEM_BYTES]
    if word.isalpha():
        stem = _stemmer().stemWord(stem.decode()).encode()
    return zlib.crc32(stem) % (TERM_COUNT - 1) + 1


_TERM_IDS: Final = _TermIds()


def term_ids(found: Sequence[bytes]) -> IntArray:
    """The term number of each word, in order."""
    return np.fromiter(map(_TERM_IDS.__getitem__, found), dtype=np.int64, count=len(found))


def distinct_terms(found: Sequence[bytes]) -> set[int]:
    """The term numbers of some words, each once and without function words."""
    return set(map(_TERM_IDS.__getitem__, set(found))) - {0}


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
    def output_words(self) -> list[list[bytes]]:
        """The words of each output (of its two ends, where it is enormous)."""
        return [words(both_ends(text)) for text in self.outputs]

    @cached_property
    def prompt_words(self) -> list[list[bytes]]:
        """The words of each prompt; none where it is missing."""
        return [words(both_ends(text)) if text else [] for text in self.prompts]

    @cached_property
    def output_ids(self) -> list[IntArray]:
        """The term of each word of each output, 0 for function words."""
        return [term_ids(found) for found in self.output_words]

    @cached_property
    def prompt_ids(self) -> list[IntArray]:
        """The term of each word of each prompt, 0 for function words."""
        return [term_ids(found) for found in self.prompt_words]

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


def both_ends(text: str, head: int = HEAD_CHARS, tail: int = TAIL_CHARS) -> str:
    """The text, or its first `head` and last `tail` characters where it is longer."""
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"
