"""LangSmith runs; chains carry the tokens of the calls below them and are no calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llmmon.formats.dialect import Dialect, Object, Step, bind, marks
from llmmon.formats.dialects.bodies import object_in
from llmmon.formats.messages import spoken_steps

_MESSAGE: Final = "outputs.generations.0.0.message.kwargs"

_THREADS: Final = ("thread_id", "session_id", "conversation_id")


def _steps(found: Object) -> Iterator[Step]:
    """Runs of tools, and the tool calls in the messages of models."""
    metadata = object_in(object_in(found, "extra"), "metadata")
    around = {
        "session": next((metadata[key] for key in _THREADS if metadata.get(key) is not None), None),
        "trace": found.get("trace_id"),
        "request_id": found.get("id"),
        "start": found.get("start_time"),
        "end": found.get("end_time"),
    }
    given, gave = found.get("inputs"), found.get("outputs")
    if found.get("run_type") == "tool":
        if isinstance(given, dict) and given.keys() == {"input"}:
            given = given["input"]
        if isinstance(gave, dict) and gave.keys() == {"output"}:
            gave = gave["output"]
        message = gave.get("kwargs") if isinstance(gave, dict) and isinstance(gave.get("kwargs"), dict) else gave
        said = message.get("status") if isinstance(message, dict) else None
        if isinstance(message, dict) and "content" in message and message.get("type") == "tool":
            message = message["content"]
        yield Step(
            id=found.get("id"),
            tool=found.get("name"),
            session=around["session"],
            trace=around["trace"],
            call=found.get("parent_run_id"),
            start=around["start"],
            end=around["end"],
            arguments=given,
            result="" if message is None else message,
            failed=bool(found.get("error")) or found.get("status") == "error" or said == "error",
        )
    elif found.get("run_type") == "llm":
        asked = given.get("messages") if isinstance(given, dict) else None
        yield from spoken_steps({"messages": asked, "output": gave}, around)


LANGSMITH: Final = Dialect(
    name="langsmith",
    title="LangSmith runs",
    marks=marks("run_type trace_id dotted_order", "run_type trace_id start_time"),
    only=marks("run_type=llm")[0],
    steps=lambda: _steps,
    nests=True,
    bindings=bind(
        call_key="id",
        call_parent="parent_run_id",
        request_id="id",
        start="start_time",
        end="end_time",
        first_output_at="first_token_time",
        model=("extra.metadata.ls_model_name", "extra.invocation_params.model", "extra.invocation_params.model_name"),
        provider="extra.metadata.ls_provider",
        operation="extra.metadata.ls_model_type",
        prompt_tokens=("prompt_tokens", f"{_MESSAGE}.usage_metadata.input_tokens"),
        completion_tokens=("completion_tokens", f"{_MESSAGE}.usage_metadata.output_tokens"),
        total_tokens=("total_tokens", f"{_MESSAGE}.usage_metadata.total_tokens"),
        cached_tokens=("prompt_token_details.cache_read", f"{_MESSAGE}.usage_metadata.input_token_details.cache_read"),
        cache_write_tokens="prompt_token_details.cache_creation",
        reasoning_tokens="completion_token_details.reasoning",
        cost="total_cost:usd",
        outcome="status",
        error="error",
        finish_reason="outputs.generations.0.0.generation_info.finish_reason",
        # session_id is the project
        session=("extra.metadata.thread_id", "extra.metadata.session_id", "extra.metadata.conversation_id"),
        user="extra.metadata.user_id",
        trace="trace_id",
        feature="name",
        prompt="inputs.messages",
        output=("outputs.generations.0.0.text", "outputs"),
    ),
    naive="UTC",
    tags_at=(("extra", "metadata"),),
)
