"""Many calls as numpy columns: numbers, interned names, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.metrics.record import FIELDS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CodeArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

MISSING_TIME: Final = int(np.iinfo(np.int64).min)
MISSING_CODE: Final = -1
_LATEST_US: Final = 7_258_118_400_000_000  # the year 2200


class Interner(dict[str | None, int]):
    """Gives every distinct name the next code; None and the empty name are missing."""

    def __init__(self) -> None:
        super().__init__({None: MISSING_CODE, "": MISSING_CODE})
        self.values_seen: list[str] = []

    def __missing__(self, name: str) -> int:
        if type(name) is not str:
            raise TypeError(f"a name is text, not {type(name).__name__}")
        code = self[name] = len(self.values_seen)
        self.values_seen.append(name)
        return code

    def forget(self) -> None:
        """Begin anew; columns made before keep their names."""
        self.clear()
        self.update({None: MISSING_CODE, "": MISSING_CODE})
        self.values_seen = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _interner_of, (self.values_seen,)


def _interner_of(values: Sequence[str]) -> Interner:
    interner = Interner()
    for value in values:
        _ = interner[value]
    return interner


class Names(msgspec.Struct, frozen=True, eq=False):
    """A column of names: int32 codes into `values` (which may grow behind it), -1 for missing."""

    codes: CodeArray
    values: list[str]

    def texts(self) -> list[str | None]:
        """The names themselves, None for missing; shape (n,)."""
        return [None if code < 0 else self.values[code] for code in self.codes.tolist()]


class Columns(msgspec.Struct, frozen=True, eq=False):
    """`size` calls. A field that no call carries may be absent; absent reads as all missing.

    `timestamp` is int64 microseconds UTC; `numbers` are in stored units (see `record.FIELDS`);
    `positions` say where each call stood, as its source numbers them.
    """

    size: int
    timestamp: IntArray
    numbers: Mapping[str, FloatArray] = msgspec.field(default_factory=dict)
    names: Mapping[str, Names] = msgspec.field(default_factory=dict)
    texts: Mapping[str, list[str | None]] = msgspec.field(default_factory=dict)
    positions: IntArray | None = None

    def number(self, name: str) -> FloatArray:
        """A number column in stored units, NaN for missing; shape (size,)."""
        found = self.numbers.get(name)
        return np.full(self.size, np.nan) if found is None else found

    def public(self, name: str) -> FloatArray:
        """A number column in the field's public unit, NaN for missing; shape (size,)."""
        return self.number(name) / FIELDS[name].scale

    def name(self, name: str) -> Names:
        """A name column; shape (size,)."""
        found = self.names.get(name)
        return Names(np.full(self.size, MISSING_CODE, np.int32), []) if found is None else found

    def text(self, name: str) -> list[str | None]:
        """A text column, None for missing; shape (size,)."""
        return self.texts.get(name) or [None] * self.size

    @property
    def dated(self) -> BoolArray:
        """Which calls carry a time; shape (size,)."""
        dated: BoolArray = self.timestamp != MISSING_TIME
        return dated

    def bounds(self) -> tuple[int, int] | None:
        """The first and the last time, None where no call carries one."""
        times = self.timestamp
        if len(times) and times.min() == MISSING_TIME:
            times = times[self.dated]
        return (int(times.min()), int(times.max())) if len(times) else None

    def take(self, rows: BoolArray | IntArray) -> Columns:
        """The calls that a mask keeps, or those at the given indices, in that order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Columns(
            size=len(index),
            timestamp=self.timestamp[index],
            numbers={name: values[index] for name, values in self.numbers.items()},
            names={name: Names(column.codes[index], column.values) for name, column in self.names.items()},
            texts={name: [values[i] for i in index.tolist()] for name, values in self.texts.items()},
            positions=None if self.positions is None else self.positions[index],
        )

    def only(self, fields: frozenset[str]) -> Columns:
        """The same calls with those of their columns that are in `fields` (and their times)."""
        return msgspec.structs.replace(
            self,
            numbers={name: column for name, column in self.numbers.items() if name in fields},
            names={name: column for name, column in self.names.items() if name in fields},
            texts={name: column for name, column in self.texts.items() if name in fields},
        )

    def without_unused_names(self) -> Columns:
        """The same calls, whose name columns no longer hold the names of others."""
        names = {name: _used(column) for name, column in self.names.items()}
        return msgspec.structs.replace(self, names=names)

    def with_numbers(self, **numbers: FloatArray) -> Columns:
        """The same calls with number columns added or replaced (stored units)."""
        return msgspec.structs.replace(self, numbers={**self.numbers, **numbers})


def _used(names: Names) -> Names:
    codes, inverse = np.unique(names.codes[names.codes >= 0], return_inverse=True)
    dense = np.full(len(names.codes), MISSING_CODE, np.int32)
    dense[names.codes >= 0] = inverse
    return Names(dense, [names.values[code] for code in codes.tolist()])


EMPTY: Final = Columns(0, np.empty(0, np.int64))


def concat(blocks: Iterable[Columns]) -> Columns:
    """The calls of all blocks, in order."""
    parts = [block for block in blocks if block.size]
    if len(parts) < 2:
        return parts[0] if parts else EMPTY
    return Columns(
        size=sum(part.size for part in parts),
        timestamp=np.concatenate([part.timestamp for part in parts]),
        numbers={
            name: np.concatenate([part.number(name) for part in parts])
            for name in dict.fromkeys(name for part in parts for name in part.numbers)
        },
        names={
            name: _concat_names([part.name(name) for part in parts])
            for name in dict.fromkeys(name for part in parts for name in part.names)
        },
        texts={
            name: [text for part in parts for text in part.text(name)]
            for name in dict.fromkeys(name for part in parts for name in part.texts)
        },
        positions=_concat_positions(parts),
    )


def without_impossible_times(columns: Columns) -> Columns:
    """The same calls, those that claim to be of before 1970 or after 2200 without a time."""
    times = columns.timestamp
    if not len(times) or (times.min() >= 0 and times.max() < _LATEST_US):
        return columns
    impossible = ((times < 0) & (times != MISSING_TIME)) | (times >= _LATEST_US)
    if not impossible.any():
        return columns
    return msgspec.structs.replace(columns, timestamp=np.where(impossible, MISSING_TIME, times))


def in_log_order(columns: Columns) -> Columns:
    """The calls in the order in which they stand in the logs, whichever worker read them."""
    if columns.positions is None or bool((columns.positions[1:] >= columns.positions[:-1]).all()):
        return columns
    return columns.take(np.argsort(columns.positions, kind="stable"))


def _concat_names(parts: list[Names]) -> Names:
    lists = [part.values for part in parts if part.values]
    if all(values is lists[0] for values in lists[1:]):
        return Names(np.concatenate([part.codes for part in parts]), lists[0] if lists else [])
    interner = Interner()
    codes = [recode(part, interner) for part in parts]
    return Names(np.concatenate(codes), interner.values_seen)


def recode(names: Names, interner: Interner) -> CodeArray:
    """The codes of a name column under another interner; shape (n,)."""
    table = np.array([interner[value] for value in names.values] + [MISSING_CODE], np.int32)
    recoded: CodeArray = table[names.codes]
    return recoded


def _concat_positions(parts: list[Columns]) -> IntArray | None:
    found = [part.positions for part in parts if part.positions is not None]
    return np.concatenate(found) if len(found) == len(parts) else None
