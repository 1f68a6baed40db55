"""Many small files of one kind at a time: the lines of all are decoded together, and accounted for file by file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmmon.formats.accounting import Accounting
from llmmon.formats.detection import ReadPlan
from llmmon.formats.home_made import GENERIC
from llmmon.formats.reader import BLOCK_BYTES, Block, SpanReader
from llmmon.formats.typed import TypedDecoder, decoded_at_once
from llmmon.metrics.columns import BoolArray, IntArray


def which_fit(plan: ReadPlan, decoders: Sequence[tuple[str, TypedDecoder]], heads: Sequence[bytes]) -> list[bool]:
    """Of which heads all lines are certainly of the dialect of a plan, so that it serves those files, too."""
    if not decoders or decoders[0][0] == GENERIC or plan.extra or len(plan.dialects) > 1:
        return [False] * len(heads)
    return _which_fit(decoders[0][1], heads)


def _which_fit(typed: TypedDecoder, heads: Sequence[bytes]) -> list[bool]:
    if len(heads) > 1:
        if _are_whole(heads) and _fits(typed, b"".join(heads)):
            return [True] * len(heads)
        middle = len(heads) // 2
        return [*_which_fit(typed, heads[:middle]), *_which_fit(typed, heads[middle:])]
    return [_fits(typed, head) for head in heads]


def _fits(typed: TypedDecoder, head: bytes) -> bool:
    found = decoded_at_once(typed, head)
    if found is None:
        return False
    sorted_rows = typed.sort(found[0])
    return sorted_rows is None or bool((sorted_rows.calls | sorted_rows.skipped).all())


def _are_whole(contents: Sequence[bytes]) -> bool:
    """Whether each begins with an object and ends with its line, so that they may follow one another."""
    return all(content[:1] == b"{" and content[-1:] == b"\n" for content in contents)


class BatchReader(SpanReader):
    """Reads span after span into the same blocks, and small files many at a time; not where steps are read."""

    def feed(self, chunk: Any) -> Block | None:
        """As for one span; without bytes, a block when enough has come together."""
        if chunk:
            return super().feed(chunk)
        return self._block() if self._bytes_in_block >= BLOCK_BYTES else None

    def go_on(self, first: int) -> Accounting:
        """Read another span into the same block; its lines are numbered from `first` on, and accounted for anew."""
        self.accounting = Accounting()
        self._bytes_before = 0
        self._first = first
        return self.accounting

    def read_files(self, contents: Sequence[bytes], firsts: Sequence[int]) -> list[Accounting] | None:
        """Read whole files at once, their lines numbered from each of `firsts` on, and account for each.

        None, and nothing is read, where a line needs a look of its own.
        """
        if not self._typed or self._typed[0][1].opened_at or not _are_whole(contents):
            return None
        dialect, typed = self._typed[0]
        whole = b"".join(contents)
        ends = np.cumsum([len(content) for content in contents])
        if self._uniform is not None and (table := self._uniform.read(whole)) is not None:
            if len(table.others):
                return None
            numbers, of_file = _numbered(table.edges, ends, firsts)
            self._rows_of(dialect).add_columns(table.columns, numbers[table.rows])
            calls = np.zeros(len(numbers), np.bool_)
            calls[table.rows] = True
        else:
            if (found := decoded_at_once(typed, whole)) is None:
                return None
            rows, lines = found
            sorted_rows = typed.sort(rows)
            calls = np.ones(len(rows), np.bool_) if sorted_rows is None else sorted_rows.calls
            if sorted_rows is not None and not (calls | sorted_rows.skipped).all():
                return None
            numbers, of_file = _numbered(lines.edges, ends, firsts)
            if calls.any():
                chosen = [row for row, is_call in zip(rows, calls.tolist(), strict=True) if is_call]
                self._add_typed(dialect, typed, chosen, numbers[calls])
        self._bytes_in_block += len(whole)
        accounts = self._accounts(self._label(dialect), calls, of_file, len(contents))
        self.accounting = accounts[-1]
        return accounts

    def _accounts(self, label: str, calls: BoolArray, of_file: IntArray, files: int) -> list[Accounting]:
        lines = np.bincount(of_file, minlength=files).tolist()
        used = np.bincount(of_file[calls], minlength=files).tolist()
        return [
            Accounting(lines=count, used=some, skipped=count - some, dialects={label: count})
            for count, some in zip(lines, used, strict=True)
        ]


def _numbered(edges: IntArray, ends: IntArray, firsts: Sequence[int]) -> tuple[IntArray, IntArray]:
    """The number of each line, and the file that it is of; `edges` are where lines start and the last one ends."""
    starts = np.append(0, np.searchsorted(edges, ends))
    counts = np.diff(starts)
    of_file = np.repeat(np.arange(len(counts)), counts)
    begin = np.asarray(firsts, np.int64) - starts[:-1]
    return np.arange(len(edges) - 1) + begin[of_file], of_file
