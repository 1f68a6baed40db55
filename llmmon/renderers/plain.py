"""Text from logs made harmless: no terminal escapes, no control characters, no reordering of letters."""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
    # C0, C1, invisible, bidirectional, halves of surrogate pairs
)


def plain(text: str) -> str:
    """The text on one line, each control character as `\\xNN` (a newline or tab as a space)."""
    return _CONTROL.sub(visible, text)


def visible(match: re.Match[str]) -> str:
    """A character as its code, or as a space."""
    sign = match[0]
    if sign in "\n\t\r":
        return " "
    return f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"


def plain_lines(text: str) -> str:
    """The text with its newlines, each line harmless."""
    return "\n".join(map(plain, text.split("\n")))
