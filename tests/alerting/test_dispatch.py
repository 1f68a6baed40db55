"""The queue of notifications: order, outages, and what is no longer worth sending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from llmmon.alerting.alert import Alert, Event, NotificationEvent, Silence, Transition
from llmmon.alerting.dispatch import BEING_SENT, send_due
from llmmon.alerting.notifiers import Channel
from llmmon.alerting.outbox import NotificationRow, enqueue, enqueue_missing
from llmmon.alerting.state import StateFile, sole_sender
from tests.support.alerts_factory import MINUTE_US, SINCE_US, alert, channel, over
from tests.support.judge_server import Answer, JudgeServer, judge_server

OK, DOWN, REFUSED = Answer(202), Answer(503), Answer(400)


class Queue:
    """A state, one channel, and a service behind it that answers as `answer` says."""

    def __init__(self, state: StateFile, server: JudgeServer, kind: str = "pagerduty", **settings: object) -> None:
        self.state, self.server, self.now_us = state, server, SINCE_US
        key = {"routing_key": "k"} if kind == "pagerduty" else {}
        self.channel = channel("pd", type=kind, url=server.url, **key, **settings)
        self.channels: dict[str, Channel] = {"pd": self.channel}

    def note(self, found: Alert, event: NotificationEvent) -> None:
        what = Event.RESOLVED if event is NotificationEvent.RESOLVE else Event.FIRING
        enqueue(self.state.outbox, [Transition(found, what, self.now_us, "", event)], self.channels, self.now_us)

    def send(self, minutes: float = 0) -> list[NotificationRow]:
        self.now_us += round(minutes * MINUTE_US)
        return send_due(self.state, self.channels, [], self.now_us, {})

    @property
    def seen(self) -> list[str]:
        return [body["event_action"] for _, _, body in self.server.seen]


def switched(answers: dict[str, Answer]) -> Callable[[int, object], Answer]:
    return lambda _number, _body: answers["now"]


def test_an_older_end_goes_before_a_newer_beginning() -> None:
    answers = {"now": OK}
    with judge_server(switched(answers)) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        queue.send()
        answers["now"] = DOWN
        queue.note(over(), NotificationEvent.RESOLVE)
        for minutes in (5, 1, 2, 4):
            queue.send(minutes)
        answers["now"] = OK
        queue.note(alert(episode=2), NotificationEvent.TRIGGER)
        taken = len(server.seen)
        queue.send(0.1)  # the end itself is not due for some minutes
        assert ["resolve", "trigger"] == queue.seen[taken:]


def test_an_end_that_is_refused_never_follows_the_next_beginning() -> None:
    refused = {"resolve"}
    with (
        judge_server(lambda _, body: REFUSED if body["event_action"] in refused else OK) as server,
        StateFile(None) as state,
    ):
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        queue.send()
        queue.note(over(), NotificationEvent.RESOLVE)
        queue.send(5)
        queue.note(alert(episode=2), NotificationEvent.TRIGGER)
        queue.send(5)
        refused.clear()
        queue.send(120)
        assert "trigger" == queue.seen[-1]
        assert [] == state.outbox.queued()


def test_one_success_makes_the_whole_queue_of_a_channel_due() -> None:
    answers = {"now": DOWN}
    with judge_server(switched(answers)) as server, StateFile(None) as state:
        queue = Queue(state, server)
        for number in range(5):
            queue.note(alert(number), NotificationEvent.TRIGGER)
            queue.send(5)
        answers["now"] = OK
        assert ["sent"] * 5 == [row.status for row in queue.send(5)]


def test_a_service_that_is_up_again_is_found_within_five_minutes() -> None:
    answers = {"now": DOWN}
    with judge_server(switched(answers)) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        for _ in range(12):
            queue.send(10)
        answers["now"] = OK
        assert ["sent"] == [row.status for row in queue.send(5)]


def test_a_service_that_asks_for_time_gets_it_whatever_is_new() -> None:
    answers = {"now": Answer(429, headers=(("retry-after", "1800"),))}
    with judge_server(switched(answers)) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(alert(1), NotificationEvent.TRIGGER)
        queue.send()
        answers["now"] = OK
        tried = len(server.seen)
        queue.note(alert(2), NotificationEvent.TRIGGER)
        assert ["queued", "queued"] == [row.status for row in queue.send(10)]
        assert tried == len(server.seen)
        assert ["sent", "sent"] == [row.status for row in queue.send(21)]


def test_nobody_is_paged_for_what_is_long_over() -> None:
    with judge_server(lambda *_: OK) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(over(), NotificationEvent.TRIGGER)
        (row,) = queue.send(60)
        assert ("expired", True, []) == (row.status, "longer than max_age" in row.reason, queue.seen)
        assert ["expired"] == [one.status for one in state.outbox.listed()]


def test_a_channel_can_be_told_of_everything() -> None:
    with judge_server(lambda *_: OK) as server, StateFile(None) as state:
        queue = Queue(state, server, max_age="0s")
        queue.note(over(), NotificationEvent.TRIGGER)
        queue.send(600)
        assert ["trigger", "resolve"] == queue.seen


def test_a_silence_holds_back_what_already_waits() -> None:
    answers = {"now": DOWN}
    with judge_server(switched(answers)) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        queue.send()
        answers["now"] = OK
        state.save_silence(Silence("s1", {"rule": "High*"}, SINCE_US + 60 * MINUTE_US))
        tried = len(server.seen)
        assert ["suppressed"] == [row.status for row in queue.send(10)]
        assert tried == len(server.seen)
        assert ["sent"] == [row.status for row in queue.send(60)]


def test_messages_for_a_channel_that_is_gone_wait_for_a_day() -> None:
    with judge_server(lambda *_: OK) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        queue.channels.clear()
        assert ["queued"] == [row.status for row in queue.send(10)]
        assert ["dropped"] == [row.status for row in queue.send(24 * 60)]
        assert [] == queue.send(10)


def test_a_channel_that_is_added_hears_what_fires() -> None:
    with judge_server(lambda *_: OK) as server, StateFile(None) as state:
        queue = Queue(state, server)
        for _ in range(2):
            enqueue_missing(state.outbox, [alert(1), alert(2, acknowledged=True)], queue.channels, queue.now_us)
            queue.send(5)
        assert ["trigger"] == queue.seen


def test_what_is_being_sent_is_left_to_its_sender(tmp_path: Path) -> None:
    with judge_server(lambda *_: OK) as server, StateFile(tmp_path / "state.db") as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        with sole_sender(tmp_path / "state.db"):
            assert [("queued", BEING_SENT)] == [(row.status, row.reason) for row in queue.send()]
        assert ["sent"] == [row.status for row in queue.send()]


def test_what_a_killed_sender_left_is_sent(tmp_path: Path) -> None:
    with judge_server(lambda *_: OK) as server, StateFile(tmp_path / "state.db") as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        state.outbox.taken([one.id for one in state.outbox.queued()])
        queue.note(over(), NotificationEvent.RESOLVE)  # meanwhile it ended
        queue.send(1)
        assert ["trigger", "resolve"] == queue.seen


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_sent_is_remembered_while_its_alert_is_open(kept: bool) -> None:
    with judge_server(lambda *_: OK) as server, StateFile(None) as state:
        queue = Queue(state, server)
        queue.note(alert(), NotificationEvent.TRIGGER)
        queue.send()
        state.outbox.forget(SINCE_US + MINUTE_US, {"alert-1"} if kept else set())
        assert kept == bool(state.outbox.of_episode("alert-1", 1))
        resolved = msgspec.structs.replace(over(), resolved_us=SINCE_US + 100 * 1440 * MINUTE_US)
        queue.note(resolved, NotificationEvent.RESOLVE)
        queue.send(100 * 1440)
        assert (["trigger", "resolve"] if kept else ["trigger"]) == queue.seen


def escalation(state: StateFile, server: JudgeServer) -> Queue:
    queue = Queue(state, server)
    late = channel("boss", type="pagerduty", url=server.url, routing_key="boss", escalate_after="15m")
    queue.channels["boss"] = late
    return queue


def keys(server: JudgeServer) -> list[tuple[str, str]]:
    return [(body["routing_key"], body["event_action"]) for _, _, body in server.seen]


def test_what_nobody_acknowledges_goes_to_another_channel() -> None:
    with judge_server(switched({"now": OK})) as server, StateFile(None) as state:
        queue = escalation(state, server)
        firing = alert(recent_us=(SINCE_US,))
        queue.note(firing, NotificationEvent.TRIGGER)
        for minutes in (0, 10, 5, 5):
            queue.now_us += minutes * MINUTE_US
            enqueue_missing(state.outbox, [firing], queue.channels, queue.now_us)
            queue.send()
            assert (queue.now_us - SINCE_US >= 15 * MINUTE_US) == (("boss", "trigger") in keys(server))
        queue.note(over(), NotificationEvent.RESOLVE)
        queue.send()
        *begun, first, last = keys(server)
        assert [("k", "trigger"), ("boss", "trigger")] == begun
        assert {("k", "resolve"), ("boss", "resolve")} == {first, last}  # channels do not wait for each other


def test_what_was_acknowledged_or_ended_in_time_goes_nowhere_else() -> None:
    with judge_server(switched({"now": OK})) as server, StateFile(None) as state:
        queue = escalation(state, server)
        queue.note(alert(recent_us=(SINCE_US,)), NotificationEvent.TRIGGER)
        queue.send(20)
        seen = alert(recent_us=(SINCE_US,), acknowledged=True)
        enqueue_missing(state.outbox, [seen], queue.channels, queue.now_us)
        queue.note(over(), NotificationEvent.RESOLVE)
        queue.send()
        assert [("k", "trigger"), ("k", "resolve")] == keys(server)
