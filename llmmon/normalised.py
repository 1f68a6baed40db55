"""Calls as rows of llmmon's own dialect: flat objects with the names of `record.FIELDS`, in public units.

Read again they are the same calls. Missing is left out. `success` is said beside `status`, because a log may call a
reply with an error's status code a success, and only the flag outranks the code. A call that carries nothing which
would show that it is one, such as a failed one without a model, is marked as a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from llmmon.columns import Columns
from llmmon.durations import SECOND_US
from llmmon.formats.cells import cell_of
from llmmon.formats.dialects.native import CALL_MARK
from llmmon.formats.layouts import TAGS
from llmmon.record import FIELDS, TAG_PREFIX, TEXTS, Kind, Status

Lists = dict[str, Sequence[Any]]
_EXTRA: Final = ("success", CALL_MARK)
_FLAGS: Final = frozenset({"cache_hit"})


def fields_of(*, keep_text: bool) -> tuple[str, ...]:
    """The fields of every row; texts only where they are asked for."""
    return tuple(name for name in FIELDS if keep_text or name not in TEXTS)


def lists_of(columns: Columns, fields: Sequence[str], tags: Sequence[str]) -> tuple[Lists, Lists]:
    """One list a field, and one a tag, of public values with None for missing; those that no call has are left out."""
    made = {name: values for name in fields if (values := _values(columns, name)) is not None}
    if "status" in made:
        made["success"] = [_SUCCESS.get(status) for status in made["status"]]
    shown = [made[name] for name in _EVIDENCE if name in made]
    silent = ~np.array([[value is not None for value in values] for values in shown], np.bool_).any(axis=0)
    if not shown or silent.any():
        made[CALL_MARK] = [True if mark else None for mark in np.broadcast_to(silent, columns.size).tolist()]
    return made, {tag: columns.name(TAG_PREFIX + tag).texts() for tag in tags if TAG_PREFIX + tag in columns.names}


def rows_of(columns: Columns, fields: Sequence[str], tags: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row a call, without what it lacks; tags are an object under `tags`."""
    made, labels = lists_of(columns, fields, tags)
    rows = _present(made, columns.size)
    if not labels:
        yield from rows
        return
    for row, its_tags in zip(rows, _present(labels, columns.size), strict=True):
        if its_tags:
            row["tags"] = its_tags
        yield row


# as `formats.slots.EVIDENCE`, by the names of fields
_EVIDENCE: Final = (
    *("model", "prompt_tokens", "completion_tokens", "total_tokens", "latency_ms", "quality_score", "output"),
)
_SUCCESS: Final = {Status.OK.value: True, Status.ERROR.value: False, Status.CANCELLED.value: False}


def _present(columns: Mapping[str, Sequence[Any]], size: int) -> Iterator[dict[str, Any]]:
    if not columns:
        yield from ({} for _ in range(size))
        return
    names = tuple(columns)
    for values in zip(*columns.values(), strict=True):
        yield {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _values(columns: Columns, name: str) -> Sequence[Any] | None:
    match FIELDS[name].kind:
        case Kind.TIME:
            return _stamps(columns)
        case Kind.NUMBER:
            return _numbers(columns, name) if name in columns.numbers else None
        case Kind.NAME:
            return columns.names[name].texts() if name in columns.names else None
        case Kind.TEXT:
            return columns.texts.get(name)


def _stamps(columns: Columns) -> list[str | None]:
    """As `durations.iso`, many at once."""
    micros = columns.timestamp
    stamps = np.datetime_as_string(np.where(columns.dated, micros, 0).astype("datetime64[us]")).tolist()
    ends = [len("2026-01-31T08:00:00") if whole else None for whole in (micros % SECOND_US == 0).tolist()]
    dated = columns.dated.tolist()
    return [f"{text[:end]}Z" if known else None for text, end, known in zip(stamps, ends, dated, strict=True)]


def _numbers(columns: Columns, name: str) -> list[Any]:
    public = columns.public(name)
    if name in _FLAGS:
        return [None if value != value else bool(value) for value in public.tolist()]
    known = public[~np.isnan(public)]
    if FIELDS[name].scale == 1 and bool((known == np.rint(known)).all()):
        return [None if value != value else int(value) for value in public.tolist()]
    return [None if value != value else value for value in public.tolist()]


def sample_row(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A metric sample as it is read."""
    return {name: sample.get(name) for name in ("name", "value", "type", "timestamp", "tags")}


def header_of(fields: Sequence[str], tags: Sequence[str]) -> list[str]:
    """The names of the columns of CSV."""
    return [*fields, *_EXTRA, *(cell_of(TAGS + tag) for tag in tags)]


def cells_of(columns: Columns, fields: Sequence[str], tags: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The cells of one row of CSV a call; missing is None."""
    made, labels = lists_of(columns, fields, tags)
    nothing = [None] * columns.size
    found = [*(made.get(name, nothing) for name in (*fields, *_EXTRA)), *(labels.get(tag, nothing) for tag in tags)]
    return zip(*map(_cells, found), strict=True)


def _cells(values: Sequence[Any]) -> Sequence[Any]:
    if not any(isinstance(value, (str, bool)) for value in values):
        return values
    return [_cell(value) if isinstance(value, (str, bool)) else value for value in values]


@lru_cache(maxsize=65536)
def _cell(value: str | bool) -> str:
    return cell_of(value) if isinstance(value, str) else str(value).lower()
