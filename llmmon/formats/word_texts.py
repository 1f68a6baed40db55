"""Short texts as words of eight characters -> numpy columns: decimal numbers, texts that come again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmmon.columns import BoolArray, FloatArray, IntArray

Words = NDArray[np.uint64]  # the first character is the lowest byte

NUMBER_WORDS: Final = 2  # seven digits, a point, eight digits
NAME_WORDS: Final = 4
FLAG_WORDS: Final = 1


def _repeated(byte: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([byte]) * 8, "little"))


_ONES, _HIGH, _TO_HIGH, _ZEROS, _POINTS = (_repeated(byte) for byte in (0x01, 0x80, 0x76, 0x30, 0x2E))
_NONE, _ONE, _SEVEN, _EIGHT, _LOWEST, _ZERO = (np.uint64(number) for number in (0, 1, 7, 8, 0xFF, 0x30))
_THREE, _BITS = np.uint64(3), np.uint64(64)
_TENS: Final = 10 ** np.arange(9, dtype=np.uint64)


def decimals(words: Words, lengths: Words, *, whole_only: bool) -> tuple[FloatArray, BoolArray]:
    """Texts of `lengths` characters as numbers, and which are plain ones.

    Those are with `whole_only` up to eight digits, else up to seven, perhaps with a point and up to eight more.
    `words` has shape (NUMBER_WORDS, n).
    A quotient of two exact numbers is rounded once, as `float` does.
    """
    first = words[0]
    if whole_only:
        found, plain = _whole(first, lengths)
        return found.astype(np.float64), plain & (lengths - _ONE < _EIGHT)
    whole = np.minimum(_point(first), lengths)
    rest = lengths - whole  # with the point
    found, plain = _whole(first, whole)
    skipped = (whole + _ONE) << _THREE
    digits = rest - np.minimum(rest, _ONE)
    more, are_digits = _digits((first >> skipped) | (words[1] << (_BITS - skipped)), digits)
    plain &= are_digits & (whole - _ONE < _SEVEN) & (rest != _ONE) & (digits <= _EIGHT)
    scale = _TENS.take(digits.view(np.int64), mode="clip")
    return (found * scale + more).astype(np.float64) / scale.astype(np.float64), plain


def _whole(first: Words, count: Words) -> tuple[Words, BoolArray]:
    """The number in the first characters, and whether they are digits without a needless zero."""
    found, plain = _digits(first, count)
    return found, plain & ((count == _ONE) | (first & _LOWEST != _ZERO))


def _point(first: Words) -> Words:
    """The place of the first point among eight characters, a large number where there is none."""
    differing = first ^ _POINTS
    points = (differing - _ONES) & ~differing & _HIGH
    lowest = points & (~points + _ONE)
    return ((lowest.astype(np.float64).view(np.int64) >> 52) - 1023).view(np.uint64) >> _THREE


def _digits(characters: Words, count: Words) -> tuple[Words, BoolArray]:
    """The number in the first `count` (at most eight) characters, which are ASCII, and whether they are digits."""
    values = (characters ^ _ZEROS) << ((_EIGHT - count) << _THREE)
    are_digits: BoolArray = (values + _TO_HIGH) & _HIGH == _NONE
    for factor, shift, mask in _JOINS:
        values = (values * factor + (values >> shift)) & mask
    return values, are_digits


# digits to pairs, pairs to fours, fours to the whole
_JOINS: Final = tuple(
    (np.uint64(factor), np.uint64(shift), np.uint64(mask))
    for factor, shift, mask in (
        (10, 8, 0x00FF_00FF_00FF_00FF),
        (100, 16, 0x0000_FFFF_0000_FFFF),
        (10_000, 32, 0xFFFF_FFFF),
    )
)

_MOST_KNOWN: Final = 4096
_MASKS: Final = np.array(
    [[(1 << 8 * min(max(size - 8 * word, 0), 8)) - 1 for size in range(8 * NAME_WORDS + 1)] for word in range(4)],
    np.uint64,
)
_FACTOR: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


class KnownTexts:
    """What short texts that come again and again mean: each is read once, then looked up by its characters.

    `read` makes a column (of `dtype`) of raw values; a column of ever new texts is soon no longer looked up.
    """

    def __init__(self, read: Callable[[Sequence[Any]], Any], dtype: Any, words: int) -> None:
        self._read = read
        self._texts: Words = np.empty((0, words), np.uint64)
        self._meanings = np.empty(0, dtype)
        self._table = np.zeros(1, np.int32)
        self._shift = np.uint64(63)

    def look_up(self, words: Words, lengths: IntArray) -> tuple[NDArray[Any], BoolArray]:
        """The meanings of the texts, and which of them are known; shapes (n,), (n,). `words` are (n, any)."""
        if not 0 < len(self._texts) <= _MOST_KNOWN:
            return np.zeros(len(lengths), self._meanings.dtype), np.zeros(len(lengths), np.bool_)
        texts, hashes = self._characters(words, lengths)
        places = self._table.take((hashes >> self._shift).view(np.int64))
        known: BoolArray = lengths <= 8 * self._texts.shape[1]
        for text, mine in zip(texts, self._texts.T, strict=True):
            known &= text == mine.take(places)
        return self._meanings.take(places), known

    def learn(self, words: Words, lengths: IntArray, values: Sequence[Any], fine: BoolArray) -> Any:
        """The meanings of texts that are not known yet, from their values; the `fine` ones are known from now on."""
        meanings = self._read(values)
        short = np.flatnonzero(fine & (lengths <= 8 * self._texts.shape[1]))
        if len(self._texts) <= _MOST_KNOWN and len(short):
            texts, _ = self._characters(words[short], lengths[short])
            self._add(np.stack(texts, 1), np.fromiter(meanings, self._meanings.dtype, len(values))[short])
        return meanings

    def _add(self, texts: Words, meanings: NDArray[Any]) -> None:
        self._texts, first = np.unique(np.concatenate([self._texts, texts]), axis=0, return_index=True)
        self._meanings = np.concatenate([self._meanings, meanings])[first]
        hashes, places = _hashed(list(self._texts.T)), np.empty(0, np.int64)
        for bits in range(8, 18):  # until there is a place for each
            places = (hashes >> np.uint64(64 - bits)).view(np.int64)
            if len(set(places.tolist())) == len(places):
                break
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, np.int32)
        self._table[places] = np.arange(len(places))

    def _characters(self, words: Words, lengths: IntArray) -> tuple[list[Words], Words]:
        count = self._texts.shape[1]
        sizes = np.minimum(lengths, 8 * count)
        texts = [words[:, i] & _MASKS[i].take(sizes) for i in range(count)]
        return texts, _hashed(texts)


def _hashed(texts: Sequence[Words]) -> Words:
    hashes = texts[0] * _FACTOR
    for text in texts[1:]:
        hashes = (hashes ^ (hashes >> np.uint64(29)) ^ text) * _FACTOR
    return hashes
