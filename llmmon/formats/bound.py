"""The slots of one block of rows: of several bindings for a slot, the first with a value counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats import values
from llmmon.formats.doubts import Doubts
from llmmon.formats.mapping import Binding, embedded
from llmmon.metrics.columns import (
    MISSING_CODE,
    MISSING_TIME,
    BoolArray,
    CodeArray,
    FloatArray,
    IntArray,
    Interner,
    Names,
    recode,
)


class Interners(dict[str, Interner]):
    """One interner per name field, shared by all blocks that one process decodes."""

    def __missing__(self, field: str) -> Interner:
        interner = self[field] = Interner()
        return interner


class RawCalls(msgspec.Struct, eq=False):
    """Rows as they were logged: one compact column a binding (`formats.gather`), only those with a value.

    `lines` numbers each row's line within its span; `has_output` and `has_prompt` say whether these texts are
    there where they were not read.
    """

    size: int
    lines: IntArray
    values: Mapping[Binding, Any]
    has_output: BoolArray | None = None
    has_prompt: BoolArray | None = None


def first_of(row: Sequence[Any]) -> Any:
    """The first value that is there."""
    return next((value for value in row if value is not None), None)


class BoundSlots:
    """The slots of one block of rows."""

    def __init__(self, raw: RawCalls, interners: Interners, doubts: Doubts) -> None:
        self.raw = raw
        self.doubts = doubts
        self.size = raw.size
        self.interners = interners
        self.bound: dict[str, list[Binding]] = {}
        if buckets := [column for binding, column in raw.values.items() if binding.slot == "buckets"]:
            first = list(map(first_of, zip(*buckets, strict=True))) if len(buckets) > 1 else buckets[0]
            spread = {Binding(slot, -1, ("buckets",)): column for slot, column in bucket_counts(first).items()}
            self.raw = msgspec.structs.replace(raw, values={**raw.values, **spread})
        for binding in sorted(self.raw.values):
            self.bound.setdefault(binding.slot, []).append(binding)

    def numbers(self, slot: str, scale: Callable[[Binding], float] | None = None) -> FloatArray | None:
        """Numbers (or microseconds, or flags), times `scale`, NaN for missing; None where no row has one."""
        found: FloatArray | None = None
        for binding in self.bound.get(slot, ()):
            column = self.raw.values[binding]
            column = column if scale is None else np.rint(column * scale(binding))
            found = column if found is None else np.where(np.isnan(found), column, found)
            if not np.isnan(found).any():
                break
        return found

    def without(self, slot: str) -> BoundSlots:
        """The same rows without the values of a slot."""
        values = {binding: column for binding, column in self.raw.values.items() if binding.slot != slot}
        return BoundSlots(msgspec.structs.replace(self.raw, values=values), self.interners, self.doubts)

    def counts(self, slot: str, scale: int = 1) -> FloatArray | None:
        """Numbers of tokens, NaN for missing, as -1 and other negative ones are; None where no row has one."""
        found = self.numbers(slot, None if scale == 1 else lambda _: scale)
        if found is None or not (found < 0).any():
            return found
        return np.where(found < 0, np.nan, found)

    def added(self, slot: str) -> FloatArray | None:
        """The sum of all bindings of a slot, NaN where a row has none of them."""
        columns = [self.raw.values[binding] for binding in self.bound.get(slot, ())]
        if not columns:
            return None
        total = sum(np.nan_to_num(column) for column in columns)
        return np.where(np.logical_and.reduce([np.isnan(column) for column in columns]), np.nan, total)

    def moments(self, slot: str) -> IntArray | None:
        """Microseconds since the epoch, `MISSING_TIME` for missing; None where no row has one."""
        found: IntArray | None = None
        for binding in self.bound.get(slot, ()):
            column = self.raw.values[binding]
            found = column if found is None else np.where(found == MISSING_TIME, column, found)
            if (found != MISSING_TIME).all():
                break
        return found

    def from_unit(self, slot: str, unit: str) -> BoolArray | None:
        """Rows whose number comes from a binding with this unit; None where none can."""
        if all(binding.unit != unit for binding in self.bound.get(slot, ())):
            return None
        found = np.zeros(self.size, np.bool_)
        done = np.zeros(self.size, np.bool_)
        for binding in self.bound[slot]:
            here = ~np.isnan(self.raw.values[binding]) & ~done
            done |= here
            if binding.unit == unit:
                found |= here
        return found

    def codes(self, slot: str) -> CodeArray:
        """Names as codes of the slot's interner, -1 for missing; shape (size,)."""
        found: CodeArray = np.full(self.size, MISSING_CODE, np.int32)
        for binding in self.bound.get(slot, ()):
            gaps = found == MISSING_CODE
            if not gaps.any():
                break
            column: CodeArray = self.raw.values[binding]
            found = column.copy() if gaps.all() else np.where(gaps, column, found)
        return found

    def names(self, slot: str, otherwise: str = "") -> Names | None:
        """A name column; where a row has none, the name in the slot `otherwise`. None where no row has one."""
        interner = self.interners[slot]
        if otherwise not in self.bound:
            return Names(self.codes(slot), interner.values_seen) if slot in self.bound else None
        codes, second = self.codes(slot), self.codes(otherwise)
        gaps = (codes == MISSING_CODE) & (second != MISSING_CODE)
        if gaps.any():
            codes[gaps] = recode(Names(second[gaps], self.interners[otherwise].values_seen), interner)
        return Names(codes, interner.values_seen)

    def texts(self, slot: str) -> list[Any]:
        """Raw texts, None for missing; shape (size,)."""
        columns: list[Sequence[Any]] = [self.raw.values[binding] for binding in self.bound[slot]]
        if len(columns) == 1:
            return list(columns[0])
        return list(map(first_of, zip(*columns, strict=True)))


