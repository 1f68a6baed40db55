"""What LangChain's callbacks and streams of events tell: the ends of calls to models."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

_GENERATION: Final = "response.generations.0.0"
_STREAMED: Final = "data.output"

LANGCHAIN: Final = Dialect(
    name="langchain",
    title="LangChain callbacks",
    marks=marks("event run_id response", "event run_id error", "event run_id data"),
    only=marks("event=on_llm_end|on_llm_error|on_chat_model_end|on_chat_model_error")[0],
    bindings=bind(
        call_key="run_id",
        request_id="run_id",
        end=("timestamp", "time", "ts", "end_time"),
        start=("start_time",),
        latency=("latency_ms:ms", "duration_ms:ms"),
        model=(
            "response.llm_output.model_name",
            "response.llm_output.model",
            f"{_GENERATION}.message.kwargs.response_metadata.model_name",
            f"{_GENERATION}.message.response_metadata.model_name",
            f"{_STREAMED}.response_metadata.model_name",
            f"{_STREAMED}.kwargs.response_metadata.model_name",
            "metadata.ls_model_name",
        ),
        provider="metadata.ls_provider",
        prompt_tokens=(
            "response.llm_output.token_usage.prompt_tokens",
            "response.llm_output.usage.input_tokens:exclusive",
            f"{_GENERATION}.message.kwargs.usage_metadata.input_tokens",
            f"{_GENERATION}.message.usage_metadata.input_tokens",
            f"{_STREAMED}.usage_metadata.input_tokens",
            f"{_STREAMED}.kwargs.usage_metadata.input_tokens",
        ),
        completion_tokens=(
            "response.llm_output.token_usage.completion_tokens",
            "response.llm_output.usage.output_tokens",
            f"{_GENERATION}.message.kwargs.usage_metadata.output_tokens",
            f"{_GENERATION}.message.usage_metadata.output_tokens",
            f"{_STREAMED}.usage_metadata.output_tokens",
            f"{_STREAMED}.kwargs.usage_metadata.output_tokens",
        ),
        total_tokens=("response.llm_output.token_usage.total_tokens", f"{_STREAMED}.usage_metadata.total_tokens"),
        cached_tokens=(
            "response.llm_output.token_usage.prompt_tokens_details.cached_tokens",
            "response.llm_output.usage.cache_read_input_tokens",
            f"{_GENERATION}.message.kwargs.usage_metadata.input_token_details.cache_read",
            f"{_STREAMED}.usage_metadata.input_token_details.cache_read",
        ),
        reasoning_tokens=(
            "response.llm_output.token_usage.completion_tokens_details.reasoning_tokens",
            f"{_STREAMED}.usage_metadata.output_token_details.reasoning",
        ),
        finish_reason=f"{_GENERATION}.generation_info.finish_reason",
        error="error",
        output=(f"{_GENERATION}.text:filled", f"{_GENERATION}.message.kwargs.content", f"{_STREAMED}.content"),
        trace="parent_run_id",
    ),
    tags_at=(("metadata",),),
    nests=True,
    lacks="latency only where the line carries it",
)
