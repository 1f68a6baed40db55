"""OpenRouter's generation records, and the single generations of its activity export (CSV)."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        row: Row = {
            "request_id": found.get("id"),
            "start": found.get("created_at"),
            "model": found.get("model"),
            "provider": found.get("provider_name"),
            "operation": found.get("api_type"),
            # native counts are what is billed
            "prompt_tokens": found.get("native_tokens_prompt"),
            "completion_tokens": found.get("native_tokens_completion"),
            "cached_tokens": found.get("native_tokens_cached"),
            "reasoning_tokens": found.get("native_tokens_reasoning"),
            "cost:usd": found.get("total_cost", found.get("usage")),
            "cost_upstream:usd": found.get("upstream_inference_cost"),
            "own_key": found.get("is_byok"),
            "finish_reason": found.get("finish_reason"),
            "user": found.get("external_user"),
            "tags": found,
            **_times(found.get("latency"), found.get("generation_time")),
        }
        if found.get("cancelled") is True:
            row["outcome"] = "cancelled"
        else:
            row["status_code"] = _status(found.get("provider_responses"))
        return [row]

    return calls


def _times(latency: Any, generation: Any) -> Row:
    """`latency` is said to be the total, but real records show it as the time to the first token."""
    if type(latency) not in (int, float):
        return {"latency:ms": generation}
    if type(generation) not in (int, float) or generation < latency:
        return {"latency:ms": latency}
    return {"latency:ms": generation, "ttft:ms": latency}


def _status(responses: Any) -> Any:
    last = responses[-1] if isinstance(responses, list) and responses else None
    return last.get("status") if isinstance(last, dict) else None


OPENROUTER: Final = Dialect(
    name="openrouter",
    title="OpenRouter generations",
    marks=marks("native_tokens_prompt generation_time"),
    open=_open,
    naive="UTC",
)
OPENROUTER_ACTIVITY: Final = Dialect(
    name="openrouter_activity",
    title="OpenRouter activity export",
    marks=marks("model_permaslug tokens_prompt cost_total"),
    bindings=bind(
        request_id="generation_id",
        start="created_at",
        model="model_permaslug",
        provider="provider_name",
        user="user",
        feature="app_name",
        prompt_tokens="tokens_prompt",
        completion_tokens="tokens_completion",
        cached_tokens="tokens_cached",
        reasoning_tokens="tokens_reasoning",
        cost="cost_total:usd",
        latency="generation_time_ms:ms",
        ttft="time_to_first_token_ms:ms",
        finish_reason=("finish_reason_normalized", "finish_reason_raw"),
    ),
    tags_at=((),),
    naive="UTC",
)
