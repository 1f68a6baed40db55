"""The log samples of the dialects, and what reading them gives, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from llmmon.formats.accounting import Accounting
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import ReadPlan, Wanted, plan_for
from llmmon.formats.reader import SpanReader
from llmmon.metrics.columns import Columns, concat, without_impossible_times
from llmmon.metrics.record import FIELDS

FOLDER = Path(__file__).parents[1] / "samples"
SAMPLES = {path.stem: path for path in sorted(FOLDER.iterdir()) if path.is_file()}
ALL_FIELDS = frozenset(FIELDS)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Call = dict[str, Any]


def dialect_of(sample: str) -> str:
    """The dialect that a sample is of: its name up to a hyphen."""
    return sample.partition("-")[0]


def plan(data: bytes, **wanted: Any) -> ReadPlan:
    """How a file with this content is read."""
    return plan_for(data, Wanted(**{"fields": ALL_FIELDS, **wanted}))


def read(data: bytes, how: ReadPlan | None = None, chunks: Iterable[bytes] | None = None) -> tuple[Columns, Accounting]:
    """The calls of a file, and what became of its lines."""
    reader = SpanReader(how or plan(data), Interners())
    blocks = [block for chunk in (chunks or [data]) if (block := reader.feed(chunk))]
    found = concat(block.columns for block in [*blocks, reader.flush()])
    return without_impossible_times(found), reader.accounting


def calls(columns: Columns) -> list[Call]:
    """Every call as a dict of what it carries, in public units."""
    found: list[Call] = []
    for row in range(columns.size):
        call: Call = {}
        if columns.dated[row]:
            stamp = EPOCH + timedelta(microseconds=int(columns.timestamp[row]))
            call["timestamp"] = stamp.isoformat().replace("+00:00", "Z")
        for name, values in columns.numbers.items():
            if name in FIELDS and values[row] == values[row]:
                call[name] = float(values[row]) / FIELDS[name].scale
        for name, column in columns.names.items():
            if column.codes[row] >= 0:
                call[name] = column.values[column.codes[row]]
        for name, texts in columns.texts.items():
            if texts[row] is not None:
                call[name] = texts[row]
        found.append({name: call[name] for name in sorted(call)})
    return found


def calls_in(data: bytes, **wanted: Any) -> list[Call]:
    """The calls of a file with this content."""
    return calls(read(data, plan(data, **wanted))[0])


def lines(*objects: Any) -> bytes:
    """A log of the objects, one a line."""
    return b"".join(orjson.dumps(each) + b"\n" for each in objects)


def objects(sample: str) -> list[Any]:
    """The objects of a sample that has one a line, or of an array."""
    data = SAMPLES[sample].read_bytes()
    if SAMPLES[sample].suffix == ".json":
        found: list[Any] = orjson.loads(data)
        return found
    return [orjson.loads(line) for line in data.splitlines()]
