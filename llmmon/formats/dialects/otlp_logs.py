"""OpenTelemetry log records (OTLP/JSON): what coding agents tell of their calls, and the events of GenAI.

Claude Code, Codex, Gemini CLI and Qwen Code log an event a call; other records are no calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import row_of
from llmmon.formats.dialects.genai import call_of, is_call
from llmmon.formats.dialects.otlp import attributes_of, objects_of, whole

_SESSION: Final = {"session": ("session\\.id", "conversation\\.id"), "user": ("user\\.id", "user\\.email")}
_CLAUDE: Final = bind(
    request_id="request_id",
    model="model",
    prompt_tokens="input_tokens:exclusive",
    completion_tokens="output_tokens",
    cached_tokens="cache_read_tokens",
    cache_write_tokens="cache_creation_tokens",
    cost="cost_usd:usd",
    latency="duration_ms:ms",
    ttft="ttft_ms:ms",
    error="error",
    status_code="status_code",
    attempt="attempt",
    **_SESSION,
)
_GEMINI: Final = bind(
    model="model",
    prompt_tokens="input_token_count",
    input_tool_tokens="tool_token_count:exclusive",
    completion_tokens="output_token_count:exclusive",
    reasoning_tokens="thoughts_token_count",
    cached_tokens="cached_content_token_count",
    total_tokens="total_token_count",
    latency=("duration_ms:ms", "latency_ms:ms"),
    error=("error", "error\\.message"),
    error_type=("error_type", "error\\.type"),
    status_code=("status_code", "http\\.status_code"),
    finish_reason="finish_reasons",
    **_SESSION,
)
_CODEX: Final = bind(
    model=("model", "slug"),
    prompt_tokens="input_token_count",
    completion_tokens="output_token_count",
    reasoning_tokens="reasoning_token_count",
    cached_tokens="cached_token_count",
    latency="duration_ms:ms",
    error="error\\.message",
    status_code="http\\.response\\.status_code",
    attempt="attempt",
    **_SESSION,
)
# the end of an event's name -> how its attributes are read
_EVENTS: Final = {
    "claude_code.api_request": _CLAUDE,
    "claude_code.api_error": _CLAUDE,
    "gemini_cli.api_response": _GEMINI,
    "gemini_cli.api_error": _GEMINI,
    "qwen-code.api_response": _GEMINI,
    "qwen-code.api_error": _GEMINI,
    "codex.sse_event": _CODEX,
    "codex.api_request": _CODEX,
}
_KINDS_OF_EVENT: Final = frozenset({"event.name", "event.kind"})
# every attribute that is read of the events of coding agents; none of them is a text of a user or a model
READ_ATTRIBUTES: Final = _KINDS_OF_EVENT.union(
    *((binding.path[0] for binding in bindings) for bindings in (_CLAUDE, _GEMINI, _CODEX))
)
EVENT_NAMES: Final = frozenset(_EVENTS) | {name.rpartition(".")[2] for name in _EVENTS}
_SHORT: Final = {"claude-code": "claude_code.", "gemini-cli": "gemini_cli.", "qwen-code": "qwen-code."}


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        return list(_rows(found))

    return calls


def _rows(found: Object) -> Iterator[Row]:
    for resource in objects_of(found.get("resourceLogs")):
        about = resource.get("resource")
        shared = attributes_of(about.get("attributes")) if isinstance(about, dict) else {}
        for scope in objects_of(resource.get("scopeLogs") or resource.get("instrumentationLibraryLogs")):
            for record in objects_of(scope.get("logRecords")):
                attributes = attributes_of(record.get("attributes"))
                row = _row(_event(record, attributes, shared), attributes)
                if row is not None:
                    moment = whole(record.get("timeUnixNano")) or whole(record.get("observedTimeUnixNano"))
                    ids = {"trace": record.get("traceId"), "span": record.get("spanId")}
                    yield row | ids | {"end:ns": moment, "tags": (attributes, shared)}


def _event(record: Object, attributes: Object, shared: Object) -> str:
    """The full name of an event."""
    body = record.get("body")
    said = (
        record.get("eventName"),
        attributes.get("event.name"),
        body.get("stringValue") if isinstance(body, dict) else "",
    )
    names = [name for name in said if isinstance(name, str)]
    full = next((name for name in names if name in _EVENTS), None)
    service = shared.get("service.name")
    prefix = _SHORT.get(service, "") if isinstance(service, str) else ""
    return full or next((prefix + name for name in names if prefix + name in _EVENTS), "")


def _row(event: str, attributes: Object) -> Row | None:
    if not event:
        return call_of(attributes) if is_call(attributes) else None
    row = row_of(_EVENTS[event], attributes)
    if event == "codex.sse_event" and attributes.get("event.kind") != "response.completed":
        return None
    if event == "codex.api_request" and not ("error" in row or _is_failure(row.get("status_code"))):
        return None  # its tokens come with the end of the stream
    return row | (
        {"failed": True} if event.endswith("api_error") or event == "codex.api_request" else {"success": True}
    )


def _is_failure(code: Any) -> bool:
    try:
        return int(code) >= 400
    except (TypeError, ValueError):
        return False


OTLP_LOGS: Final = Dialect(
    name="otlp_logs",
    title="OpenTelemetry log records (OTLP/JSON)",
    marks=marks("resourceLogs"),
    open=_open,
)
OTLP_METRICS: Final = Dialect(
    name="otlp_metrics",
    title="OpenTelemetry metrics (OTLP/JSON)",
    marks=marks("resourceMetrics"),
    open=lambda: lambda _: [],
    lacks="sums, so no calls: export traces or logs",
)
