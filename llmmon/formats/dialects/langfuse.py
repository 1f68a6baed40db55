"""Langfuse observations: export of the UI and API, export to blob storage, traces with observations inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, Step, bind, marks
from llmmon.formats.dialects.bodies import row_of
from llmmon.formats.mapping import embedded, passes
from llmmon.formats.messages import spoken_steps

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


def _steps(found: Object) -> Iterator[Step]:
    """Observations of tools, and the tool calls in the messages of generations."""
    around = {
        "session": found.get("sessionId", found.get("session_id")),
        "trace": found.get("traceId", found.get("trace_id")),
        "request_id": found.get("id"),
        "start": found.get("startTime", found.get("start_time")),
        "end": found.get("endTime", found.get("end_time")),
    }
    asked, answered = opened(found.get("input")), opened(found.get("output"))
    if found.get("type") == "TOOL":
        failed = found.get("level") == "ERROR"
        yield Step(
            id=found.get("id"),
            tool=found.get("name"),
            session=around["session"],
            trace=around["trace"],
            call=found.get("parentObservationId", found.get("parent_observation_id")),
            start=around["start"],
            end=around["end"],
            arguments=asked,
            result="" if answered is None else answered,
            failed=failed,
        )
    elif passes(_ONLY, found):
        yield from spoken_steps({"messages": asked, "output": answered}, around)


def opened(value: Any) -> Any:
    """A value, also where it is JSON in a text."""
    inner = embedded(value) if isinstance(value, str) else None
    return value if inner is None else inner


def _trace_steps(trace: Object) -> Iterator[Step]:
    shared = {"sessionId": trace.get("sessionId"), "traceId": trace.get("id")}
    listed = trace.get("observations")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            yield from _steps(shared | one)


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
    steps=lambda: _steps,
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
    steps=lambda: _trace_steps,
    nests=True,
    naive="UTC",
)
