"""Rows of one dialect on their way to columns: what has been decoded of a block so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats import timestamps, values
from llmmon.formats.canonical import Interners, RawCalls
from llmmon.formats.mapping import Binding, Slot, admitted_types
from llmmon.metrics.columns import MISSING_CODE, MISSING_TIME, BoolArray, IntArray, Interner

Compact = Any  # float64 (numbers, microseconds, flags), int64 (moments), int32 (names) array, or a list

_FILL: Final[dict[Slot, tuple[Any, Any]]] = {
    Slot.TIME: (MISSING_TIME, np.int64),
    Slot.DURATION: (np.nan, np.float64),
    Slot.NUMBER: (np.nan, np.float64),
    Slot.FLAG: (np.nan, np.float64),
    Slot.NAME: (MISSING_CODE, np.int32),
    Slot.KEY: (np.nan, np.float64),
}


# what is left to do when a block's column is whole
_FINISH: Final[dict[Slot, Callable[[Any], Any]]] = {
    Slot.NUMBER: values.usable,
    Slot.DURATION: values.whole_microseconds,
}


_ENOUGH: Final = 800  # rows that are read together: fewer cost more each


class Joined(msgspec.Struct, frozen=True):
    """Moments as ASCII texts of one width, laid end to end."""

    text: bytes
    width: int


class Gathered:
    """One binding's column of a block; `add` takes a chunk's raw values, `column` gives the whole."""

    def __init__(self, binding: Binding, interner: Interner, naive: str) -> None:
        self._binding = binding
        self._naive = naive
        self._waiting: list[Sequence[Any]] = []
        self._waiting_rows = 0
        self._parts: list[tuple[int, Compact | None]] = []
        self._stamps: list[bytes] = []  # joined texts of one width, read together when the block is full
        self._stamp_rows = 0
        self._width = 0
        self._read = reader_of(binding, interner, naive)

    def add(self, column: Sequence[Any], size: int) -> None:
        """The raw values of the next `size` rows; few are kept until they are many."""
        self._waiting.append(column)
        self._waiting_rows += size
        if self._waiting_rows >= _ENOUGH:
            self._settle()

    def _settle(self) -> None:
        """Read what waits."""
        if not self._waiting:
            return
        column = self._waiting[0] if len(self._waiting) == 1 else list(chain.from_iterable(self._waiting))
        self._waiting, self._waiting_rows = [], 0
        if values.all_missing(column):
            self._append(None, len(column))
        elif self._binding.kind is not Slot.TIME or not self._same_width(column, len(column)):
            self._append(self._read(column), len(column))

    def _append(self, part: Compact | None, size: int) -> None:
        self._flush_stamps()
        self._parts.append((size, part))

    def add_read(self, column: Compact | Joined, size: int) -> None:
        """The next `size` rows, already read."""
        self._settle()
        if isinstance(column, Joined):
            self._join(column.text, column.width, size)
        else:
            self._append(column, size)

    def skip(self, size: int) -> None:
        """The next `size` rows have no value."""
        self._settle()
        self._append(None, size)

    def _same_width(self, column: Sequence[Any], size: int) -> bool:
        try:
            widths = set(map(len, column))
            joined = "".join(column)
        except TypeError:
            return False
        width = len(column[0])
        if not width or len(widths) > 1 or not joined.isascii():
            return False
        self._join(joined.encode(), width, size)
        return True

    def _join(self, joined: bytes, width: int, size: int) -> None:
        if self._stamps and self._width != width:
            self._flush_stamps()
        self._width = width
        self._stamps.append(joined)
        self._stamp_rows += size

    def _flush_stamps(self) -> None:
        if self._stamps:
            moments = timestamps.joined_moments(b"".join(self._stamps), self._width, self._binding.unit, self._naive)
            self._parts.append((self._stamp_rows, moments))
            self._stamps, self._stamp_rows = [], 0

    def column(self) -> Compact | None:
        """All rows so far, None if none has a value."""
        self._settle()
        self._flush_stamps()
        if all(part is None for _, part in self._parts):
            return None
        kind = self._binding.kind
        if kind in _FILL:
            fill, dtype = _FILL[kind]
            whole = np.concatenate([np.full(n, fill, dtype) if part is None else part for n, part in self._parts])
            return _FINISH[kind](whole) if kind in _FINISH else whole
        return [value for n, part in self._parts for value in (part if part is not None else [None] * n)]


def reader_of(binding: Binding, interner: Interner, naive: str) -> Callable[[Sequence[Any]], Compact]:
    """What makes a compact column of raw values."""
    match binding.kind:
        case Slot.TIME:
            return lambda column: timestamps.moments(column, binding.unit, naive)
        case Slot.DURATION:
            return lambda column: values.durations(column, binding.unit)
        case Slot.NUMBER if binding.unit == "usd_if_any":
            return values.amounts
        case Slot.NUMBER:
            return values.numbers
        case Slot.FLAG:
            return values.presence if binding.unit == "present" else values.flags
        case Slot.KEY:
            return values.keys
        case Slot.NAME if "=" in binding.unit:
            words = values.Words(binding.unit)
            return lambda column: values.codes(words.of(column), interner)
        case Slot.NAME:
            return lambda column: values.codes(column, interner)
        case Slot.TEXT if binding.unit == "filled":
            return lambda column: [value or None for value in column]
        case Slot.TEXT if binding.unit == "plain":
            return lambda column: [value if isinstance(value, str) else None for value in column]
        case Slot.TEXT if binding.unit == "json":
            return lambda column: [values.inner_text(value) for value in column]
        case Slot.OUTCOME | Slot.TEXT:
            return list


class Rows:
    """Rows added chunk after chunk, as columns of raw values or one dict a row."""

    def __init__(self, interners: Interners, naive: str) -> None:
        self._interners = interners
        self._naive = naive
        self._columns: dict[Binding, Gathered] = {}
        self._lines: list[IntArray] = []
        self._seen: dict[str, list[BoolArray]] = {"output": [], "prompt": []}
        self.size = 0

    def add_columns(
        self, columns: Mapping[Binding, Any], lines: IntArray, seen: Mapping[str, BoolArray] | None = None
    ) -> None:
        """`len(lines)` rows: a binding's raw values as a sequence, or what they were read as (see `Gathered`).

        `seen` says for "output" and "prompt" whether each row has such a text, where it was not decoded.
        """
        size = len(lines)
        for binding, column in columns.items():
            gathered = self._gathered(binding)
            (gathered.add if isinstance(column, (list, tuple)) else gathered.add_read)(column, size)
        for binding, gathered in self._columns.items():
            if binding not in columns:
                gathered.skip(size)
        self._lines.append(lines)
        for slot, parts in self._seen.items():
            found = None if seen is None else seen.get(slot)
            parts.append(np.zeros(size, np.bool_) if found is None else found)
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
                columns[binding] = _plain(column, binding) if binding.kind in _NUMERIC else column
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
            has_output=np.concatenate(self._seen["output"]) if self._lines else None,
            has_prompt=np.concatenate(self._seen["prompt"]) if self._lines else None,
        )
        self._columns, self._lines, self.size = {}, [], 0
        self._seen = {"output": [], "prompt": []}
        return raw


_NUMERIC: Final = frozenset({Slot.NUMBER, Slot.DURATION, Slot.TIME})


def _plain(column: list[Any], binding: Binding) -> list[Any]:
    """The column without what cannot be a number or a moment, such as true."""
    types = {*admitted_types(binding), type(None)}
    return column if set(map(type, column)) <= types else [value if type(value) in types else None for value in column]
