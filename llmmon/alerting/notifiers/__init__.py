"""Notifiers: what each service is told of alerts.

A member makes messages from notifications, and a new one is one file and one row of NOTIFIERS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

import msgspec

from llmmon.alerting.notifiers.alertmanager import AlertmanagerNotifier
from llmmon.alerting.notifiers.channel import (
    KINDS,
    Channel,
    Notification,
    Notifier,
    Setting,
    is_reference,
    table_faults,
)
from llmmon.alerting.notifiers.command import CommandNotifier
from llmmon.alerting.notifiers.email import EmailNotifier
from llmmon.alerting.notifiers.pagerduty import PagerDutyNotifier
from llmmon.alerting.notifiers.slack import SlackNotifier
from llmmon.alerting.notifiers.webhook import WebhookNotifier
from llmmon.alerting.rules import AlertSeverity
from llmmon.errors import ConfigError
from llmmon.text.names import nearest

__all__ = ["NOTIFIERS", "Channel", "Notification", "Notifier", "anchored", "channel_of", "notifier_of"]

NOTIFIERS: Final[dict[str, type[Notifier]]] = {
    "slack": SlackNotifier,
    "pagerduty": PagerDutyNotifier,
    "email": EmailNotifier,
    "webhook": WebhookNotifier,
    "alertmanager": AlertmanagerNotifier,
    "command": CommandNotifier,
}
_SHARED: Final = {"type": Setting("text"), "min_severity": Setting("text"), "match": Setting("texts")}


def channel_of(name: str, table: Mapping[str, Any]) -> tuple[Channel | None, list[str]]:
    """The channel of a `[notify.NAME]` table, and all that is wrong with it; None where anything is."""
    at = f"notify.{name}"
    if not isinstance(table, dict):
        return None, [f"{at}: must be a table, as [{at}]"]
    kind = table.get("type")
    if kind not in NOTIFIERS:
        guess = nearest(kind, NOTIFIERS) if isinstance(kind, str) else None
        tail = f"did you mean {guess!r}?" if guess else f"known: {', '.join(NOTIFIERS)}"
        return None, [f"{at}.type: {'is missing' if kind is None else 'unknown type'}, {tail}"]
    notifier = NOTIFIERS[kind]
    faults = table_faults(table, {**_SHARED, **notifier.SETTINGS}, at)
    severity = _severity(table.get("min_severity", AlertSeverity.INFO.value))
    if severity is None:
        faults.append(f"{at}.min_severity: must be one of {', '.join(AlertSeverity)}")
    settings = {key: table.get(key, setting.default) for key, setting in notifier.SETTINGS.items()}
    settings = {key: value for key, value in settings.items() if value is not None}
    if not faults:
        faults += [f"{at}.{text}" for text in notifier.faults(settings)]
    if faults or severity is None:
        return None, faults
    return Channel(name, kind, settings, severity, dict(table.get("match", {}))), []


def _severity(name: Any) -> AlertSeverity | None:
    return AlertSeverity(name) if isinstance(name, str) and name in list(AlertSeverity) else None


def anchored(channel: Channel, folder: PurePath) -> Channel:
    """The channel with its paths seen from a folder: files of secrets and certificates, and programs named by path."""
    known = NOTIFIERS[channel.type].SETTINGS
    settings = {key: _anchored(known[key], value, folder) for key, value in channel.settings.items()}
    return msgspec.structs.replace(channel, settings=settings)


def _anchored(setting: Setting, value: Any, folder: PurePath) -> Any:
    if setting.kind == "path":
        return str(folder / value)
    if setting.kind == "argv":
        return [str(folder / value[0]) if "/" in value[0] else value[0], *value[1:]]
    if not setting.refers:
        return value
    if isinstance(value, list):
        return [_anchored(setting, one, folder) for one in value]
    if isinstance(value, dict):
        return {name: _anchored(setting, one, folder) for name, one in value.items()}
    if is_reference(value) and value.startswith("file:"):
        return f"file:{folder / value.removeprefix('file:')}"
    return value


def notifier_of(channel: Channel, settings: Mapping[str, Any]) -> Notifier:
    """The notifier of a channel whose settings hold what they referred to; raises `ConfigError`."""
    kind = NOTIFIERS[channel.type]
    for key, value in settings.items():
        if why := KINDS[kind.SETTINGS[key].kind](value):
            raise ConfigError(f"notify.{channel.name}.{key}: {why}")
    return kind.of(settings)
