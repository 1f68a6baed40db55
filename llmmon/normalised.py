"""Calls as rows of llmmon's own dialect: flat objects with the names of `record.FIELDS`, in public units.

Read again they are the same calls. Missing is left out. `success` is said beside `status`, because a log may call a
reply with an error's status code a success, and only the flag outranks the code. A call that carries nothing which
would show that it is one, such as a failed one without a model, is marked as a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from llmmon.columns import MISSING_TIME, Columns
from llmmon.durations import iso
from llmmon.formats.cells import cell_of
from llmmon.formats.dialects.native import CALL_MARK
from llmmon.formats.layouts import TAGS
from llmmon.record import FIELDS, TAG_PREFIX, TEXTS, Kind, Status

_EXTRA: Final = ("success", CALL_MARK)
_FLAGS: Final = frozenset({"cache_hit"})


def fields_of(*, keep_text: bool) -> tuple[str, ...]:
    """The fields of every row; texts only where they are asked for."""
    return tuple(name for name in FIELDS if keep_text or name not in TEXTS)


def rows_of(columns: Columns, fields: Sequence[str], tags: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row a call, without what it lacks; tags are an object under `tags`."""
    made = {name: values for name in fields if (values := _values(columns, name)) is not None}
    if "status" in made:
        made["success"] = [_SUCCESS.get(status) for status in made["status"]]
    labels = {tag: columns.name(TAG_PREFIX + tag).texts() for tag in tags if TAG_PREFIX + tag in columns.names}
    tagged: Iterable[dict[str, Any]] = _present(labels, columns.size)
    for row, its_tags in zip(_present(made, columns.size), tagged, strict=True):
        if its_tags:
            row["tags"] = its_tags
        if _EVIDENCE.isdisjoint(row):
            row[CALL_MARK] = True
        yield row


# as `formats.slots.EVIDENCE`, by the names of fields
_EVIDENCE: Final = frozenset(
    {"model", "prompt_tokens", "completion_tokens", "total_tokens", "latency_ms", "quality_score", "output"}
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
            return [None if us == MISSING_TIME else iso(us) for us in columns.timestamp.tolist()]
        case Kind.NUMBER:
            return _numbers(columns, name) if name in columns.numbers else None
        case Kind.NAME:
            return columns.names[name].texts() if name in columns.names else None
        case Kind.TEXT:
            return columns.texts.get(name)


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


def cells_of(row: Mapping[str, Any], fields: Sequence[str], tags: Sequence[str]) -> list[Any]:
    """The cells of a row of CSV; missing is empty."""
    its_tags = row.get("tags", {})
    return [*(_cell(row.get(name)) for name in (*fields, *_EXTRA)), *(_cell(its_tags.get(tag)) for tag in tags)]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return cell_of(value)
    return {None: "", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value
