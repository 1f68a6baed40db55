"""Calls, sessions, tool calls and incidents as Arrow tables: for SQL, data frames and Parquet (extra `arrow`).

A column is a field of the record in its public unit; missing is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from llmmon.errors import InputError, UsageError
from llmmon.formats.detection import tags_in
from llmmon.ingest import sources
from llmmon.ingest.parquet import Arrow, arrow
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.scan import POSITION_BITS, Scanned
from llmmon.ingest.spans import head
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns, Names, concat, in_log_order
from llmmon.metrics.record import FIELDS, NANO_DOLLARS, TAG_PREFIX, FieldKind, Status
from llmmon.text.figures import counted

if TYPE_CHECKING:
    from llmmon.anomaly.incidents import Accepted

_FLAGS: Final = frozenset({"cache_hit", "unpriced"})
# columns of calls that are made of others: name -> type and meaning
DERIVED: Final = {
    "error": ("BOOLEAN", "whether the call failed; null where the log does not say"),
    "success": ("BOOLEAN", "whether it succeeded: neither failed nor cancelled"),
    "cost_logged_usd": ("DOUBLE", "the cost, where it is as logged"),
    "cost_calculated_usd": ("DOUBLE", "the cost, where it is from prices"),
    "unpriced": ("BOOLEAN", "whether the call used tokens that no price is known for"),
    "file": ("VARCHAR", "log file"),
    "line": ("BIGINT", "line in the file, from 1"),
}
_PLACE: Final = ("file", "line")
MOST_TAGS: Final = 200


def columns_of_calls(*, texts: bool = False) -> dict[str, tuple[str, str]]:
    """The columns of a table of calls, in order: name -> SQL type and meaning; tags are not among them."""
    made = {
        name: (_sql_type(name), field.help)
        for name, field in FIELDS.items()
        if texts or field.kind is not FieldKind.TEXT
    }
    return {**made, **DERIVED}


def _sql_type(name: str) -> str:
    field = FIELDS[name]
    if field.kind is FieldKind.TIME:
        return "TIMESTAMPTZ"
    if field.kind is not FieldKind.NUMBER:
        return "VARCHAR"
    return "BOOLEAN" if name in _FLAGS else "BIGINT" if field.scale == 1 else "DOUBLE"


def tags_of(query: Query, asked: Iterable[str] = ()) -> tuple[str, ...]:
    """The tags in the head of each log, behind those that are asked for."""
    found = dict.fromkeys(name.removeprefix(TAG_PREFIX) for name in asked)
    for source in sources.find(query.logs).sources:
        try:
            found.update(dict.fromkeys(tags_in(head(source), query.dialect)))
        except (OSError, EOFError, ValueError):
            continue  # reading it says why
    if len(found) > MOST_TAGS:
        query.say(f"{counted(len(found) - MOST_TAGS, 'tag')} beyond the first {MOST_TAGS} left out")
    return tuple(found)[:MOST_TAGS]


def read_calls(query: Query, fields: Iterable[str], tags: Sequence[str]) -> tuple[Columns, Read]:
    """The calls of a query with some columns (those of `columns_of_calls`) and tags, in the order of the logs."""
    wanted = set(fields)
    needed = {name for name in wanted if name in FIELDS}
    needed |= {"cost_usd"} if any("cost" in name or name == "unpriced" for name in wanted) else set()
    needed |= {"status"} if wanted & {"success", "error"} else set()
    needed |= {TAG_PREFIX + tag for tag in tags}
    found = read(query, frozenset(needed), ColumnsFold)
    return in_log_order(concat(found.results)), found


def calls_table(
    columns: Columns, fields: Sequence[str], tags: Sequence[str], scanned: Scanned[Any] | None, *, nested: bool = False
) -> Arrow:
    """Calls as an Arrow table. Tags are columns `tag.NAME`, or with `nested` one column `tag` with a field for each."""
    pa = arrow("a table")
    made = {name: _array(columns, name, scanned) for name in fields}
    tagged = {tag: _names(columns.name(TAG_PREFIX + tag)) for tag in tags}
    if nested and tagged:
        decoded = [array.dictionary_decode() for array in tagged.values()]
        made["tag"] = pa.StructArray.from_arrays(decoded, names=list(tagged))
    elif tagged:
        made.update({TAG_PREFIX + tag: array for tag, array in tagged.items()})
    return pa.table(made)


def _array(columns: Columns, name: str, scanned: Scanned[Any] | None) -> Arrow:
    pa = arrow("a table")
    if name in ("success", "error"):
        return _outcomes(columns.name("status"), _OUTCOMES[name])
    if name in _PLACE:
        return _places(columns, scanned)[_PLACE.index(name)]
    if name in DERIVED and name != "unpriced":
        values = columns.number(name)
        return pa.array(values / NANO_DOLLARS, mask=np.isnan(values))
    if name == "unpriced":
        return _flag(columns.number(name))
    match FIELDS[name].kind:
        case FieldKind.TIME:
            return pa.array(columns.timestamp, mask=~columns.dated, type=pa.timestamp("us", tz="UTC"))
        case FieldKind.NAME:
            return _names(columns.name(name))
        case FieldKind.TEXT:
            return pa.array(columns.text(name), type=pa.string())
        case FieldKind.NUMBER:
            return _numbers(columns, name)


def _numbers(columns: Columns, name: str) -> Arrow:
    pa = arrow("a table")
    if name in _FLAGS:
        return _flag(columns.number(name))
    public = columns.public(name)
    missing = np.isnan(public)
    if FIELDS[name].scale == 1:
        whole = np.rint(np.clip(np.nan_to_num(public), -(2**62), 2**62)).astype(np.int64)
        return pa.array(whole, mask=missing)
    return pa.array(public, mask=missing)


def _flag(values: Any) -> Arrow:
    return arrow("a table").array(values == 1, mask=np.isnan(values))


def _names(names: Names) -> Arrow:
    pa = arrow("a table")
    codes = pa.array(names.codes, mask=names.codes < 0)
    values = [value.encode("utf-8", "replace").decode() for value in names.values]
    return pa.DictionaryArray.from_arrays(codes, pa.array(values, type=pa.string()))


_OUTCOMES: Final = {
    "success": {Status.OK.value: 1, Status.ERROR.value: 0, Status.CANCELLED.value: 0},
    "error": {Status.OK.value: 0, Status.ERROR.value: 1, Status.CANCELLED.value: 0},
}


def _outcomes(status: Names, known: Mapping[str, int]) -> Arrow:
    of_code = np.array([known.get(value, -1) for value in status.values] + [-1])
    found = of_code[status.codes]
    return arrow("a table").array(found == 1, mask=found < 0)


def _places(columns: Columns, scanned: Scanned[Any] | None) -> tuple[Arrow, Arrow]:
    """File and line (null after a jump into the file) of each call."""
    pa = arrow("a table")
    if columns.positions is None or scanned is None:
        return pa.nulls(columns.size, pa.string()), pa.nulls(columns.size, pa.int64())
    numbers, of = np.unique(columns.positions >> POSITION_BITS, return_inverse=True)
    spans = [scanned.spans[number] for number in numbers.tolist()]
    first = np.array([-1 if before is None else before for _, before in spans] or [0])[of.ravel()]
    source = np.array([span.source for span, _ in spans] or [0], np.int32)[of.ravel()]
    lines = first + (columns.positions & ((1 << POSITION_BITS) - 1)) + 1
    files = pa.array(list(scanned.report.files), type=pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(source), files), pa.array(lines, mask=first < 0)


Made = tuple[Arrow, Read]


class Asked(msgspec.Struct, frozen=True):
    """What a table is asked for: columns (None: all), whether texts are among them, levels that were accepted."""

    query: Query
    names: frozenset[str] | None = None
    texts: bool = False
    accepted: Accepted | None = None


def _calls(asked: Asked) -> Made:
    known = tuple(columns_of_calls(texts=asked.texts))
    fields = [name for name in known if asked.names is None or name in asked.names] or ["timestamp"]
    tags = tags_of(asked.query) if asked.names is None or "tag" in asked.names else ()
    columns, found = read_calls(asked.query, fields, tags)
    return calls_table(columns, fields, tags, found.scanned, nested=True), found


def _sessions(asked: Asked) -> Made:
    from llmmon.reports.sessions import report_sessions

    report, found = report_sessions(asked.query, by=())
    return _rows_table("sessions", map(msgspec.to_builtins, report.sessions)), found


def _tools(asked: Asked) -> Made:
    from llmmon.reports.tools import tool_rows

    rows, found = tool_rows(asked.query)
    return _rows_table("tools", rows), found


def _incidents(asked: Asked) -> Made:
    from llmmon.anomaly.analysis import MonitorPlan, find_anomalies

    plan = MonitorPlan() if asked.accepted is None else MonitorPlan(accepted=asked.accepted)
    report, found = find_anomalies(asked.query, plan)
    rows = (
        {
            **{name: getattr(one, name, None) for name in ("factor", *one.__struct_fields__)},
            "model": dict(one.group).get("model"),
            "description": one.sentence(asked.query.tz),
            "causes": ", ".join(f"{cause.field}={cause.name}" for cause in one.causes) or None,
        }
        for one in report.incidents
    )
    return _rows_table("incidents", rows), found


# columns of the tables that are made of rows: name -> SQL type and meaning; times are rows' `NAME_us`
_TABLES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "sessions": {
        "session": ("VARCHAR", "name of the session, or of its trace"),
        "parent": ("VARCHAR", "session whose sub-agent it is"),
        "user": ("VARCHAR", "who asked"),
        "feature": ("VARCHAR", "part of the application"),
        "folder": ("VARCHAR", "folder of the project that an agent works in"),
        "model": ("VARCHAR", "model of most of its calls"),
        "start": ("TIMESTAMPTZ", "start of its first call"),
        "end": ("TIMESTAMPTZ", 'end of its last call (write `"end"`)'),
        "duration_ms": ("DOUBLE", "from start to end"),
        "calls": ("BIGINT", "calls of models"),
        "tool_calls": ("BIGINT", "calls of tools"),
        "failed_tool_calls": ("BIGINT", "those that failed"),
        "steps": ("BIGINT", "calls of models and tools"),
        "errors": ("BIGINT", "calls of models that failed"),
        "cost_usd": ("DOUBLE", "cost of its own calls"),
        "complete": ("BOOLEAN", "whether each of its calls has a price"),
        "with_subagents_usd": ("DOUBLE", "cost with the sessions of its sub-agents"),
        "subagent_usd": ("DOUBLE", "the part of it that sub-agents spent"),
        "subagents": ("BIGINT", "number of sub-agents"),
        "prompt_tokens": ("BIGINT", "input tokens of all calls"),
        "completion_tokens": ("BIGINT", "output tokens of all calls"),
        "cached_tokens": ("BIGINT", "input tokens read from the cache"),
        "total_tokens": ("BIGINT", "input and output tokens"),
        "context_tokens": ("BIGINT", "largest context"),
        "first_context_tokens": ("BIGINT", "context of the first turn"),
        "last_context_tokens": ("BIGINT", "context of the last turn"),
        "turns": ("BIGINT", "calls of its own line of work"),
        "compactions": ("BIGINT", "how often its context was compacted"),
        "long_context_from_turn": ("BIGINT", "first turn with more than 150,000 tokens of context"),
        "expensive_from_turn": ("BIGINT", "turn from which on a turn cost at least twice as much"),
        "ended": ("VARCHAR", "ok, error, cancelled, cut off, withheld, in a tool call, unknown"),
        "error_type": ("VARCHAR", "error of its last call"),
    },
    "tools": {
        "session": ("VARCHAR", "session that the tool call belongs to"),
        "timestamp": ("TIMESTAMPTZ", "when it was asked for"),
        "tool": ("VARCHAR", "name of the tool"),
        "server": ("VARCHAR", "its MCP server"),
        "latency_ms": ("DOUBLE", "until its result"),
        "failed": ("BOOLEAN", "whether it failed; null without a result"),
        "hidden": ("BOOLEAN", "whether it failed and was not reported as failed"),
        "arguments_chars": ("BIGINT", "characters of its arguments"),
        "result_chars": ("BIGINT", "characters of its result"),
        "context_usd": ("DOUBLE", "what its result cost in the calls that had it in their context"),
        "looped": ("BIGINT", "which of its loop it is, from 1; null outside of loops"),
        "loop_usd": ("DOUBLE", "what asking for it again cost"),
        "error_type": ("VARCHAR", "class of its error"),
        "model": ("VARCHAR", "model that asked for it"),
        "user": ("VARCHAR", "user of that call"),
        "request_id": ("VARCHAR", "identifier of that call"),
    },
    "incidents": {
        "id": ("VARCHAR", "identifier, as `anomalies --explain` takes it"),
        "kind": ("VARCHAR", "incident or drift"),
        "severity": ("VARCHAR", "low, medium, high, critical"),
        "status": ("VARCHAR", "whether it is over"),
        "metric_name": ("VARCHAR", "metric that leads it"),
        "model": ("VARCHAR", "model that leads it; null for all calls"),
        "start": ("TIMESTAMPTZ", "estimated onset"),
        "end": ("TIMESTAMPTZ", 'end (write `"end"`)'),
        "timestamp": ("TIMESTAMPTZ", "end of the bucket that raised it"),
        "description": ("VARCHAR", "the incident in a sentence"),
        "usual": ("DOUBLE", "the metric before"),
        "during": ("DOUBLE", "the metric during the incident"),
        "factor": ("DOUBLE", "during / usual"),
        "calls": ("BIGINT", "calls in that time"),
        "causes": ("VARCHAR", "groups that contributed most"),
        "error_message": ("VARCHAR", "error that was most frequent"),
    },
}


def _rows_table(name: str, rows: Iterable[Mapping[str, Any]]) -> Arrow:
    """Rows of a report as a table with all columns of its name."""
    pa = arrow("a table")
    types = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    }
    kept = list(rows)
    arrays = {}
    for column, (kind, _) in _TABLES[name].items():
        key = f"{column}_us" if kind == "TIMESTAMPTZ" else column
        arrays[column] = pa.array([row[key] for row in kept], type=types[kind])
    return pa.table(arrays)


# view -> what makes it, and its columns
TABLES: Final[dict[str, Callable[[Asked], Made]]] = {
    "calls": _calls,
    "sessions": _sessions,
    "incidents": _incidents,
    "tools": _tools,
}


def columns_of(name: str, *, texts: bool = False) -> Mapping[str, tuple[str, str]]:
    """The columns of a table: name -> SQL type and meaning."""
    return columns_of_calls(texts=texts) if name == "calls" else _TABLES[name]


def make(name: str, asked: Asked) -> tuple[Arrow, Read | None, str]:
    """A table, what was read for it, and a note where the logs have nothing of the kind."""
    try:
        return *TABLES[name](asked), ""
    except (InputError, UsageError) as error:
        if name == "calls" or (isinstance(error, InputError) and error.code):
            raise
        return _rows_table(name, ()), None, f"{name} is empty: {error}"
