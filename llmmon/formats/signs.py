"""Where the signs stand that divide a chunk into lines and their cells: newlines and commas; and what else is odd."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.columns import BoolArray, IntArray

Bytes = NDArray[np.uint8]
BLOCK: Final = 128 << 10  # characters at a time: with two masks they fit the cache
_NEWLINE, _COMMA, _QUOTE, _BACKSLASH, _SPACE = b'\n,"\\ '


class Signs(msgspec.Struct, frozen=True, eq=False):
    """The signs of a text that begins with a newline.

    `marks` are the places of commas and of all that is no plain ASCII, `newlines` which of them are newlines, `edges`
    where those stand (and the end, if that is none); `quotes` is how many there are, `escapes` whether any may be.
    """

    text: Bytes
    marks: IntArray
    newlines: IntArray
    edges: IntArray
    quotes: int
    escapes: bool

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self.edges) - 1

    def lines_of(self, cells: int) -> BoolArray:
        """The lines of so many cells, without what might be read in two ways; shape (lines,)."""
        found = np.zeros(self.lines, np.bool_)
        found[: len(self.newlines) - 1] = np.diff(self.newlines) == cells
        kinds = self.text[self.marks]
        odd = (kinds != _COMMA) & (kinds != _NEWLINE)
        if odd.any():
            self._leave(found, self.marks[odd])
        if self.escapes:
            self._leave(found, np.flatnonzero(self.text == _BACKSLASH))
        return found

    def _leave(self, found: BoolArray, places: IntArray) -> None:
        """Leave out the lines in which these places are."""
        lines = self.edges.searchsorted(places) - 1
        found[lines[lines < len(found)]] = False

    def cells(self, rows: IntArray, size: int) -> tuple[IntArray, IntArray]:
        """Where each cell of some lines, all of `size` cells, starts and ends; shapes (size, rows)."""
        if len(rows) == self.lines:
            ends = self.marks[1 : self.newlines[-1] + 1].reshape(-1, size).T.copy()
            return self.marks[: self.newlines[-1]].reshape(-1, size).T + 1, ends
        at = self.newlines[rows] + np.arange(size)[:, None]
        return self.marks[at] + 1, self.marks[at + 1]

    def other_lines(self, rows: IntArray) -> IntArray:
        """The lines that are not among these."""
        others = np.ones(self.lines, np.bool_)
        others[rows] = False
        return np.flatnonzero(others)

    def quotes_of(self, rows: IntArray) -> int:
        """How many quotes these lines hold, which are most of all."""
        places = self.other_lines(rows)
        edges = zip(self.edges[places].tolist(), self.edges[places + 1].tolist(), strict=True)
        return self.quotes - sum(self.text[a + 1 : b + 1].tobytes().count(b'"') for a, b in edges)

    def quotes_by_line(self) -> IntArray:
        """How many quotes each line holds; shape (lines,)."""
        before = np.flatnonzero(self.text == _QUOTE).searchsorted(self.edges, "right")
        return np.diff(before)


def signs_of(text: Bytes, masks: NDArray[np.bool_], *, escapes: bool) -> Signs:
    """The signs of a text that begins with a newline; `masks` of shape (2, BLOCK) is room to work in."""
    found, quotes = [], 0
    for at in range(0, len(text), BLOCK):
        block = text[at : at + BLOCK]
        here, scratch = masks[:, : len(block)]
        quotes += int(np.count_nonzero(np.equal(block, _QUOTE, out=here)))
        np.equal(block, _COMMA, out=here)
        here |= np.less(block.view(np.int8), _SPACE, out=scratch)  # what is no ASCII is negative
        places = np.flatnonzero(here)
        places += at
        found.append(places)
    marks = np.concatenate(found)
    newlines = np.flatnonzero(text[marks] == _NEWLINE)
    edges = marks[newlines]
    return Signs(
        text, marks, newlines, edges if text[-1] == _NEWLINE else np.append(edges, len(text) - 1), quotes, escapes
    )
