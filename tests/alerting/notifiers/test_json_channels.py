"""Webhook, Alertmanager and command: what they are given, field by field."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from llmmon.alerting.notifiers import Notification
from llmmon.alerting.notifiers.alertmanager import AlertmanagerNotifier
from llmmon.alerting.notifiers.command import CommandNotifier
from llmmon.alerting.notifiers.webhook import WebhookNotifier
from llmmon.alerting.senders import Program
from llmmon.http_client import Request
from tests.support.alerts_factory import EVIDENCE, both, resolve, trigger

NOW = datetime(2026, 8, 29, 11, 0, tzinfo=UTC)


def posted(*notifications: Notification, **more: Any) -> Request:
    (message,) = WebhookNotifier("https://h.example.com/x", **more).messages(notifications)
    assert isinstance(message.payload, Request)
    assert tuple(range(len(notifications))) == message.covers
    return message.payload


def test_the_webhook_gets_every_alert_with_all_that_is_known() -> None:
    found = json.loads(posted(trigger(1), resolve(2)).body)
    assert {"schema_version", "source", "summary", "alerts"} == found.keys()
    assert (1, "llmmon") == (found["schema_version"], found["source"])
    assert {
        "event": "trigger",
        "status": "firing",
        "repeated": False,
        "alert_id": "alert-1",
        "episode": 1,
        "rule": "High Latency",
        "title": "High Latency: model gpt-4o",
        "description": "latency_p95_ms of model gpt-4o is 6,200, > 5,000 over 5m (31 calls)",
        "severity": "error",
        "metric_name": "latency_p95_ms",
        "condition": "gt",
        "value": 6200.0,
        "threshold": 5000.0,
        "peak": 9000.0,
        "group": {"model": "gpt-4o"},
        "labels": {},
        "calls": None,
        "window_s": None,
        "raised_from": None,
        "runbook": None,
        "dashboard": None,
        "top_errors": [],
        "examples": [],
        "command": None,
        "start": "2026-08-29T10:40:00Z",
        "fired": "2026-08-29T10:40:00Z",
        "end": None,
        "ended": None,
        "ended_reason": None,
        "acknowledged_by": None,
        "acknowledged_why": None,
        "duration_s": None,
    } == found["alerts"][0]
    assert ("resolve", "resolved", 750.3) == tuple(found["alerts"][1][k] for k in ("event", "status", "duration_s"))


def test_the_webhook_signs_what_it_sends() -> None:
    request = posted(trigger(), headers={"authorization": "Bearer t"}, secret="s")  # noqa: S106 - made up
    signature = hmac.new(b"s", request.body, hashlib.sha256).hexdigest()
    assert f"sha256={signature}" == request.headers["x-llmmon-signature"]
    assert "Bearer t" == request.headers["authorization"]
    assert "x-llmmon-signature" not in posted(trigger()).headers


def test_half_a_character_does_not_stop_the_others() -> None:
    found = json.loads(posted(trigger(title="\ud800x", value=float("inf")), trigger(2)).body)
    assert ["?x", "High Latency: model gpt-4o"] == [one["title"] for one in found["alerts"]]
    assert found["alerts"][0]["value"] is None


def test_a_command_reads_the_same_document() -> None:
    (message,) = CommandNotifier(["page", "-v"]).messages([trigger(1), resolve(2)])
    assert isinstance(message.payload, Program)
    assert posted(trigger(1), resolve(2)).body == message.payload.stdin
    assert ("page", "-v") == message.payload.argv


def alertmanager(*notifications: Notification, url: str = "http://am:9093", **more: Any) -> tuple[str, list[Any]]:
    (message,) = AlertmanagerNotifier(url, clock=lambda: NOW, **more).messages(notifications)
    assert isinstance(message.payload, Request)
    return message.payload.url, json.loads(message.payload.body)


def test_alertmanager_gets_labels_annotations_and_times() -> None:
    url, (entry,) = alertmanager(trigger(labels={"team": "search"}), generator_url="https://runbook")
    assert "http://am:9093/api/v2/alerts" == url
    assert {"alertname": "High Latency", "severity": "error", "model": "gpt-4o", "team": "search"} == entry["labels"]
    assert ("2026-08-29T10:40:00Z", "2026-08-29T11:15:00Z") == (entry["startsAt"], entry["endsAt"])
    assert "https://runbook" == entry["generatorURL"]
    assert "6.20 s" == entry["annotations"]["value"]


def test_alertmanager_is_told_when_it_was_over() -> None:
    _, entries = alertmanager(resolve(1), both(2))
    assert ["2026-08-29T10:52:30.300000Z"] * 2 == [entry["endsAt"] for entry in entries]
    assert AlertmanagerNotifier.resends


def test_alertmanager_takes_a_path_before_its_own() -> None:
    for url in ("http://am/x", "http://am/x/", "http://am/x/api/v2/alerts"):
        assert "http://am/x/api/v2/alerts" == alertmanager(trigger(), url=url)[0]


def test_labels_have_names_that_prometheus_takes_and_values_that_are_there() -> None:
    group = (("tag.te-am", "a\nb"), ("1st", None), ("user", ""))
    _, (entry,) = alertmanager(trigger(group=group, labels={"alertname": "forged"}))
    assert {
        "tag_te_am": "a b",
        "_1st": "(none)",
        "alertname": "High Latency",
        "severity": "error",
    } == entry["labels"]


def test_the_webhook_gets_what_the_calls_show() -> None:
    (found,) = json.loads(posted(trigger(1, **EVIDENCE)).body)["alerts"]
    assert [{"error_type": "rate_limit", "message": "429 <too many>", "calls": 12}] == found["top_errors"]
    assert {"request_id": "req-1", "file": "app.jsonl", "line": 17} == found["examples"][0]
    assert EVIDENCE["command"] == found["command"]
    assert ("https://runbooks.example.com/a?b=1&c=2", None) == (found["runbook"], found["dashboard"])
