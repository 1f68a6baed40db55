"""`sql`: statements over the tables of `reports.tables`, by DuckDB (extra `sql`).

The database is in memory. A table is read when a statement names it, with the columns that the statement names.
Statements reach no file, no network and no variable of this process; with `files` they may read and write files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import msgspec

from llmmon.errors import InputError, UsageError, missing_extra
from llmmon.ingest.parquet import arrow
from llmmon.ingest.query import Read
from llmmon.metrics.record import TEXTS
from llmmon.reports.tables import TABLES, Asked, columns_of, make
from llmmon.text.names import nearest, unknown
from llmmon.text.patterns import lazy
from llmmon.text.times import iso, to_us


class Answer(msgspec.Struct, frozen=True):
    """What a statement gave: the names and types of its columns, and its rows as values of JSON."""

    columns: tuple[tuple[str, str], ...]
    rows: list[tuple[Any, ...]]


class Database:
    """The tables of a query, as SQL sees them; raises `UsageError` without the extra."""

    def __init__(self, asked: Asked, *, files: bool = False) -> None:
        try:
            import duckdb
        except ImportError:
            raise missing_extra("sql", "llmmon sql") from None
        arrow("llmmon sql", "sql")
        self._duckdb: Any = duckdb
        self._asked = asked
        self._parser: Any = duckdb.connect()  # knows no table, so that it names those that a statement needs
        self._database: Any = duckdb.connect(config={} if files else dict(_NO_FILES))
        self._database.execute("set python_enable_replacements = false")
        self._database.execute("set enable_progress_bar = false")
        self._database.execute(f"set timezone = '{asked.query.tz}'")
        if not files:
            self._database.execute("set enable_external_access = false")
            self._database.execute("set lock_configuration = true")
        self._held: dict[str, frozenset[str] | None] = {}  # table -> its columns that were read (None: all)
        self.read: Read | None = None  # of calls, else of the last table

    def answers(self, text: str, say: Callable[[str], None]) -> Iterator[Answer]:
        """Run statements one after the other; raises `UsageError` for what DuckDB refuses, `InputError`."""
        for statement in self._checked(lambda: self._parser.extract_statements(text)):
            self._load(statement.query, say)
            yield self._checked(partial(self._interruptible, statement.query))

    def _load(self, sql: str, say: Callable[[str], None]) -> None:
        for name in TABLES:
            if re.search(rf"\b{name}\b", sql, re.IGNORECASE):
                self._hold(name, self._columns_in(sql) if name == "calls" else None, say)

    def _hold(self, name: str, columns: frozenset[str] | None, say: Callable[[str], None]) -> None:
        if name in self._held:
            held = self._held[name]
            if held is None or (columns is not None and columns <= held):
                return
            columns = None  # a second look: all of it, so that there is no third
        asked = msgspec.structs.replace(self._asked, names=columns)
        table, found, note = make(name, asked)
        if note:
            say(note)
        if found is not None and (self.read is None or name == "calls"):
            self.read = found
        self._database.register(f"llmmon_{name}", table)
        self._database.execute(f"create or replace view {name} as select * from llmmon_{name}")  # noqa: S608 - a name of ours
        self._held[name] = columns

    def _columns_in(self, sql: str) -> frozenset[str] | None:
        """The names in a statement among which its columns are; None where it may use any column."""
        (text,) = self._parser.execute("select json_serialize_sql(?)", [sql]).fetchone()
        parsed = json.loads(text)
        if parsed.get("error", True):
            return None  # no SELECT
        names: set[str] = set()
        for node in _nodes(parsed["statements"]):
            if node.get("class") in _ANY_COLUMN or node.get("type") in _ANY_COLUMN or node.get("ref_type") == "NATURAL":
                return None
            names.update(_texts(node))
        aliases = {str(node.get("alias", "")).lower() for node in _nodes(parsed["statements"])} | {"calls"}
        whole = {name for node in _nodes(parsed["statements"]) for name in _row_names(node)} & (aliases - {""})
        known = {*columns_of("calls", texts=True), "tag"}
        return None if whole - known else frozenset(names & known)

    def _interruptible(self, sql: str) -> Answer:
        """As `_run`, on a thread of its own: where DuckDB runs in the main thread, Ctrl-C may not reach it."""
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(self._run, sql)
            try:
                return running.result()
            except KeyboardInterrupt:
                self._database.interrupt()
                raise

    def _run(self, sql: str) -> Answer:
        found = self._database.sql(sql)
        if found is None:
            return Answer((), [])
        kinds = [str(kind) for kind in found.types]
        names = _distinct(found.columns)
        table = found.to_arrow_table()
        lists = [[_plain(value) for value in column.to_pylist()] for column in table.columns]
        return Answer(tuple(zip(names, kinds, strict=True)), list(zip(*lists, strict=True)))

    def _checked(self, work: Callable[[], Any]) -> Any:
        """What the work gives; DuckDB's errors as ours."""
        try:
            return work()
        except self._duckdb.PermissionException as error:
            first = _first_line(error).removeprefix("Permission Error: ")
            raise UsageError(f"SQL: {first}", hint="--allow-files lets SQL read and write files") from None
        except self._duckdb.OutOfMemoryException as error:
            raise InputError(f"SQL: {_first_line(error)}", hint="a --window, --where, or fewer columns") from None
        except self._duckdb.Error as error:
            raise self._refused(str(error).strip()) from None

    def _refused(self, said: str) -> UsageError:
        """DuckDB's message as ours, with what was probably meant."""
        if missing := _UNKNOWN_TABLE.search(said):
            return UsageError("SQL: " + unknown("table", missing[1], TABLES))
        if missing := _UNKNOWN_COLUMN.search(said):
            text = f"SQL: unknown column '{missing[1]}'"
            if missing[1] in TEXTS and not self._asked.texts:
                return UsageError(text, hint="--show-text adds the columns of texts")
            near = nearest(missing[1], {name for table in TABLES for name in columns_of(table)})
            text += f", did you mean '{near}'?" if near else ""
            return UsageError(text, hint="llmmon sql 'describe calls' LOGS lists the columns")
        hint = 'a name that is a word of SQL needs double quotes, such as "end"' if "Parser Error" in said else None
        return UsageError(f"SQL: {said}", hint=hint)


