"""The log of the `llm` command (simonw/llm)."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

LLM_CLI: Final = Dialect(
    name="llm",
    title="llm logs",
    marks=marks("datetime_utc duration_ms conversation_id"),
    bindings=bind(
        request_id="id",
        start="datetime_utc",
        latency="duration_ms:ms",
        model=("resolved_model", "model"),
        model_requested="model",
        prompt_tokens="input_tokens:input",
        completion_tokens="output_tokens",
        cached_tokens=(
            "token_details.prompt_tokens_details.cached_tokens",
            "token_details.input_tokens_details.cached_tokens",
            "token_details.cache_read_input_tokens:exclusive",
            "token_details.cachedContentTokenCount",
        ),
        cache_write_tokens="token_details.cache_creation_input_tokens",
        reasoning_tokens=(
            "token_details.completion_tokens_details.reasoning_tokens",
            "token_details.output_tokens_details.reasoning_tokens",
            "token_details.thoughtsTokenCount",
        ),
        finish_reason=("response_json.stop_reason", "response_json.choices.0.finish_reason"),
        session="conversation_id",
        prompt="prompt",
        output="response",
    ),
    naive="UTC",
    lacks="failed calls are not logged",
)
