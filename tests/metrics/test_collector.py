"""`MetricsCollector`: calls and samples as a program records them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import llmmon
from llmmon import LLMMetric, MetricsCollector, MetricType, RequestMetrics
from llmmon.metrics.collector import columns_of as columns_of_requests
from llmmon.text.times import to_us
from tests.support.columns_factory import columns_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def request(number: int = 0, **more: Any) -> RequestMetrics:
    usual = {
        "request_id": f"r{number}",
        "model": "m",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "latency_ms": 100.0 + number,
        "timestamp": NOON + timedelta(seconds=number),
    }
    return RequestMetrics(**{**usual, **more})


@pytest.fixture
def collector() -> MetricsCollector:
    return MetricsCollector(clock=lambda: NOON)


def test_a_recorded_call_is_held_in_small_whole_units(collector: MetricsCollector) -> None:
    collector.record_request(request(cost_usd=0.25, time_to_first_token_ms=12.5))
    calls = collector.calls()
    assert calls.size == 1
    assert calls.number("latency_ms").tolist() == [100_000.0]
    assert calls.number("time_to_first_token_ms").tolist() == [12_500.0]
    assert calls.number("cost_usd").tolist() == [250_000_000.0]
    assert calls.name("model").texts() == ["m"]
    assert [to_us(NOON)] == calls.timestamp.tolist()


def test_what_is_not_known_is_missing_and_not_0(collector: MetricsCollector) -> None:
    collector.record_request(request(prompt_tokens=None, total_tokens=None, latency_ms=None))
    for name in ("prompt_tokens", "total_tokens", "latency_ms", "cost_usd"):
        assert np.isnan(collector.calls().number(name)).all(), name


def test_a_failed_call_is_an_error(collector: MetricsCollector) -> None:
    collector.record_request(request(success=False, error_type="timeout"))
    collector.record_request(request(1))
    assert collector.calls().name("status").texts() == ["error", "ok"]
    assert collector.calls().name("error_type").texts() == ["timeout", None]


def test_a_call_without_a_time_gets_the_present() -> None:
    before = datetime.now(UTC)
    made = RequestMetrics("r", "m", 1, 1, 2, 10.0)
    assert before <= made.timestamp <= datetime.now(UTC)


def test_a_time_without_a_zone_is_utc(collector: MetricsCollector) -> None:
    collector.record_request(request(timestamp=datetime(2026, 3, 2, 12)))  # noqa: DTZ001 - the point of it
    assert [to_us(NOON)] == collector.calls().timestamp.tolist()


def test_a_time_of_any_zone_is_the_same_moment() -> None:
    assert to_us(NOON) == to_us(NOON.astimezone(timezone(timedelta(hours=5, minutes=45))))


def test_columns_and_single_calls_are_held_together_in_order(collector: MetricsCollector) -> None:
    collector.record_request(request(1))
    collector.record_columns(columns_of([{"model": "bulk", "latency_ms": 7}]))
    collector.record_request(request(2))
    assert collector.calls().name("model").texts() == ["m", "bulk", "m"]


def test_many_single_calls_are_all_there(collector: MetricsCollector) -> None:
    for number in range(20_000):
        collector.record_request(request(number))
    assert collector.calls().size == 20_000
    assert [f"r{number}" for number in range(20_000)] == collector.calls().name("request_id").texts()


def test_only_the_newest_calls_are_kept_and_the_others_counted() -> None:
    collector = MetricsCollector(max_requests=1000)
    for number in range(10_500):
        collector.record_request(request(number))
        if number % 700 == 0:
            collector.calls()
    assert [f"r{number}" for number in range(9_500, 10_500)] == collector.calls().name("request_id").texts()
    assert collector.forgotten == 9_500


def test_names_of_forgotten_calls_are_forgotten_too() -> None:
    collector = MetricsCollector(max_requests=10)
    for number in range(5_000):
        collector.record_request(request(number))
        collector.calls()
    assert len(collector.calls().name("request_id").values) <= 10


def test_only_the_newest_samples_are_kept() -> None:
    collector = MetricsCollector(max_samples=3)
    for value in range(5):
        collector.record_metric(LLMMetric("depth", value, MetricType.THROUGHPUT, NOON))
    assert [metric.value for metric in collector.get_metrics()] == [2, 3, 4]


def test_quality_is_recorded_as_a_sample(collector: MetricsCollector) -> None:
    collector.record_quality("r7", 0.8, "relevance")
    (metric,) = collector.get_metrics(MetricType.QUALITY)
    assert (metric.name, metric.value, metric.timestamp) == ("llm_quality_score", 0.8, NOON)
    assert metric.tags == {"request_id": "r7", "quality_type": "relevance"}


def test_a_call_is_seen_as_its_samples(collector: MetricsCollector) -> None:
    collector.record_request(request(cost_usd=0.5))
    collector.record_request(request(1, success=False, error_type="timeout", total_tokens=None))
    found = {(m.name, m.value, m.metric_type) for m in collector.get_metrics()}
    assert {
        ("llm_latency_ms", 100.0, MetricType.LATENCY),
        ("llm_tokens_total", 15.0, MetricType.TOKENS),
        ("llm_cost_usd", 0.5, MetricType.COST),
        ("llm_latency_ms", 101.0, MetricType.LATENCY),
        ("llm_error", 1.0, MetricType.ERROR),
    } == found


def test_samples_of_a_call_carry_its_own_time_and_tags(collector: MetricsCollector) -> None:
    collector.record_request(request(3))
    (metric,) = collector.get_metrics(MetricType.LATENCY)
    assert NOON + timedelta(seconds=3) == metric.timestamp
    assert metric.tags == {"model": "m", "request_id": "r3"}


def test_metrics_since_a_moment_include_that_moment(collector: MetricsCollector) -> None:
    for number in range(3):
        collector.record_request(request(number))
    assert [m.value for m in collector.get_metrics(MetricType.LATENCY, since=NOON + timedelta(seconds=1))] == [
        101.0,
        102.0,
    ]


def test_a_metric_as_a_dict_is_what_a_log_holds() -> None:
    metric = LLMMetric("queue", 3.0, MetricType.THROUGHPUT, NOON, {"host": "a"})
    assert metric.to_dict() == {
        "name": "queue",
        "value": 3.0,
        "type": "throughput",
        "timestamp": "2026-03-02T12:00:00+00:00",
        "tags": {"host": "a"},
    }


def test_requests_of_nothing_are_no_calls() -> None:
    assert columns_of_requests([]).size == 0


def test_the_public_names_are_these_classes() -> None:
    assert MetricsCollector is llmmon.MetricsCollector
    assert llmmon.RequestMetrics.__module__ == "llmmon.metrics.recording"
