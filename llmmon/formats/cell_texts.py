"""The texts of one cell in the lines of a chunk: where they stand, how they begin, and what they are as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.columns import BoolArray, IntArray
from llmmon.formats.typed import UNREADABLE
from llmmon.formats.word_texts import Words

_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_FOUR: Final = np.uint64(0xFFFF_FFFF)


class Texts(msgspec.Struct, frozen=True, eq=False):
    """The texts of one cell in many lines: where they stand, which are in quotes, and their first characters.

    `starts`, `lengths` and `quoted` have shape (lines,), `words` (lines, as many as the cell's reader asks for).
    What stands in rows that are not `fine` is no matter.
    """

    buffer: NDArray[np.uint8]
    starts: IntArray
    lengths: IntArray
    quoted: BoolArray
    words: Words
    fine: BoolArray

    def take(self, rows: BoolArray | IntArray) -> Texts:
        """Those of some lines."""
        starts, lengths, quoted = self.starts[rows], self.lengths[rows], self.quoted[rows]
        return Texts(self.buffer, starts, lengths, quoted, self.words[rows], self.fine[rows])

    def decoded(self, kind: Any) -> tuple[list[Any], BoolArray]:
        """The texts as JSON of a type, and which of them are that (None stands for the others)."""
        whole, ends = memoryview(self.buffer.data), self.starts + self.lengths
        texts = [whole[start:end] for start, end in zip(self.starts.tolist(), ends.tolist(), strict=True)]
        fine = np.ones(len(texts), np.bool_)
        return _values(texts, kind, fine), fine

    @property
    def null(self) -> BoolArray:
        """Which of them are null."""
        found: BoolArray = ((self.words[:, 0] & _FOUR) == _NULL) & (self.lengths == 4)
        return found


def _values(texts: Sequence[memoryview], kind: Any, fine: BoolArray) -> list[Any]:
    """The texts as JSON of a type, all at once; where some are not, half by half. Says which are `fine`."""
    try:
        found: list[Any] = msgspec.json.decode(b"[" + b",".join(texts) + b"]", type=list[kind])
    except UNREADABLE:
        found = []
    if len(found) == len(texts):  # no text holds a comma: none is two values, and some half of one
        return found
    if len(texts) == 1:
        fine[0] = False
        return [None]
    half = len(texts) // 2
    return _values(texts[:half], kind, fine[:half]) + _values(texts[half:], kind, fine[half:])


def windows(buffer: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """The `width` bytes from each place of a buffer on; shape (places,)."""
    return np.ndarray((len(buffer) - width + 1,), f"V{width}", buffer, 0, (1,))
