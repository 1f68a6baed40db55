"""How the records of a file lie in it: one a line, documents over several lines or in an array, or CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from llmmon.formats.accounting import LONGEST_LINE
from llmmon.formats.aliases import bindings_at
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.home_made import is_stamped
from llmmon.formats.mapping import EVIDENCE
from llmmon.metrics.columns import IntArray

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_MARKED: Final = re.compile(r"'+[=+\-@\t\r\\]")
_CONTROLS: Final = "\x00-\x1f\x7f-\x9f"
_WRITTEN: Final = re.compile(rf"[{_CONTROLS}]|\\(?=[nrx\\{_CONTROLS}])")
_READ: Final = re.compile(r"\\(\\|n|r|x[0-9a-f]{2})")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_LONG: Final = {written: text for text, written in _SHORT.items()}


def cell_of(text: str) -> str:
    """The cell for a text."""
    cell = _WRITTEN.sub(lambda sign: _SHORT.get(sign[0]) or f"\\x{ord(sign[0]):02x}", text)
    return f"'{cell}" if _FORMULA.match(text) or _MARKED.match(cell) else cell


def text_of(cell: str) -> str:
    """The text of a cell."""
    text = cell[1:] if _MARKED.match(cell) else cell
    return _READ.sub(lambda sign: _LONG.get(sign[0]) or chr(int(sign[1][1:], 16)), text)


class UnreadableError(Exception):
    """A line that holds no object; the text says why."""


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; raises `UnreadableError` with the reason.

    Put up with are NaN and Infinity, bad UTF-8, byte order marks, zero bytes, the colours of terminals, a needless
    comma, an object inside a JSON string and text before the object.
    """
    found = objects_of(line)
    if len(found) == 1:
        return found[0]
    raise UnreadableError("several objects where one was expected")


def objects_of(line: bytes) -> list[dict[str, Any]]:
    """As `object_of`, of a line that may hold several objects one after the other."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        found = _repaired(line, str(error).split(": line")[0])
    if isinstance(found, str):
        found = _inside(found.strip()) or found
    if isinstance(found, dict):
        return [found]
    if isinstance(found, _Several):
        return found.objects
    raise UnreadableError(f"{_KINDS.get(type(found), 'a value')} where an object was expected")


_KINDS: Final = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class _Several(msgspec.Struct):
    """Objects that stand on one line."""

    objects: list[dict[str, Any]]


def _inside(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _repaired(line: bytes, reason: str) -> Any:
    text = plain_text(line).removeprefix(",").lstrip()
    if text.startswith(("{'", "[{'")):
        raise UnreadableError(_PYTHON)
    if not text.startswith("{") and not re.match(r"\[\s*[\[{\"\]]", text):
        return text_object(text)
    return _lenient(text, reason)


_PYTHON: Final = "a Python dict, not JSON: log json.dumps(record) instead of the record"


def plain_text(line: bytes) -> str:
    """A line as text: in UTF-8 but for bytes that are of Windows-1252, without marks, zero bytes and colours."""
    if b"\0" in line:
        line = _without_zeros(line)
    text = line.decode("utf-8", "surrogateescape").translate(_WINDOWS)
    return (_COLOURS.sub("", text) if "\x1b" in text else text).strip(_AROUND)


def _without_zeros(line: bytes) -> bytes:
    """A line of UTF-16 among others (its newline was cut in two), or with the hole that a truncated log has."""
    zeros = line.count(b"\0")
    if 2 * zeros > 0.8 * len(line):
        pairs = line.lstrip(b"\0\r\n")
        even = pairs[: len(pairs) & ~1]
        if even[1::2].count(0) > 0.8 * len(even) / 2:
            return even.decode("utf-16-le", "replace").encode("utf-8", "replace")
    return line.replace(b"\0", b"")


_COLOURS: Final = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]")
BLANK: Final = b"\0\x1e \t\r\n\f\v"  # what a line may hold and still be blank
_AROUND: Final = "\ufeff\x1e \t\r\n\f\v"
_WINDOWS: Final = {0xDC00 + byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0x100)}
_NEEDLESS_COMMA: Final = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')


def _lenient(text: str, reason: str) -> Any:
    """An object with what strict JSON does not have; also several. Raises `UnreadableError`."""
    text = text.rstrip(", \t")
    found = _strict(text) or _several(text)
    if found is None and re.search(r",\s*[}\]]", text):
        found = _strict(_NEEDLESS_COMMA.sub(lambda sign: sign[1] or "", text))
    if found is None:
        reason = reason if text.endswith(("}", "]")) else "cut off"
        raise UnreadableError(f"not valid JSON: {reason}")
    return found


def _strict(text: str) -> Any:
    """JSON, also with NaN, raw tabs in texts and halves of surrogate pairs; None if it is none."""
    import json  # only bad lines need it

    try:
        found = json.loads(text, strict=False)
        # half a surrogate pair is no text: it becomes "?"
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _several(text: str) -> _Several | None:
    """Objects one after the other, also with commas between them; None if there is anything else."""
    import json

    decoder, found, at = json.JSONDecoder(strict=False), [], 0
    while at < len(text):
        try:
            each, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        if not isinstance(each, dict):
            return None
        found.append(json.loads(json.dumps(each, ensure_ascii=False).encode("utf-8", "replace")))
        at = end + len(text[end:]) - len(text[end:].lstrip(", \t"))
    return _Several(found) if found else None


def text_object(text: str) -> dict[str, Any]:
    """The object at the end of a line of text, stamped with the line's time if it has none of its own."""
    prefix, brace, _ = text.partition("{")
    found = None
    if brace and text.endswith("}") and '":' not in prefix:
        found = _inside(text[len(prefix) :])
    if not isinstance(found, dict):
        raise UnreadableError(_PYTHON if text[len(prefix) :].startswith("{'") else "not JSON")
    stamp = _STAMP.search(prefix[:80])
    return found if stamp is None else stamped(found, stamp[0])


