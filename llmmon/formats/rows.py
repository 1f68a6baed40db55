"""Rows of one dialect on their way to columns: what has been decoded of a block so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from llmmon.columns import IntArray
from llmmon.formats.bound import Interners, RawCalls
from llmmon.formats.gather import Gathered
from llmmon.formats.mapping import Binding
from llmmon.formats.slots import Slot


class Rows:
    """Rows added chunk after chunk, as columns of raw values or one dict a row."""

    def __init__(self, interners: Interners, naive: str) -> None:
        self._interners = interners
        self._naive = naive
        self._columns: dict[Binding, Gathered] = {}
        self._lines: list[IntArray] = []
        self._has_output: list[np.ndarray[Any, Any]] = []
        self.size = 0

    def add_columns(
        self, columns: Mapping[Binding, Any], lines: IntArray, has_output: Sequence[bool] | None = None
    ) -> None:
        """`len(lines)` rows: a binding's raw values as a sequence, or what they were read as (see `Gathered`)."""
        size = len(lines)
        for binding, column in columns.items():
            gathered = self._gathered(binding)
            (gathered.add if isinstance(column, (list, tuple)) else gathered.add_read)(column, size)
        for binding, gathered in self._columns.items():
            if binding not in columns:
                gathered.skip(size)
        self._lines.append(lines)
        self._has_output.append(np.zeros(size, np.bool_) if has_output is None else np.array(has_output, np.bool_))
        self.size += size

    def add_rows(
        self, rows: Sequence[Mapping[Any, Any]], lines: Sequence[int], meaning: Callable[[Any], Binding | None]
    ) -> None:
        """Rows that were read one at a time, each with the keys it has; `meaning` gives a key's binding."""
        columns: dict[Binding, Sequence[Any]] = {}
        for key in dict.fromkeys(key for row in rows for key in row):
            binding = meaning(key)
            if binding is not None:
                column = [row.get(key) for row in rows]
                columns[binding] = _plain(column) if binding.kind in _NUMERIC else column
        self.add_columns(columns, np.array(lines, np.int64))

    def _gathered(self, binding: Binding) -> Gathered:
        if binding not in self._columns:
            gathered = Gathered(binding, self._interners[binding.slot], self._naive)
            if self.size:
                gathered.skip(self.size)
            self._columns[binding] = gathered
        return self._columns[binding]

    def take(self) -> RawCalls:
        """All rows so far; the next ones start afresh."""
        columns = {binding: gathered.column() for binding, gathered in self._columns.items()}
        raw = RawCalls(
            size=self.size,
            lines=np.concatenate(self._lines) if self._lines else np.empty(0, np.int64),
            values={binding: column for binding, column in columns.items() if column is not None},
            has_output=np.concatenate(self._has_output) if self._has_output else None,
        )
        self._columns, self._lines, self._has_output, self.size = {}, [], [], 0
        return raw


_NUMERIC: Final = frozenset({Slot.NUMBER, Slot.DURATION, Slot.TIME})
_NUMBERS: Final = frozenset({int, float, str, type(None)})


def _plain(column: list[Any]) -> list[Any]:
    """The column without what cannot be a number or a moment, such as true."""
    if set(map(type, column)) <= _NUMBERS:
        return column
    return [value if type(value) in _NUMBERS else None for value in column]
