"""Tables of the configuration -> channels: every fault at once, and what is routed where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmmon.alerting.alert import routes_to
from llmmon.alerting.notifiers import NOTIFIERS, anchored, channel_of
from llmmon.alerting.rules import AlertSeverity
from tests.support.alerts_factory import alert, channel

FINE: dict[str, dict[str, Any]] = {
    "slack": {"url": "https://hooks.example.com/x"},
    "pagerduty": {"routing_key": "env:KEY"},
    "email": {"host": "smtp.example.com", "from": "a@example.com", "to": ["Team <b@example.com>"]},
    "webhook": {"url": "env:URL", "headers": {"authorization": "env:TOKEN"}, "secret": "file:s"},
    "alertmanager": {"url": "http://am:9093", "hold": "10m"},
    "command": {"command": ["page", "--loud"], "timeout": "2s"},
    "apprise": {"url": "env:APPRISE"},
}


def test_every_type_has_a_table_here() -> None:
    assert FINE.keys() == NOTIFIERS.keys()


@pytest.mark.parametrize("kind", sorted(FINE))
def test_a_table_as_documented_is_a_channel(kind: str) -> None:
    found, faults = channel_of("oncall", {"type": kind, **FINE[kind]})
    assert [] == faults
    assert found is not None
    assert ("oncall", kind) == (found.name, found.type)
    assert {found: 1}[found] == 1


@pytest.mark.parametrize("kind", sorted(FINE))
def test_what_is_missing_is_named(kind: str) -> None:
    _, faults = channel_of("oncall", {"type": kind})
    assert [f"notify.oncall.{k}: is missing" for k, s in NOTIFIERS[kind].SETTINGS.items() if s.required] == faults


def test_all_faults_are_listed_at_once() -> None:
    table = {"type": "webhook", "ulr": "x", "headers": {"a b": "x"}, "min_severity": "warn", "match": ["x"]}
    found, faults = channel_of("hook", table)
    assert found is None
    assert [
        "notify.hook.ulr: unknown key, did you mean 'url'?",
        "notify.hook.url: is missing",
        "notify.hook.headers: contains an invalid header name",
        "notify.hook.min_severity: unknown min_severity 'warn', did you mean 'warning'?",
        'notify.hook.match: must be a table of texts, as { team = "chat" }',
    ] == faults


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "notify.x.type: is missing"),
        ({"type": "slak"}, "did you mean 'slack'?"),
        ({"type": 7}, "notify.x.type: must be text, not 7"),
        ("slack", "must be a table"),
        ({"type": "slack", "url": "hooks.example.com"}, "must begin with http"),
        ({"type": "slack", "url": 5}, "notify.x.url: must be text"),
        ({"type": "command", "command": "page me"}, "must be a list"),
        ({"type": "command", "command": [""]}, "must be a list"),
        ({"type": "command", "command": ["x"], "timeout": "0s"}, "must be a duration"),
        ({"type": "command", "command": ["x"], "timeout": 5}, "must be a duration"),
        ({"type": "webhook", "url": "http://h", "headers": {"a": "x\r\nb: y"}}, "contains an invalid header value"),
    ],
)
def test_a_fault_says_what_is_wrong(table: Any, words: str) -> None:
    found, faults = channel_of("x", table)
    assert found is None
    assert any(words in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tls": True, "starttls": True}, "notify.x.starttls: cannot be combined"),
        ({"username": "me"}, "notify.x.password: is missing"),
        ({"password": "env:P"}, "notify.x.username: is missing"),
        ({"username": "me", "password": "p", "starttls": False}, "in the clear"),
        ({"port": 0}, "notify.x.port: must be a number"),
        ({"port": True}, "notify.x.port: must be a number"),
        ({"from": "a@b\nBcc: c@d"}, "notify.x.from: must be a mail address"),
        ({"to": []}, "notify.x.to: must be a list"),
        ({"to": ["a@b", ""]}, "notify.x.to: must be a list"),
    ],
)
def test_mail_settings_that_cannot_work_are_faults(more: dict[str, Any], words: str) -> None:
    _, faults = channel_of("x", {"type": "email", **FINE["email"], **more})
    assert any(words in fault for fault in faults), faults


def test_no_fault_repeats_a_secret() -> None:
    for table in ({"type": "slack", "url": "s3cret"}, {"type": "pagerduty", "routing_key": ["s3cret"]}):
        assert "s3cret" not in str(channel_of("x", table)[1])


@pytest.mark.parametrize(
    ("routing", "routed"),
    [
        ({}, True),
        ({"min_severity": "error"}, True),
        ({"min_severity": "critical"}, False),
        ({"match": {"model": "gpt-*"}}, True),
        ({"match": {"model": "claude-*"}}, False),
        ({"match": {"team": "search", "rule": "High*"}}, True),
        ({"match": {"team": "search", "severity": "info"}}, False),
    ],
)
def test_alerts_are_routed_by_severity_and_match(routing: dict[str, Any], routed: bool) -> None:
    found = channel(type="slack", url="https://h/x", **routing)
    assert routed is routes_to(alert(labels={"team": "search"}, severity=AlertSeverity.ERROR), found)


def test_a_rule_that_names_its_channels_is_told_to_those_alone() -> None:
    found = channel("oncall", type="slack", url="https://h/x")
    assert routes_to(alert(notify=("oncall", "mail")), found)
    assert not routes_to(alert(notify=("mail",)), found)
    assert not routes_to(alert(notify=()), found)


def test_paths_are_seen_from_the_configuration() -> None:
    folder = Path("/etc/llmmon")
    hook = anchored(channel(type="webhook", url="file:url", headers={"a": "file:/run/a", "b": "env:B"}), folder)
    assert {"url": "file:/etc/llmmon/url", "headers": {"a": "file:/run/a", "b": "env:B"}} == hook.settings
    page = anchored(channel(type="command", command=["./page", "./x"]), folder)
    assert ["/etc/llmmon/page", "./x"] == page.settings["command"]
    assert ["page"] == anchored(channel(type="command", command=["page"]), folder).settings["command"]
    mail = anchored(channel(type="email", **FINE["email"], ca_file="ca.pem"), folder)
    assert "/etc/llmmon/ca.pem" == mail.settings["ca_file"]
