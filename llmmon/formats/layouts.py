"""How the records of a file lie in it: one a line, documents over several lines or in an array, or CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from llmmon.formats.accounting import LONGEST_LINE
from llmmon.formats.aliases import bindings_at
from llmmon.formats.cells import text_of
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.documents import DocumentSplitter
from llmmon.formats.lines import UnreadableError, object_of
from llmmon.formats.slots import EVIDENCE

TAGS: Final = "tags."  # before the name of a column of tags
_BOM: Final = b"\xef\xbb\xbf"


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
    text = head.removeprefix(_BOM).lstrip()
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