_STAMP: Final = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z\b|[+-]\d\d:?\d\d))?"
    r"|\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} +\d\d? \d\d:\d\d:\d\d(?:\.\d{1,6})? \d{4}"
)


def stamped(found: dict[str, Any], moment: Any) -> dict[str, Any]:
    """The object, with a time from around it if it has none of its own."""
    return found if moment is None or is_stamped(found) else {"timestamp": moment, **found}


Element = tuple[int, bytes]  # where it starts in the stream, its bytes
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
    """Cuts a stream into elements; `feed` takes any bytes, `finish` gives what is left (it may be cut off)."""

    def __init__(self) -> None:
        self._kept = bytearray()  # since the last cut
        self._offset = 0  # of its first byte in the stream
        self._depth = 0
        self._in_array = False  # of the top level
        self._texts = _TextState()
        self._reached: int | None = None  # depth at the end of the chunk, where it was told in advance

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


TAGS: Final = "tags."  # before the name of a column of tags


class Layout(msgspec.Struct, frozen=True):
    """One of "lines", "documents" and "csv", with the column names of the latter; `own` if llmmon wrote it."""

    kind: str = "lines"
    header: tuple[str, ...] = ()
    own: bool = False

    @property
    def splittable(self) -> bool:
        """Whether the file can be cut at newlines."""
        return self.kind != "documents"

    def object_of(self, line: bytes) -> dict[str, Any] | None:
        """The object on a line (or of an element), None for the line of column names; raises `UnreadableError`."""
        return object_of(line) if self.kind != "csv" else self._cells(line)

    def objects_of(self, line: bytes) -> list[dict[str, Any]]:
        """All objects on a line (or of an element), none for the line of column names; raises `UnreadableError`."""
        if self.kind != "csv":
            return objects_of(line)
        return [] if (found := self._cells(line)) is None else [found]

    def _cells(self, line: bytes) -> dict[str, Any] | None:
        cells = _split(line)
        if cells == self.header:
            return None
        if len(cells) != len(self.header):
            raise UnreadableError(f"{len(cells)} values where {len(self.header)} were expected")
        found = {name: cell for name, cell in zip(self.header, cells, strict=True) if cell}
        return _own_row(found) if self.own else found


def _own_row(cells: Mapping[str, str]) -> dict[str, Any]:
    """A row of `llmmon export --to csv`: texts as they were, tags as an object."""
    row: dict[str, Any] = {name: text_of(cell) for name, cell in cells.items() if not name.startswith(TAGS)}
    tags = {text_of(name).removeprefix(TAGS): text_of(cell) for name, cell in cells.items() if name.startswith(TAGS)}
    return row | {"tags": tags} if tags else row


def _is_own(names: Sequence[str]) -> bool:
    return all(name in OWN_KEYS or name.startswith(TAGS) for name in names)


LINES: Final = Layout()


def _split(line: bytes) -> tuple[str, ...]:
    """The cells of a line; raises `UnreadableError`."""
    text = line.removeprefix(_BOM).decode("utf-8", "replace").strip("\r\n")
    if '"' not in text:
        return tuple(text.split(","))
    import csv

    csv.field_size_limit(LONGEST_LINE)  # its own limit is 128 KB
    try:
        return tuple(next(csv.reader([text]), ()))
    except csv.Error as error:  # such as a carriage return outside quotes
        raise UnreadableError(f"not valid CSV: {error}") from None


def layout_of(head: bytes) -> Layout:
    """The layout of a file that begins with these bytes."""
    text = head.removeprefix(_BOM).lstrip(BLANK)
    first, _, rest = text.partition(b"\n")
    if first.startswith(b"[") and first[1:].lstrip()[:1] in _ELEMENTS:
        alone = _is_json(first) and rest.lstrip().startswith(b"{")  # a stray array among lines
        return LINES if alone else Layout("documents")
    if first.startswith(b"{"):
        return Layout("documents") if not _is_json(first) and _is_spread(first, text) else LINES
    return _table(first) or LINES


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


def _table(first: bytes) -> Layout | None:
    """CSV, if the column names are those of calls."""
    if first.count(b",") < 2 or b"{" in first:
        return None
    try:
        names = _split(first)
    except UnreadableError:
        return None
    if any(name != name.strip() for name in names):
        return None  # prose
    slots = {binding.slot for name in names for binding in bindings_at((name,))}
    return Layout("csv", names, _is_own(names)) if "start" in slots and slots & {*EVIDENCE, "prompt"} else None


def elements_of(head: bytes, layout: Layout) -> list[bytes]:
    """The lines (or elements) at the beginning of a file, without the last one if it may be cut."""
    if layout.kind == "documents":
        splitter = DocumentSplitter()
        return [element for _, element in splitter.feed(head)] or [element for _, element in splitter.finish()]
    return head.split(b"\n")
