"""Lines that share one layout, read as a table: numpy over a whole chunk instead of a decoder over each line.

Every byte of a line is accounted for (what stands around the values is as in the template; a value is a number,
a known text, a text between two quotes, or decoded), so that what is read this way is what the typed decoder
reads. Lines of any other layout are left to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.columns import BoolArray, IntArray
from llmmon.formats import mapping as mappings
from llmmon.formats.bound import Interners
from llmmon.formats.cell_columns import CellReader, Texts, cell_readers, windows
from llmmon.formats.template import Cell, template_of
from llmmon.formats.typed import UNREADABLE, TypedDecoder
from llmmon.formats.word_texts import Words

Bytes = NDArray[np.uint8]
_NEWLINE, _COMMA, _QUOTE, _BACKSLASH, _SPACE = (ord(sign) for sign in '\n,"\\ ')
_LAST: Final = 126  # of the plain characters
_MARGIN: Final = 128  # of the buffer: characters before and after a place may be looked at
_LONGEST: Final = 80  # of what stands before a value
_BLOCK: Final = 128 << 10  # characters at a time: with two masks they fit the cache
_TRIED: Final = 5  # lines of a chunk that the template is chosen from
LEAST_BYTES: Final = 384 << 10  # fewer are read faster line by line
_CHANCES: Final = 3  # chunks of other layouts, after which no more are tried


class Table(msgspec.Struct, frozen=True, eq=False):
    """A chunk as columns: `rows` are the numbers of the lines in them, `others` those of all other lines.

    `edges` are the places where the lines start, and where the last one ends.
    """

    rows: IntArray
    columns: Mapping[mappings.Binding, Any]
    others: IntArray
    edges: IntArray


class UniformReader:
    """Reads chunks of whole lines as tables, while most of their lines have the layout of the template."""

    def __init__(
        self,
        typed: TypedDecoder,
        mapping: mappings.Mapping,
        slots: frozenset[str],
        interners: Interners,
        naive: str,
    ) -> None:
        self._typed = typed
        self._about = mapping, slots, interners, naive
        self._cells: tuple[Cell, ...] = ()
        self._readers: list[CellReader] = []
        self._buffer: Bytes = np.empty(0, np.uint8)
        self._masks: NDArray[np.bool_] = np.empty((2, _BLOCK), np.bool_)
        self._chances = _CHANCES

    @property
    def is_hopeful(self) -> bool:
        """Whether it still tries."""
        return self._chances > 0

    def read(self, chunk: Any) -> Table | None:
        """The chunk as a table; None where too few of its lines have the layout."""
        if not self._chances or len(chunk) < LEAST_BYTES or not (self._cells or self._learn(bytes(chunk[: 1 << 16]))):
            return None
        table = self._table(self._filled(chunk))
        if table is None:
            self._chances -= 1
            self._cells = ()
        return table

    def _learn(self, beginning: bytes) -> bool:
        """Take the most frequent layout of the first lines, of those that the typed decoder takes."""
        lines = beginning.splitlines(keepends=True)[:_TRIED]
        found = Counter(cells for line in lines if self._decodes(line) and (cells := template_of(line)) is not None)
        for cells, _ in found.most_common(1):
            readers = cell_readers(cells, *self._about)
            if readers is not None and all(len(cell.before) <= _LONGEST for cell in cells):
                self._cells, self._readers = cells, readers
                return True
        self._chances -= 1
        return False

    def _decodes(self, line: bytes) -> bool:
        try:
            self._typed.decode(line)
        except UNREADABLE:
            return False
        return True

    def _filled(self, chunk: Any) -> Bytes:
        """The buffer up to the end of the chunk, which stands behind a newline."""
        end = _MARGIN + len(chunk)
        if len(self._buffer) < end + _MARGIN:
            self._buffer = np.full(end + len(chunk) // 8 + _MARGIN, _SPACE, np.uint8)
            self._buffer[_MARGIN - 1] = _NEWLINE
        self._buffer[_MARGIN:end] = np.frombuffer(chunk, np.uint8)
        return self._buffer[:end]

    def _table(self, text: Bytes) -> Table | None:
        marks, quotes, plain = self._signs(text)
        kinds = text[marks]
        newlines = np.flatnonzero(kinds == _NEWLINE)
        edges = marks[newlines]
        fits = np.diff(newlines) == len(self._cells)
        if text[-1] != _NEWLINE:
            edges, fits = np.append(edges, len(text) - 1), np.append(fits, False)
        if np.count_nonzero(kinds == _COMMA) + len(newlines) < len(marks):
            _leave(fits, edges, marks[(kinds != _COMMA) & (kinds != _NEWLINE)])
        if not plain:
            _leave(fits, edges, np.flatnonzero((text > _LAST) | (text == _BACKSLASH)))
        rows = np.flatnonzero(fits)
        if 2 * len(rows) < len(fits) or not len(rows):
            return None
        cells, fine = self._cell_texts(text, marks, newlines, rows)
        if len(rows) < len(fits) or not fine.all() or quotes != self._quotes(cells).sum():
            each = np.add.reduceat(text == _QUOTE, edges[:-1], dtype=np.int64)
            fine &= each[rows] == self._quotes(cells)
        return self._read(rows, cells, edges, fine)

    def _signs(self, text: Bytes) -> tuple[IntArray, int, bool]:
        """The places of commas and control characters, how many quotes; whether all is ASCII without backslashes."""
        marks, quotes, plain = [], 0, True
        for at in range(0, len(text), _BLOCK):
            block = text[at : at + _BLOCK]
            here, scratch = self._masks[:, : len(block)]
            quotes += int(np.count_nonzero(np.equal(block, _QUOTE, out=here)))
            plain = plain and not np.equal(block, _BACKSLASH, out=here).any() and block.max() <= _LAST
            np.equal(block, _COMMA, out=here)
            here |= np.less(block, _SPACE, out=scratch)
            found = np.flatnonzero(here)
            found += at
            marks.append(found)
        return np.concatenate(marks), quotes, plain

    def _quotes(self, cells: Sequence[Texts]) -> IntArray:
        """How many quotes each row has where it holds no more than those of the template and of the texts."""
        around = sum((cell.before + cell.after).count(b'"') for cell in self._cells)
        found: IntArray = around + 2 * np.sum([texts.quoted for texts in cells], axis=0)
        return found

    def _cell_texts(
        self, text: Bytes, marks: IntArray, newlines: IntArray, rows: IntArray
    ) -> tuple[list[Texts], BoolArray]:
        """The values of each cell, and the rows in which all that is around them is as in the template."""
        size = len(self._cells)
        if len(rows) == len(newlines) - 1:  # all lines
            starts = marks[: newlines[-1]].reshape(-1, size).T + 1
            ends = marks[1 : newlines[-1] + 1].reshape(-1, size).T.copy()
        else:
            at = newlines[rows] + np.arange(size)[:, None]
            starts, ends = marks[at] + 1, marks[at + 1]
        cells, differing = [], np.empty((sum(_words_in(cell.before) for cell in self._cells), len(rows)), np.uint64)
        fine, place = np.ones(len(rows), np.bool_), 0
        wanted = {number: reader.words for reader in self._readers for number in reader.cells}
        for number, (cell, start, end) in enumerate(zip(self._cells, starts, ends, strict=True)):
            for back, byte in enumerate(cell.after, -len(cell.after)):
                fine &= text[end + back] == byte
            begin = start + len(cell.before)
            count = _words_in(cell.before)
            words = self._words(cell.before, wanted[number], begin, differing[place : place + count])
            place += count
            texts = Texts(self._buffer, begin, end - begin - len(cell.after), _quoted(cell, words), words)
            fine &= _fits(text, texts, cell)
            cells.append(texts)
        return cells, fine if not differing.any() else fine & ~differing.any(0)

    def _words(self, before: bytes, count: int, begin: IntArray, differing: Words) -> Words:
        """The first words of the texts; `differing` becomes 0 where the right text stands before them."""
        size = len(differing)
        found = windows(self._buffer, 8 * (size + count))[begin - 8 * size].view(np.uint64).reshape(-1, size + count)
        for place, expected in enumerate(np.frombuffer(before.rjust(8 * size, b"\0"), np.uint64)):
            np.bitwise_xor(found[:, place], expected, out=differing[place])
        differing[0] >>= np.uint64(8 * (8 * size - len(before)))
        return found[:, size:]

    def _read(self, rows: IntArray, cells: Sequence[Texts], edges: IntArray, fine: BoolArray) -> Table | None:
        if not fine.all():
            rows, cells = rows[fine], [texts.take(fine) for texts in cells]
            if not len(rows):
                return None
        columns: dict[mappings.Binding, Any] = {}
        unread = np.zeros(len(rows), np.bool_)
        for reader in self._readers:
            found, bad = reader.read([cells[number] for number in reader.cells])
            columns.update(found)
            if bad is not None:
                unread |= bad
        if unread.any():
            return self._read(rows, cells, edges, ~unread)
        others = np.ones(len(edges) - 1, np.bool_)
        others[rows] = False
        return Table(rows, columns, np.flatnonzero(others), edges - (_MARGIN - 1))


def _leave(fits: BoolArray, edges: IntArray, places: IntArray) -> None:
    """Leave out the lines in which these places are."""
    lines = edges.searchsorted(places) - 1
    fits[lines[lines < len(fits)]] = False


def _words_in(before: bytes) -> int:
    return -(-len(before) // 8)


def _quoted(cell: Cell, words: Words) -> BoolArray:
    """Which texts begin with a quote; none where numbers stand."""
    if not cell.kind or cell.kind.isdigit():
        return np.zeros(len(words), np.bool_)
    found: BoolArray = (words[:, 0] & np.uint64(0xFF)) == np.uint64(_QUOTE)
    return found


def _fits(text: Bytes, texts: Texts, cell: Cell) -> BoolArray:
    """Which texts are as long as a value must be, and end with a quote if they begin with one."""
    if not cell.kind:
        empty: BoolArray = texts.lengths == 0
        return empty
    if not texts.quoted.any():
        long_enough: BoolArray = texts.lengths > 0
        return long_enough
    ended: BoolArray = ~texts.quoted | (text[texts.starts + texts.lengths - 1] == _QUOTE)
    return ended & (texts.lengths > texts.quoted)
