"""Metrics to an OTLP/HTTP receiver: where `--endpoint` points, and what the receiver says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
import orjson

from llmmon.errors import UsageError
from llmmon.http_client import Client, Request, check_url
from llmmon.metrics.definitions import METRICS, Metric
from llmmon.output.export.prometheus import (
    BUCKETS,
    Family,
    Histogram,
    Pairs,
    Point,
    in_order,
    instrument,
    is_gauge,
    kind_of,
    value_of,
)
from llmmon.output.export.tallies import Instrument, Labels, Tally

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


_DELTA, _CUMULATIVE = 1, 2  # AggregationTemporality


class Interval(msgspec.Struct, frozen=True):
    """The time that the numbers are of, microseconds; `delta`: only of it, rather than of everything since a start."""

    start_us: int
    end_us: int
    delta: bool = False


def otlp_json(families: Iterable[Family], interval: Interval, version: str) -> str:
    """One ExportMetricsServiceRequest."""
    scope = {"scope": {"name": "llmmon", "version": version}, "metrics": [_metric(f, interval) for f in families]}
    resource = {"attributes": _json_attributes((("service.name", "llmmon"),))}
    request = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}
    return orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE).decode()


def _metric(family: Family, interval: Interval) -> dict[str, Any]:
    points = [_point(point, interval) for point in family.points]
    temporality = {"aggregationTemporality": _DELTA if interval.delta else _CUMULATIVE}
    data: dict[str, Any] = {"dataPoints": points}
    if family.kind != "gauge":
        data |= temporality
    if family.kind == "counter":
        data["isMonotonic"] = True
    return {"name": family.name, "description": family.help, "unit": family.unit, _DATA[family.kind]: data}


_DATA: Final = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}


def _point(point: Point, interval: Interval) -> dict[str, Any]:
    return {
        "attributes": _json_attributes(point.labels),
        "startTimeUnixNano": str(interval.start_us * 1000),
        "timeUnixNano": str(interval.end_us * 1000),
        **_number(point.value),
    }


def _number(value: float | Histogram) -> dict[str, Any]:
    if isinstance(value, Histogram):
        return {
            "count": str(value.count),
            "sum": value.sum,
            "bucketCounts": [str(count) for count in value.counts],
            "explicitBounds": list(value.bounds),
        }
    return {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}


def _json_attributes(labels: Pairs) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in labels]


_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PATH: Final = "/v1/metrics"


def endpoint(given: str, environment: Mapping[str, str]) -> Request:
    """The request, without a body yet, for `--endpoint`: an address, or `env` for that of the OTEL_ variables.

    Headers come from the OTEL_ variables in both cases. Raises `UsageError`.
    """
    url = given if given != "env" else _from_environment(environment)
    check_url(url)
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        url = urlunsplit(parts._replace(path=_PATH))
    named = next((environment[name] for name in _HEADERS if environment.get(name)), "")
    return Request(url=url, headers={"content-type": "application/json", **_headers(named)})


def _from_environment(environment: Mapping[str, str]) -> str:
    whole, base = (environment.get(name, "").strip() for name in _ENDPOINTS)
    if whole:
        return whole
    if not base:
        raise UsageError(f"--endpoint env: ${_ENDPOINTS[1]} is not set", hint="--endpoint http://localhost:4318")
    return base.rstrip("/") + _PATH


def _headers(text: str) -> dict[str, str]:
    """`key=value,key2=value2`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def send(request: Request, text: str) -> str:
    """Send metrics; what the receiver did not take, in its words. Raises `DeliveryError`."""

    async def sent() -> bytes:
        async with Client() as client:
            return (await client.send(msgspec.structs.replace(request, body=text.encode()))).body

    return _complaint(asyncio.run(sent()))


def _complaint(body: bytes) -> str:
    try:
        partial = orjson.loads(body or b"{}").get("partialSuccess") or {}
        number, why = partial.get("rejectedDataPoints") or 0, partial.get("errorMessage") or ""
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return f"{number} points were refused: {why}" if int(number) else str(why)
