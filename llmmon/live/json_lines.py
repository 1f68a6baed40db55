"""Calls as JSON lines in llmmon's own record, written as they happen, for any command to read.

One line is one `write`, appended whole: threads and processes may share a file. A line costs microseconds; `durable`
waits for the disk with every one.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from llmmon.formats.dialects import genai
from llmmon.metrics.record import FIELDS, TEXTS
from llmmon.metrics.recording import RecordedCall, RequestMetrics
from llmmon.text.times import utc_now

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_ENCODER: Final = msgspec.json.Encoder()
_RECORDED: Final = tuple(field.name for field in dataclasses.fields(RequestMetrics))


class JsonLinesWriter:
    """Appends calls to a file; use as a context manager, or `close` it. Raises `OSError`.

    After a fork or a rotation (the file was renamed or removed) it goes on with the file at the path. What a full disk
    cut off stays a line of its own.
    """

    def __init__(self, path: str | Path, *, durable: bool = False) -> None:
        """Open or create the file, readable only by its owner."""
        self.path = Path(path)
        self._durable = durable
        self._lock = threading.Lock()
        self._file, self._is_cut = _opened(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def call(self, **known: Any) -> RecordedCall:
        """Time a call and read its reply: `with writer.call(model="gpt-4o") as call: call.reply(response)`."""
        return RecordedCall(self, **known)

    def record_request(self, metrics: RequestMetrics) -> None:
        """Append one call."""
        found = {name: value for name in _RECORDED if (value := getattr(metrics, name)) not in (None, "")}
        found["timestamp"] = _utc(metrics.timestamp)
        self.record(found)

    def record(self, fields: Mapping[str, Any]) -> None:
        """Append one record: fields of a call, or tags of one's own under `tags`."""
        self._append(_ENCODER.encode(fields) + b"\n")

    def _append(self, line: bytes) -> None:
        with self._lock:
            self._follow()
            given = b"\n" + line if self._is_cut else line
            written = os.write(self._file, given)
            if written < len(given):  # a full disk: the next line begins anew
                self._is_cut = True
                raise OSError(f"{self.path}: only {written} of {len(given)} bytes could be written")
            self._is_cut = False
            if self._durable:
                os.fsync(self._file)

    def _follow(self) -> None:
        """Open the path again where another file, or none, is there now."""
        ours = os.fstat(self._file)
        try:
            there = self.path.stat()
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        file, self._is_cut = _opened(self.path)
        os.close(self._file)
        self._file = file


def _opened(path: Path) -> tuple[int, bool]:
    """A descriptor to append to the file, and whether its last line was cut off (a full disk, a power cut)."""
    file = os.open(path, _FLAGS, 0o600)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return file, False
    try:
        with path.open("rb") as there:
            there.seek(-1, os.SEEK_END)
            return file, there.read() != b"\n"
    except OSError:  # it may be appended to, not read
        return file, False


def _utc(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC).isoformat().replace("+00:00", "Z")


class LogHandler(logging.Handler):
    """A `logging.Handler` that writes the calls among log records: those with an `llm` mapping in `extra`.

    logger.info("answered", extra={"llm": {"model": "gpt-4o", "latency_ms": 830, "prompt_tokens": 100}})
    """

    def __init__(self, path: str | Path, *, durable: bool = False) -> None:
        super().__init__()
        self._writer = JsonLinesWriter(path, durable=durable)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the call of a log record, if it has one."""
        call = getattr(record, "llm", None)
        if isinstance(call, Mapping):
            try:
                stamp = datetime.fromtimestamp(record.created, UTC)
                self._writer.record({"timestamp": _utc(stamp), **call})
            except Exception:  # noqa: BLE001 - as every handler of the standard library
                self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
        super().close()


def structlog_processor(path: str | Path, *, durable: bool = False) -> Any:
    """A structlog processor that writes the `llm` mapping of an event, and passes the event on unchanged."""
    writer = JsonLinesWriter(path, durable=durable)

    def process(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        call = event.get("llm")
        if isinstance(call, Mapping):
            writer.record({"timestamp": _utc(utc_now()), **call})
        return event

    return process


# slots of the reader of spans that are not fields as they stand -> the field, and how many of its units one is
_FIELD_OF: Final = {
    "ttft:s": ("time_to_first_token_ms", 1000),
    "ttft:ms": ("time_to_first_token_ms", 1),
    "cost:usd": ("cost_usd", 1),
}
_KEPT: Final = frozenset(FIELDS) - frozenset(TEXTS)


class LLMSpanExporter:
    """An OpenTelemetry span exporter that writes the generations among spans (GenAI conventions) as calls."""

    def __init__(self, path: str | Path, *, durable: bool = False) -> None:
        self._writer = JsonLinesWriter(path, durable=durable)

    def export(self, spans: Sequence[Any]) -> Any:
        """Write the calls among finished spans."""
        import importlib  # the program that exports has the library

        results = importlib.import_module("opentelemetry.sdk.trace.export").SpanExportResult

        try:
            for span in spans:
                if (call := _call_of(span)) is not None:
                    self._writer.record(call)
        except OSError:
            return results.FAILURE
        return results.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._writer.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - every line is written at once
        """Nothing waits."""
        return True


def _call_of(span: Any) -> dict[str, Any] | None:
    """The call that a span is about, without its texts; None for agents, tools and everything else."""
    given = span.attributes or {}
    attributes = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if not genai.is_call(attributes):
        return None
    row = genai.call_of(attributes)
    genai.settle(row, failed=span.status.status_code.name == "ERROR", message=span.status.description)
    return {
        **_fields_of(row),
        "timestamp": _utc(datetime.fromtimestamp(span.start_time / 1e9, UTC)),
        "trace": f"{span.context.trace_id:032x}",
        "latency_ms": (span.end_time - span.start_time) / 1e6,
        "status": "ok" if row["success"] else "error",
    }


def _fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Slots such as `model@0` and `ttft@1:s` as fields of the record; of several names for one, the first counts."""
    found: dict[str, tuple[int, Any]] = {}
    for key, value in row.items():
        slot, _, rest = key.partition("@")
        rank, colon, unit = rest.partition(":")
        field, scale = _FIELD_OF.get(f"{slot}{colon}{unit}", (slot, 0))
        if field in _KEPT and value is not None and (field not in found or int(rank or 0) < found[field][0]):
            found[field] = int(rank or 0), value * scale if scale else value
    return {field: value for field, (_, value) in found.items()}
