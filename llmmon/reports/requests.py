"""`requests`: the calls themselves, with where each stands in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llmmon.errors import UsageError
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.scan import Scanned, place
from llmmon.metrics.aggregation import TopFold, top
from llmmon.metrics.columns import MISSING_TIME, Columns, concat
from llmmon.metrics.definitions import ALIASES, METRICS
from llmmon.metrics.filters import Filter
from llmmon.metrics.record import FIELDS, NUMBERS, TAG_PREFIX, FieldKind
from llmmon.metrics.vocabulary import number_field
from llmmon.text.names import unknown
from llmmon.text.times import iso


class RequestsReport(msgspec.Struct, frozen=True):
    """`llmmon requests`: the calls themselves, one mapping of field to public value each."""

    rows: tuple[Mapping[str, Any], ...]
    found: int  # how many there were before the limit
    sorted_by: str
    asked: frozenset[str] = frozenset()  # fields that the conditions and the order are about


# what every row says, in this order; tags that were asked for come behind
COLUMNS: Final = (
    *("request_id", "timestamp", "model", "provider", "user", "session", "feature", "status", "error_type"),
    *("status_code", "finish_reason", "latency_ms", "time_to_first_token_ms", "prompt_tokens", "completion_tokens"),
    *("total_tokens", "cached_tokens", "cost_usd", "quality_score", "error_message"),
)
_TEXTS: Final = ("prompt", "output")


def list_requests(
    query: Query, *, sort: str | None, limit: int, show_text: bool, ascending: bool = False
) -> tuple[RequestsReport, Read]:
    """The first `limit` calls (0: all), the newest first, or by a metric, largest first."""
    key = _sort_key(sort)
    names = (*COLUMNS, *(_TEXTS if show_text else ()))
    extra = METRICS[key].needs if key in METRICS else {key}
    tags = _tags_in(query.where)
    found = read(
        query,
        frozenset({*names, *extra, *tags} & {*FIELDS, *tags}) | {"cost_usd"},
        lambda: TopFold(key, limit or 1 << 60, ascending=ascending),
    )
    columns = concat([part for part, _ in found.results])
    columns = columns.take(top(columns, key, limit or 1 << 60, ascending=ascending))
    count = sum(number for _, number in found.results)
    return RequestsReport(
        rows=tuple(request_rows(columns, (*names, *tags), found.scanned)),
        found=count,
        sorted_by=sort or "timestamp",
        asked=frozenset({key, *(() if query.where is None else query.where.fields)}),
    ), found


def _sort_key(sort: str | None) -> str:
    name = ALIASES.get(sort or "timestamp", sort or "timestamp")
    name = name if name in METRICS or name in NUMBERS else number_field(name)
    if name != "timestamp" and name not in METRICS and name not in NUMBERS:
        raise UsageError("--sort: " + unknown("field", name, {*METRICS, *NUMBERS, "timestamp"}))
    return name


def _tags_in(where: Filter | None) -> tuple[str, ...]:
    """The tags that a condition is about, in the order in which it names them."""
    if where is None:
        return ()
    return tuple(sorted((name for name in where.fields if name.startswith(TAG_PREFIX)), key=where.text.index))


def request_rows(columns: Columns, names: tuple[str, ...], scanned: Scanned[Any]) -> list[dict[str, Any]]:
    """One mapping of field to public value a call, with the file and line where it stands."""
    by_name = {name: _values(columns, name) for name in names}
    places = _places(columns, scanned)
    return [
        {**{name: values[row] for name, values in by_name.items()}, "file": places[row][0], "line": places[row][1]}
        for row in range(columns.size)
    ]


def _values(columns: Columns, name: str) -> list[Any]:
    kind = FieldKind.NAME if name.startswith(TAG_PREFIX) else FIELDS[name].kind
    match kind:
        case FieldKind.TIME:
            return [iso(None if us == MISSING_TIME else us) for us in columns.timestamp.tolist()]
        case FieldKind.NUMBER:
            whole = FIELDS[name].scale == 1
            values = columns.public(name).tolist()
            return [None if v != v else int(v) if whole else v for v in values]
        case FieldKind.NAME:
            return list(columns.name(name).texts())
        case FieldKind.TEXT:
            return list(columns.text(name))


def _places(columns: Columns, scanned: Scanned[Any]) -> list[tuple[str, int | None]]:
    if columns.positions is None:
        return [("", None)] * columns.size
    return [place(position, scanned) for position in columns.positions.tolist()]
