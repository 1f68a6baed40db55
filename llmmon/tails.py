"""The end of a log: its content from an offset, its calls from a line on, and where its last whole line ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from llmmon.columns import Columns
from llmmon.fingerprints import Trace, stretch
from llmmon.formats.slots import CALL_KEY
from llmmon.scanning import POSITION_BITS, Fold
from llmmon.source_bytes import Source, Stream, blocks

_BACK_BYTES: Final = 64 << 10
_MOST_SEEN: Final = 100_000


class LinesFrom:
    """A fold that only sees what stands on lines from the given one on."""

    def __init__(self, fold: Fold[Any], first: int) -> None:
        self._fold = fold
        self._first = first

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if columns.size and columns.positions is not None:
            columns = columns.take(columns.positions % (1 << POSITION_BITS) >= self._first)
        samples = [sample for sample in samples if sample["line"] >= self._first]
        if columns.size or samples:
            self._fold.add(columns, samples)

    def result(self) -> Any:
        """What the fold made of it."""
        return self._fold.result()


class Seen:
    """Calls that were delivered, the last of them, by the identifiers of dialects that log a call more than once."""

    def __init__(self, most: int = _MOST_SEEN) -> None:
        self._most = most
        self._names: dict[str, None] = {}

    def unseen(self, columns: Columns) -> Columns:
        """The calls that were not delivered before; they are from now on."""
        names = columns.names.get(CALL_KEY)
        if names is None:
            return columns
        known = np.array([value in self._names for value in names.values] + [False])[names.codes]
        self._names.update(dict.fromkeys(names.values[code] for code in set(names.codes.tolist()) if code >= 0))
        for name in list(self._names)[: max(0, len(self._names) - self._most)]:
            del self._names[name]
        return columns.take(~known) if known.any() else columns


class TailStream(Stream):
    """The content of a compressed log from an offset on; what passes is traced."""

    def __init__(self, source: Source, start: int) -> None:
        super().__init__(source)
        self.trace = Trace()
        self._blocks = self._after(source, start)

    def _after(self, source: Source, start: int) -> Iterator[bytes]:
        for block in blocks(source):
            before = self.trace.size
            self.trace.add(block)
            if rest := block[max(0, start - before) :]:
                yield rest
        self.trace.ended = True


def behind_last_newline(source: Source, least: int) -> int:
    """The offset behind the last newline of a plain file; `least` where none comes after it."""
    end = source.size
    while end > least:
        start = max(least, end - _BACK_BYTES)
        newline = stretch(source.path, start, end).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return min(least, source.size)


def is_cut(source: Source, stream: TailStream | None) -> bool:
    """Whether the last document is not whole yet."""
    last = stream.trace.last if stream is not None else stretch(source.path, max(0, source.size - 64), source.size)
    return not last.rstrip().endswith((b"}", b"]"))
