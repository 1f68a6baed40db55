"""Texts as the cells of llmmon's own CSV: on one line, harmless in a spreadsheet, and the same when read back.

A cell that a spreadsheet would run as a formula begins with an apostrophe, as such a text itself does if it begins
with apostrophes; control characters are written as `\\n`, `\\r` or `\\xNN`, and a backslash that would be taken for
the beginning of one is doubled.
"""

from __future__ import annotations

import re
from typing import Final

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
