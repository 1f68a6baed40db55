"""LiteLLM: the standard logging payload, and rows of its spend table."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

# `response_time` is the time to the first token of streamed calls, so it is not read at all
LITELLM: Final = Dialect(
    name="litellm",
    title="LiteLLM standard logging payload",
    marks=marks(
        "litellm_call_id startTime",
        "call_type startTime model_map_information",
        "model_group hidden_params startTime",
    ),
    bindings=bind(
        request_id=("id", "litellm_call_id"),
        start="startTime:s",
        end="endTime:s",
        first_output_at="completionStartTime:s",
        model=("response.model", "model"),
        model_requested=("model_group", "model"),
        provider="custom_llm_provider",
        operation="call_type",
        prompt_tokens="prompt_tokens",
        completion_tokens="completion_tokens",
        total_tokens="total_tokens",
        cached_tokens=(
            "metadata.usage_object.prompt_tokens_details.cached_tokens",
            "metadata.usage_object.cache_read_input_tokens",
            "response.usage.prompt_tokens_details.cached_tokens",
        ),
        cache_write_tokens=(
            "metadata.usage_object.cache_creation_input_tokens",
            "metadata.usage_object.prompt_tokens_details.cache_creation_tokens",
        ),
        reasoning_tokens=(
            "metadata.usage_object.completion_tokens_details.reasoning_tokens",
            "response.usage.completion_tokens_details.reasoning_tokens",
        ),
        input_audio_tokens="metadata.usage_object.prompt_tokens_details.audio_tokens",
        input_image_tokens="metadata.usage_object.prompt_tokens_details.image_tokens",
        output_audio_tokens="metadata.usage_object.completion_tokens_details.audio_tokens",
        output_image_tokens="metadata.usage_object.completion_tokens_details.image_tokens",
        web_searches="metadata.usage_object.server_tool_use.web_search_requests",
        cost="response_cost:usd",
        cost_breakdown="cost_breakdown.total_cost:usd",
        cache_hit="cache_hit",
        attempt="metadata.attempted_retries",
        outcome="status",
        status_code="error_information.error_code",
        error_type="error_information.error_class",
        error_message=("error_information.error_message", "error_str"),
        finish_reason="response.choices.0.finish_reason",
        user=("end_user", "metadata.user_api_key_end_user_id", "metadata.user_api_key_user_id"),
        session="session_id",
        trace="trace_id",
        limit_requests="hidden_params.additional_headers.x_ratelimit_limit_requests",
        limit_tokens="hidden_params.additional_headers.x_ratelimit_limit_tokens",
        prompt="messages",
        output="response",
    ),
    tags_at=(("metadata",), ("metadata", "requester_metadata")),
)
LITELLM_SPEND: Final = Dialect(
    name="litellm_spend",
    title="LiteLLM spend table",
    marks=marks("request_id spend startTime endTime"),
    bindings=bind(
        request_id="request_id",
        start="startTime",
        end="endTime",
        first_output_at="completionStartTime",
        model="model",
        model_requested="model_group",
        provider="custom_llm_provider",
        operation="call_type",
        prompt_tokens="prompt_tokens",
        completion_tokens="completion_tokens",
        total_tokens="total_tokens",
        cost="spend:usd",
        cost_breakdown="metadata.cost_breakdown.total_cost:usd",
        cache_hit="cache_hit",
        attempt="metadata.attempted_retries",
        outcome="status",
        error_type="metadata.error_information.error_class",
        error_message="metadata.error_information.error_message",
        user=("end_user", "user"),
        session="session_id",
        prompt="messages",
        output="response",
    ),
    naive="UTC",
    tags_at=(("metadata",),),
)
