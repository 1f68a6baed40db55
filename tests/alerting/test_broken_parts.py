"""One broken rule, channel, detector or scorer never stops the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmmon import (
    AlertManager,
    AlertRule,
    CompositeAnomalyDetector,
    QualityMonitor,
    StatisticalAnomalyDetector,
    ThresholdAnomalyDetector,
)
from llmmon.alerting import check as checking
from llmmon.alerting.alert import NotificationEvent, State
from llmmon.alerting.check import CheckPlan, CheckReport, check
from llmmon.alerting.delivery import deliver
from llmmon.alerting.notifiers import Notification
from llmmon.ingest.query import Query
from llmmon.live.server.service import EvaluationLoop
from llmmon.text.times import MINUTE_US
from tests.support.alerts_factory import alert, channel
from tests.support.judge_server import Answer, judge_server

START_US = 1_772_445_600_000_000


def log(folder: Path) -> Path:
    rows = [{"timestamp": START_US / 1e6 + n, "model": "m", "latency_ms": 9000} for n in range(300)]
    path = folder / "app.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rule(name: str, **more: Any) -> AlertRule:
    return AlertRule(name, "latency_ms", "gt", 5000, min_count=1, **more)


def checked(folder: Path, *rules: AlertRule, minutes: int = 6) -> tuple[CheckReport, list[str]]:
    said: list[str] = []
    query = Query(logs=(str(log(folder)),), wall_us=START_US + minutes * MINUTE_US, say=said.append)
    return check(query, CheckPlan(rules=rules, state=folder / "state.db", late_us=0)), said


def broken_in(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the evaluation of one rule fail, as a fault of ours would."""
    real = checking.evaluate_rule

    def evaluated(one: AlertRule, *given: Any, **more: Any) -> Any:
        if one.name == name:
            raise RecursionError("maximum recursion depth exceeded")
        return real(one, *given, **more)

    monkeypatch.setattr(checking, "evaluate_rule", evaluated)


def test_a_rule_that_cannot_be_evaluated_is_named_and_the_others_fire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_in(monkeypatch, "broken")
    report, said = checked(tmp_path, rule("broken"), rule("good"))
    assert [(one.rule, one.state) for one in report.alerts] == [("good", State.FIRING)]
    assert report.exit_code == 3
    assert [text for text in said if "rule 'broken' was not evaluated" in text]


def test_a_rule_whose_condition_cannot_be_read_is_named_and_the_others_fire(tmp_path: Path) -> None:
    odd = msgspec.structs.replace(rule("broken"), where="latency_ms >")
    report, said = checked(tmp_path, odd, rule("good"))
    assert [one.rule for one in report.alerts] == ["good"]
    assert report.exit_code == 3
    assert [text for text in said if "rule 'broken' was not evaluated" in text]


def test_the_alerts_of_a_rule_that_breaks_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = checked(tmp_path, rule("one"), rule("two"))
    assert {one.state for one in first.alerts} == {State.FIRING}
    broken_in(monkeypatch, "one")
    later, _ = checked(tmp_path, rule("one"), rule("two"), minutes=30)
    assert {one.rule: one.state for one in later.alerts} == {"one": State.FIRING, "two": State.RESOLVED}


def test_the_service_evaluates_the_others_and_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_in(monkeypatch, "broken")
    said: list[str] = []
    query = Query(logs=(str(log(tmp_path)),), wall_us=0)
    plan = CheckPlan(rules=(rule("broken"), rule("good")), state=tmp_path / "state.db", late_us=0)
    loop = EvaluationLoop(query, plan, 15, lambda: START_US + 6 * MINUTE_US, said.append)
    loop.once()
    assert "rule 'broken' was not evaluated" in (loop.problem() or "")
    assert loop.fault is None
    loop.shutdown()


class Broken:
    """A member of any family that fails in its own way."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def messages(self, _: Any) -> Any:
        raise self._error

    def add_value(self, _name: str, _value: float) -> Any:
        raise self._error

    def __call__(self, *_: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyError("x"), RecursionError(), UnicodeError(), OSError(5, "io")]
)
def test_a_channel_that_cannot_build_its_messages_does_not_stop_the_others(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmmon.alerting import delivery

    real = delivery.build

    def built(one: Any, *given: Any, **more: Any) -> Any:
        return Broken(error) if one.name == "broken" else real(one, *given, **more)

    monkeypatch.setattr(delivery, "build", built)
    found = [Notification(NotificationEvent.TRIGGER, alert())]
    with judge_server(lambda _number, _body: Answer(202)) as server:
        key = {"routing_key": "k", "url": server.url}
        due = {channel(name, type="pagerduty", **key): found for name in ("broken", "good")}
        done = deliver(due, {})
    assert [one.delivered for one in done["good"]] == [True]
    assert [(one.delivered, one.retryable) for one in done["broken"]] == [(False, True)]
    assert "internal error" in done["broken"][0].reason
    assert "internal error" in deliver(due, {}, dry_run=True)["broken"][0].reason


def test_a_detector_that_raises_does_not_stop_the_others() -> None:
    composite = CompositeAnomalyDetector()
    composite.add_detector(Broken(RuntimeError("no")))
    composite.add_detector(StatisticalAnomalyDetector())
    limits = ThresholdAnomalyDetector()
    limits.set_threshold("llm_latency_ms", warning=2000, critical=5000)
    composite.add_detector(limits)
    assert [one.severity.value for one in composite.check("llm_latency_ms", 6000)] == ["critical"]
    assert [str(error) for error in composite.detector_errors] == ["no"]


@pytest.mark.parametrize("scorer", [Broken(RuntimeError("no")), lambda _p, _o: "much", lambda _p, _o: float("nan")])
def test_a_scorer_that_raises_or_gives_no_number_does_not_stop_the_others(scorer: Any) -> None:
    monitor = QualityMonitor()
    monitor.scorers += [scorer, lambda _prompt, _output: 0.25]
    score = monitor.score("What is the capital of France?", "The capital of France is Paris.")
    assert score.overall == 0.25


def test_a_handler_that_raises_does_not_stop_the_others() -> None:
    heard: list[str] = []
    manager = AlertManager()
    manager.add_rule(AlertRule("slow", "latency_ms", "gt", 5000))
    manager.add_handler(Broken(RuntimeError("no")))
    manager.add_handler(lambda one: heard.append(one.rule))
    assert [one.rule for one in manager.check_metric("latency_ms", 6000)] == ["slow"]
    assert heard == ["slow"]
    assert [str(error) for error in manager.handler_errors] == ["no"]
