"""The alert that proves the wiring of a channel, and its end."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from llmmon.alert import Alert, Tell
from llmmon.durations import SECOND_US
from llmmon.notifiers import Notification
from llmmon.rules import AlertSeverity

_LASTED_US = 1 * SECOND_US


def drill_notifications(now_us: int) -> tuple[Notification, Notification]:
    """A test alert at a time, and that it is over; the id is of that time, so that no other is touched."""
    alert = Alert(
        alert_id=f"llmmon-test-{now_us}",
        title="TEST: llmmon reaches this channel",
        description="This is a test that someone asked for with `llmmon notify test`. Nothing is wrong.",
        severity=AlertSeverity.INFO,
        metric_name="error_rate",
        value=0.5,
        threshold=0.1,
        timestamp=datetime.fromtimestamp(now_us / SECOND_US, UTC),
        rule="llmmon notify test",
        labels={"test": "true"},
        peak=0.5,
        episode=1,
        since_us=now_us,
        met_us=now_us,
        fired_us=now_us,
        told_us=now_us,
    )
    over = msgspec.structs.replace(alert, resolved=True, resolved_us=now_us + _LASTED_US)
    return Notification(Tell.TRIGGER, alert), Notification(Tell.RESOLVE, over)
