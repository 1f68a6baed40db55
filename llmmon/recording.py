"""`export --to csv` and `--to jsonl`: calls as rows of llmmon's own dialect, written as they are read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from llmmon import sources
from llmmon.columns import Columns
from llmmon.formats.tagging import tags_in
from llmmon.normalised import cells_of, fields_of, header_of, rows_of, sample_row
from llmmon.pipeline import AS_READ, Query, Read, read
from llmmon.record import TAG_PREFIX
from llmmon.renderers.json import dumps
from llmmon.rereading import rereadable
from llmmon.source_bytes import head

MOST_TAGS: Final = 200
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
    """Write every call, in the order of the log, as `csv` or `jsonl`.

    Costs are as logged unless `--cost calculated` or `fill_costs` asks for more: read again, a calculated cost would
    count as logged. Tags are those in the head of each log, and those that are asked for.
    """
    with rereadable(query, times=1) as again:
        tags = _tags(again.query, wanted.tags)
        fields = fields_of(keep_text=wanted.keep_text)
        writer = _RowsFold(_FORMS[to], fields, tags, write)
        one = msgspec.structs.replace(
            again.query, jobs=1, engine=None, rejects=query.rejects, cost=_cost(query, wanted)
        )
        names = frozenset({*fields, *(TAG_PREFIX + tag for tag in tags)})
        done = again.named(read(one, names, lambda: writer))
        writer.begin()
    return Written(done, writer.rows, writer.samples, tags)


def _cost(query: Query, wanted: Wanted) -> str:
    return query.cost if query.cost in {"calculated", "none"} or wanted.fill_costs else AS_READ


def _tags(query: Query, asked: Sequence[str]) -> tuple[str, ...]:
    found = dict.fromkeys(name.removeprefix(TAG_PREFIX) for name in asked)
    for source in sources.find(query.logs).sources:
        try:
            found.update(dict.fromkeys(tags_in(head(source), query.dialect)))
        except (OSError, EOFError, ValueError):
            continue  # reading it says why
    if len(found) > MOST_TAGS:
        query.say(f"{len(found) - MOST_TAGS:,} tags beyond the first {MOST_TAGS} are left out")
    return tuple(found)[:MOST_TAGS]


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
        """Nothing is left to tell."""


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
ROW_FORMATS: Final = tuple(_FORMS)
