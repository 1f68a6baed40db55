"""Webhooks: one JSON document for all alerts of a run."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, Final, Self

from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.document import document
from llmmon.alerting.senders import Outgoing
from llmmon.http_client import Request

SIGNATURE: Final = "x-llmmon-signature"


class WebhookNotifier(Notifier):
    """Posts a JSON document; with a `secret`, a header holds the HMAC-SHA256 of the body as `sha256=HEX`."""

    SETTINGS: ClassVar[Mapping[str, Setting]] = {
        "url": Setting("url", required=True, secret=True),
        "headers": Setting("headers", secret=True),
        "secret": Setting("text", secret=True),
        "ca_file": Setting("path"),
    }

    acknowledges: ClassVar[bool] = True

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, secret: str = "", ca_file: str = "") -> None:
        self.ca_file = ca_file
        self.url = url
        self.headers = dict(headers or {})
        self.secret = secret

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings."""
        secret, ca_file = settings.get("secret") or "", settings.get("ca_file") or ""
        return cls(settings["url"], settings.get("headers"), secret, ca_file)

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One document for all."""
        if not notifications:
            return []
        body = document(notifications)
        headers = {"content-type": "application/json", **self.headers}
        if self.secret:
            headers[SIGNATURE] = f"sha256={hmac.new(self.secret.encode(), body, sha256).hexdigest()}"
        request = Request(url=self.url, body=body, headers=headers, ca_file=self.ca_file)
        return [Outgoing(request, tuple(range(len(notifications))))]
