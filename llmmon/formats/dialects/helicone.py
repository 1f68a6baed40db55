"""Helicone's request export."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

# a cached answer keeps the times of the first one, so only the logged delay tells its latency
HELICONE: Final = Dialect(
    name="helicone",
    title="Helicone requests",
    marks=marks("request_created_at delay_ms"),
    bindings=bind(
        request_id="request_id",
        start="request_created_at",
        latency="delay_ms:ms",
        ttft="time_to_first_token:ms",
        model=("response_model", "model", "request_model"),
        model_requested=("request_model", "model_override"),
        provider="provider",
        prompt_tokens="prompt_tokens",
        completion_tokens="completion_tokens",
        total_tokens="total_tokens",
        cached_tokens="prompt_cache_read_tokens",
        cache_write_tokens="prompt_cache_write_tokens",
        cost=("costUSD:usd", "cost:usd"),
        cache_hit="cache_reference_id:present",
        outcome="response_status",
        error="response_body.error",
        finish_reason="response_body.choices.0.finish_reason",
        user=("request_user_id", "user_id"),
        session=("request_properties.Helicone-Session-Id", "properties.Helicone-Session-Id"),
        prompt_version="prompt_version",
        prompt="request_body.messages",
        output="response_body.choices.0.message.content",
    ),
    naive="UTC",
    tags_at=(("request_properties",),),
)
