"""Short texts as words of eight characters -> numpy columns: decimal numbers, texts that come again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.formats.mapping import Path
from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.text.patterns import lazy

Bytes = NDArray[np.uint8]
BLOCK: Final = 128 << 10  # characters at a time: with two masks they fit the cache
_NEWLINE, _COMMA, _QUOTE, _BACKSLASH, _SPACE = b'\n,"\\ '


class Signs(msgspec.Struct, frozen=True, eq=False):
    """The signs of a text that begins with a newline.

    `marks` are the places of commas and of all that is no plain ASCII, `newlines` which of them are newlines, `edges`
    where those stand (and the end, if that is none); `quotes` is how many there are, `escapes` whether any may be.
    """

    text: Bytes
    marks: IntArray
    newlines: IntArray
    edges: IntArray
    quotes: int
    escapes: bool

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self.edges) - 1

    def lines_of(self, cells: int) -> BoolArray:
        """The lines of so many cells, without what might be read in two ways; shape (lines,)."""
        found = np.zeros(self.lines, np.bool_)
        found[: len(self.newlines) - 1] = np.diff(self.newlines) == cells
        kinds = self.text[self.marks]
        odd = (kinds != _COMMA) & (kinds != _NEWLINE)
        if odd.any():
            self._leave(found, self.marks[odd])
        if self.escapes:
            self._leave(found, np.flatnonzero(self.text == _BACKSLASH))
        return found

    def _leave(self, found: BoolArray, places: IntArray) -> None:
        """Leave out the lines in which these places are."""
        lines = self.edges.searchsorted(places) - 1
        found[lines[lines < len(found)]] = False

    def cells(self, rows: IntArray, size: int) -> tuple[IntArray, IntArray]:
        """Where each cell of some lines, all of `size` cells, starts and ends; shapes (size, rows)."""
        if len(rows) == self.lines:
            ends = self.marks[1 : self.newlines[-1] + 1].reshape(-1, size).T.copy()
            return self.marks[: self.newlines[-1]].reshape(-1, size).T + 1, ends
        at = self.newlines[rows] + np.arange(size)[:, None]
        return self.marks[at] + 1, self.marks[at + 1]

    def other_lines(self, rows: IntArray) -> IntArray:
        """The lines that are not among these."""
        others = np.ones(self.lines, np.bool_)
        others[rows] = False
        return np.flatnonzero(others)

    def quotes_of(self, rows: IntArray) -> int:
        """How many quotes these lines hold, which are most of all."""
        places = self.other_lines(rows)
        edges = zip(self.edges[places].tolist(), self.edges[places + 1].tolist(), strict=True)
        return self.quotes - sum(self.text[a + 1 : b + 1].tobytes().count(b'"') for a, b in edges)

    def quotes_by_line(self) -> IntArray:
        """How many quotes each line holds; shape (lines,)."""
        before = np.flatnonzero(self.text == _QUOTE).searchsorted(self.edges, "right")
        return np.diff(before)


def signs_of(text: Bytes, masks: NDArray[np.bool_], *, escapes: bool) -> Signs:
    """The signs of a text that begins with a newline; `masks` of shape (2, BLOCK) is room to work in."""
    found, quotes = [], 0
    for at in range(0, len(text), BLOCK):
        block = text[at : at + BLOCK]
        here, scratch = masks[:, : len(block)]
        quotes += int(np.count_nonzero(np.equal(block, _QUOTE, out=here)))
        np.equal(block, _COMMA, out=here)
        here |= np.less(block.view(np.int8), _SPACE, out=scratch)  # what is no ASCII is negative
        places = np.flatnonzero(here)
        places += at
        found.append(places)
    marks = np.concatenate(found)
    newlines = np.flatnonzero(text[marks] == _NEWLINE)
    edges = marks[newlines]
    return Signs(
        text, marks, newlines, edges if text[-1] == _NEWLINE else np.append(edges, len(text) - 1), quotes, escapes
    )


_TOKEN: Final = lazy(rb'\s*("[^"\\\x00-\x1f]*"|[^\s",:\[\]{}]+|[\[\]{}:,])\s*')
_MOST_CELLS: Final = 120


class Cell(msgspec.Struct, frozen=True):
    """What stands between two commas of a line: text, a value that is no object or list, text.

    `kind` is the first byte of the value; without one, as in `"tags": {}`, `before` is all of it.
    """

    before: bytes
    path: Path
    after: bytes = b""
    kind: bytes = b""


def template_of(line: bytes) -> tuple[Cell, ...] | None:
    """The cells of a line (valid JSON, with its newline); None where it is no pattern for others.

    That is where a text holds a comma, a quote or a backslash, a key stands twice, or there is too much.
    """
    values, commas = _Scan().over(line) if line.isascii() else (None, [])
    if values is None or len(commas) != line.count(b",") or len(commas) >= _MOST_CELLS or not line.endswith(b"\n"):
        return None
    paths = [path for path, _, _ in values]
    if len(set(paths)) < len(paths):
        return None
    starts, ends = [0, *(comma + 1 for comma in commas)], [*commas, len(line) - 1]
    return tuple(_cell(line, start, end, values) for start, end in zip(starts, ends, strict=True))


_Value = tuple[Path, int, int]


def _cell(line: bytes, start: int, end: int, values: list[_Value]) -> Cell:
    path, a, b = next((path, a, b) for path, a, b in values if start <= a < end)
    if a == b:
        return Cell(line[start:end], path)
    return Cell(line[start:a], path, line[b:end], line[a : a + 1])


class _Scan:
    """One pass over the tokens of a line, which is known to be JSON."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._values: list[_Value] = []
        self._commas: list[int] = []
        self._in_list: list[bool] = []
        self._at_key = False
        self._before = b""

    def over(self, line: bytes) -> tuple[list[_Value] | None, list[int]]:
        """The places of the values with their paths, and of the commas between them."""
        at = 0
        while at < len(line):
            token = _TOKEN.match(line, at)
            if token is None:
                return None, []
            self._take(token[1], *token.span(1))
            at = token.end()
        return self._values, self._commas

    def _take(self, token: bytes, start: int, end: int) -> None:
        match token:
            case b"{" | b"[":
                self._in_list.append(token == b"[")
                self._path.append("0")
                self._at_key = token == b"{"
            case b"}" | b"]":
                self._in_list.pop()
                self._path.pop()
                if self._before in (b"{", b"["):
                    self._values.append((tuple(self._path), start, start))
            case b":":
                self._at_key = False
            case b",":
                self._commas.append(start)
                self._at_key = not self._in_list[-1]
                if self._in_list[-1]:
                    self._path[-1] = str(int(self._path[-1]) + 1)
            case _ if self._at_key:
                self._path[-1] = token[1:-1].decode()
            case _:
                self._values.append((tuple(self._path), start, end))
        self._before = token


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
