"""The public names, as a program uses them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import llmmon
from llmmon import (
    Alert,
    AlertManager,
    AlertRule,
    AlertSeverity,
    Anomaly,
    CompositeAnomalyDetector,
    JsonLinesWriter,
    LLMMetric,
    LLMQualityJudge,
    LLMSpanExporter,
    LogHandler,
    MetricsAggregator,
    MetricsCollector,
    MetricType,
    QualityMonitor,
    QualityScore,
    RequestMetrics,
    StatisticalAnomalyDetector,
    ThresholdAnomalyDetector,
    TrendAnomalyDetector,
    recorded,
    structlog_processor,
)
from llmmon.errors import UsageError
from tests.conftest import Run, clean_environment

NAIVE_TIME = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
TOKEN = "a-token-of-the-test"
NAIVE = """
from datetime import datetime, timedelta
from llmmon import *
collector = MetricsCollector()
collector.record_request(RequestMetrics("r", "m", 1, 2, 3, 5.0, timestamp=datetime.now()))
collector.record_metric(LLMMetric("queue", 1.0, MetricType.THROUGHPUT, timestamp=datetime.now()))
aggregator = MetricsAggregator(collector)
assert aggregator.get_summary(60)["request_count"] == 1
assert aggregator.aggregate("queue", 5, "count", now=datetime.now()) == 1
assert len(collector.get_metrics(since=datetime.now() - timedelta(minutes=5))) == 3
assert collector.get_metrics(since=datetime.now() + timedelta(minutes=5)) == []
both = CompositeAnomalyDetector()
both.add_detector(ThresholdAnomalyDetector())
both.check("x", 5, datetime.now())
both.check("x", 0)
assert both.get_recent_anomalies(1) == []
"""


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Auckland"])
def test_a_time_without_a_zone_is_local_time(zone: str, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path, {"TZ": zone})
    done = subprocess.run([sys.executable, "-c", NAIVE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_judge_is_an_object_or_a_function_and_its_scores_are_keys() -> None:
    async def generate(prompt: str) -> str:
        assert "Rate the answer" in prompt
        return "relevance: 9\naccuracy: 8\nhelpfulness: 7\noverall: 8"

    for judge in (LLMQualityJudge(judge_model=SimpleNamespace(generate=generate)), LLMQualityJudge(generate)):
        found = asyncio.run(judge.score("Which?", "That one."))
        assert (found["relevance"], found["overall"], found["status"]) == (0.9, 0.8, "scored")
    with pytest.raises(TypeError, match="generate"):
        LLMQualityJudge(judge_model=5)  # type: ignore[arg-type]


def test_a_score_is_made_by_position_and_scorers_of_ones_own_count() -> None:
    assert QualityScore(1.0, 0.9, 0.8, 0.7, 0.6, 0.5).completeness == 0.7
    monitor = QualityMonitor()

    def polite(_prompt: str | None, output: str) -> float | None:
        return 0.25 if "please" not in output else None

    monitor.scorers.append(polite)
    score = monitor.score("What is the capital of France?", "The capital of France is Paris.")
    assert (score.own, score.overall) == ({"polite": 0.25}, 0.25)
    assert list(monitor.history) == [score]


def test_what_is_held_can_be_read() -> None:
    collector = MetricsCollector()
    call = RequestMetrics("r", "m", 1, 2, 3, 5.0, success=False, error_type="timeout", user="ann")
    collector.record_request(call)
    collector.record_quality("r", 0.5)
    (held,) = collector.request_metrics
    assert (held.request_id, held.model, held.latency_ms, held.success, held.user) == ("r", "m", 5.0, False, "ann")
    assert {metric.name for metric in collector.metrics} >= {"llm_latency_ms", "llm_error", "llm_quality_score"}
    detector, trend = StatisticalAnomalyDetector(window_size=3), TrendAnomalyDetector(window_size=3)
    for value in range(10):
        detector.add_value("x", value)
        trend.add_value("x", value, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=value))
    assert detector.history["x"] == (4, 5, 6, 7, 8, 9)
    assert trend.history["x"][-1] == (datetime(2026, 1, 1, 0, 9, tzinfo=UTC), 9)
    limits = ThresholdAnomalyDetector()
    limits.set_threshold("x", warning=1, critical=2)
    assert (limits.thresholds["x"]["warning"], limits.thresholds["x"]["direction"]) == (1, "above")


def test_any_detector_can_be_asked_beside_ours() -> None:
    class Mine:
        def check(self, metric_name: str, value: float) -> Anomaly | None:
            return Anomaly(metric_name, value, (0, 1), "low", NAIVE_TIME, "mine") if value > 1 else None  # type: ignore[arg-type]

    class Late:
        def add_value(self, _name: str, _value: float, timestamp: datetime) -> None:
            assert timestamp.tzinfo is not None

    both = CompositeAnomalyDetector()
    both.add_detector(Mine())
    both.add_detector(Late())
    assert [one.description for one in both.check("x", 2.0)] == ["mine"]
    assert both.add_value("x", 3.0) is not None
    assert len(both.get_recent_anomalies(24 * 365 * 100)) == 2
    with pytest.raises(TypeError, match="add_value"):
        both.add_detector(object())


def test_a_handler_hears_of_the_end_where_it_asks_for_it() -> None:
    manager = AlertManager()
    begun: list[bool] = []
    both: list[bool] = []

    class Pager:
        handles_resolved = True

        def notify(self, alert: Alert) -> None:
            both.append(alert.resolved)

    rule = AlertRule("High Latency", "llm_latency_ms", "gt", 5000, "error")  # type: ignore[arg-type]
    assert rule.severity is AlertSeverity.ERROR
    assert rule.last_triggered is None
    manager.add_rule(rule)
    manager.add_handler(lambda alert: begun.append(alert.resolved))
    manager.add_handler(Pager().notify)
    manager.check_metric("llm_latency_ms", 6000)
    manager.check_metric("llm_latency_ms", 10)
    assert (begun, both) == ([False], [False, True])
    assert rule.last_triggered is not None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"condition": "gte"}, "did you mean"),
        ({"severity": "warn"}, "warning"),
        ({"metric_name": ""}, "metric_name"),
        ({"metric_name": 5}, "metric_name"),
        ({"aggregation": "p96"}, "did you mean"),
        ({"window_us": 0}, "window_us"),
        ({"threshold": "5"}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"cooldown_minutes": -1}, "cooldown_minutes"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_when_it_is_made(change: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        AlertRule(**{"name": "a", "metric_name": "q", "threshold": 1.0, **change})


OPENAI = {
    "id": "c-1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
}
ANTHROPIC = {
    "id": "m-1",
    "model": "claude-sonnet-4-5",
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 7},
}
GEMINI = {
    "responseId": "g-1",
    "modelVersion": "gemini-2.5-pro",
    "candidates": [{"finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 35,
    },
}


def as_object(value: Any) -> Any:
    """As the clients' libraries give it: attributes instead of keys."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(inner) for name, inner in value.items()})
    return [as_object(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("shape", [dict, as_object])
@pytest.mark.parametrize(
    ("reply", "counts"),
    [(OPENAI, (10, 5, 15, 4, "stop")), (ANTHROPIC, (117, 5, 122, 100, "end_turn"))],
)
def test_a_reply_is_read(shape: Callable[[Any], Any], reply: dict[str, Any], counts: tuple[Any, ...]) -> None:
    collector = MetricsCollector()
    with collector.call(user="ann") as call:
        call.reply(shape(reply))
    (held,) = collector.request_metrics
    found = (held.prompt_tokens, held.completion_tokens, held.total_tokens, held.cached_tokens, held.finish_reason)
    assert found == counts
    assert (held.model, held.request_id, held.user) == (reply["model"], reply["id"], "ann")
    assert held.latency_ms is not None
    assert held.latency_ms >= 0


def test_a_reply_of_gemini_counts_thoughts_with_the_answer() -> None:
    collector = MetricsCollector()
    recorded(collector)(lambda: GEMINI)()
    (held,) = collector.request_metrics
    assert (held.prompt_tokens, held.completion_tokens, held.total_tokens) == (10, 25, 35)
    assert (held.model, held.request_id, held.finish_reason) == ("gemini-2.5-pro", "g-1", "stop")


def test_a_stream_is_passed_on_and_read() -> None:
    pieces = [{"id": "c", "model": "m", "choices": []}, {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}]
    collector = MetricsCollector()
    with collector.call() as call:
        assert list(call.stream(pieces)) == pieces
    (held,) = collector.request_metrics
    assert (held.request_id, held.model, held.total_tokens) == ("c", "m", 7)
    assert held.time_to_first_token_ms is not None


def test_what_raises_is_a_failed_call_and_goes_on() -> None:
    collector = MetricsCollector()

    @recorded(collector, model="m")
    async def ask() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    (held,) = collector.request_metrics
    assert (held.success, held.error_type, held.model) == (False, "TimeoutError", "m")
    with pytest.raises(TypeError, match="colour"):
        collector.call(colour="red")


def test_threads_and_processes_share_a_file_that_every_command_reads(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "calls.jsonl"
    writer = JsonLinesWriter(path)

    def write() -> None:
        for _ in range(200):
            with writer.call(model="m") as call:
                call.reply(OPENAI)

    threads = [threading.Thread(target=write) for _ in range(3)]
    child = os.fork()
    if not child:
        write()
        os._exit(0)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.waitpid(child, 0)[1] == 0
    path.rename(tmp_path / "calls.jsonl.1")
    write()
    writer.close()
    assert len(path.read_text().splitlines()) == 200
    totals = run("summarize", ".", "-f", "json").json["data"]["totals"]
    assert (totals["request_count"], totals["prompt_tokens"]) == (1000, 10_000)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_spoils_no_line_but_the_one_it_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    with JsonLinesWriter(path) as writer:
        writer.record({"model": "kept"})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, free[1]))
            for _ in range(2):
                with pytest.raises(OSError, match=r"calls\.jsonl|File too large"):
                    writer.record({"model": "refused"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, free)
        writer.record({"model": "kept"})
    with path.open("a") as torn:
        torn.write('{"model": "ref')
    with JsonLinesWriter(path) as writer:
        writer.record({"model": "kept"})
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.endswith("}")] == ['{"model":"kept"}'] * 3
    assert len(lines) == 5


def test_log_records_and_events_with_a_call_are_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    handler = LogHandler(path)
    logger = logging.getLogger("tests.llm")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.info("answered", extra={"llm": {"model": "m", "latency_ms": 5}})
    logger.info("something else")
    handler.close()
    event = {"event": "answered", "llm": {"model": "n"}}
    assert structlog_processor(path)(None, "info", event) is event
    assert [json.loads(line)["model"] for line in path.read_text().splitlines()] == ["m", "n"]


def test_generations_among_the_spans_of_a_program_are_written_as_the_reader_of_spans_has_them(
    tmp_path: Path, run: Run
) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace import StatusCode

    path = tmp_path / "calls.jsonl"
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(LLMSpanExporter(path)))
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        with tracer.start_as_current_span("chat") as span:
            span.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.request.model": "gpt-4o",
                    "gen_ai.response.model": "gpt-4o-2024-08-06",
                    "gen_ai.usage.input_tokens": 10,
                    "gen_ai.usage.output_tokens": 5,
                    "gen_ai.usage.cache_read_input_tokens": 4,
                    "gen_ai.response.time_to_first_chunk": 0.25,
                    "gen_ai.response.finish_reasons": ["stop"],
                    "session.id": "s-1",
                    "gen_ai.input.messages": "a secret text",
                }
            )
        with tracer.start_as_current_span("chat", attributes={"gen_ai.request.model": "gpt-4o"}) as span:
            span.set_status(StatusCode.ERROR, "overloaded")
        with tracer.start_as_current_span("query", attributes={"db.system": "postgresql"}):
            pass
    provider.shutdown()
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    found = {
        name: first[name]
        for name in ("model", "cached_tokens", "time_to_first_token_ms", "finish_reason", "session", "status")
    }
    assert found == {
        "model": "gpt-4o-2024-08-06",
        "cached_tokens": 4,
        "time_to_first_token_ms": 250.0,
        "finish_reason": "stop",
        "session": "s-1",
        "status": "ok",
    }
    assert (second["status"], second["error_message"]) == ("error", "overloaded")
    assert "secret" not in path.read_text()
    totals = run("summarize", "calls.jsonl", "-f", "json").json["data"]["totals"]
    assert (totals["request_count"], totals["error_count"], totals["prompt_tokens"]) == (2, 1, 10)


def test_the_service_can_be_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    from fastapi import FastAPI

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    outer = FastAPI()
    outer.mount("/llmmon", llmmon.create_app(log=tmp_path / "log.jsonl", state=tmp_path / "s.db", token=TOKEN))

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://any.example") as client:
            call = {"model": "m", "latency_ms": 1.0}
            refused = await client.post("/llmmon/v1/requests", json=call)
            headers = {"authorization": f"Bearer {TOKEN}"}
            taken = await client.post("/llmmon/v1/requests", json=call, headers=headers)
            summary = await client.get("/llmmon/v1/metrics/summary", headers=headers)
            return [refused.status_code, taken.status_code, summary.json()["request_count"]]

    assert asyncio.run(ask()) == [401, 200, 1]


def test_every_public_name_is_there() -> None:
    for name in llmmon.__all__:
        assert getattr(llmmon, name) is not None
    assert LLMMetric("x", 1.0, MetricType.COST, timestamp=NAIVE_TIME).to_dict()["timestamp"][-6] in "+-"
    assert MetricsAggregator(MetricsCollector()).aggregate("x") is None
