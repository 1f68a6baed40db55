"""Access logs of API gateways that route to models: Kong, APISIX, Higress."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks


def _kong(plugin: str) -> dict[str, tuple[str, ...]]:
    """Where Kong's proxy plugin puts what it knows of a call."""
    return {
        "model": (f"ai.{plugin}.meta.response_model", f"ai.{plugin}.meta.request_model"),
        "model_requested": (f"ai.{plugin}.meta.request_model",),
        "provider": (f"ai.{plugin}.meta.provider_name",),
        "latency": (f"ai.{plugin}.meta.llm_latency:ms",),
        "ttft": (f"ai.{plugin}.usage.time_to_first_token:ms",),
        "prompt_tokens": (f"ai.{plugin}.usage.prompt_tokens", f"ai.{plugin}.usage.prompt_token"),
        "completion_tokens": (f"ai.{plugin}.usage.completion_tokens", f"ai.{plugin}.usage.completion_token"),
        "total_tokens": (f"ai.{plugin}.usage.total_tokens", f"ai.{plugin}.usage.total_token"),
        "cost": (f"ai.{plugin}.usage.cost:usd_if_any",),
        "prompt": (f"ai.{plugin}.payload.request:json",),
        "output": (f"ai.{plugin}.payload.response:json",),
    }


_PLUGINS: Final = ("proxy", "ai-proxy", "ai-proxy-advanced")
_CALL: Final = {slot: tuple(path for plugin in _PLUGINS for path in _kong(plugin)[slot]) for slot in _kong("proxy")}
KONG: Final = Dialect(
    name="kong",
    title="Kong AI gateway logs",
    marks=marks("ai started_at request response latencies"),
    only=marks("ai")[0],
    bindings=bind(
        request_id="request.id",
        start="started_at:ms",
        status_code="response.status",
        user=("consumer.username", "consumer.custom_id", "authenticated_entity.id"),
        feature=("route.name", "service.name"),
        **{slot: paths for slot, paths in _CALL.items() if slot != "latency"},
        latency=(*_CALL["latency"], "latencies.request:ms"),
    ),
)
APISIX: Final = Dialect(
    name="apisix",
    title="APISIX AI proxy logs",
    marks=marks("llm_summary request response", "llm_summary start_time"),
    bindings=bind(
        request_id=("request_id", "llm_summary.request_id"),
        start=("start_time:ms", "@timestamp"),
        latency=("llm_summary.duration:ms", "llm_summary.upstream_response_time:ms", "latency:ms"),
        model="llm_summary.model",
        model_requested="llm_summary.request_model",
        prompt_tokens="llm_summary.prompt_tokens",
        completion_tokens="llm_summary.completion_tokens",
        total_tokens="llm_summary.total_tokens",
        status_code="response.status",
        user="consumer.username",
        feature="route_id",
    ),
)
HIGRESS: Final = Dialect(
    name="higress",
    title="Higress AI access logs",
    marks=marks("ai_log start_time", "ai_log response_code"),
    bindings=bind(
        request_id=("request_id", "x_request_id"),
        start="start_time",
        latency=("ai_log.llm_service_duration:ms", "duration:ms"),
        ttft="ai_log.llm_first_token_duration:ms",
        model="ai_log.model",
        prompt_tokens="ai_log.input_token",
        completion_tokens="ai_log.output_token",
        total_tokens="ai_log.total_token",
        user="ai_log.consumer",
        session="ai_log.chat_id",
        feature="ai_log.api",
        status_code="response_code",
    ),
)
