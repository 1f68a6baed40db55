"""Metric samples with known names as columns: each gives one field of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from llmmon.formats.timestamps import moments
from llmmon.metrics.columns import Columns, Interner, Names
from llmmon.metrics.definitions import ALIASES
from llmmon.metrics.record import FIELDS, FieldKind, Status

_ERROR: Final = "error"
_FIELDS: Final = {
    name: field
    for name, field in ALIASES.items()
    if field == _ERROR or (field in FIELDS and FIELDS[field].kind is FieldKind.NUMBER)
}
SAMPLED: Final = frozenset(_FIELDS.values())  # the metrics that samples can give
_LABELS: Final = ("model", "user", "feature", "provider", "error_type")


def sampled_columns(samples: Sequence[Mapping[str, Any]], naive: str) -> Columns:
    """The samples that give a field of calls, as rows that must never be counted as calls themselves.

    A sample of `llm_error` is a failed call if its value is above 0, else one that did not fail.
    """
    rows = [sample for sample in samples if sample["name"] in _FIELDS]
    fields = [_FIELDS[sample["name"]] for sample in rows]
    values = np.array([sample["value"] for sample in rows], np.float64)
    numbers = {
        field: np.where(
            np.array([each == field for each in fields], np.bool_), np.rint(values * FIELDS[field].scale), np.nan
        )
        for field in dict.fromkeys(fields)
        if field != _ERROR
    }
    outcomes = [(_outcome(value) if field == _ERROR else None) for field, value in zip(fields, values, strict=True)]
    return Columns(
        size=len(rows),
        timestamp=moments([sample["timestamp"] for sample in rows], "", naive),
        numbers=numbers,
        names={
            "status": _names(outcomes),
            **{label: _names([_label(sample, label) for sample in rows]) for label in _LABELS},
        },
    )


def _outcome(value: float) -> str:
    return (Status.ERROR if value > 0 else Status.OK).value


def _label(sample: Mapping[str, Any], label: str) -> str | None:
    value = sample["tags"].get(label)
    return None if value is None else str(value)


def _names(values: Sequence[str | None]) -> Names:
    interner = Interner()
    return Names(np.array([interner[value] for value in values], np.int32), interner.values_seen)
