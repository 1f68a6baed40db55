"""The cells of `llmmon export --to csv`: texts on one line that no spreadsheet takes for formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmmon.formats.dialects.native import CALL_MARK, OWN_KEYS
from llmmon.text.patterns import lazy

TAGS: Final = "tags."  # before the name of a column of tags
_FORMULA: Final = lazy(r"'*[=+\-@\t\r]")
_MARKED: Final = lazy(r"'+[=+\-@\t\r\\]")
_CONTROLS: Final = "\x00-\x1f\x7f-\x9f"
# the last part: what would begin a formula after a separator of other countries is written as a control character is
_WRITTEN: Final = lazy(rf"[{_CONTROLS}]|\\(?=[nrx\\{_CONTROLS}])|(?<=[;|])(?:[=+\-@]|\x20(?=\x20*[=+\-@]))")
_READ: Final = lazy(r"\\(\\|n|r|x[0-9a-f]{2})")
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


def is_own(names: Sequence[str]) -> bool:
    """Whether llmmon wrote a table with these columns."""
    return CALL_MARK in names and all(name in OWN_KEYS or name.startswith(TAGS) for name in names)


def own_row(cells: Mapping[str, str]) -> dict[str, Any]:
    """A row: texts as they were, tags as an object."""
    row: dict[str, Any] = {name: text_of(cell) for name, cell in cells.items() if not name.startswith(TAGS)}
    tags = {text_of(name).removeprefix(TAGS): text_of(cell) for name, cell in cells.items() if name.startswith(TAGS)}
    return row | {"tags": tags} if tags else row
