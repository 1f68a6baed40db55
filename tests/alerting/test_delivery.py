"""Delivery: channels side by side, each message recorded when it is gone, all within a bounded time, no secret told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmmon.alerting.delivery import Delivery, deliver, resolve_secret
from llmmon.alerting.notifiers import Channel
from llmmon.alerting.notifiers.slack import SlackNotifier
from llmmon.errors import ConfigError, DeliveryError
from tests.support.alerts_factory import alert, both, channel, resolve, trigger
from tests.support.judge_server import Answer, Behaviour, judge_server
from tests.support.mail_server import PASSWORD, USER, Certificates, mail_server

SECRET = "T0-s3cret"
OK = Answer(202)


def after(*first: Answer, then: Answer = OK) -> Behaviour:
    return lambda number, _: first[number] if number < len(first) else then


def webhook(url: str, name: str = "hook") -> Channel:
    return channel(name, type="webhook", url=f"{url}/{SECRET}")


def pager(url: str) -> Channel:
    return channel("pager", type="pagerduty", routing_key=SECRET, url=url)


def test_one_message_tells_of_all_and_is_recorded_once() -> None:
    recorded: list[Sequence[Delivery]] = []
    with judge_server(after()) as server:
        found = deliver({webhook(server.url): [trigger(1), trigger(2)]}, {}, record=recorded.append)
    assert [True, True] == [one.delivered for one in found["hook"]]
    assert [[0, 1]] == [[one.index for one in message] for message in recorded]
    assert 1 == len(server.seen)


def test_events_are_recorded_one_by_one_when_they_are_gone() -> None:
    recorded: list[tuple[int, int]] = []
    with judge_server(after()) as server:
        due = {pager(server.url): [trigger(1), both(2), resolve(3)]}
        deliver(due, {}, record=lambda done: recorded.extend((one.index, len(server.seen)) for one in done))
    assert [(0, 1), (1, 3), (2, 4)] == recorded
    assert ["trigger", "trigger", "resolve", "resolve"] == [body["event_action"] for _, _, body in server.seen]


def test_what_may_pass_is_tried_again_in_the_same_run() -> None:
    with judge_server(after(Answer(500), Answer(reset=True))) as server:
        (found,) = deliver({webhook(server.url): [trigger()]}, {})["hook"]
        assert found.delivered
        assert 3 == len(server.seen)


def test_a_busy_service_is_left_alone_for_as_long_as_it_asked() -> None:
    started = time.monotonic()
    with judge_server(after(Answer(429, headers=(("retry-after", "1"),)))) as server:
        (found,) = deliver({webhook(server.url): [trigger()]}, {})["hook"]
    assert found.delivered
    assert time.monotonic() - started >= 1


def test_a_service_that_asks_for_more_time_than_there_is_is_left_to_the_next_run() -> None:
    started = time.monotonic()
    with judge_server(after(then=Answer(429, headers=(("retry-after", "3600"),)))) as server:
        (found,) = deliver({webhook(server.url): [trigger()]}, {})["hook"]
        assert 1 == len(server.seen)
    assert (False, True, 3600.0) == (found.delivered, found.retryable, found.retry_after_s)
    assert time.monotonic() - started < 60


def test_no_service_can_silence_its_channel_for_good() -> None:
    with judge_server(after(then=Answer(503, headers=(("retry-after", "9" * 400),)))) as server:
        (found,) = deliver({webhook(server.url): [trigger()]}, {})["hook"]
    assert 3600 == found.retry_after_s


@pytest.mark.parametrize("status", [302, 400, 403, 404])
def test_what_will_not_pass_says_so_and_is_tried_once(status: int) -> None:
    answer = Answer(status, headers=(("location", "http://127.0.0.1:1/"),))
    with judge_server(after(then=answer)) as server:
        (found,) = deliver({webhook(server.url): [trigger()]}, {})["hook"]
        assert 1 == len(server.seen)
    assert (False, False) == (found.delivered, found.retryable)
    assert found.reason.endswith(f"answered {status}")


def test_an_event_that_is_refused_does_not_stop_the_next() -> None:
    with judge_server(after(Answer(400))) as server:
        found = deliver({pager(server.url): [trigger(1), trigger(2)]}, {})["pager"]
    assert [False, True] == [one.delivered for one in found]


def test_no_end_is_told_whose_beginning_failed() -> None:
    with judge_server(after(Answer(400))) as server:
        found = deliver({pager(server.url): [both(1), trigger(2)]}, {})["pager"]
    assert [False, True] == [one.delivered for one in found]
    assert ["alert-1", "alert-2"] == [body["dedup_key"] for _, _, body in server.seen]


def test_a_channel_that_is_down_is_not_asked_for_every_event() -> None:
    with judge_server(after(then=Answer(503))) as server:
        found = deliver({pager(server.url): [trigger(number) for number in range(50)]}, {})["pager"]
        assert 3 == len(server.seen)
    assert 50 == len(found)
    assert not any(one.delivered for one in found)
    assert all(one.retryable for one in found)


def test_no_channel_waits_for_another_and_all_ends_in_time() -> None:
    started = time.monotonic()
    gone: dict[str, float] = {}
    with judge_server(after(then=Answer(wait_s=3))) as hanging, judge_server(after()) as fine:
        due = {
            webhook(hanging.url, "hanging"): [trigger()],
            webhook(fine.url, "fine"): [trigger()],
            channel("slow", type="command", command=["sleep", "30"]): [trigger()],
            channel("ok", type="command", command=["true"]): [trigger()],
        }
        found = deliver(
            due, {}, budget_s=1.5, record=lambda done: gone.update({done[0].channel: time.monotonic() - started})
        )
        took = time.monotonic() - started
    assert {"fine", "ok"} == gone.keys()
    assert max(gone.values()) < took < 20
    assert {"hanging": False, "fine": True, "slow": False, "ok": True} == {
        name: one.delivered for name, (one,) in found.items()
    }
    assert "did not answer within" in found["hanging"][0].reason
    assert "did not finish within" in found["slow"][0].reason


def test_a_channel_without_its_secret_fails_alone_and_says_which() -> None:
    with judge_server(after()) as server:
        lost = channel("lost", type="slack", url="env:NO_SUCH")
        found = deliver({lost: [trigger()], webhook(server.url): [trigger()]}, {})
    assert found["hook"][0].delivered
    assert "notify.lost.url: the environment variable NO_SUCH is not set" == found["lost"][0].reason
    assert found["lost"][0].retryable


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer of-file\n")
    with judge_server(after()) as server:
        found = channel(type="webhook", url="env:URL", headers={"authorization": f"file:{tmp_path / 'token'}"})
        (done,) = deliver({found: [trigger()]}, {"URL": server.url})["oncall"]
        assert done.delivered
        assert "Bearer of-file" == server.seen[0][1]["authorization"]


@pytest.mark.parametrize("reference", ["env:EMPTY", "env:NONE", "file:/no/such/file", "file:/etc", "file:{empty}"])
def test_a_secret_that_is_not_there_is_named_by_its_place(reference: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    with pytest.raises(ConfigError, match=r"^notify\.a\.url: "):
        resolve_secret(reference.format(empty=tmp_path / "empty"), {"EMPTY": ""}, "notify.a.url")


def test_what_a_secret_holds_is_checked_and_never_told() -> None:
    found = channel(type="slack", url="env:URL")
    (done,) = deliver({found: [trigger()]}, {"URL": f"no-address-{SECRET}"})["oncall"]
    assert "must begin with http" in done.reason
    assert SECRET not in done.reason


def test_no_result_tells_a_secret() -> None:
    with judge_server(after(then=Answer(401, body=SECRET.encode()))) as server:
        url = server.url.replace("http://", f"http://user:{SECRET}@")
        found = deliver({webhook(url): [trigger()], pager(url): [trigger()]}, {})
    assert SECRET not in str(found)
    assert all(one.place == server.url.removesuffix("/v1") for (one,) in found.values())


def test_a_dry_run_shows_the_messages_without_secrets_and_sends_nothing() -> None:
    with judge_server(after()) as server:
        due = {
            webhook(server.url): [trigger(1), trigger(2)],
            pager(server.url): [trigger()],
            channel("mail", type="email", host="h", to="a@b", username="u", password=SECRET, **{"from": "c@d"}): [
                trigger(title="x\x1b[31m")
            ],
            channel("run", type="command", command=["page", SECRET]): [trigger()],
            channel("signed", type="webhook", url="env:U", secret=SECRET, headers={"a": SECRET}): [trigger()],
        }
        found = deliver(due, {"U": f"https://h.example.com/{SECRET}"}, dry_run=True)
        assert not server.seen
    assert SECRET not in str(found)
    assert not any(one.delivered for shown in found.values() for one in shown)
    assert found["hook"][0].text.startswith(f"POST {server.url.removesuffix('/v1')}\n{{")
    assert "" == found["hook"][1].text
    assert "Subject: [ERROR] x\\x1b[31m" in found["mail"][0].text
    assert "\x1b" not in found["mail"][0].text
    assert found["run"][0].text.startswith("run page\n")
    assert found["signed"][0].text.startswith("POST https://h.example.com\n")


def test_mail_is_delivered_with_its_login(tmp_path: Path) -> None:
    with mail_server(Certificates(tmp_path)) as box:
        login = {"username": USER, "password": "env:P", "ca_file": box.ca_file}
        ends = {"from": "llmmon@example.com", "to": ["a@example.com", "b@example.com"]}
        mail = channel("mail", type="email", host=box.host, port=box.port, **login, **ends)
        (found,) = deliver({mail: [trigger()]}, {"P": PASSWORD})["mail"]
    assert found.delivered, found.reason
    assert f"localhost:{box.port}" == found.place
    assert "[ERROR] High Latency: model gpt-4o" == box.mails[0][2]["Subject"]


def test_slack_gets_one_message_a_second() -> None:
    assert 1.0 == SlackNotifier.GAP_S


def test_a_notifier_tells_of_one_alert_by_itself() -> None:
    with judge_server(after()) as server:
        asyncio.run(SlackNotifier(server.url).notify(alert()))
        assert "[ERROR] High Latency: model gpt-4o" == server.seen[0][2]["text"]


def test_a_notifier_that_fails_by_itself_raises() -> None:
    with judge_server(after(then=Answer(404))) as server, pytest.raises(DeliveryError, match="answered 404") as caught:
        asyncio.run(SlackNotifier(f"{server.url}/{SECRET}").notify(alert()))
    assert SECRET not in str(caught.value)


def test_nothing_due_is_nothing_done() -> None:
    assert {} == deliver({}, {})
    assert {"hook": ()} == deliver({webhook("http://127.0.0.1:1"): []}, {})
