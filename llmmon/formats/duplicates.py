"""Rows of one call that was logged more than once: the most complete of them is the call."""

from __future__ import annotations

import numpy as np

from llmmon.columns import MISSING_CODE, Columns, IntArray


def keep_most_complete(columns: Columns) -> Columns:
    """One row a `request_id`: the one with most fields, the later of equals; rows without an id all stay.

    The rows keep their order.
    """
    ids = columns.name("request_id").codes
    named = np.flatnonzero(ids != MISSING_CODE)
    order = named[np.lexsort((named, _completeness(columns)[named], ids[named]))]
    last = np.append(ids[order][1:] != ids[order][:-1], True)[: len(order)]
    return columns.take(np.sort(np.concatenate([np.flatnonzero(ids == MISSING_CODE), order[last]])))


def _completeness(columns: Columns) -> IntArray:
    """How many fields each row has; shape (calls,)."""
    found = columns.dated.astype(np.int64)
    for values in columns.numbers.values():
        found += ~np.isnan(values)
    for names in columns.names.values():
        found += names.codes != MISSING_CODE
    for texts in columns.texts.values():
        found += np.array([text is not None for text in texts], np.bool_)
    return found
