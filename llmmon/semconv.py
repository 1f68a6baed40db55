"""Tallies -> metric families under the names of the OpenTelemetry GenAI conventions, and `llm.` names beside them.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics: durations in seconds, tokens as a histogram by
type. What the conventions do not name has the Prometheus name with a dot: `llm.requests`, `llm.cost_usd`.
"""

from __future__ import annotations

from typing import Final

from llmmon.exposition import BUCKETS, Family, Pairs, Point, in_order, instrument, is_gauge, kind_of, value_of
from llmmon.metrics import METRICS, Metric
from llmmon.tallies import Instrument, Labels, Tally

_CALL: Final = ("operation", "provider", "model_requested", "model")
_TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))  # 1 to 67,108,864
_DURATION: Final = "gen_ai.client.operation.duration"
_FIRST: Final = "gen_ai.client.operation.time_to_first_chunk"
_USAGE: Final = "gen_ai.client.token.usage"

_NAMES: Final = {
    "latency_ms": _DURATION,
    "time_to_first_token_ms": _FIRST,
    "prompt_tokens": _USAGE,
    "completion_tokens": _USAGE,
}
_TOKEN_TYPES: Final = {"prompt_tokens": "input", "completion_tokens": "output"}
_BY: Final = {"latency_ms": (*_CALL, "error_type"), "requests": (*_CALL, "status"), "error": (*_CALL, "error_type")}
_BOUNDS: Final = {**BUCKETS, **dict.fromkeys(_TOKEN_TYPES, _TOKEN_BUCKETS)}
_UNITS: Final = {"ms": "s", "tokens": "{token}", "tokens/s": "{token}/s", "usd": "USD", "": "{call}"}
_ATTRIBUTES: Final = {
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "model_requested": "gen_ai.request.model",
    "model": "gen_ai.response.model",
    "error_type": "error.type",
    "status": "llm.status",
}
# names of the record -> the conventions' well-known values
_OPERATIONS: Final = {"completion": "text_completion", "embedding": "embeddings"}
_PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
_VALUES: Final = {"operation": _OPERATIONS, "provider": _PROVIDERS}

INSTRUMENTS: Final = tuple(
    instrument(name, _BY.get(name, _CALL), _BOUNDS.get(name, ()))
    for name, metric in METRICS.items()
    if metric.prometheus and name != "total_tokens"
)


def families(found: Tally, latest: Tally | None = None) -> list[Family]:
    """All metrics that have a value; token usage is one metric of two types. Gauges are of `latest`, if given."""
    points: dict[str, list[Point]] = {}
    for one in INSTRUMENTS:
        made = [
            Point(_attributes(one, labels), value_of(one, numbers))
            for labels, numbers in in_order((latest if latest and is_gauge(one) else found).points.get(one.metric, {}))
            if numbers[1] or one.metric != "error"
        ]
        points.setdefault(name_of(METRICS[one.metric]), []).extend(made)
    return [_family(one, points.pop(name)) for one in INSTRUMENTS if points.get(name := name_of(METRICS[one.metric]))]


def name_of(metric: Metric) -> str:
    """The name of a metric in OpenTelemetry."""
    return _NAMES.get(metric.name) or metric.prometheus.removesuffix("_total").replace("_", ".", 1)


def _family(one: Instrument, points: list[Point]) -> Family:
    metric = METRICS[one.metric]
    text = "tokens of a call" if name_of(metric) == _USAGE else metric.help
    unit = "1" if is_gauge(one) else _UNITS[metric.unit]
    return Family(name_of(metric), kind_of(one), text, unit, tuple(points))


def _attributes(one: Instrument, labels: Labels) -> Pairs:
    """What is known of a call; where only one model is logged, it is also the one that was asked for."""
    known = {name: value for name, value in zip(one.by, labels, strict=True) if value is not None}
    if "model" in known:
        known.setdefault("model_requested", known["model"])
    named = {_ATTRIBUTES[name]: _VALUES.get(name, {}).get(value, value) for name, value in known.items()}
    if kind := _TOKEN_TYPES.get(one.metric):
        named["gen_ai.token.type"] = kind
    return tuple(sorted(named.items()))
