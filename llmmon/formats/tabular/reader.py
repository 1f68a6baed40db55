"""Lines that share one layout, read as a table: numpy over a whole chunk instead of a decoder over each line.

Every byte of a line is accounted for (what stands around the values is as in the template; a value is a number,
a known text, a text between two quotes, or decoded), so that what is read this way is what the typed decoder
reads. Lines of any other layout are left to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.formats import mapping as mappings
from llmmon.formats.blocks import Joined
from llmmon.formats.canonical import Interners
from llmmon.formats.leaves import UNREADABLE
from llmmon.formats.tabular.cells import CellReader, Found, Texts, cell_readers, windows
from llmmon.formats.tabular.scan import BLOCK, Cell, Words, signs_of, template_of
from llmmon.formats.typed import TypedDecoder
from llmmon.metrics.columns import BoolArray, IntArray

Bytes = NDArray[np.uint8]
_NEWLINE, _QUOTE, _SPACE = b'\n" '
_MARGIN: Final = 256  # of the buffer: characters before and after a place may be looked at
_LONGEST: Final = 80  # of what stands before a value
_TRIED: Final = 5  # lines of a chunk that the template is chosen from
LEAST_BYTES: Final = 384 << 10  # fewer are read faster line by line
_LEAST_SHARE: Final = 0.9  # of the lines that must have the layout
_CHANCES: Final = 3  # chunks of other layouts in a row, after which no more are tried


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
        mapping: mappings.FieldMapping,
        slots: frozenset[str],
        interners: Interners,
        naive: str,
    ) -> None:
        self._typed = typed
        self._about = mapping, slots, interners, naive
        self._cells: tuple[Cell, ...] = ()
        self._readers: list[CellReader] = []
        self._room = bytearray()
        self._buffer: Bytes = np.frombuffer(self._room, np.uint8)
        self._masks = np.empty((2, BLOCK), np.bool_)
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
        self._chances = self._chances - 1 if table is None else _CHANCES
        if table is None:
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
            return self._typed.sort([self._typed.decoder.decode(line)]) is None
        except UNREADABLE:
            return False

    def _filled(self, chunk: Any) -> Bytes:
        """The buffer up to the end of the chunk, which stands behind a newline."""
        end = _MARGIN + len(chunk)
        if len(self._buffer) < end + _MARGIN:
            self._room = bytearray(b" " * (end + len(chunk) // 8 + _MARGIN))
            self._room[_MARGIN - 1] = _NEWLINE
            self._buffer = np.frombuffer(self._room, np.uint8)
        self._buffer[_MARGIN:end] = np.frombuffer(chunk, np.uint8)
        return self._buffer[:end]

    def _table(self, text: Bytes) -> Table | None:
        signs = signs_of(text, self._masks, escapes=self._room.find(b"\\", _MARGIN, len(text)) >= 0)
        rows = np.flatnonzero(signs.lines_of(len(self._cells)))
        enough = max(1.0, _LEAST_SHARE * signs.lines)
        if len(rows) < enough:
            return None
        columns, fine, quoted = self._columns(text, *signs.cells(rows, len(self._cells)))
        quotes = sum((cell.before + cell.after).count(b'"') for cell in self._cells) + 2 * quoted
        if signs.quotes_of(rows[fine]) != quotes[fine].sum():  # where a line holds more, a text does
            fine &= signs.quotes_by_line()[rows] == quotes
        if np.count_nonzero(fine) < enough:
            return None
        if not fine.all():
            rows, columns = rows[fine], {binding: _kept(column, fine) for binding, column in columns.items()}
        return Table(rows, columns, signs.other_lines(rows), signs.edges - (_MARGIN - 1))

    def _columns(self, text: Bytes, starts: IntArray, ends: IntArray) -> tuple[Found, BoolArray, IntArray]:
        """The columns; the rows of which all is as it must be; and in how many cells of each a text stands."""
        columns: Found = {}
        fine, quoted = np.ones(starts.shape[1], np.bool_), np.zeros(starts.shape[1], np.int64)
        for reader in self._readers:
            texts = [
                self._texts(text, number, reader.words, starts[number], ends[number], fine) for number in reader.cells
            ]
            found, bad = reader.read(texts)
            columns.update(found)
            for each in texts:
                quoted += each.quoted
            if bad is not None:
                fine &= ~bad
        return columns, fine, quoted

    def _texts(self, text: Bytes, number: int, count: int, starts: IntArray, ends: IntArray, fine: BoolArray) -> Texts:
        """The texts of one cell; the rows with something else around them, or no value, are no longer fine."""
        cell = self._cells[number]
        begin = starts + len(cell.before)
        size = -(-len(cell.before) // 8)
        words = windows(self._buffer, 8 * (size + count))[begin - 8 * size].view(np.uint64).reshape(-1, size + count)
        differing = np.empty((size, len(begin)), np.uint64)
        for place, expected in enumerate(np.frombuffer(cell.before.rjust(8 * size, b"\0"), np.uint64)):
            np.bitwise_xor(words[:, place], expected, out=differing[place])
        differing[:1] >>= np.uint64(8 * (8 * size - len(cell.before)))
        if differing.any():
            fine &= ~differing.any(0)
        for back, byte in enumerate(cell.after, -len(cell.after)):
            fine &= text[ends + back] == byte
        lengths, words = ends - begin - len(cell.after), words[:, size:]
        found = Texts(self._buffer, begin, lengths, _quoted(cell, words), words, fine)
        fine &= _fits(text, found, cell)
        return found


def _kept(column: Any, fine: BoolArray) -> Any:
    """Some rows of a column, in any of its forms."""
    if column is None or isinstance(column, np.ndarray):
        return None if column is None else column[fine]
    if isinstance(column, Joined):
        grid = np.frombuffer(column.text, np.uint8).reshape(-1, column.width)
        return Joined(grid[fine].tobytes(), column.width)
    return [value for value, is_fine in zip(column, fine.tolist(), strict=True) if is_fine]


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
