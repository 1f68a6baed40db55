"""Slack messages: colours and figures as documented, inside Slack's limits, and inert whatever logs hold."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.alerting.alert import NotificationEvent
from llmmon.alerting.notifiers import Notification
from llmmon.alerting.notifiers.slack import MOST_BLOCKS, MOST_CHARACTERS, MOST_SECTION, SlackNotifier
from llmmon.alerting.rules import AlertSeverity
from tests.support.alerts_factory import EVIDENCE, alert, both, over, resolve, trigger


def body(*notifications: Notification) -> dict[str, Any]:
    """The one message that covers all."""
    (message,) = SlackNotifier("https://hooks.example.com/T/B/x").messages(notifications)
    assert tuple(range(len(notifications))) == message.covers
    found: dict[str, Any] = json.loads(message.payload.body)  # type: ignore[union-attr]
    return found


def fields(attachment: dict[str, Any]) -> dict[str, str]:
    (block,) = attachment["blocks"]
    return dict(field["text"].removeprefix("*").split("*\n") for field in block["fields"])


@pytest.mark.parametrize(
    ("severity", "colour"),
    [("info", "#36a64f"), ("warning", "#ffcc00"), ("error", "#ff6600"), ("critical", "#ff0000")],
)
def test_the_colour_says_how_bad_it_is(severity: str, colour: str) -> None:
    (attachment,) = body(trigger(severity=AlertSeverity(severity)))["attachments"]
    assert colour == attachment["color"]


def test_an_alert_has_its_figures_in_units_for_people() -> None:
    found = body(trigger())
    assert "[ERROR] High Latency: model gpt-4o" == found["text"]
    assert {
        "Metric": "latency p95",
        "Value": "6.20 s",
        "Threshold": "&gt; 5 s",
        "Severity": "error",
        "Since": "2026-08-29 10:40:00 UTC",
    } == fields(found["attachments"][0])


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("error_rate", 0.35, "35.0 %"),
        ("cost_total_usd", 1.234, "$1.23"),
        ("tokens_total", 1234567, "1,234,567"),
        ("quality_avg", 0.81234, "0.8123"),
        ("nobody_knows", 12.34567, "12.35"),
        ("latency_p95_ms", None, "-"),
        ("latency_p95_ms", float("nan"), "-"),
        ("error_count", 17.0, "17"),
        ("latency_ms", 812.0, "812 ms"),
    ],
)
def test_a_value_is_in_the_unit_of_its_metric(metric: str, value: float | None, shown: str) -> None:
    assert shown == fields(body(trigger(metric_name=metric, value=value))["attachments"][0])["Value"]


def test_an_end_is_grey_and_says_how_long_and_how_bad() -> None:
    found = body(resolve())
    assert "[RESOLVED] High Latency: model gpt-4o" == found["text"]
    (attachment,) = found["attachments"]
    assert "#808080" == attachment["color"]
    assert {"Lasted": "12m30s", "Peak": "9.00 s"}.items() <= fields(attachment).items()


def test_what_fired_and_is_over_is_one_attachment_with_both_ends() -> None:
    (attachment,) = body(both())["attachments"]
    assert "Fired and resolved after 12m30s." in attachment["blocks"][0]["text"]["text"]


def test_a_reminder_says_that_it_is_one() -> None:
    (attachment,) = body(Notification(NotificationEvent.TRIGGER, alert(), repeated=True))["attachments"]
    assert "Still firing." in attachment["blocks"][0]["text"]["text"]


def test_the_alerts_of_one_run_are_one_message_the_worst_first_in_its_line() -> None:
    found = body(trigger(1), trigger(2, title="Spend", severity=AlertSeverity.CRITICAL), resolve(3, title="Old"))
    assert "[CRITICAL] 2 firing, 1 resolved: Spend, High Latency: model gpt-4o, Old" == found["text"]
    assert 3 == len(found["attachments"])


def test_what_fires_is_never_hidden_behind_what_is_over() -> None:
    found = body(*(resolve(number) for number in range(200)), trigger(200, title="Spend"))
    assert "[ERROR] 1 firing, 200 resolved: Spend, High Latency: model gpt-4o" == found["text"]
    assert "Spend" in found["attachments"][0]["blocks"][0]["text"]["text"]


def test_too_many_alerts_are_counted() -> None:
    found = body(*(trigger(number) for number in range(500)))
    shown = len(found["attachments"]) - 1
    assert shown >= 10
    assert f"and {500 - shown} more" == found["attachments"][-1]["blocks"][0]["text"]["text"]


def test_nothing_due_is_no_message() -> None:
    assert [] == SlackNotifier("https://hooks.example.com/x").messages([])


HOSTILE = "<!channel> <!here|x> <@U1> <https://evil|ok> & @channel @HERE @everyone \x1b[31m\u202e\nnew *b* \ud800"
TEXTS = st.text(max_size=40) | st.text(alphabet="<>&@*_`chanelr!|\n\ud800\x1b", max_size=60) | st.just("&" * 5000)


@st.composite
def alerts(draw: st.DrawFn) -> Notification:
    numbers = st.none() | st.floats() | st.floats(0, 1e5)
    made = alert(
        title=draw(TEXTS),
        description=draw(TEXTS),
        metric_name=draw(st.sampled_from(["latency_p95_ms", "error_rate", "cost_total_usd"]) | TEXTS),
        value=draw(numbers),
        threshold=draw(numbers),
        peak=draw(numbers),
        severity=draw(st.sampled_from(AlertSeverity)),
        group=((draw(TEXTS), draw(TEXTS)),),
    )
    if draw(st.booleans()):
        made = over(**{name: getattr(made, name) for name in ("title", "description", "severity")})
    return Notification(draw(st.sampled_from(NotificationEvent)), made, draw(st.booleans()))


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts_of(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


def assert_inside_the_limits(found: dict[str, Any], count: int) -> None:
    blocks = [block for attachment in found["attachments"] for block in attachment["blocks"]]
    assert len(blocks) <= MOST_BLOCKS
    assert len(json.dumps(found, ensure_ascii=False, separators=(",", ":"))) <= MOST_CHARACTERS
    for block in blocks:
        assert 0 < len(block["text"]["text"]) <= MOST_SECTION
        assert len(block.get("fields", [])) <= 10
        assert all(0 < len(field["text"]) <= 2000 for field in block.get("fields", []))
    assert len(found["attachments"]) <= count


@given(st.lists(alerts(), min_size=1, max_size=60))
def test_whatever_the_alerts_the_message_is_inside_the_limits_and_inert(found: list[Notification]) -> None:
    message = body(*found)
    assert_inside_the_limits(message, len(found))
    for text in texts_of(message):
        assert "<" not in text
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800]", text)
        assert not re.search("@(channel|here|everyone)", text, re.IGNORECASE)


def test_hostile_names_mention_nobody_and_link_nowhere() -> None:
    message = body(trigger(title=HOSTILE, description=HOSTILE, metric_name=HOSTILE))
    told = " ".join(texts_of(message))
    assert "&lt;!channel&gt;" in told
    assert not re.search(r"<[!@h]|@(channel|here|everyone)|\x1b|\u202e", told, re.IGNORECASE)
    assert all(field["verbatim"] for a in message["attachments"] for field in a["blocks"][0]["fields"])


def test_errors_requests_and_links_are_shown_and_links_can_be_clicked() -> None:
    blocks = body(trigger(**EVIDENCE))["attachments"][0]["blocks"]
    assert "*Top errors*\n• 12 x rate_limit: 429 &lt;too many&gt;" in blocks[1]["text"]["text"]
    assert "• req-1 (app.jsonl:17)" in blocks[1]["text"]["text"]
    assert "<https://runbooks.example.com/a?b=1%26c=2|Runbook>" == blocks[2]["elements"][0]["text"]


def test_much_that_was_over_before_the_message_is_one_list() -> None:
    found = body(*(both(number, title=f"Old {number}") for number in range(12)), trigger(99, title="Spend"))
    assert 2 == len(found["attachments"])
    assert "Spend" in found["attachments"][0]["blocks"][0]["text"]["text"]
    listed = found["attachments"][1]["blocks"][0]["text"]["text"]
    assert listed.startswith("*12 alerts fired and were over before this message:*\n• 2026-08-29 10:40, 12m30s: ")


def test_the_time_is_that_of_the_configured_zone() -> None:
    found = body(Notification(NotificationEvent.TRIGGER, alert(), tz="Europe/Berlin"))
    assert "2026-08-29 12:40:00 Europe/Berlin" == fields(found["attachments"][0])["Since"]
