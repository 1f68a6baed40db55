"""Langfuse observations: export of the UI and API, export to blob storage, traces with observations inside."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import row_of
from llmmon.formats.mapping import passes

_ONLY: Final = marks("type=GENERATION|EMBEDDING")[0]
_BINDINGS: Final = bind(
    call_key="id",
    call_parent=("parentObservationId", "parent_observation_id"),
    request_id="id",
    start=("startTime", "start_time"),
    end=("endTime", "end_time"),
    # the logged latency is in seconds or milliseconds, as the export was configured; the times say it better
    first_output_at=("completionStartTime", "completion_start_time"),
    model=("model", "provided_model_name"),
    operation="type",
    buckets=("usageDetails", "usage_details"),
    prompt_tokens=("inputUsage", "promptTokens", "usage.input"),
    completion_tokens=("outputUsage", "completionTokens", "usage.output"),
    total_tokens=("totalUsage", "totalTokens", "usage.total"),
    cost=(
        *("totalCost:usd", "total_cost:usd", "calculatedTotalCost:usd"),
        *("costDetails.total:usd", "cost_details.total:usd"),
    ),
    outcome="level",
    error_message=("statusMessage", "status_message"),
    user=("userId", "user_id"),
    session=("sessionId", "session_id"),
    trace=("traceId", "trace_id"),
    feature="name",
    prompt_version=("promptVersion", "prompt_version"),
    prompt="input:json",
    output="output:json",
)

LANGFUSE: Final = Dialect(
    name="langfuse",
    title="Langfuse observations",
    marks=marks(
        "traceId startTime type level",
        "trace_id start_time type level provided_model_name",
        "trace_id start_time type level usage_details",
    ),
    only=_ONLY,
    bindings=_BINDINGS,
    nests=True,
    naive="UTC",
)


def _open_traces() -> Feed:
    def calls(trace: Object) -> list[Row]:
        shared = {"userId": trace.get("userId"), "sessionId": trace.get("sessionId"), "traceId": trace.get("id")}
        observations = trace.get("observations")
        listed = observations if isinstance(observations, list) else []
        found = [shared | one for one in listed if isinstance(one, dict) and passes(_ONLY, one)]
        return [row_of(_BINDINGS, one) | {"tags": (one.get("metadata"), one)} for one in found]

    return calls


LANGFUSE_TRACE: Final = Dialect(
    name="langfuse_trace",
    title="Langfuse traces",
    marks=marks("observations sessionId timestamp", "observations userId timestamp"),
    proof=lambda found: (
        isinstance(found["observations"], list) and all(isinstance(o, dict) for o in found["observations"])
    ),
    open=_open_traces,
    nests=True,
    naive="UTC",
)
