"""`PrometheusExporter`: the guide's class, on what a collector holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from llmmon import LLMMetric, MetricsCollector, MetricType, PrometheusExporter, RequestMetrics
from llmmon.errors import UsageError
from llmmon.output.export.tallies import OTHER

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def collector() -> MetricsCollector:
    made = MetricsCollector(clock=lambda: NOON)
    made.record_request(RequestMetrics("r1", "gpt-4o", 100, 20, 120, 830.0, cost_usd=0.25, timestamp=NOON))
    made.record_request(RequestMetrics("r2", 'a"b', 10, None, 10, 5.0, success=False, error_type="x", timestamp=NOON))
    made.record_quality("r1", 0.5)
    made.record_quality("r1", 1.0)
    made.record_quality("gone", 0.25)
    made.record_quality("r1", 0.1, "relevance")
    made.record_metric(LLMMetric("queue_depth", 7, MetricType.THROUGHPUT, NOON, {"host": "h"}))
    return made


def test_calls_are_counted_and_not_listed_one_by_one() -> None:
    """The guide's sketch had a series for each request, as gauges, with labels that were not escaped."""
    text = PrometheusExporter(collector()).export()
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in read_prometheus(text) for s in f.samples}
    assert found["llm_requests_total", (("model", "gpt-4o"), ("status", "ok"))] == 1
    assert found["llm_errors_total", (("error_type", "x"), ("model", 'a"b'))] == 1
    assert found["llm_quality_score", (("model", "gpt-4o"),)] == 0.75
    assert found["llm_quality_score", (("model", ""),)] == 0.25
    assert found["sample_llm_quality_score", (("quality_type", "relevance"),)] == 0.1
    assert found["queue_depth", (("host", "h"),)] == 7
    assert "request_id" not in text


def test_openmetrics_is_the_same_in_the_other_format() -> None:
    exporter = PrometheusExporter(collector())
    assert exporter.export("openmetrics").endswith("# EOF\n")
    assert len(list(read_openmetrics(exporter.export("openmetrics")))) == len(list(read_prometheus(exporter.export())))
    with pytest.raises(UsageError, match="text format"):
        exporter.export("xml")


def test_an_empty_collector_exports_nothing() -> None:
    assert PrometheusExporter(MetricsCollector()).export() == ""
    assert PrometheusExporter(MetricsCollector()).export("openmetrics") == "# EOF\n"


def test_labels_are_limited() -> None:
    made = MetricsCollector()
    for number in range(20):
        made.record_request(RequestMetrics("r", f"m{number}", 1, 1, 2, 1.0))
    text = PrometheusExporter(made, label_limit=3).export()
    assert f'llm_requests_total{{model="{OTHER}",status="ok"}} 17' in text
