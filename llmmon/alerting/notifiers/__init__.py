"""Notifiers: one file a channel type, which turns notifications into messages of its service.

A new notifier is one file and one row of NOTIFIERS. `channel_of` reads a channel's table, `notifier_of` makes its
notifier; others use `Channel`, `Notification` and `Notifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

import msgspec

from llmmon.alerting.notifiers.alertmanager import AlertmanagerNotifier
from llmmon.alerting.notifiers.apprise import AppriseNotifier
from llmmon.alerting.notifiers.channel import (
    VALUE_FAULTS,
    Channel,
    Notification,
    Notifier,
    Setting,
    is_reference,
    note_faults,
)
from llmmon.alerting.notifiers.command import CommandNotifier
from llmmon.alerting.notifiers.email import EmailNotifier
from llmmon.alerting.notifiers.pagerduty import PagerDutyNotifier
from llmmon.alerting.notifiers.slack import SlackNotifier
from llmmon.alerting.notifiers.webhook import WebhookNotifier
from llmmon.alerting.rules import AlertSeverity
from llmmon.errors import ConfigError
from llmmon.text.tables import TomlTable

__all__ = ["NOTIFIERS", "Channel", "Notification", "Notifier", "anchored", "channel_of", "notifier_of"]

NOTIFIERS: Final[dict[str, type[Notifier]]] = {
    "slack": SlackNotifier,
    "pagerduty": PagerDutyNotifier,
    "email": EmailNotifier,
    "webhook": WebhookNotifier,
    "alertmanager": AlertmanagerNotifier,
    "command": CommandNotifier,
    "apprise": AppriseNotifier,
}
SHARED_KEYS: Final = ("type", "min_severity", "match", "max_age", "escalate_after")


def channel_of(name: str, table: Any, tz: str = "UTC") -> tuple[Channel | None, list[str]]:
    """The channel of a `[notify.NAME]` table, and all that is wrong with it; None where anything is.

    `tz` is the time zone of what people read.
    """
    read = TomlTable({"notify": {name: table}}).table("notify").table(name)
    if read.faults:
        return None, read.faults
    if not read.has("type"):
        read.fault("type", f"is missing, known: {', '.join(NOTIFIERS)}")
        return None, read.faults
    notifier = read.one_of("type", NOTIFIERS, next(iter(NOTIFIERS)))
    if read.faults:
        return None, read.faults
    read.only((*SHARED_KEYS, *notifier.SETTINGS))
    note_faults(read, notifier.SETTINGS)
    channel = Channel(
        name=name,
        type=read.text("type"),
        settings={
            key: value
            for key, setting in notifier.SETTINGS.items()
            if (value := read.items.get(key, setting.default)) is not None
        },
        min_severity=read.one_of("min_severity", {one.value: one for one in AlertSeverity}, "info"),
        match=read.named_texts("match"),
        max_age_us=read.duration("max_age", notifier.MAX_AGE or "0s"),
        escalate_after_us=read.duration("escalate_after", "0s"),
        tz=tz,
    )
    if not read.faults:
        for key, text in notifier.faults(channel.settings).items():
            read.fault(key, text)
    return (None if read.faults else channel), read.faults


def anchored(channel: Channel, folder: PurePath) -> Channel:
    """The channel with its relative paths resolved from a folder: secret files, certificates, programs with a path."""
    known = NOTIFIERS[channel.type].SETTINGS
    settings = {key: _anchored(known[key], value, folder) for key, value in channel.settings.items()}
    return msgspec.structs.replace(channel, settings=settings)


def _anchored(setting: Setting, value: Any, folder: PurePath) -> Any:
    if setting.type == "path":
        return str(folder / value)
    if setting.type == "argv":
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
    """The notifier of a channel, with its references already resolved in `settings`; raises `ConfigError`."""
    notifier = NOTIFIERS[channel.type]
    for key, value in settings.items():
        if why := VALUE_FAULTS[notifier.SETTINGS[key].type](value):
            raise ConfigError(f"notify.{channel.name}.{key}: {why}")
    return notifier.of(settings)
