"""Apprise: a hundred services by one library, tried with its own JSON service on this machine."""

from __future__ import annotations

import pytest

from llmmon.alerting.delivery import deliver, readiness
from llmmon.alerting.notifiers.apprise import AppriseNotifier
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import AppriseMessage
from llmmon.errors import ConfigError
from tests.support.alerts_factory import EVIDENCE, channel, resolve, trigger
from tests.support.judge_server import Answer, judge_server

SECRET = "T0-s3cret"


def address(url: str) -> str:
    return url.replace("http://", "json://") + f"/{SECRET}"


def test_a_message_arrives_with_its_title_and_all_that_it_says() -> None:
    with judge_server(lambda _number, _body: Answer(200)) as server:
        there = channel("team", type="apprise", url="env:APPRISE")
        (found,) = deliver({there: [trigger(**EVIDENCE)]}, {"APPRISE": address(server.url)})["team"]
    assert (True, "apprise json") == (found.delivered, found.place)
    ((_, _, body),) = server.seen
    assert ("[ERROR] High Latency: model gpt-4o", "failure") == (body["title"], body["type"])
    assert "12 x rate_limit: 429 <too many>" in body["message"]
    assert "https://runbooks.example.com/a?b=1&c=2" in body["message"]


@pytest.mark.parametrize(
    ("severity", "kind"), [("info", "info"), ("warning", "warning"), ("error", "failure"), ("critical", "failure")]
)
def test_the_kind_says_how_bad_it_is(severity: str, kind: str) -> None:
    (message,) = AppriseNotifier("json://localhost").messages([trigger(severity=AlertSeverity(severity)), resolve(2)])
    assert isinstance(message.payload, AppriseMessage)
    assert ((0, 1), kind) == (message.covers, message.payload.kind)
    (over,) = AppriseNotifier("json://localhost").messages([resolve()])
    assert isinstance(over.payload, AppriseMessage)
    assert "success" == over.payload.kind
    assert over.payload.title.startswith("[RESOLVED]")


def test_a_failure_names_the_service_and_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    with judge_server(lambda _number, _body: Answer(404)) as server:
        there = channel("team", type="apprise", url=address(server.url))
        (found,) = deliver({there: [trigger()]}, {}, budget_s=3)["team"]
    assert (False, "apprise json answered 404") == (found.delivered, found.reason)
    strange = channel("team", type="apprise", url=f"nosuchservice://{SECRET}")
    (found,) = deliver({strange: [trigger()]}, {}, budget_s=3)["team"]
    assert (False, False) == (found.delivered, found.retryable)
    assert "apprise nosuchservice: the url is not one that apprise knows" == found.reason
    assert SECRET not in "".join(capfd.readouterr())


def test_what_is_no_address_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="must be an address of apprise"):
        AppriseNotifier.of({"url": "discord"})
    assert readiness(channel("team", type="apprise", url="discord"), {}).startswith("no: ")
    assert "yes" == readiness(channel("team", type="apprise", url="json://localhost"), {})


def test_nothing_due_is_no_message() -> None:
    assert [] == AppriseNotifier("json://localhost").messages([])
