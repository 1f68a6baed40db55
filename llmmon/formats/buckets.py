"""Usage that is counted in buckets which exclude each other, as Langfuse keeps it: told by how their names begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from llmmon.formats import values
from llmmon.formats.mapping import embedded
from llmmon.metrics.columns import FloatArray

_CACHED: tuple[str, ...] = ("input_cached_tokens", "cache_read_input_tokens", "input_cache_read")
_WRITTEN: tuple[str, ...] = ("cache_creation_input_tokens", "input_cache_creation")
_REASONING: tuple[str, ...] = ("output_reasoning_tokens", "output_reasoning")
_OTHER_INPUTS: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")


def counts_of(buckets: Sequence[Any]) -> dict[str, FloatArray]:
    """The token slots of rows, from an object of buckets each (also as JSON in a text); NaN for missing, shape (n,)."""
    found = {slot: np.full(len(buckets), np.nan) for slot in _SLOTS}
    rows: dict[tuple[str, ...], list[int]] = {}
    objects = [embedded(each) if type(each) is str else each for each in buckets]
    for row, each in enumerate(objects):
        if type(each) is dict and each:
            rows.setdefault(tuple(each), []).append(row)
    for keys, at in rows.items():
        columns = zip(*(objects[row].values() for row in at), strict=True)
        counts = {key: values.usable(values.numbers(column)) for key, column in zip(keys, columns, strict=True)}
        for slot, names in _slots(keys).items():
            found[slot][at] = _added([counts[name] for name in names])
    return {slot: column for slot, column in found.items() if not np.isnan(column).all()}


def _slots(keys: tuple[str, ...]) -> dict[str, list[str]]:
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


_SLOTS: Final = (
    *("prompt_tokens", "completion_tokens", "total_tokens"),
    *("cached_tokens", "cache_write_tokens", "reasoning_tokens"),
)


def _added(columns: Sequence[FloatArray]) -> FloatArray:
    """The sum of what is known, NaN where nothing is; shape (n,)."""
    missing = np.logical_and.reduce([np.isnan(column) for column in columns])
    return np.where(missing, np.nan, np.sum([np.nan_to_num(column) for column in columns], axis=0))