_CACHED: tuple[str, ...] = ("input_cached_tokens", "cache_read_input_tokens", "input_cache_read")
_WRITTEN: tuple[str, ...] = ("cache_creation_input_tokens", "input_cache_creation")
_REASONING: tuple[str, ...] = ("output_reasoning_tokens", "output_reasoning")
_OTHER_INPUTS: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")


def bucket_counts(buckets: Sequence[Any]) -> dict[str, FloatArray]:
    """The token slots of rows, from an object of counts each (also as JSON in a text); NaN for missing, shape (n,).

    The counts exclude each other; the beginning of a name says what it counts.
    """
    found = {slot: np.full(len(buckets), np.nan) for slot in _BUCKET_SLOTS}
    rows: dict[tuple[str, ...], Any] = {}  # by the keys that they have
    objects = [embedded(each) if type(each) is str else each for each in buckets]
    if set(map(type, objects)) == {dict} and len(shapes := set(map(tuple, objects))) == 1:
        rows = {keys: range(len(objects)) for keys in shapes if keys}
    else:
        for row, each in enumerate(objects):
            if type(each) is dict and each:
                rows.setdefault(tuple(each), []).append(row)
    for keys, at in rows.items():
        columns = zip(*(objects[row].values() for row in at), strict=True)
        counts = {key: values.usable(values.numbers(column)) for key, column in zip(keys, columns, strict=True)}
        for slot, names in _bucket_slots(keys).items():
            found[slot][at] = _added([counts[name] for name in names])
    return {slot: column for slot, column in found.items() if not np.isnan(column).all()}


def _bucket_slots(keys: tuple[str, ...]) -> dict[str, list[str]]:
    """Which buckets make up which slot; of the parts of a slot the first that is there."""
    found: dict[str, list[str]] = {
        "prompt_tokens": [key for key in keys if key.startswith("input") or key in _OTHER_INPUTS],
        "completion_tokens": [key for key in keys if key.startswith("output")],
        "total_tokens": [key for key in keys if key == "total"],
        "cached_tokens": [key for key in _CACHED if key in keys][:1],
        "cache_write_tokens": [key for key in _WRITTEN if key in keys][:1],
        "reasoning_tokens": [key for key in _REASONING if key in keys][:1],
    }
    return {slot: names for slot, names in found.items() if names}


_BUCKET_SLOTS: Final = (
    *("prompt_tokens", "completion_tokens", "total_tokens"),
    *("cached_tokens", "cache_write_tokens", "reasoning_tokens"),
)


def _added(columns: Sequence[FloatArray]) -> FloatArray:
    """The sum of what is known, NaN where nothing is; shape (n,)."""
    missing = np.logical_and.reduce([np.isnan(column) for column in columns])
    return np.where(missing, np.nan, np.sum([np.nan_to_num(column) for column in columns], axis=0))
