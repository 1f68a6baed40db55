"""PagerDuty and other services with its Events API v2: one event for each alert, so that each can be resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, Final, Self

from llmmon.alerting.alert import Alert, NotificationEvent
from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.document import as_json
from llmmon.alerting.notifiers.wording import clamped, duration_us, error_text, links, since_us
from llmmon.alerting.senders import Outgoing
from llmmon.http_client import Request
from llmmon.text.figures import plain
from llmmon.text.times import duration_text, iso

EVENTS_URL: Final = "https://events.pagerduty.com/v2/enqueue"
SOURCE: Final = "llm-monitoring"  # where the installation has no name
MOST_SUMMARY: Final = 1024  # characters
_MOST_KEY: Final = 255
_MOST_DESCRIPTION: Final = 4_000


class PagerDutyNotifier(Notifier):
    """Sends events, to PagerDuty or another `url`."""

    SETTINGS: ClassVar[Mapping[str, Setting]] = {
        "routing_key": Setting("text", required=True, secret=True),
        "url": Setting("url", default=EVENTS_URL, secret=True),
        "ca_file": Setting("path"),
    }
    acknowledges: ClassVar[bool] = True
    MAX_AGE: ClassVar[str] = "15m"  # nobody is woken for what is over
    one_each: ClassVar[bool] = True

    def __init__(self, routing_key: str, *, url: str = EVENTS_URL, ca_file: str = "") -> None:
        self.ca_file = ca_file
        self.routing_key = routing_key
        self.url = url

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings."""
        url, ca_file = settings.get("url") or EVENTS_URL, settings.get("ca_file") or ""
        return cls(settings["routing_key"], url=url, ca_file=ca_file)

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One event each, or a trigger and a resolve where an alert has fired and is already over."""
        return [
            Outgoing(self._request(action, notification.alert), (at,))
            for at, notification in enumerate(notifications)
            for action in _actions(notification)
        ]

    def _request(self, action: NotificationEvent, alert: Alert) -> Request:
        event: dict[str, Any] = {
            "routing_key": self.routing_key,
            "event_action": action.value,
            "dedup_key": dedup_key(alert),
        }
        if action is NotificationEvent.TRIGGER:
            event["payload"] = _payload(alert)
            if found := links(alert):
                event["links"] = [{"href": url, "text": name} for name, url in found]
        elif reason := alert.ended_reason or alert.acknowledged_why:  # ignored by PagerDuty, kept by others
            event["payload"] = {**_payload(alert), "custom_details": {"reason": clamped(plain(reason), 1_000)}}
        headers = {"content-type": "application/json"}
        return Request(url=self.url, body=as_json(event), headers=headers, ca_file=self.ca_file)


def _actions(notification: Notification) -> tuple[NotificationEvent, ...]:
    both = notification.event is NotificationEvent.TRIGGER and notification.alert.resolved
    return (NotificationEvent.TRIGGER, NotificationEvent.RESOLVE) if both else (notification.event,)


def dedup_key(alert: Alert) -> str:
    """The alert's id, which is the same in every run; one that is too long is hashed."""
    key = alert.alert_id
    return key if len(key) <= _MOST_KEY else sha256(key.encode("utf-8", "replace")).hexdigest()


def _payload(alert: Alert) -> dict[str, Any]:
    lasted = duration_us(alert)
    return {
        "summary": clamped(plain(alert.title) or "alert", MOST_SUMMARY),
        "severity": alert.severity.value,
        "source": clamped(plain(alert.labels.get("instance", "")), 200) or SOURCE,
        "timestamp": iso(alert.fired_us or since_us(alert)),
        "class": clamped(plain(alert.metric_name), 200),
        "custom_details": {
            "metric": plain(alert.metric_name),
            "value": alert.value,
            "threshold": alert.threshold,
            "description": clamped(plain(alert.description), _MOST_DESCRIPTION),
            "rule": plain(alert.rule),
            "group": _texts(dict(alert.group)),
            "labels": _texts(alert.labels),
            "top_errors": [error_text(one) for one in alert.top_errors],
            "requests": [f"{clamped(plain(one.request_id), 80)} ({plain(one.place)})" for one in alert.examples],
            "command": plain(alert.command) or None,
            "peak": alert.peak,
            "duration": None if lasted is None else duration_text(lasted // 1_000_000 * 1_000_000),
        },
    }


def _texts(named: Mapping[str, str | None]) -> dict[str, str | None]:
    return {clamped(plain(k), 200): None if v is None else clamped(plain(v), 500) for k, v in named.items()}
