"""Mail: one mail for all alerts of a run, as text and HTML, in the threads of their episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, ClassVar, Final, Self

from llmmon.alerting.alert import Alert
from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.slack import COLOURS
from llmmon.alerting.notifiers.wording import (
    MOST_SHOWN,
    clamped,
    details,
    facts,
    headline,
    links,
    past_title,
    rest_of,
    sentence,
    summarized,
    tag,
    text_of,
    title,
)
from llmmon.alerting.senders import LOCAL_HOSTS, STARTTLS_PORT, TLS_PORT, Mail, MailServer, Outgoing
from llmmon.text.figures import plain

_MOST_THREADS: Final = 20  # a mail can belong to many threads, but headers have a limited length
_OVER: Final = "#808080"
_NAME: Final = "padding-right:1em;color:#555;white-space:nowrap"
_COMMAND: Final = "background:#f4f4f4;padding:0.5em;margin-top:0;white-space:pre-wrap"


class EmailNotifier(Notifier):
    """Sends mail to a server: `smtp_config` has host, port, from, username, password, starttls, tls, ca_file.

    STARTTLS is the default; `tls` is TLS from the first byte. Certificates are verified.
    """

    SETTINGS: ClassVar[Mapping[str, Setting]] = {
        "host": Setting("text", required=True),
        "port": Setting("port"),
        "starttls": Setting("flag"),
        "tls": Setting("flag", default=False),
        "username": Setting("text"),
        "password": Setting("text", secret=True),
        "ca_file": Setting("path"),
        "from": Setting("address", required=True),
        "to": Setting("addresses", required=True),
    }

    def __init__(self, smtp_config: Mapping[str, Any], recipients: Sequence[str]) -> None:
        self.smtp_config = dict(smtp_config)
        self.recipients = list(recipients)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings."""
        to = settings["to"]
        return cls({k: v for k, v in settings.items() if k != "to"}, [to] if isinstance(to, str) else to)

    @classmethod
    def faults(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """Settings that contradict each other."""
        found = {}
        server = server_of(settings)
        if settings.get("tls") and settings.get("starttls"):
            found["starttls"] = "cannot be combined with tls = true"
        if bool(server.username) != bool(server.password):
            found["password" if server.username else "username"] = "is missing: a login needs both"
        if server.password and not (server.tls or server.starttls) and server.host not in LOCAL_HOSTS:
            found["starttls"] = "must not be false with a password, which would be sent in the clear"
        return found

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One mail for all."""
        if not notifications:
            return []
        threads = list(dict.fromkeys(_thread(n.alert) for n in notifications))[:_MOST_THREADS]
        mail = Mail(
            server=server_of(self.smtp_config),
            sender=plain(str(self.smtp_config.get("from", "alerts@example.com"))),
            recipients=tuple(plain(recipient) for recipient in self.recipients),
            subject=headline(notifications),
            text=text_of(notifications),
            html=_html(notifications),
            message_id=_message_id(notifications),
            references=tuple(threads),
        )
        return [Outgoing(mail, tuple(range(len(notifications))))]


def server_of(settings: Mapping[str, Any]) -> MailServer:
    """The mail server that settings describe."""
    tls = bool(settings.get("tls"))
    starttls = settings.get("starttls")
    return MailServer(
        host=str(settings["host"]),
        port=settings.get("port") or (TLS_PORT if tls else STARTTLS_PORT),
        starttls=not tls if starttls is None else bool(starttls),
        tls=tls,
        username=settings.get("username") or "",
        password=settings.get("password") or "",
        ca_file=settings.get("ca_file") or "",
    )


def _thread(alert: Alert) -> str:
    """The id with which mail programs group all mails about one episode of an alert."""
    return f"<{_digest(alert.alert_id)}.{alert.episode}@llmmon>"


def _message_id(notifications: Sequence[Notification]) -> str:
    """A message id that is the same when a mail is sent again, so that a duplicate is shown once."""
    parts = [
        f"{n.event.value} {n.alert.alert_id} {n.alert.episode} {n.repeated} {n.alert.notified_us}"
        for n in notifications
    ]
    return f"<{_digest(chr(10).join(parts))}@llmmon>"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _html(notifications: Sequence[Notification]) -> str:
    single, past = summarized(notifications)
    parts = [_section(notification) for notification in single[:MOST_SHOWN]]
    if past:
        parts.append(f"<p>{escape(past_title(past, notifications))}</p>\n{_listed(past)}")
    rest = [f"<p>{escape(text)}</p>" for text in rest_of(len(single))]
    return f'<html><body style="font-family:sans-serif">\n{"".join(parts + rest)}</body></html>\n'


def _section(notification: Notification) -> str:
    colour = _OVER if notification.over else COLOURS.get(notification.alert.severity, _OVER)
    cells = [(escape(name), escape(value)) for name, value in facts(notification)]
    cells += [
        (escape(name), f'<a href="{escape(url)}">{escape(clamped(url, 80))}</a>')
        for name, url in links(notification.alert)
    ]
    rows = "".join(f'<tr><td style="{_NAME}">{name}</td><td>{value}</td></tr>\n' for name, value in cells)
    further = "".join(
        f'<p style="margin-bottom:0"><b>{escape(name)}</b></p>\n'
        + (f'<pre style="{_COMMAND}">{escape(texts[0])}</pre>\n' if name == "Look further" else _listed(texts))
        for name, texts in details(notification)
    )
    return (
        f'<div style="border-left:4px solid {colour};padding-left:1em;margin-bottom:1.5em">\n'
        f"<h3>[{escape(tag(notification))}] {escape(title(notification.alert))}</h3>\n"
        f"<p>{escape(sentence(notification))}</p>\n<table>\n{rows}</table>\n{further}</div>\n"
    )


def _listed(texts: Sequence[str]) -> str:
    return '<ul style="margin-top:0">' + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>\n"
