"""Mails: a subject to sort by, threads, text and HTML, and nothing that logs could slip in."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from llmmon.alerting.notifiers import Notification
from llmmon.alerting.notifiers.email import EmailNotifier
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import Mail
from tests.support.alerts_factory import EVIDENCE, both, resolve, trigger

CONFIG = {"host": "smtp.example.com", "from": "llmmon <alerts@example.com>"}
TO = ["team@example.com", "boss@example.com"]


def mail(*notifications: Notification) -> Mail:
    (message,) = EmailNotifier(CONFIG, TO).messages(notifications)
    assert tuple(range(len(notifications))) == message.covers
    assert isinstance(message.payload, Mail)
    return message.payload


def parts(found: EmailMessage) -> tuple[str, str]:
    text, html = (found.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def test_a_mail_says_it_in_its_subject_its_text_and_its_html() -> None:
    found = mail(trigger(severity=AlertSeverity.CRITICAL)).message()
    assert "[CRITICAL] High Latency: model gpt-4o" == found["Subject"]
    assert "team@example.com, boss@example.com" == found["To"]
    assert "llmmon <alerts@example.com>" == found["From"]
    assert "multipart/alternative" == found.get_content_type()
    text, html = parts(found)
    assert "Value:     6.20 s\r\nThreshold: > 5 s" in text.replace("\n", "\r\n").replace("\r\r", "\r")
    assert "<td>&gt; 5 s</td>" in html


def test_an_end_says_so_and_stands_in_the_thread_of_its_beginning() -> None:
    first, last, later = mail(trigger()), mail(resolve()), mail(trigger(episode=2))
    assert "[RESOLVED] High Latency: model gpt-4o" == last.subject
    assert "Lasted:    12m30s\nPeak:      9.00 s" in last.text
    assert first.references == last.references != later.references
    assert len({first.message_id, last.message_id, later.message_id}) == 3


def test_the_same_mail_again_has_the_same_id() -> None:
    assert mail(trigger()).message_id == mail(trigger()).message_id


def test_a_mail_about_many_stands_in_all_their_threads() -> None:
    found = mail(trigger(1), trigger(2), resolve(1))
    assert (*mail(trigger(1)).references, *mail(trigger(2)).references) == found.references
    assert "[ERROR] 2 firing, 1 resolved: " in found.subject


def test_what_fires_stands_before_what_is_over() -> None:
    found = mail(*(resolve(number) for number in range(200)), trigger(200, title="Spend"))
    assert found.text.startswith("[ERROR] Spend\n")


def test_hundreds_of_alerts_are_counted() -> None:
    found = mail(*(trigger(number) for number in range(250)))
    assert "and 150 more" in found.text
    assert "and 150 more" in found.html
    assert len(found.references) == 20


HOSTILE = "x\r\nBcc: spy@example.com\r\n\r\n<script>alert(1)</script>\x1b[31m\u202e\ud800"


def test_no_header_comes_from_a_log_and_no_script_runs() -> None:
    found = mail(trigger(title=HOSTILE, description=HOSTILE, metric_name=HOSTILE, group=(("model", HOSTILE),)))
    message = found.message()
    assert message["Bcc"] is None
    assert {"From", "To", "Subject", "Date", "Message-ID"} <= set(message.keys())
    head = message.as_bytes().split(b"\r\n\r\n")[0]
    assert not [line for line in head.split(b"\r\n") if line.startswith(b"Bcc")]
    text, html = parts(message)
    assert "<script" not in html
    assert "\x1b" not in text + html
    assert "\u202e" not in text + html


@pytest.mark.parametrize("where", ["from", "to"])
def test_no_header_comes_from_an_address(where: str) -> None:
    bad = "a@example.com\r\nBcc: spy@example.com"
    config = {**CONFIG, "from": bad} if where == "from" else CONFIG
    (message,) = EmailNotifier(config, [bad] if where == "to" else TO).messages([trigger()])
    assert isinstance(message.payload, Mail)
    assert message.payload.message()["Bcc"] is None


@pytest.mark.parametrize(
    ("more", "port", "starttls", "tls"),
    [({}, 587, True, False), ({"tls": True}, 465, False, True), ({"starttls": False, "port": 25}, 25, False, False)],
)
def test_starttls_unless_told_otherwise(more: dict[str, object], port: int, starttls: bool, tls: bool) -> None:
    (message,) = EmailNotifier({**CONFIG, **more}, TO).messages([trigger()])
    assert isinstance(message.payload, Mail)
    server = message.payload.server
    assert (port, starttls, tls) == (server.port, server.starttls, server.tls)


def test_a_mail_shows_errors_requests_the_command_and_links_that_can_be_clicked() -> None:
    labels = {"team": "chat", "playbook": "https://play.example.com/<b>"}
    text, html = parts(mail(trigger(**EVIDENCE, labels={**labels, "wiki": "https://wiki.example.com/x"})).message())
    assert "Top errors:\n  12 x rate_limit: 429 <too many>" in text.replace("\r", "")
    assert "  req-1 (app.jsonl:17)\n  req-2 (app.jsonl.gz)" in text.replace("\r", "")
    assert EVIDENCE["command"] in text
    assert '<a href="https://runbooks.example.com/a?b=1&amp;c=2">' in html
    assert '<a href="https://wiki.example.com/x">' in html
    assert '<b>"' not in html  # what is no address stays text
    assert "429 &lt;too many&gt;" in html


def test_much_that_was_over_before_the_mail_is_a_list() -> None:
    found = mail(trigger(99, title="Spend"), *(both(number, title=f"Old {number}") for number in range(30)))
    assert found.text.startswith("[ERROR] Spend\n")
    assert "30 alerts fired and were over before this message:\n  2026-08-29 10:40, 12m30s: [error] Old 0" in found.text
    assert "and 10 more" in found.text
    assert 20 == found.html.count("12m30s")


def test_what_is_resolved_does_not_list_requests() -> None:
    assert "req-1" not in mail(resolve(**EVIDENCE)).text
