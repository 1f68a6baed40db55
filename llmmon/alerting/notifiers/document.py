"""Alerts as a JSON document, for webhooks and commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from llmmon.alerting.notifiers.channel import Notification
from llmmon.alerting.notifiers.wording import duration_us, headline, since_us
from llmmon.text.times import iso

SCHEMA_VERSION: Final = 1


def document(notifications: Sequence[Notification]) -> bytes:
    """`{"schema_version", "source", "summary", "alerts": [...]}`; missing is null, times are ISO-8601 UTC."""
    found = {
        "schema_version": SCHEMA_VERSION,
        "source": "llmmon",
        "summary": headline(notifications),
        "alerts": [_entry(notification) for notification in notifications],
    }
    return as_json(found)


def as_json(value: Any) -> bytes:
    """Encode as JSON; lone surrogates, which JSON cannot represent, become question marks, and NaN null."""
    return orjson.dumps(_encodable(value))


def _entry(notification: Notification) -> dict[str, Any]:
    alert = notification.alert
    lasted = duration_us(alert)
    return {
        "event": notification.event.value,
        "status": notification.status,
        "repeated": notification.repeated,
        "alert_id": alert.alert_id,
        "episode": alert.episode,
        "rule": alert.rule,
        "title": alert.title,
        "description": alert.description,
        "severity": alert.severity.value,
        "metric_name": alert.metric_name,
        "condition": alert.condition,
        "value": alert.value,
        "threshold": alert.threshold,
        "peak": alert.peak,
        "group": dict(alert.group),
        "labels": dict(alert.labels),
        "calls": alert.count,
        "window_s": alert.window_us / 1_000_000 if alert.window_us else None,
        "raised_from": alert.raised_from or None,
        "runbook": alert.runbook or None,
        "dashboard": alert.dashboard or None,
        "top_errors": [
            {"error_type": one.error_type or None, "message": one.message or None, "calls": one.calls}
            for one in alert.top_errors
        ],
        "examples": [{"request_id": one.request_id, "file": one.file, "line": one.line} for one in alert.examples],
        "command": alert.command or None,
        "start": iso(since_us(alert)),
        "fired": iso(alert.fired_us),
        "end": iso(alert.resolved_us),
        "ended": alert.ended or None,
        "ended_reason": alert.ended_reason or None,
        "acknowledged_by": alert.acknowledged_by or None,
        "acknowledged_why": alert.acknowledged_why or None,
        "duration_s": None if lasted is None else lasted / 1_000_000,
    }


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list) else value
