"""Prometheus Alertmanager: all alerts of a run in one request; firing alerts are sent again in every run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from llmmon.alerting.alert import Alert
from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.document import as_json
from llmmon.alerting.notifiers.wording import clamped, details, links, sentence, since_us
from llmmon.alerting.senders import Outgoing
from llmmon.alerting.sentences import figure
from llmmon.http_client import Request
from llmmon.text.figures import plain
from llmmon.text.times import Clock, iso, to_us, utc_now
from llmmon.text.times import duration_us as parsed_us

PATH: Final = "/api/v2/alerts"
HOLD: Final = "15m"
_MOST_LABEL: Final = 200  # characters of a value


class AlertmanagerNotifier(Notifier):
    """Posts alerts to an Alertmanager, which groups, silences and routes them.

    A firing alert ends `hold_us` from now unless it is sent again by then, so `hold` should cover three runs of cron.
    """

    SETTINGS: ClassVar[Mapping[str, Setting]] = {
        "url": Setting("url", required=True, secret=True),
        "headers": Setting("headers", secret=True),
        "hold": Setting("duration", default=HOLD),
        "generator_url": Setting("url"),
        "ca_file": Setting("path"),
    }
    resends: ClassVar[bool] = True

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        hold_us: int | None = None,
        generator_url: str = "",
        ca_file: str = "",
        clock: Clock = utc_now,
    ) -> None:
        self.url = url.rstrip("/").removesuffix(PATH) + PATH
        self.headers = dict(headers or {})
        self.hold_us = parsed_us(HOLD) if hold_us is None else hold_us
        self.generator_url = generator_url
        self.ca_file = ca_file
        self._clock = clock

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings."""
        hold_us = parsed_us(settings.get("hold", HOLD))
        found = settings.get("generator_url") or ""
        ca_file = settings.get("ca_file") or ""
        return cls(settings["url"], settings.get("headers"), hold_us=hold_us, generator_url=found, ca_file=ca_file)

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One request for all."""
        if not notifications:
            return []
        body = as_json([self._entry(notification) for notification in notifications])
        headers = {"content-type": "application/json", **self.headers}
        request = Request(url=self.url, body=body, headers=headers, ca_file=self.ca_file)
        return [Outgoing(request, tuple(range(len(notifications))))]

    def _entry(self, notification: Notification) -> dict[str, Any]:
        alert = notification.alert
        now_us = to_us(self._clock())
        start_us = since_us(alert)
        if notification.over:
            end_us = alert.resolved_us if alert.resolved_us is not None else now_us
        else:
            end_us = now_us + self.hold_us
        entry = {
            "labels": labels(alert),
            "annotations": {
                "summary": _value(alert.title),
                "description": sentence(notification, 2_000),
                "value": figure(alert.metric_name, alert.value, alert.aggregation),
                "threshold": figure(alert.metric_name, alert.threshold, alert.aggregation),
                **{name: "; ".join(lines) for name, lines in _details(notification)},
                **{f"{name.lower()}_url": url for name, url in links(alert)[:2] if name in {"Runbook", "Dashboard"}},
            },
            "startsAt": iso(start_us),
            "endsAt": iso(max(end_us, start_us)),
        }
        url = self.generator_url or alert.dashboard
        return {**entry, "generatorURL": url} if url else entry


def _details(notification: Notification) -> list[tuple[str, list[str]]]:
    """Top errors, requests and the command, under the names of annotations."""
    return [(name.lower().replace(" ", "_"), lines) for name, lines in details(notification)]


def labels(alert: Alert) -> dict[str, str]:
    """The labels that identify an alert: rule, severity, group and labels; empty values are left out."""
    named = {**alert.labels, **{field: "(none)" if name is None else name for field, name in alert.group}}
    found = {_name(name): _value(value) for name, value in named.items()}
    found |= {"alertname": _value(alert.rule or alert.title), "severity": alert.severity.value}
    return {name: value for name, value in found.items() if value}


def _name(text: str) -> str:
    """A valid Prometheus label name: `tag_team` for tag.team."""
    cleaned = re.sub(r"[^a-zA-Z0-9_]", "_", text)
    return cleaned if re.match(r"[a-zA-Z_]", cleaned) else f"_{cleaned}"


def _value(text: str) -> str:
    return clamped(plain(text), _MOST_LABEL)
