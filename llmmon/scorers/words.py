"""Words and terms: the one tokeniser, and stemmed terms as numbers below 2^18.

A term's number is a checksum of its stem, the same in every process, so that counts by term are plain
arrays that add up. Two terms may share a number; with ordinary vocabularies that is rare and harmless.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import snowballstemmer  # type: ignore[import-untyped]  # ships no types

IntArray = npt.NDArray[np.int64]

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
