"""Columns as few bytes and back: what the cache keeps of a block. Texts are never packed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.columns import MISSING_CODE, Columns, FloatArray, IntArray, Interner, Names

_LARGEST: Final = 2**32 - 1  # stands for missing among small whole numbers
_TIME, _POSITION = "timestamp", "positions"


class PackedColumn(msgspec.Struct, frozen=True, array_like=True):
    """One column: `form` is how its bytes are to be read, `values` are the names its codes stand for."""

    name: str
    kind: str  # "time", "number", "name" or "position"
    form: str  # a numpy type, "count" (numbers from `start` on), or "gaps" (u4 whose largest is missing)
    size: int  # bytes
    start: int = 0
    values: list[str] = []


class PackedBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block of calls: the columns follow each other in its bytes; `samples` are the metric samples in it."""

    rows: int
    columns: list[PackedColumn]
    samples: list[dict[str, Any]]

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(column.size for column in self.columns)


def pack(columns: Columns, samples: list[dict[str, Any]]) -> tuple[PackedBlock, list[NDArray[Any]]]:
    """A block's description and the arrays whose bytes make it up, in order."""
    parts = [_whole(_TIME, "time", columns.timestamp)]
    parts += [_number(name, column) for name, column in columns.numbers.items()]
    parts += [_names(name, column) for name, column in columns.names.items()]
    if columns.positions is not None:
        parts.append(_positions(columns.positions))
    return PackedBlock(columns.size, [column for column, _ in parts], samples), [data for _, data in parts]


def _whole(name: str, kind: str, data: NDArray[Any]) -> tuple[PackedColumn, NDArray[Any]]:
    return PackedColumn(name, kind, data.dtype.str, data.nbytes), np.ascontiguousarray(data)


def _number(name: str, column: FloatArray) -> tuple[PackedColumn, NDArray[Any]]:
    """Small whole numbers in four bytes, if all are; others as they are."""
    with np.errstate(invalid="ignore"):
        small = column.astype(np.uint32)
    missing = np.isnan(column)
    fits = (small == column) & (small < _LARGEST)
    if np.signbit(column[~missing]).any() or not (fits | missing).all():
        return _whole(name, "number", column)
    if not missing.any():
        return _whole(name, "number", small)
    small[missing] = _LARGEST
    return PackedColumn(name, "number", "gaps", small.nbytes), small


def _names(name: str, column: Names) -> tuple[PackedColumn, NDArray[Any]]:
    """Codes from 1 on, 0 for missing, in as few bytes as the names that occur need."""
    present, places = np.unique(column.codes, return_inverse=True)
    values = [column.values[code] for code in present.tolist() if code != MISSING_CODE]
    codes = places.ravel() + (0 if len(values) < len(present) else 1)
    data = codes.astype(np.min_scalar_type(len(values)))
    return PackedColumn(name, "name", data.dtype.str, data.nbytes, values=values), data


def _positions(positions: IntArray) -> tuple[PackedColumn, NDArray[Any]]:
    first = int(positions[0]) if len(positions) else 0
    if np.array_equal(positions, np.arange(first, first + len(positions))):
        return PackedColumn(_POSITION, "position", "count", 0, start=first), np.empty(0, np.uint8)
    return _whole(_POSITION, "position", positions)


def unpack(block: PackedBlock, data: Any, interners: Mapping[str, Interner], fields: frozenset[str]) -> Columns:
    """The calls of a block (its bytes in `data`) with those of its columns that are in `fields`."""
    numbers: dict[str, FloatArray] = {}
    names: dict[str, Names] = {}
    timestamp: IntArray = np.empty(0, np.int64)
    positions: IntArray | None = None
    at = 0
    for column in block.columns:
        piece = data[at : at + column.size]
        at += column.size
        if column.kind == "time":
            timestamp = np.frombuffer(piece, column.form)
        elif column.kind == "position":
            positions = _counted(column, piece, block.rows)
        elif column.name not in fields:
            continue
        elif column.kind == "number":
            numbers[column.name] = _as_number(column, piece)
        else:
            names[column.name] = _as_names(column, piece, interners[column.name])
    return Columns(block.rows, timestamp, numbers, names, positions=positions)


def _counted(column: PackedColumn, data: Any, rows: int) -> IntArray:
    if column.form == "count":
        return np.arange(column.start, column.start + rows)
    found: IntArray = np.frombuffer(data, column.form)
    return found


def _as_number(column: PackedColumn, data: Any) -> FloatArray:
    if column.form != "gaps":
        return np.frombuffer(data, column.form).astype(np.float64)
    small = np.frombuffer(data, "<u4")
    numbers = small.astype(np.float64)
    numbers[small == _LARGEST] = np.nan
    return numbers


def _as_names(column: PackedColumn, data: Any, interner: Interner) -> Names:
    table = np.array([MISSING_CODE, *(interner[value] for value in column.values)], np.int32)
    return Names(table.take(np.frombuffer(data, column.form)), interner.values_seen)
