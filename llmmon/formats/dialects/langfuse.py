"""Langfuse observations: export of the UI and API, export to blob storage, traces with observations inside."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import object_in

_CALLS: Final = ("GENERATION", "EMBEDDING")
_CACHE_KEYS: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")


def _first(found: Object, *keys: str) -> Any:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _call(found: Object) -> list[Row]:
    if found.get("type") not in _CALLS:
        return []
    usage = object_in(found, "usageDetails") or object_in(found, "usage_details")
    row: Row = {
        "request_id": found.get("id"),
        "start": _first(found, "startTime", "start_time"),
        "end": _first(found, "endTime", "end_time"),
        # the logged latency is in seconds or milliseconds, as the export was configured; the times say it better
        "first_output_at": _first(found, "completionStartTime", "completion_start_time"),
        "model": _first(found, "model", "provided_model_name"),
        "operation": found.get("type"),
        "cost:usd": _first(found, "totalCost", "total_cost", "calculatedTotalCost"),
        "failed": found.get("level") == "ERROR",
        "user": _first(found, "userId", "user_id"),
        "session": _first(found, "sessionId", "session_id"),
        "trace": _first(found, "traceId", "trace_id"),
        "feature": found.get("name"),
        "prompt_version": _first(found, "promptVersion", "prompt_version"),
        "prompt:json": found.get("input"),
        "output:json": found.get("output"),
        **_tokens(usage, found),
    }
    if found.get("level") == "ERROR":
        row["error_message"] = _first(found, "statusMessage", "status_message")
    costs = object_in(found, "costDetails") or object_in(found, "cost_details")
    row.setdefault("cost@1:usd", costs.get("total"))
    row["quality_score"] = None
    row["tags"] = (object_in(found, "metadata"), {"environment": found.get("environment")})
    return [row]


def _tokens(usage: Object, found: Object) -> Row:
    """Buckets exclude each other: the prompt is the sum of all inputs, the answer of all outputs."""
    row: Row = {}
    prompt = _summed(usage, "input", _CACHE_KEYS)
    completion = _summed(usage, "output", ())
    row["prompt_tokens"] = prompt if prompt is not None else _first(found, "inputUsage", "promptTokens")
    row["completion_tokens"] = (
        completion if completion is not None else _first(found, "outputUsage", "completionTokens")
    )
    row["total_tokens"] = _first(usage, "total") or _first(found, "totalUsage", "totalTokens")
    row["cached_tokens"] = _first(usage, "input_cached_tokens", "cache_read_input_tokens", "input_cache_read")
    row["cache_write_tokens"] = _first(usage, "cache_creation_input_tokens", "input_cache_creation")
    row["reasoning_tokens"] = _first(usage, "output_reasoning_tokens", "output_reasoning")
    return row


def _summed(usage: Object, stem: str, others: tuple[str, ...]) -> float | None:
    counts = [
        count for key, count in usage.items() if (key.startswith(stem) or key in others) and type(count) in (int, float)
    ]
    return sum(counts) if counts else None


def _open() -> Feed:
    return _call


def _open_traces() -> Feed:
    def calls(trace: Object) -> list[Row]:
        shared = {"userId": trace.get("userId"), "sessionId": trace.get("sessionId"), "traceId": trace.get("id")}
        observations = trace.get("observations")
        listed = observations if isinstance(observations, list) else []
        return [row for found in listed if isinstance(found, dict) for row in _call(shared | found)]

    return calls


LANGFUSE: Final = Dialect(
    name="langfuse",
    title="Langfuse observations",
    marks=marks(
        "traceId startTime type level",
        "trace_id start_time type level provided_model_name",
        "trace_id start_time type level usage_details",
    ),
    open=_open,
    naive="UTC",
)
LANGFUSE_TRACE: Final = Dialect(
    name="langfuse_trace",
    title="Langfuse traces",
    marks=marks("observations sessionId timestamp", "observations userId timestamp"),
    proof=lambda found: (
        isinstance(found["observations"], list) and all(isinstance(o, dict) for o in found["observations"])
    ),
    open=_open_traces,
    naive="UTC",
)
