"""How the records of a file lie in it: one a line, documents over several lines or in an array, or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from llmmon.formats.accounting import LONGEST_LINE
from llmmon.formats.csv_table import Element, RecordSplitter, Table, table_of
from llmmon.formats.json_text import BLANK, objects_of
from llmmon.metrics.columns import IntArray

_LOOK_BACK: Final = 256  # bytes; more white space than that is between documents
_BETWEEN: Final = b" \t\r\n,"
_BOM: Final = b"\xef\xbb\xbf"
_QUOTE, _BACKSLASH, _NEWLINE = b'"\\\n'
_BRACE, _BRACKET, _CLOSING_BRACE, _CLOSING_BRACKET, _COMMA = b"{[}],"
_STRUCTURE: Final = np.zeros(256, np.bool_)
_STRUCTURE[list(b"{}[],")] = True
_STEPS: Final = np.zeros(256, np.int64)  # how each sign changes the depth
_STEPS[list(b"{[")], _STEPS[list(b"}]")] = 1, -1


class DocumentSplitter:
    """Cuts a stream of JSON documents into elements; what is left at its end may be cut off."""

    def __init__(self) -> None:
        self._kept = bytearray()  # since the last cut
        self._offset = 0  # of its first byte in the stream
        self._depth = 0
        self._in_array = False  # of the top level
        self._texts = _TextState()
        self._reached: int | None = None  # depth at the end of the chunk, where it was computed in advance

    def feed(self, chunk: Any) -> list[Element]:
        """The elements that became complete."""
        data = np.frombuffer(chunk, np.uint8)
        before = len(self._kept)
        self._kept += chunk
        found: list[Element] = []
        done = 0
        positions = self._texts.outside(data)
        for at, sign, depth in self._cutting(data, positions):
            self._depth = self._depth if depth is None else depth
            cut = self._step(at + before, sign)
            if cut is not None:
                self._emit(done, cut[0], found)
                done = cut[1]
        if len(positions) and self._reached is not None:
            self._depth = self._reached
        del self._kept[:done]
        self._offset += done
        if len(self._kept) > LONGEST_LINE:  # what is left of it will be rejected
            self._offset += len(self._kept)
            self._kept.clear()
        return found

    def _cutting(self, data: NDArray[np.uint8], positions: IntArray) -> Iterator[tuple[int, int, int | None]]:
        """Signs that may cut, each with the depth before it (None: as the signs so far have it).

        Where brackets match, these are the few at the top; otherwise each sign must be looked at.
        """
        signs = data[positions]
        depth = self._depth + np.cumsum(_STEPS[signs])
        self._reached = None
        if not len(signs) or depth.min() < 0 or self._may_start_afresh(data, positions, signs, depth):
            yield from zip(positions.tolist(), signs.tolist(), [None] * len(signs), strict=True)
            return
        before = depth - _STEPS[signs]
        top = np.flatnonzero((np.minimum(depth, before) == 0) | ((signs == _COMMA) & (depth == 1)))
        yield from zip(positions[top].tolist(), signs[top].tolist(), before[top].tolist(), strict=True)
        self._reached = int(depth[-1])

    def _may_start_afresh(
        self, data: NDArray[np.uint8], positions: IntArray, signs: NDArray[np.uint8], depth: IntArray
    ) -> bool:
        if self._in_array and depth.min() > 0:
            return False
        deep = positions[(signs == _BRACE) & (depth > 1)]
        return bool((data[deep[deep > 0] - 1] == _NEWLINE).any() or (len(deep) and deep[0] == 0))

    def finish(self) -> list[Element]:
        """What is left at the end of the stream."""
        found: list[Element] = []
        self._emit(0, len(self._kept), found)
        self._offset += len(self._kept)
        self._kept.clear()
        self._depth, self._in_array, self._texts = 0, False, _TextState()
        return found

    def _step(self, at: int, sign: int) -> tuple[int, int] | None:
        """Where an element ends and where the next may begin, if this sign cuts."""
        if sign == _COMMA:
            return (at, at + 1) if self._depth == 1 and self._in_array else None
        if sign in (_BRACE, _BRACKET):
            broken = self._depth > 0 and sign == _BRACE and self._starts_afresh(at)
            self._depth = 1 if broken else self._depth + 1
            if self._depth > 1:
                return None
            self._in_array = sign == _BRACKET
            return at, at + self._in_array
        if self._depth == 0:
            return None  # closes nothing
        self._depth -= 1
        if self._depth:
            return None
        was_array, self._in_array = self._in_array, False
        return (at, at + 1) if was_array else (at + 1, at + 1)

    def _starts_afresh(self, at: int) -> bool:
        """A brace at the start of a line where no value may stand: the document before it was cut off."""
        if self._in_array or self._kept[at - 1 : at] != b"\n":
            return False
        return not self._kept[max(0, at - _LOOK_BACK) : at].rstrip().endswith((b"[", b",", b":"))

    def _emit(self, start: int, end: int, found: list[Element]) -> None:
        piece = bytes(self._kept[start:end])
        element = piece.lstrip(_BETWEEN).removeprefix(_BOM).lstrip(_BETWEEN)
        if element:
            found.append((self._offset + start + len(piece) - len(element), element.rstrip(_BETWEEN)))


class _TextState:
    """Whether the stream is inside a JSON string; a string never goes past the end of its line."""

    def __init__(self) -> None:
        self._inside = False
        self._backslashes = 0  # at the very end of what was seen

    def outside(self, data: NDArray[np.uint8]) -> IntArray:
        """Positions of structural signs outside strings; shape (n,)."""
        if not len(data):
            return np.empty(0, np.int64)
        quotes: IntArray = np.cumsum(self._quotes(data), dtype=np.int64)
        lines = np.flatnonzero(data == _NEWLINE)
        positions = np.flatnonzero(_STRUCTURE[data])
        inside = self._parity(quotes, lines, positions) == 0
        self._inside = bool(self._parity(quotes, lines, np.array([len(data) - 1]))[0])
        outside: IntArray = positions[inside]
        return outside

    def _quotes(self, data: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which bytes begin or end a string: quotes that no odd number of backslashes precedes."""
        quotes: NDArray[np.bool_] = data == _QUOTE
        slashes = data == _BACKSLASH
        if self._backslashes == 0 and not slashes.any():
            return quotes
        index = np.arange(len(data))
        last_other = np.maximum.accumulate(np.where(slashes, -1, index))
        run = index - last_other
        run[last_other < 0] += self._backslashes  # the run began in an earlier chunk
        before = np.concatenate(([self._backslashes], np.where(slashes, run, 0)[:-1]))
        self._backslashes = int(run[-1]) % 2 if slashes[-1] else 0
        unescaped: NDArray[np.bool_] = before % 2 == 0
        found: NDArray[np.bool_] = quotes & unescaped
        return found

    def _parity(self, quotes: IntArray, lines: IntArray, positions: IntArray) -> IntArray:
        line = np.searchsorted(lines, positions, side="right")
        bases = np.concatenate(([0 if not self._inside else -1], quotes[lines]))
        parity: IntArray = (quotes[positions] - bases[line]) % 2
        return parity


