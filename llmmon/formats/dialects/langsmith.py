"""LangSmith runs; chains carry the tokens of the calls below them and are no calls."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

_MESSAGE: Final = "outputs.generations.0.0.message.kwargs"

LANGSMITH: Final = Dialect(
    name="langsmith",
    title="LangSmith runs",
    marks=marks("run_type trace_id dotted_order", "run_type trace_id start_time"),
    only=marks("run_type=llm")[0],
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
