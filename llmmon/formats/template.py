"""The layout that the lines of a log share: what stands around their values, learnt from one line."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from llmmon.formats.mapping import Path

_TOKEN: Final = re.compile(rb'\s*("[^"\\\x00-\x1f]*"|[^\s",:\[\]{}]+|[\[\]{}:,])\s*')
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
