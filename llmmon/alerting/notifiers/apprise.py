"""Apprise: Teams, Discord, Telegram, Google Chat, Opsgenie, ntfy, SNS and a hundred other services, by one library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Self

from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.wording import headline, ranked, text_of
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import AppriseMessage, Outgoing
from llmmon.errors import ConfigError


class AppriseNotifier(Notifier):
    """Sends plain text to the service of an address such as `discord://id/token`; needs the extra `notify`."""

    SETTINGS: ClassVar[Mapping[str, Setting]] = {"url": Setting("text", required=True, secret=True)}

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings; raises `ConfigError` where the library is missing or the address is none."""
        if find_spec("apprise") is None:
            raise ConfigError("type apprise needs the library apprise", hint="pip install 'llmmon[notify]'")
        scheme, sign, _ = settings["url"].partition("://")
        if not sign or not scheme.isalnum():
            raise ConfigError("url: must be an address of apprise, such as discord://id/token")
        return cls(settings["url"])

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One message for all; what a service cannot take at once is split."""
        if not notifications:
            return []
        url = self.url
        if "overflow=" not in url:
            url += f"{'&' if '?' in url else '?'}overflow=split"
        message = AppriseMessage(url, headline(notifications), text_of(notifications), _kind(notifications))
        return [Outgoing(message, tuple(range(len(notifications))))]


def _kind(notifications: Sequence[Notification]) -> str:
    """What the services show as a colour or sign: the worst of what fires; success where all is over."""
    first = ranked(notifications)[0]
    if first.over:
        return "success"
    severity = first.alert.severity
    if severity.rank >= AlertSeverity.ERROR.rank:
        return "failure"
    return "warning" if severity is AlertSeverity.WARNING else "info"
