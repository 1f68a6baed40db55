"""Calls as JSON lines in llmmon's own record, written as they happen, for any command to read.

One line is one `write`, appended whole: threads and processes may share a file. A line costs microseconds; `durable`
waits for the disk with every one.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from llmmon.metrics.recording import RecordedCall, RequestMetrics
from llmmon.text.times import utc_now

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_ENCODER: Final = msgspec.json.Encoder()


class JsonLinesWriter:
    """Appends calls to a file; use as a context manager, or `close` it. Raises `OSError`.

    After a fork or a rotation (the file was renamed or removed) it goes on with the file at the path.
    """

    def __init__(self, path: str | Path, *, durable: bool = False) -> None:
        """Open or create the file, readable only by its owner."""
        self.path = Path(path)
        self._durable = durable
        self._lock = threading.Lock()
        self._file = os.open(self.path, _FLAGS, 0o600)

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
        found = {name: value for name, value in dataclasses.asdict(metrics).items() if value not in (None, "")}
        found["timestamp"] = _utc(metrics.timestamp)
        self.record(found)

    def record(self, fields: Mapping[str, Any]) -> None:
        """Append one record: fields of a call, or tags of one's own under `tags`."""
        self._append(_ENCODER.encode(fields) + b"\n")

    def _append(self, line: bytes) -> None:
        with self._lock:
            self._follow()
            written = os.write(self._file, line)
            if written < len(line):  # a full disk: what was cut off is a line of its own
                os.write(self._file, b"\n")
                raise OSError(f"{self.path}: only {written} of {len(line)} bytes could be written")
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
        file = os.open(self.path, _FLAGS, 0o600)
        os.close(self._file)
        self._file = file


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


# OpenTelemetry's names for what a generation span holds -> fields
_ATTRIBUTES: Final = {
    "gen_ai.response.model": "model",
    "gen_ai.request.model": "model_requested",
    "gen_ai.provider.name": "provider",
    "gen_ai.system": "provider",
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.conversation.id": "session",
    "error.type": "error_type",
}


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
    """The call that a span is about; None for agents, tools and everything else."""
    attributes = span.attributes or {}
    operation = attributes.get("gen_ai.operation.name", "chat")
    if operation in {"invoke_agent", "create_agent", "execute_tool"} or not any(
        name in attributes for name in ("gen_ai.response.model", "gen_ai.request.model", "gen_ai.usage.input_tokens")
    ):
        return None
    found = {field: attributes[name] for name, field in _ATTRIBUTES.items() if name in attributes}
    found.setdefault("model", found.get("model_requested"))
    reasons = attributes.get("gen_ai.response.finish_reasons")
    failed = getattr(getattr(span.status, "status_code", None), "name", "") == "ERROR" or "error_type" in found
    return {
        "timestamp": _utc(datetime.fromtimestamp(span.start_time / 1e9, UTC)),
        "request_id": f"{span.context.span_id:016x}",
        "trace": f"{span.context.trace_id:032x}",
        "operation": operation,
        "latency_ms": (span.end_time - span.start_time) / 1e6,
        "status": "error" if failed else "ok",
        **({"finish_reason": str(reasons[0])} if reasons else {}),
        **found,
    }