class Splitter(Protocol):
    """Cuts a stream into records; `feed` takes any bytes, `finish` gives what is left at the end."""

    def feed(self, chunk: Any) -> list[Element]: ...
    def finish(self) -> list[Element]: ...


class Layout(msgspec.Struct, frozen=True):
    """One of "lines", "documents" and "csv"; the latter with its table."""

    kind: str = "lines"
    table: Table | None = None

    @property
    def splittable(self) -> bool:
        """Whether the file can be cut at newlines."""
        return self.kind == "lines" or (self.table is not None and not self.table.quoted)

    def splitter(self) -> Splitter | None:
        """What cuts the file into records, None where each line is one."""
        if self.splittable:
            return None
        return DocumentSplitter() if self.table is None else RecordSplitter(self.table)

    def objects_of(self, line: bytes) -> list[dict[str, Any]]:
        """All objects on a line (or of a record), none for the line of column names; raises `UnreadableError`."""
        if self.table is None:
            return objects_of(line)
        return [] if (found := self.table.row(line)) is None else [found]


LINES: Final = Layout()


def layout_of(head: bytes) -> Layout:
    """The layout of a file that begins with these bytes."""
    text = head.removeprefix(_BOM).lstrip(BLANK)
    first, _, rest = text.partition(b"\n")
    if first.startswith(b"[") and first[1:].lstrip()[:1] in _ELEMENTS:
        alone = _is_json(first) and rest.lstrip().startswith(b"{")  # a stray array among lines
        return LINES if alone else Layout("documents")
    if first.startswith(b"{"):
        return Layout("documents") if not _is_json(first) and _is_spread(first, text) else LINES
    table = table_of(text)
    return LINES if table is None else Layout("csv", table)


_ELEMENTS: Final = (b"", b"{", b"[", b"]", b'"')


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_spread(first: bytes, text: bytes) -> bool:
    """Whether the first object goes over several lines."""
    if first.strip() == b"{":
        return True
    elements = DocumentSplitter().feed(text)
    return bool(elements) and b"\n" in elements[0][1] and _is_json(elements[0][1])


def elements_of(head: bytes, layout: Layout) -> list[bytes]:
    """The lines (or records) at the beginning of a file, without the last one if it may be cut."""
    splitter = layout.splitter()
    if splitter is None:
        return head.split(b"\n")
    return [element for _, element in splitter.feed(head)] or [element for _, element in splitter.finish()]
