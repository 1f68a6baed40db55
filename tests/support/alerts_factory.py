"""Alerts for the tests of those who tell of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llmmon.alerting.alert import Alert, Example, NotificationEvent, TopError
from llmmon.alerting.notifiers import Channel, Notification, channel_of
from llmmon.alerting.rules import AlertSeverity

SINCE_US = 1_788_000_000_000_000  # 2026-08-29 10:40:00 UTC
MINUTE_US = 60_000_000


# what the calls of an alert may show
EVIDENCE: Final[dict[str, Any]] = {
    "top_errors": (TopError("rate_limit", "429 <too many>", 12),),
    "examples": (Example("req-1", "app.jsonl", 17), Example("req-2", "app.jsonl.gz", None)),
    "command": "llmmon requests --where 'model=\"gpt-4o\"' --since 2026-08-29T10:35:00Z",
    "runbook": "https://runbooks.example.com/a?b=1&c=2",
}


def alert(number: int = 1, **more: Any) -> Alert:
    """An alert that fires."""
    made = Alert(
        alert_id=f"alert-{number}",
        title="High Latency: model gpt-4o",
        description="latency_p95_ms of model gpt-4o is 6,200, > 5,000 over 5m (31 calls)",
        severity=AlertSeverity.ERROR,
        metric_name="latency_p95_ms",
        value=6200.0,
        threshold=5000.0,
        rule="High Latency",
        group=(("model", "gpt-4o"),),
        peak=9000.0,
        episode=1,
        since_us=SINCE_US,
        met_us=SINCE_US,
        fired_us=SINCE_US,
        notified_us=SINCE_US,
    )
    return msgspec.structs.replace(made, **more)


def over(number: int = 1, **more: Any) -> Alert:
    """The same after twelve and a half minutes, when it was over."""
    return alert(number, **{"resolved": True, "resolved_us": SINCE_US + 750_300_000, **more})


def trigger(number: int = 1, **more: Any) -> Notification:
    return Notification(NotificationEvent.TRIGGER, alert(number, **more))


def resolve(number: int = 1, **more: Any) -> Notification:
    return Notification(NotificationEvent.RESOLVE, over(number, **more))


def both(number: int = 1, **more: Any) -> Notification:
    """Fired and already over."""
    return Notification(NotificationEvent.TRIGGER, over(number, **more))


def channel(name: str = "oncall", **table: Any) -> Channel:
    """The channel of a table that is without faults."""
    found, faults = channel_of(name, table)
    assert found is not None, faults
    return found
