"""Parquet and Arrow files as JSON lines (extra `arrow`), so that every dialect reads them as it does its own lines.

A row is a line; null is a missing key. Times are ISO texts, those without a zone as in any log. A cell of a nested
column that was stored as JSON text becomes what it says.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any, BinaryIO, Final

import orjson

from llmmon.errors import missing_extra
from llmmon.formats.dialects.native import CALL_MARK

Arrow = Any  # pyarrow has no types
_ROWS: Final = 1024  # at a time
_TAGS: Final = "tags."  # before the name of a column of tags, as `export` writes them
# columns that hold texts of people and models: JSON in them is a text, unless it is a whole message or reply
_TEXTS: Final = frozenset(
    "prompt output completion response answer text content expected context system schema".split()
)
_OF_REPLIES: Final = frozenset(
    {"usage", "choices", "candidates", "role", "type", "usageMetadata", "body", "status_code", "error"}
)
_OF_PLATFORMS: Final = (frozenset({"input", "output"}), frozenset({"inputs", "outputs"}))


def arrow(needed_for: str, extra: str = "arrow") -> ModuleType:
    """Load pyarrow; raises `UsageError` with the line that installs it."""
    try:
        import pyarrow as pa
    except ImportError:
        raise missing_extra(extra, needed_for) from None
    found: ModuleType = pa
    return found


def json_lines(file: BinaryIO, packing: str, size: int) -> Iterator[bytes]:
    """The rows of an open file ("parquet" or "arrow") as JSON lines, about `size` bytes at a time.

    Raises `OSError` where it is damaged, `UsageError` without the extra.
    """
    pa = arrow(f"reading {packing.capitalize()}")
    source = file if file.seekable() else io.BytesIO(file.read())
    try:
        taken = bytearray()
        for batch in _batches(pa, source, packing):
            for line in _lines(batch):
                taken += line
                if len(taken) >= size:
                    yield bytes(taken)
                    taken.clear()
        if taken:
            yield bytes(taken)
    except (pa.ArrowException, EOFError) as error:
        first = str(error).split("\n", 1)[0]
        raise OSError(f"damaged: {first}") from None


def _batches(pa: ModuleType, source: BinaryIO, packing: str) -> Iterator[Arrow]:
    if packing == "arrow":
        with pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                yield from (batch.slice(at, _ROWS) for at in range(0, batch.num_rows, _ROWS))
        return
    import pyarrow.parquet as pq

    # without threads: a worker is a fork
    yield from pq.ParquetFile(source, pre_buffer=False).iter_batches(batch_size=_ROWS, use_threads=False)


def _lines(batch: Arrow) -> Iterator[bytes]:
    names = batch.schema.names
    texts = _TEXTS - next((pair for pair in _OF_PLATFORMS if pair <= set(names)), frozenset())
    own = CALL_MARK in names  # `export` wrote it: a text is a text
    kept = [name in texts for name in names]
    columns = [column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns]
    for cells in zip(*columns, strict=True):
        row: dict[str, Any] = {}
        tags: dict[str, Any] = {}
        for name, cell, is_text in zip(names, cells, kept, strict=True):
            if cell is None:
                continue
            if name.startswith(_TAGS):
                tags[name.removeprefix(_TAGS)] = cell
            else:
                row[name] = _plain(cell) if own or not isinstance(cell, str) else _decoded(cell, is_text=is_text)
        if tags:
            row["tags"] = tags
        yield orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS, default=str) + b"\n"


def _decoded(cell: str, *, is_text: bool) -> Any:
    """What a cell holds that may be JSON text."""
    if cell[:1] not in ("{", "[") or cell[-1:] not in ("}", "]"):
        return cell
    try:
        found = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    return cell if is_text and not _is_reply(found) else found


def _is_reply(value: Any) -> bool:
    """Whether it is a message, a list of messages or of their parts, or a whole reply."""
    if not value:
        return True
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and not _OF_REPLIES.isdisjoint(first)


def _plain(value: Any) -> Any:
    """A value as JSON has it, objects without what is null in them."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if isinstance(value, date | time) else value


class Sink:
    """A file that only takes bytes, as Arrow writes one."""

    closed = False

    def __init__(self, write: Any) -> None:
        self._write = write
        self._at = 0

    def write(self, data: Any) -> int:
        """Write a piece."""
        self._write(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """How much was written."""
        return self._at

    def flush(self) -> None:
        """All is written at once."""

    def close(self) -> None:
        """Whoever opened it closes it."""


def writer(write: Any, schema: Arrow) -> Any:
    """What writes tables of a schema as Parquet, piece by piece; its `close` ends the file."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(Sink(write), schema, compression="zstd")
