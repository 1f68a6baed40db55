"""OTLP in JSON, parsed by OpenTelemetry's own protobuf classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from llmmon.ingest.query import Query
from llmmon.ingest.time_range import TimeRequest
from llmmon.output.export.metrics import export_metrics
from llmmon.reports.summary import summarize
from tests.support.log_samples import SAMPLES, lines

WITHOUT_CALLS = {"otlp_metrics", "opencode_part"}
WALL_US = 1_790_000_000_000_000


def query(path: Path, **more: Any) -> Query:
    return Query(logs=(str(path),), wall_us=WALL_US, **more)


def parsed(text: str) -> dict[str, Metric]:
    request = json_format.Parse(text, ExportMetricsServiceRequest())
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "llmmon"
    names = [metric.name for metric in scope.metrics]
    assert len(names) == len(set(names))
    return {metric.name: metric for metric in scope.metrics}


def metrics_of(path: Path, **more: Any) -> dict[str, Metric]:
    return parsed(export_metrics(query(path, **more), "otlp", 100).text)


def attributes(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


ROWS = (
    {
        "timestamp": "2026-03-14T09:17:00Z",
        "model_requested": "gpt-5",
        "model": "gpt-5-2026",
        "provider": "azure",
        "operation": "embedding",
        "latency_ms": 20,
        "time_to_first_token_ms": 3,
        "cost_usd": 0.5,
        "prompt_tokens": 4,
        "completion_tokens": 0,
        "quality_score": 0.75,
    },
    {"timestamp": "2026-03-14T09:18:00Z", "model": "m", "latency_ms": 81_921, "success": False, "error_type": "t"},
)


def test_the_conventions_names_units_buckets_and_attributes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*ROWS))
    found = metrics_of(tmp_path / "a.jsonl")
    duration = found["gen_ai.client.operation.duration"]
    assert duration.unit == "s"
    assert duration.histogram.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    failed, embedded = sorted(duration.histogram.data_points, key=lambda point: -point.sum)
    assert attributes(failed) == {
        "error.type": "t",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
    }
    assert list(failed.bucket_counts) == [0] * 14 + [1]
    assert attributes(embedded) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2026",
    }
    assert list(embedded.explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    assert list(embedded.bucket_counts)[:3] == [0, 1, 0]
    assert embedded.sum == 0.02
    usage = found["gen_ai.client.token.usage"]
    assert usage.unit == "{token}"
    by_type = {attributes(point)["gen_ai.token.type"]: point for point in usage.histogram.data_points}
    assert {kind: point.sum for kind, point in by_type.items()} == {"input": 4, "output": 0}
    assert list(by_type["input"].explicit_bounds) == [4.0**power for power in range(14)]
    assert list(by_type["input"].bucket_counts)[:3] == [0, 1, 0]
    assert found["gen_ai.client.operation.time_to_first_chunk"].histogram.data_points[0].sum == 0.003
    assert found["llm.cost_usd"].sum.is_monotonic
    assert found["llm.cost_usd"].sum.data_points[0].as_double == 0.5
    assert found["llm.quality_score"].gauge.data_points[0].as_double == 0.75


def test_numbers_are_of_all_since_the_first_call_or_of_the_time_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*ROWS))
    whole = metrics_of(tmp_path / "a.jsonl")["llm.requests"].sum
    assert whole.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert {point.start_time_unix_nano for point in whole.data_points} == {1_773_479_820_000_000_000}
    asked = TimeRequest.parse(wall_us=WALL_US, since="2026-03-14T09:17:30Z", until="2026-03-14T09:19:00Z")
    part = metrics_of(tmp_path / "a.jsonl", time=asked)
    requests = part["llm.requests"].sum
    assert requests.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    (point,) = requests.data_points
    assert point.as_int == 1
    assert point.time_unix_nano - point.start_time_unix_nano == 90 * 10**9


@pytest.mark.parametrize("sample", sorted(name for name in SAMPLES if name not in WITHOUT_CALLS))
def test_every_dialect_gives_metrics_that_agree_with_its_summary(sample: str) -> None:
    found = metrics_of(SAMPLES[sample])
    totals = summarize(query(SAMPLES[sample]), by=("model",))[0].totals

    def counted(name: str) -> int | None:
        return sum(p.as_int for p in found[name].sum.data_points) if name in found else None

    assert (counted("llm.requests") or 0) == totals["request_count"]
    assert (counted("llm.errors") or 0) == (totals["error_count"] or 0)
    cost = sum(p.as_double for p in found["llm.cost_usd"].sum.data_points) if "llm.cost_usd" in found else None
    assert cost == pytest.approx(totals["cost_total_usd"])


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    texts = ["</script>", "\x1b[31m", 'a"b\n\\', "\u202e", "x" * 900]
    rows = [{"model": text, "latency_ms": 1} for text in texts]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    found = metrics_of(tmp_path / "a.jsonl")
    assert sum(point.as_int for point in found["llm.requests"].sum.data_points) == len(texts)
    assert all(len(attributes(p)["gen_ai.request.model"]) <= 200 for p in found["llm.requests"].sum.data_points)
