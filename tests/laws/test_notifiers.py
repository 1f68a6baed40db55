"""What every notifier owes: all is covered, in order, whatever the alerts hold, and the same twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.alerting.alert import NotificationEvent
from llmmon.alerting.delivery import rendered
from llmmon.alerting.notifiers import NOTIFIERS, Notification, Notifier
from llmmon.alerting.notifiers.alertmanager import AlertmanagerNotifier
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import Mail, Program
from llmmon.http_client import Request
from tests.support.alerts_factory import alert

SETTINGS: dict[str, dict[str, Any]] = {
    "slack": {"url": "https://hooks.example.com/x"},
    "pagerduty": {"routing_key": "key"},
    "email": {"host": "smtp.example.com", "from": "a@example.com", "to": ["b@example.com"]},
    "webhook": {"url": "https://example.com/x", "secret": "s"},
    "alertmanager": {"url": "http://am:9093"},
    "command": {"command": ["page"]},
    "apprise": {"url": "json://example.com"},
}
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["\ud800", "\r\nBcc: x@y\r\n\r\n", "<!channel>", "\x1b]0;x\x07", "x" * 3000]
)
NUMBERS = st.none() | st.floats()


@st.composite
def notifications(draw: st.DrawFn) -> Notification:
    times = st.integers(0, 4_102_444_800_000_000)
    over = draw(st.booleans())
    made = alert(
        title=draw(TEXTS),
        description=draw(TEXTS),
        alert_id=draw(TEXTS),
        rule=draw(TEXTS),
        metric_name=draw(st.sampled_from(["latency_p95_ms", "error_rate", "cost_total_usd", ""]) | TEXTS),
        condition=draw(st.sampled_from(["gt", "lt", "ne"])),
        severity=draw(st.sampled_from(AlertSeverity)),
        value=draw(NUMBERS),
        threshold=draw(NUMBERS),
        peak=draw(NUMBERS),
        group=draw(st.lists(st.tuples(TEXTS, st.none() | TEXTS), max_size=3).map(tuple)),
        labels=draw(st.dictionaries(TEXTS, TEXTS, max_size=3)),
        since_us=draw(times),
        fired_us=draw(st.none() | times),
        notified_us=draw(st.none() | times),
        resolved=over,
        resolved_us=draw(times) if over else None,
    )
    return Notification(draw(st.sampled_from(NotificationEvent)), made, draw(st.booleans()))


def notifier(kind: str) -> Notifier:
    if kind == "alertmanager":
        return AlertmanagerNotifier("http://am:9093", clock=lambda: datetime(2026, 3, 2, tzinfo=UTC))
    return NOTIFIERS[kind].of(SETTINGS[kind])


def test_every_notifier_is_here() -> None:
    assert SETTINGS.keys() == NOTIFIERS.keys()


@pytest.mark.parametrize("kind", sorted(SETTINGS))
@given(found=st.lists(notifications(), max_size=6))
def test_all_is_covered_in_order_by_messages_that_can_go_out(kind: str, found: list[Notification]) -> None:
    messages = notifier(kind).messages(found)
    covered = [at for message in messages for at in message.covers]
    assert list(range(len(found))) == sorted(set(covered))
    assert covered == sorted(covered)
    for message in messages:
        match message.payload:
            case Request(body=body) | Program(stdin=body):
                orjson.loads(body)
            case Mail() as mail:
                assert b"\r\nBcc:" not in mail.message().as_bytes().split(b"\r\n\r\n")[0]
        assert "\x1b" not in rendered(message)


@pytest.mark.parametrize("kind", sorted(SETTINGS))
@given(found=st.lists(notifications(), max_size=3))
def test_the_same_twice_is_the_same_message(kind: str, found: list[Notification]) -> None:
    assert notifier(kind).messages(found) == notifier(kind).messages(found)


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_nothing_due_is_no_message(kind: str) -> None:
    assert [] == notifier(kind).messages([])
