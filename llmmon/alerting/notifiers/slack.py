"""Slack and services with its incoming webhooks: one message for all, with a coloured attachment for each alert."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote

from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.document import as_json
from llmmon.alerting.notifiers.wording import (
    clamped,
    details,
    facts,
    headline,
    links,
    past_title,
    sentence,
    summarized,
    title,
)
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import Outgoing
from llmmon.http_client import Request

MOST_BLOCKS: Final = 45  # Slack accepts 50
MOST_FIELDS: Final = 10  # of a section
MOST_SECTION: Final = 2_900  # characters; Slack accepts 3,000
MOST_CHARACTERS: Final = 12_000  # in total; Slack accepts about 13,200
_ROOM_FOR_REST: Final = 300  # characters kept for "and N more"

COLOURS: Final = {
    AlertSeverity.INFO: "#36a64f",
    AlertSeverity.WARNING: "#ffcc00",
    AlertSeverity.ERROR: "#ff6600",
    AlertSeverity.CRITICAL: "#ff0000",
}
_OVER: Final = "#808080"
_MENTION: Final = re.compile(r"@(?=channel|here|everyone|all\b)", re.IGNORECASE)
_SAFE: Final = re.compile(r"[<>|&]")  # signs that would end a link
_SIGNS: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class SlackNotifier(Notifier):
    """Posts to an incoming webhook."""

    SETTINGS: ClassVar[Mapping[str, Setting]] = {
        "url": Setting("url", required=True, secret=True),
        "ca_file": Setting("path"),
    }
    GAP_S: ClassVar[float] = 1.0  # Slack accepts one message a second

    def __init__(self, webhook_url: str, *, ca_file: str = "") -> None:
        self.webhook_url = webhook_url
        self.ca_file = ca_file

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings."""
        return cls(settings["url"], ca_file=settings.get("ca_file") or "")

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One message for all."""
        if not notifications:
            return []
        body = as_json(payload(notifications))
        headers = {"content-type": "application/json"}
        request = Request(url=self.webhook_url, body=body, headers=headers, ca_file=self.ca_file)
        return [Outgoing(request, tuple(range(len(notifications))))]


def payload(notifications: Sequence[Notification]) -> dict[str, Any]:
    """The message: a headline, and as many alerts as Slack accepts."""
    message = {"text": escaped(headline(notifications)), "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
    attachments: list[dict[str, Any]] = []
    room = MOST_CHARACTERS - _ROOM_FOR_REST - len(as_json(message).decode())
    single, past = summarized(notifications)
    if past:
        attachments.append(_summary(past_title(past, notifications), past))
        room -= len(as_json(attachments[0]).decode()) + 1
    for notification in single:
        attachment = _attachment(notification)
        room -= len(as_json(attachment).decode()) + 1
        if room < 0 or len(attachments) >= MOST_BLOCKS - 1:
            break
        attachments.append(attachment)
    if rest := len(single) - len(attachments) + bool(past):
        attachments.append(_rest(rest))
    if past:  # what fires comes first
        attachments.append(attachments.pop(0))
    return {**message, "attachments": attachments}


def _summary(head: str, lines: Sequence[str]) -> dict[str, Any]:
    text = "\n".join([f"*{escaped(head)}*", *(f"• {escaped(line)}" for line in lines)])
    return {"color": _OVER, "fallback": escaped(head), "blocks": [{"type": "section", "text": _text(text)}]}


def _attachment(notification: Notification) -> dict[str, Any]:
    alert = notification.alert
    text = f"*{escaped(title(alert)).replace('*', '∗')}*\n{escaped(sentence(notification))}"
    named = [_text(f"*{name}*\n{escaped(value)}") for name, value in facts(notification)]
    colour = _OVER if notification.over else COLOURS.get(alert.severity, _OVER)
    blocks = [{"type": "section", "text": _text(text), "fields": named[:MOST_FIELDS]}]
    further = "\n".join(
        f"*{name}*\n"
        + "\n".join(f"`{_code(line)}`" if name == "Look further" else f"• {escaped(line)}" for line in lines)
        for name, lines in details(notification)
    )
    blocks += [{"type": "section", "text": _text(further)}] if further else []
    found = " · ".join(f"<{_SAFE.sub(lambda sign: quote(sign[0]), url)}|{escaped(name)}>" for name, url in links(alert))
    blocks += [{"type": "context", "elements": [_text(found)]}] if found and len(found) <= MOST_SECTION else []
    return {"color": colour, "fallback": escaped(headline([notification])), "blocks": blocks}


def _code(text: str) -> str:
    """Text between backticks."""
    return escaped(text).replace("`", "'")


def _rest(count: int) -> dict[str, Any]:
    return {"color": _OVER, "blocks": [{"type": "section", "text": _text(f"and {count:,} more")}]}


def _text(text: str) -> dict[str, Any]:
    """A text in which Slack does not make links or mentions."""
    return {"type": "mrkdwn", "text": clamped(text, MOST_SECTION), "verbatim": True}


def escaped(text: str) -> str:
    """Text that Slack and compatible services show literally, without mentions."""
    return _MENTION.sub("@\u200b", re.sub("[&<>]", lambda sign: _SIGNS[sign[0]], text))
