"""PagerDuty events: one an alert, under a key that stays the same until it is resolved."""

from __future__ import annotations

import json
from typing import Any

from llmmon.alerting.alert import NotificationEvent
from llmmon.alerting.notifiers import Notification
from llmmon.alerting.notifiers.pagerduty import EVENTS_URL, PagerDutyNotifier
from llmmon.alerting.rules import AlertSeverity
from llmmon.http_client import Request
from tests.support.alerts_factory import EVIDENCE, alert, both, resolve, trigger


def events(*notifications: Notification, notifier: PagerDutyNotifier | None = None) -> list[Any]:
    messages = (notifier or PagerDutyNotifier("key")).messages(notifications)
    return [json.loads(m.payload.body) for m in messages if isinstance(m.payload, Request)]


def test_a_trigger_carries_what_is_known() -> None:
    (event,) = events(trigger(severity=AlertSeverity.CRITICAL))
    assert ("key", "trigger", "alert-1") == (event["routing_key"], event["event_action"], event["dedup_key"])
    payload = event["payload"]
    assert "llm-monitoring" == payload["source"]
    assert "critical" == payload["severity"]
    assert "2026-08-29T10:40:00Z" == payload["timestamp"]
    assert "High Latency: model gpt-4o" == payload["summary"]
    details = payload["custom_details"]
    assert ("latency_p95_ms", 6200.0, 5000.0, 9000.0) == tuple(
        details[name] for name in ("metric", "value", "threshold", "peak")
    )
    assert {"model": "gpt-4o"} == details["group"]
    assert alert().description == details["description"]


def test_each_alert_is_an_event_of_its_own() -> None:
    assert ["alert-1", "alert-2"] == [event["dedup_key"] for event in events(trigger(1), trigger(2))]


def test_an_acknowledgement_and_an_end_need_only_the_key() -> None:
    found = events(Notification(NotificationEvent.ACKNOWLEDGE, alert(acknowledged=True)), resolve())
    assert ["acknowledge", "resolve"] == [event["event_action"] for event in found]
    assert all(event.keys() == {"routing_key", "event_action", "dedup_key"} for event in found)


def test_what_fired_and_is_over_is_triggered_and_resolved() -> None:
    messages = PagerDutyNotifier("key").messages([trigger(1), both(2)])
    assert [(0,), (1,), (1,)] == [message.covers for message in messages]
    found = events(trigger(1), both(2))
    assert ["trigger", "trigger", "resolve"] == [event["event_action"] for event in found]
    assert "12m30s" == found[1]["payload"]["custom_details"]["duration"]


def test_it_goes_to_pagerduty_unless_told_otherwise() -> None:
    (message,) = PagerDutyNotifier("key").messages([trigger()])
    assert EVENTS_URL == message.payload.url  # type: ignore[union-attr]
    (message,) = PagerDutyNotifier.of({"routing_key": "k", "url": "http://own:1/x"}).messages([trigger()])
    assert "http://own:1/x" == message.payload.url  # type: ignore[union-attr]


def test_long_and_hostile_texts_are_cut_and_harmless() -> None:
    long = "x" * 5000 + "\n\x1b"
    (event,) = events(trigger(title=long, alert_id=long, value=float("nan"), group=(("model", "\ud800"),)))
    assert 1024 == len(event["payload"]["summary"])
    assert len(event["dedup_key"]) <= 255
    assert event["payload"]["custom_details"]["value"] is None
    assert {"model": "\\ud800"} == event["payload"]["custom_details"]["group"]


def test_an_event_names_the_installation_its_links_and_what_the_calls_show() -> None:
    (event,) = events(trigger(**EVIDENCE, labels={"instance": "prod-eu"}))
    assert "prod-eu" == event["payload"]["source"]
    assert [{"href": EVIDENCE["runbook"], "text": "Runbook"}] == event["links"]
    details = event["payload"]["custom_details"]
    assert ["12 x rate_limit: 429 <too many>"] == details["top_errors"]
    assert ["req-1 (app.jsonl:17)", "req-2 (app.jsonl.gz)"] == details["requests"]
