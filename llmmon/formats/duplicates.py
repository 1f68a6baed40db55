"""Calls that a log holds more than once: the most complete row of each is kept."""

from __future__ import annotations

import msgspec
import numpy as np

from llmmon.columns import MISSING_CODE, MISSING_TIME, Columns, Names
from llmmon.formats.slots import CALL_KEY


def keep_most_complete(columns: Columns, key: str = CALL_KEY) -> tuple[Columns, int]:
    """The calls without repeated ones, in their order, and how many were dropped.

    Only rows with a name in the column `key` can repeat each other: by default those of dialects that log a
    call more than once, with `request_id` any. Of such rows the one with the most tokens stays; among equals
    one with a latency, then one with a time, then the last.
    """
    names = columns.names.get(key)
    if names is None:
        return columns, 0
    rest = without_key(columns)
    keyed = np.flatnonzero(names.codes != MISSING_CODE)
    codes = _distinct(names)[names.codes[keyed]]
    order = np.lexsort(
        (
            keyed,
            columns.timestamp[keyed] != MISSING_TIME,
            ~np.isnan(columns.number("latency_ms")[keyed]),
            np.nan_to_num(columns.number("total_tokens")[keyed], nan=-1.0),
            codes,
        )
    )
    last = np.append(codes[order][1:] != codes[order][:-1], True)[: len(order)]
    dropped = keyed[order[~last]]
    if not len(dropped):
        return rest, 0
    kept = np.ones(columns.size, np.bool_)
    kept[dropped] = False
    return rest.take(kept), len(dropped)


def _distinct(names: Names) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each code the first code of the same name: names joined from several sources may hold one twice."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(value, code) for code, value in enumerate(names.values)], np.int64)


def without_key(columns: Columns) -> Columns:
    """The calls without the column that only tells repeated ones."""
    if CALL_KEY not in columns.names:
        return columns
    names = {name: column for name, column in columns.names.items() if name != CALL_KEY}
    return msgspec.structs.replace(columns, names=names)
