"""What holds of `step` whatever happens."""

from __future__ import annotations

from itertools import groupby, pairwise

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmmon.alerting.alert import Alert, NotificationEvent, Observation, Silence, Transition
from llmmon.alerting.evaluation import evaluate_minutes
from llmmon.alerting.evaluation.windows import CLEAR, KEEP, MET, RuleEvaluation
from llmmon.alerting.lifecycle import step
from llmmon.alerting.rules import AlertRule, AlertSeverity

MINUTE = 60_000_000
GROUPS = tuple((("model", name),) for name in "abc")

minutes = st.integers(0, 6)
rules = st.builds(
    lambda hold, keep, cool, repeat: AlertRule(
        "rule",
        "latency_ms",
        threshold=1.0,
        for_us=hold * MINUTE,
        keep_firing_for_us=keep * MINUTE,
        cooldown_minutes=float(cool),
        repeat_us=repeat * MINUTE,
        by=("model",),
    ),
    minutes,
    minutes,
    minutes,
    minutes,
)
courses = st.lists(st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3), max_size=40)
silences = st.lists(st.builds(lambda end: Silence("s", {"model": "a"}, end * MINUTE), st.integers(0, 30)), max_size=1)

Course = list[list[bool | None]]


def lived(
    rule: AlertRule, course: Course, quiet: list[Silence], order: int = 1, *, twice: bool = False
) -> tuple[dict[str, Alert], list[Transition]]:
    state: dict[str, Alert] = {}
    happened: list[Transition] = []
    for minute, seen in enumerate(course):
        observations = [Observation(rule, group, met, 2.0) for group, met in zip(GROUPS, seen, strict=True)][::order]
        for _ in range(2 if twice else 1):
            state, found = step(state, observations, minute * MINUTE, silences=quiet)
            happened += found
    return state, happened


def episodes(happened: list[Transition]) -> list[list[Transition]]:
    told = [one for one in happened if one.notification is not None]
    told.sort(key=lambda one: (one.alert.alert_id, one.alert.episode))
    return [list(some) for _, some in groupby(told, key=lambda one: (one.alert.alert_id, one.alert.episode))]


@given(rules, courses, silences)
def test_an_episode_is_told_at_most_once_and_so_is_its_end(
    rule: AlertRule, course: Course, quiet: list[Silence]
) -> None:
    _, happened = lived(msgspec.structs.replace(rule, repeat_us=0), course, quiet)
    for told in episodes(happened):
        assert [one.notification for one in told] in (
            [NotificationEvent.TRIGGER],
            [NotificationEvent.TRIGGER, NotificationEvent.RESOLVE],
        )


@given(rules, courses, silences)
def test_repeats_keep_their_distance_and_stop_at_the_end(rule: AlertRule, course: Course, quiet: list[Silence]) -> None:
    _, happened = lived(rule, course, quiet)
    for told in episodes(happened):
        triggers = [one.at_us for one in told if one.notification is NotificationEvent.TRIGGER]
        assert all(b - a >= rule.repeat_us > 0 for a, b in pairwise(triggers))
        assert all(one.notification is NotificationEvent.TRIGGER for one in told[:-1])


@given(rules, courses, silences)
def test_nothing_begins_to_be_told_inside_the_cooldown(rule: AlertRule, course: Course, quiet: list[Silence]) -> None:
    _, happened = lived(msgspec.structs.replace(rule, repeat_us=0), course, quiet)
    for group in GROUPS:
        told = [one for one in happened if one.notification is not None and one.alert.group == group]
        for before, after in pairwise(told):
            if before.notification is NotificationEvent.RESOLVE:
                assert after.at_us - before.at_us >= rule.cooldown_us


@given(rules, courses, silences)
def test_the_same_step_twice_is_the_step_once(rule: AlertRule, course: Course, quiet: list[Silence]) -> None:
    assert lived(rule, course, quiet) == lived(rule, course, quiet, twice=True)


@given(rules, courses, silences)
def test_the_order_of_the_groups_is_irrelevant(rule: AlertRule, course: Course, quiet: list[Silence]) -> None:
    assert lived(rule, course, quiet) == lived(rule, course, quiet, order=-1)


@given(rules, courses, silences)
def test_what_fires_has_held_for_as_long_as_the_rule_says(
    rule: AlertRule, course: Course, quiet: list[Silence]
) -> None:
    _, happened = lived(rule, course, quiet)
    for one in happened:
        if one.alert.fired_us is not None:
            assert one.alert.fired_us - one.alert.since_us >= rule.for_us


@given(rules, courses)
def test_nothing_is_told_that_is_silenced(rule: AlertRule, course: Course) -> None:
    _, happened = lived(rule, course, [Silence("s", {}, 10**15)])
    assert [] == [one for one in happened if one.notification is not None]


seen_for_long = st.tuples(
    st.tuples(*(st.tuples(st.sampled_from([CLEAR, MET, KEEP]), st.sampled_from([float("nan"), 2.0, 9.0])),) * 3),
    st.integers(1, 40),
)


@given(rules, st.booleans(), st.lists(seen_for_long, max_size=8))
def test_minutes_that_are_skipped_would_have_changed_nothing(
    rule: AlertRule, levelled: bool, course: list[tuple[tuple[tuple[int, float], ...], int]]
) -> None:
    if levelled:
        rule = msgspec.structs.replace(rule, levels=((AlertSeverity.CRITICAL, 5.0),))
    long = [seen for seen, length in course for _ in range(length)]
    met = np.array([[seen[row][0] for seen in long] for row in range(3)], np.int64).reshape(3, -1)
    value = np.array([[seen[row][1] for seen in long] for row in range(3)]).reshape(3, -1)
    evaluation = RuleEvaluation(
        rule, GROUPS, np.arange(1, len(long) + 1), met, value, np.ones_like(met), np.zeros_like(met, np.bool_)
    )
    state: dict[str, Alert] = {}
    happened: list[Transition] = []
    for at in range(len(long)):
        state, found = step(state, [evaluation.observation(row, at) for row in range(3)], (at + 1) * MINUTE)
        happened += found
    assert evaluate_minutes({}, [evaluation]) == (state, happened)
