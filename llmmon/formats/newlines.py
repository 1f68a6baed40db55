"""Where the lines of a chunk end, and whether each of them holds exactly one object."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from llmmon.columns import BoolArray, IntArray

_NEWLINE, _BRACE, _CLOSING, _RETURN = b"\n{}\r"
_LONG_LINES: Final = 1000  # bytes; such lines are found faster one by one


class Newlines:
    """Finds newlines; its buffer is kept, since a fresh one for each chunk costs more than the search."""

    def __init__(self) -> None:
        self._marks: BoolArray = np.empty(0, np.bool_)

    def one_object_each(self, chunk: Any, objects: int) -> bool:
        """Whether a chunk, in which so many objects stand, has one line for each of them and no other lines.

        Counting is not enough: two objects on one line and none on the next are no lines.
        """
        if not objects or chunk[0] != _BRACE:
            return False
        size = len(chunk)
        ends = self._one_by_one(chunk) if size > objects * _LONG_LINES else self._all_at_once(chunk)
        if len(ends) + (chunk[size - 1] != _NEWLINE) != objects:
            return False
        signs = np.frombuffer(chunk, np.uint8)
        last = signs.take(ends - 1)
        closed: BoolArray = last == _CLOSING
        if not closed.all() and not (closed | (last == _RETURN)).all():
            return False
        starts = ends[:-1] if len(ends) and ends[-1] == size - 1 else ends
        return bool((signs.take(starts + 1) == _BRACE).all())

    def _all_at_once(self, chunk: Any) -> IntArray:
        size = len(chunk)
        words = -(-size // 8)
        if 8 * words > len(self._marks):
            self._marks = np.empty(8 * words, np.bool_)
        np.equal(np.frombuffer(chunk, np.uint8), _NEWLINE, out=self._marks[:size])
        self._marks[size : 8 * words] = False
        # eight bytes at a time, since few of them are newlines
        found = self._marks[: 8 * words].view("<u8")
        at = np.flatnonzero(found != 0)
        marks = found.take(at)
        if (marks & (marks - np.uint64(1))).any():  # more than one among eight bytes
            return np.flatnonzero(self._marks[:size])
        ends: IntArray = at * 8 + (np.log2(marks).astype(np.int64) >> 3)
        return ends

    def _one_by_one(self, chunk: Any) -> IntArray:
        text = bytes(chunk)
        ends: list[int] = []
        at = text.find(b"\n")
        while at >= 0:
            ends.append(at)
            at = text.find(b"\n", at + 1)
        return np.array(ends, np.int64)
