"""Access logs of API gateways that route to models: Kong, APISIX, Higress, Envoy."""

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
# written by each logger of APISIX where the plugin logs summaries; the `duration` of these is that of the first token
APISIX: Final = Dialect(
    name="apisix",
    title="APISIX AI proxy logs",
    marks=marks("llm_summary request response", "llm_summary start_time"),
    bindings=bind(
        start="start_time:ms",
        latency=("llm_summary.upstream_response_time:ms", "latency:ms"),
        model="llm_summary.model",
        model_requested="llm_summary.request_model",
        prompt_tokens="llm_summary.prompt_tokens",
        completion_tokens="llm_summary.completion_tokens",
        total_tokens="llm_summary.total_tokens",
        status_code="response.status",
        user=("consumer.username", "consumer_name"),
        feature="route_id",
        prompt="llm_request.messages",
        output="llm_response_text.content",
    ),
    lacks="no request id; no time to first token (the log does not say which calls stream)",
)
# `ai_log` is JSON in a text, with numbers as texts
HIGRESS: Final = Dialect(
    name="higress",
    title="Higress AI access logs",
    marks=marks("ai_log/model", "ai_log/input_token", "ai_log start_time response_code"),
    bindings=bind(
        request_id="request_id",
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
        prompt="ai_log.question",
        output="ai_log.answer",
    ),
)


def _dotted(*keys: str) -> tuple[str, ...]:
    return tuple(key.replace(".", "\\.") for key in keys)


_NO_NAME: Final = ":-="  # Envoy writes `-` where there is none
ENVOY: Final = Dialect(
    name="envoy_ai_gateway",
    title="Envoy AI gateway access logs",
    marks=marks("start_time response_code gen_ai.request.model", "start_time response_code gen_ai.usage.input_tokens"),
    bindings=bind(
        request_id=f"x-request-id{_NO_NAME}",
        start="start_time",
        latency="duration:ms",
        model=tuple(key + _NO_NAME for key in _dotted("gen_ai.response.model", "gen_ai.request.model")),
        provider=tuple(key + _NO_NAME for key in _dotted("gen_ai.provider.name")),
        prompt_tokens=_dotted("gen_ai.usage.input_tokens"),
        completion_tokens=_dotted("gen_ai.usage.output_tokens"),
        total_tokens=_dotted("gen_ai.usage.total_tokens"),
        cached_tokens=_dotted("gen_ai.usage.cached_input_tokens"),
        session=tuple(key + _NO_NAME for key in _dotted("session.id")),
        status_code="response_code",
    ),
)
