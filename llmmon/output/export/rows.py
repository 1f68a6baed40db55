"""`export --to csv`, `jsonl` and `parquet`: calls as rows of llmmon's own dialect, written as they are read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from llmmon.formats.dialects.native import CALL_MARK
from llmmon.formats.own_csv import TAGS, cell_of
from llmmon.ingest.parquet import Arrow, arrow
from llmmon.ingest.parquet import writer as parquet_writer
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.reread import rereadable
from llmmon.metrics.columns import EMPTY, Columns
from llmmon.metrics.record import FIELDS, TAG_PREFIX, TEXTS, FieldKind, Status
from llmmon.output.renderers.json import dumps
from llmmon.pricing.cost_modes import AS_READ
from llmmon.reports.tables import calls_table, tags_of
from llmmon.text.times import SECOND_US

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
        case FieldKind.TIME:
            return _stamps(columns)
        case FieldKind.NUMBER:
            return _numbers(columns, name) if name in columns.numbers else None
        case FieldKind.NAME:
            return columns.names[name].texts() if name in columns.names else None
        case FieldKind.TEXT:
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


_AT_ONCE: Final = 4096  # calls that are made into rows together
Write = Callable[[bytes], Any]


class Wanted(msgspec.Struct, frozen=True):
    """What of each call is written: its texts too, tags beside those found, costs from prices where none is logged."""

    keep_text: bool = False
    tags: tuple[str, ...] = ()
    fill_costs: bool = False


class Written(msgspec.Struct, frozen=True):
    """What became of it."""

    read: Read
    rows: int
    samples: int
    tags: tuple[str, ...]


def export_records(query: Query, to: str, wanted: Wanted, write: Write) -> Written:
    """Write every call, in the order of the log, in one of `ROW_FORMATS`; raises `UsageError` without its extra.

    Costs are as logged unless `--cost calculated` or `fill_costs` asks for more: read again, a calculated cost would
    count as logged. Tags are those in the head of each log, and those that are asked for.
    """
    with rereadable(query, times=1) as again:
        tags = tags_of(again.query, wanted.tags)
        fields = fields_of(keep_text=wanted.keep_text)
        writer = _FOLDS[to](fields, tags, write)
        one = msgspec.structs.replace(
            again.query, jobs=1, engine=None, rejects=query.rejects, cost=_cost(query, wanted)
        )
        names = frozenset({*fields, *(TAG_PREFIX + tag for tag in tags)})
        done = again.named(read(one, names, lambda: writer, writes=True))
        writer.end()
    return Written(done, writer.rows, writer.samples, tags)


def _cost(query: Query, wanted: Wanted) -> str:
    return query.cost if query.cost in {"calculated", "none"} or wanted.fill_costs else AS_READ


class _RowsFold:
    """Writes rows as they come; a fold that never leaves this process."""

    def __init__(self, form: _Form, fields: Sequence[str], tags: Sequence[str], write: Write) -> None:
        self.rows = self.samples = 0
        self._form = form
        self._names = fields, tags
        self._write = write
        self._begun = False

    def begin(self) -> None:
        """Write the names of the columns, once, and not before there is something to read."""
        if not self._begun:
            self._begun = True
            self._write(self._form.head(*self._names).encode("utf-8", "replace"))

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Write a block."""
        self.begin()
        for start in range(0, columns.size, _AT_ONCE):
            part = columns.take(np.arange(start, min(start + _AT_ONCE, columns.size)))
            self._write(self._form.calls(part, *self._names).encode("utf-8", "replace"))
        self.rows += columns.size
        if self._form.samples and samples:
            self._write(_json_lines(map(sample_row, samples)).encode("utf-8", "replace"))
            self.samples += len(samples)

    def result(self) -> None:
        """All is written as it comes."""

    def end(self) -> None:
        """Write what a file without any call has, too."""
        self.begin()


def _stored(kind: Arrow) -> Arrow:
    """The type of a column in a file: names are texts there, whose encoding Parquet chooses itself."""
    return getattr(kind, "value_type", kind)


def _silent(table: Arrow) -> Any:
    """Which calls carry nothing that would show that they are calls; shape (calls,)."""
    shown = [table[name].is_valid().to_numpy() for name in _EVIDENCE if name in table.column_names]
    return ~np.any(shown, axis=0)


class _ParquetFold:
    """Writes tables of calls as they come; a fold that never leaves this process. Metric samples have no place."""

    samples = 0

    def __init__(self, fields: Sequence[str], tags: Sequence[str], write: Write) -> None:
        self.rows = 0
        self._fields, self._tags = (*fields, "success"), tags
        schema = arrow("--to parquet").schema([(f.name, _stored(f.type)) for f in self._table(EMPTY).schema])
        self._schema = schema
        self._writer = parquet_writer(write, schema)

    def _table(self, columns: Columns) -> Arrow:
        """The calls under the names of the other formats."""
        table = calls_table(columns, self._fields, self._tags, None)
        names = [TAGS + name.removeprefix(TAG_PREFIX) for name in table.column_names if name.startswith(TAG_PREFIX)]
        table = table.rename_columns([*self._fields, *names])
        silent = _silent(table)
        return table.append_column(CALL_MARK, arrow("--to parquet").array(silent, mask=~silent))

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Write a block."""
        self._writer.write_table(self._table(columns).cast(self._schema))
        self.rows += columns.size

    def result(self) -> None:
        """All is written as it comes."""

    def end(self) -> None:
        """End the file."""
        self._writer.close()


Names = Sequence[str]


class _Form(msgspec.Struct, frozen=True):
    """How calls are written, given fields and tags; a table of calls has no place for metric samples."""

    head: Callable[[Names, Names], str]
    calls: Callable[[Columns, Names, Names], str]
    samples: bool


def _json_lines(rows: Iterable[dict[str, Any]]) -> str:
    """As `renderers.json.dumps` of each, without looking at each for control characters that none holds."""
    kept = list(rows)
    try:
        text = b"\n".join(map(orjson.dumps, kept))
    except TypeError:
        return "".join(dumps(row) + "\n" for row in kept)
    if _MAY_BE_OBEYED.search(text):
        return "".join(dumps(row) + "\n" for row in kept)
    return text.decode() + "\n"


_MAY_BE_OBEYED: Final = re.compile(b"\x7f|\xc2[\x80-\x9f]")


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


_FORMS: Final = {
    "jsonl": _Form(
        lambda _fields, _tags: "",
        lambda calls, fields, tags: _json_lines(rows_of(calls, fields, tags)),
        samples=True,
    ),
    "csv": _Form(
        lambda fields, tags: _csv_text([header_of(fields, tags)]),
        lambda calls, fields, tags: _csv_text(cells_of(calls, fields, tags)),
        samples=False,
    ),
}
_FOLDS: Final[dict[str, Callable[[Names, Names, Write], _RowsFold | _ParquetFold]]] = {
    **{name: partial(_RowsFold, form) for name, form in _FORMS.items()},
    "parquet": _ParquetFold,
}
ROW_FORMATS: Final = tuple(_FOLDS)
