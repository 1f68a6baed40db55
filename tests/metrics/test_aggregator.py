"""`MetricsAggregator`: statistics of what a program recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon import LLMMetric, MetricsAggregator, MetricsCollector, MetricType, RequestMetrics
from llmmon.errors import UsageError
from llmmon.metrics.record import AGGREGATIONS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATENCIES = [100.0, 200.0, 300.0, 400.0, 1000.0]
GUIDE_KEYS = {
    *("latency_avg_ms", "latency_p95_ms", "latency_p99_ms", "tokens_total"),
    *("cost_total_usd", "error_count", "request_count", "quality_avg"),
}


def recorded(latencies: list[float], **more: Any) -> MetricsCollector:
    collector = MetricsCollector(clock=lambda: NOON)
    for number, latency in enumerate(latencies):
        usual = {
            "request_id": f"r{number}",
            "model": "m" if number % 2 else "n",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "latency_ms": latency,
            "success": number != 0,
            "error_type": "" if number else "timeout",
            "timestamp": NOON - timedelta(seconds=number),
        }
        collector.record_request(RequestMetrics(**{**usual, **more}))
    return collector


@pytest.fixture
def aggregator() -> MetricsAggregator:
    return MetricsAggregator(recorded(LATENCIES))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("avg", 400.0),
        ("sum", 2000.0),
        ("min", 100.0),
        ("max", 1000.0),
        ("count", 5.0),
        ("rate", 1.0),
        ("p50", 300.0),
        *((f"p{p}", float(np.quantile(LATENCIES, p / 100))) for p in (90, 95, 99)),
    ],
)
@pytest.mark.parametrize("name", ["latency_ms", "llm_latency_ms"])
def test_every_aggregation_of_a_latency(
    aggregator: MetricsAggregator, name: str, aggregation: str, expected: float
) -> None:
    assert expected == pytest.approx(aggregator.aggregate(name, 5, aggregation))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("avg", 0.2), ("sum", 1.0), ("min", 0.0), ("max", 1.0), ("count", 1.0), ("rate", 0.2)],
)
def test_an_error_counts_where_it_happened_and_its_rate_is_a_share(
    aggregator: MetricsAggregator, aggregation: str, expected: float
) -> None:
    assert expected == pytest.approx(aggregator.aggregate("llm_error", 5, aggregation))


def test_the_error_rate_is_a_metric_of_its_own(aggregator: MetricsAggregator) -> None:
    assert aggregator.aggregate("llm_error_rate", 5) == 0.2


def test_tokens_add_up_and_their_rate_is_by_the_minute(aggregator: MetricsAggregator) -> None:
    assert aggregator.aggregate("llm_tokens_total", 5, "sum") == 75.0
    assert aggregator.aggregate("llm_tokens_total", 5, "rate") == 15.0


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_window_without_values_has_no_statistic_but_a_count_of_0(aggregation: str) -> None:
    later = MetricsAggregator(recorded(LATENCIES), now=NOON + timedelta(hours=1))
    found = later.aggregate("latency_ms", 5, aggregation)
    assert (0 if aggregation == "count" else None) == found


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_metric_that_nobody_recorded_has_none_either(aggregator: MetricsAggregator, aggregation: str) -> None:
    assert (0.0 if aggregation == "count" else None) == aggregator.aggregate("queue_depth", 5, aggregation)


def test_an_unknown_aggregation_names_the_nearest(aggregator: MetricsAggregator) -> None:
    with pytest.raises(UsageError, match="did you mean 'p9"):
        aggregator.aggregate("latency_ms", 5, "p96")


def test_the_window_ends_now_and_includes_both_its_ends(aggregator: MetricsAggregator) -> None:
    assert aggregator.aggregate("latency_ms", 4 / 60, "count") == 5.0
    assert aggregator.aggregate("latency_ms", 3 / 60, "count") == 4.0
    assert aggregator.aggregate("latency_ms", 3 / 60, "count", now=NOON - timedelta(seconds=1)) == 4.0


def test_now_is_the_collectors_clock_unless_it_is_given() -> None:
    collector = recorded(LATENCIES)
    assert MetricsAggregator(collector).get_summary(5)["request_count"] == 5
    assert MetricsAggregator(collector, now=NOON - timedelta(days=1)).get_summary(5)["request_count"] == 0


def test_the_summary_has_the_guides_keys(aggregator: MetricsAggregator) -> None:
    summary = aggregator.get_summary(60)
    assert summary.keys() == GUIDE_KEYS
    assert (summary["request_count"], summary["error_count"], summary["tokens_total"]) == (5, 1, 75)
    assert summary["latency_avg_ms"] == 400.0
    assert (summary["cost_total_usd"], summary["quality_avg"]) == (None, None)


def test_the_summary_of_nothing_has_them_too() -> None:
    summary = MetricsAggregator(MetricsCollector()).get_summary()
    assert summary.keys() == GUIDE_KEYS
    assert (summary["request_count"], summary["error_count"]) == (0, 0)
    assert {None} == {summary[name] for name in GUIDE_KEYS - {"request_count", "error_count"}}


def test_recorded_quality_is_in_the_summary() -> None:
    collector = recorded(LATENCIES)
    for score in (0.5, 1.0):
        collector.record_quality("r1", score)
    assert MetricsAggregator(collector).get_summary(5)["quality_avg"] == 0.75


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("avg", 2.5), ("sum", 10.0), ("min", 1.0), ("max", 4.0), ("count", 4.0), ("rate", 0.8), ("p50", 2.5)],
)
def test_any_name_can_be_recorded_and_aggregated(aggregation: str, expected: float) -> None:
    collector = MetricsCollector(clock=lambda: NOON)
    for value in (4.0, 1.0, 3.0, 2.0):
        collector.record_metric(LLMMetric("queue_depth", value, MetricType.THROUGHPUT, NOON))
    assert expected == MetricsAggregator(collector).aggregate("queue_depth", 5, aggregation)


def test_samples_outside_the_window_do_not_count() -> None:
    collector = MetricsCollector(clock=lambda: NOON)
    for minutes in (0, 4, 6):
        at = NOON - timedelta(minutes=minutes)
        collector.record_metric(LLMMetric("queue_depth", 1.0, MetricType.THROUGHPUT, at))
    assert MetricsAggregator(collector).aggregate("queue_depth", 5, "sum") == 2.0


def test_statistics_by_group(aggregator: MetricsAggregator) -> None:
    found = aggregator.by_group(("model",), 5, ["request_count", "latency_max_ms"])
    assert found == {("n",): [3.0, 1000.0], ("m",): [2.0, 400.0]}


@given(st.lists(st.integers(0, 10**7).map(lambda us: us / 1000), min_size=1, max_size=50))
def test_quantiles_are_those_of_numpy_over_what_was_recorded(latencies: list[float]) -> None:
    aggregator = MetricsAggregator(recorded(latencies, timestamp=NOON))
    for p in (50, 90, 95, 99):
        assert float(np.quantile(latencies, p / 100)) == pytest.approx(aggregator.aggregate("latency_ms", 5, f"p{p}"))
