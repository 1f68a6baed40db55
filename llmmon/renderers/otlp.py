"""Metric families as an OTLP/HTTP metrics request in JSON (the JSON mapping of proto3).

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: 64-bit integers are texts, enums are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import orjson

from llmmon.exposition import Family, Histogram, Pairs, Point

_DELTA, _CUMULATIVE = 1, 2  # AggregationTemporality


class Interval(msgspec.Struct, frozen=True):
    """The time that the numbers are of, microseconds; `delta`: only of it, rather than of everything since a start."""

    start_us: int
    end_us: int
    delta: bool = False


def otlp(families: Iterable[Family], interval: Interval, version: str) -> str:
    """One ExportMetricsServiceRequest."""
    scope = {"scope": {"name": "llmmon", "version": version}, "metrics": [_metric(f, interval) for f in families]}
    resource = {"attributes": _attributes((("service.name", "llmmon"),))}
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
        "attributes": _attributes(point.labels),
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


def _attributes(labels: Pairs) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in labels]