_UNKNOWN_TABLE: Final = lazy(r"Table with name (\w+) does not exist")
_UNKNOWN_COLUMN: Final = lazy(r'Referenced column "(\w+)" (?:was )?not found')
_NO_FILES: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
}
# nodes of a parsed statement that may stand for any column
_ANY_COLUMN: Final = frozenset({"STAR", "POSITIONAL_REFERENCE", "LAMBDA", "SHOW_REF", "PIVOT", "TABLE_FUNCTION"})


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a parsed statement."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _texts(node: dict[str, Any]) -> Iterator[str]:
    """The texts that an object holds itself, in lower case."""
    for value in node.values():
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str):
                yield text.lower()


def _row_names(node: dict[str, Any]) -> Sequence[str]:
    """The name of a reference that may be a whole row."""
    names = node.get("column_names", []) if node.get("class") == "COLUMN_REF" else []
    return [str(names[0]).lower()] if len(names) == 1 else []


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of columns, of which none is twice."""
    found: list[str] = []
    for name in names:
        number, free = 2, name
        while free in found:
            free, number = f"{name}_{number}", number + 1
        found.append(free)
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _plain(value: Any) -> Any:
    """A value of Arrow as one of JSON: times are ISO in UTC, exact numbers are numbers, the rest is text."""
    from datetime import date, datetime
    from decimal import Decimal

    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, datetime):
        return iso(to_us(value)) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return [_plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else str(value)
