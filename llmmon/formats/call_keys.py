"""Identifiers of calls as numbers: what tells that two rows of a log are one call, or that one stands around another.

A key takes eight bytes a call, however long the identifier is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from llmmon.formats.values import name
from llmmon.metrics.columns import FloatArray

_WIDEST: Final = 256  # bytes of an identifier that numpy hashes
_BITS: Final = 53  # what a float holds exactly: 10 million identifiers collide once in 180 such logs


def keys(values: Sequence[Any]) -> FloatArray:
    """53-bit hashes of identifiers (texts or numbers), NaN where there is none; shape (n,)."""
    texts = [value if type(value) is str else name(value) or "" for value in values]
    joined = "".join(texts)
    if not joined.isascii() or "\0" in joined or max(map(len, texts), default=0) > _WIDEST:
        found = np.array([_hash_of(text) for text in texts], np.float64)
    else:
        found = _hashes(np.array(texts, np.bytes_))
    found[[not text for text in texts]] = np.nan
    return found


def _hashes(texts: np.ndarray[Any, Any]) -> FloatArray:
    """Sums of the bytes, each times the odd number of its place, modulo 2^64; the highest bits of them."""
    width = texts.dtype.itemsize
    signs = texts.view(np.uint8).reshape(len(texts), width).astype(np.uint64)
    with np.errstate(over="ignore"):
        sums = signs @ _FACTORS[:width]
    found: FloatArray = (sums >> np.uint64(64 - _BITS)).astype(np.float64)
    return found


def _factors(count: int) -> np.ndarray[Any, Any]:
    """Odd pseudo-random numbers, always the same (splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (x ^ (x >> np.uint64(31))) | np.uint64(1)


_FACTORS: Final = _factors(_WIDEST)


def _hash_of(text: str) -> float:
    import hashlib  # hardly ever needed

    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> (64 - _BITS))
