"""The life of one alert, told step by step."""

from __future__ import annotations

import msgspec

from llmmon.alerting.alert import (
    Alert,
    Ended,
    Event,
    NotificationEvent,
    Observation,
    Silence,
    State,
    Transition,
    alert_id,
)
from llmmon.alerting.lifecycle import FLAPPING, MOST_A_DAY, acknowledged, resolved, step, without_rules
from llmmon.alerting.rules import AlertRule, AlertSeverity
from llmmon.alerting.sentences import Figures, description_of, unknown_placeholders

MINUTE = 60_000_000
RULE = AlertRule("slow", "latency_p95_ms", "gt", 5000.0, AlertSeverity.ERROR)


class Life:
    """One alert moved minute by minute: `+` the condition holds, `-` it does not, `?` nothing is known."""

    def __init__(self, rule: AlertRule = RULE, silences: tuple[Silence, ...] = ()) -> None:
        self.rule, self.silences = rule, silences
        self.state: dict[str, Alert] = {}
        self.happened: list[Transition] = []
        self.minute = 0

    def live(self, course: str) -> Life:
        for sign in course:
            met = {"+": True, "-": False, "?": None}[sign]
            observation = Observation(self.rule, (), met, 6000.0 + self.minute if met else 1000.0)
            self.state, found = step(self.state, [observation], self.minute * MINUTE, silences=self.silences)
            self.happened += found
            self.minute += 1
        return self

    @property
    def alert(self) -> Alert:
        return next(iter(self.state.values()))

    @property
    def events(self) -> list[tuple[int, str]]:
        return [(one.at_us // MINUTE, one.event.value) for one in self.happened]

    @property
    def told(self) -> list[tuple[int, str]]:
        return [(one.at_us // MINUTE, one.notification.value) for one in self.happened if one.notification is not None]


def with_rule(**changes: object) -> Life:
    return Life(msgspec.structs.replace(RULE, **changes))


def test_an_alert_fires_once_and_is_resolved_once() -> None:
    assert [(1, "trigger"), (4, "resolve")] == Life().live("-+++--").told


def test_a_condition_must_hold_for_as_long_as_the_rule_says() -> None:
    life = with_rule(for_us=3 * MINUTE).live("++-++++")
    assert [(0, "pending"), (2, "cleared"), (3, "pending"), (6, "firing")] == life.events
    assert [(6, "trigger")] == life.told


def test_a_cleared_pending_alert_leaves_nothing_behind() -> None:
    assert {} == with_rule(for_us=3 * MINUTE).live("+-").state


def test_flapping_is_one_episode_where_the_rule_keeps_firing() -> None:
    assert [(0, "trigger"), (5, "resolve")] == with_rule(keep_firing_for_us=3 * MINUTE).live("+-+----").told


def test_an_episode_inside_the_cooldown_is_not_told() -> None:
    life = with_rule(cooldown_minutes=10).live("+-" + "++--")
    assert [(0, "trigger"), (1, "resolve")] == life.told
    assert [(2, "firing"), (4, "resolved")] == life.events[2:]


def test_an_episode_that_outlasts_the_cooldown_is_told_then() -> None:
    assert [(0, "trigger"), (1, "resolve"), (6, "trigger"), (8, "resolve")] == (
        with_rule(cooldown_minutes=5).live("+-" + "++++++-").told
    )


def test_a_firing_alert_is_repeated_as_often_as_the_rule_says() -> None:
    assert [0, 3, 6] == [at for at, _ in with_rule(repeat_us=3 * MINUTE).live("+++++++").told]


def test_an_acknowledged_alert_is_not_repeated() -> None:
    life = with_rule(repeat_us=2 * MINUTE).live("+")
    name = life.alert.alert_id
    life.state[name], found = acknowledged(life.alert, life.minute * MINUTE, "seen")
    assert [NotificationEvent.ACKNOWLEDGE] == [one.notification for one in found]
    assert [(0, "trigger"), (6, "resolve")] == life.live("+++++-").told
    assert life.alert.acknowledged  # of the episode that is over; the next one begins without
    assert not life.live("+" * 9).alert.acknowledged


def test_acknowledging_twice_is_acknowledging_once() -> None:
    alert, _ = acknowledged(Life().live("+").alert, MINUTE, "seen")
    assert (alert, []) == acknowledged(alert, 2 * MINUTE, "again")


def test_a_silenced_alert_is_told_when_the_silence_is_over_and_it_still_fires() -> None:
    life = Life(silences=(Silence("s", {"rule": "sl*"}, 3 * MINUTE),)).live("+++++-")
    assert [(0, "silenced"), (3, "notified"), (5, "resolved")] == life.events
    assert [(3, "trigger"), (5, "resolve")] == life.told


def test_an_episode_that_ends_in_silence_is_never_told() -> None:
    assert [] == Life(silences=(Silence("s", {"severity": "error"}, 60 * MINUTE),)).live("++--").told


def test_an_end_is_told_in_a_silence_too_where_the_beginning_was() -> None:
    life = Life().live("+")
    life.silences = (Silence("s", {"rule": "slow"}, 60 * MINUTE),)
    assert [(0, "trigger"), (2, "resolve")] == life.live("+-").told


def test_a_silence_that_does_not_fit_changes_nothing() -> None:
    assert [(0, "trigger")] == Life(silences=(Silence("s", {"rule": "fast"}, 60 * MINUTE),)).live("+").told


def test_resolved_by_hand_holds_until_the_condition_has_cleared() -> None:
    life = Life().live("++")
    found: list[Transition] = []
    life.state[life.alert.alert_id] = resolved(life.alert, 2 * MINUTE, "by hand", found, ended=Ended.BY_HAND, held=True)
    assert [NotificationEvent.RESOLVE] == [one.notification for one in found]
    life.minute = 10
    assert [(0, "trigger")] == life.live("+++").told
    assert [(0, "trigger"), (15, "trigger")] == life.live("--+").told


def test_an_alert_of_a_removed_rule_is_resolved_and_says_why() -> None:
    life = Life().live("+")
    state, found = without_rules(life.state, ["another"], 5 * MINUTE)
    assert [("rule removed", NotificationEvent.RESOLVE)] == [(one.reason, one.notification) for one in found]
    assert [State.RESOLVED] == [alert.state for alert in state.values()]


def test_a_pending_alert_of_a_removed_rule_is_forgotten() -> None:
    assert ({}, []) == without_rules(with_rule(for_us=9 * MINUTE).live("+").state, [], MINUTE)


def test_nothing_known_leaves_an_alert_as_it_is() -> None:
    assert [(0, "trigger"), (4, "resolve")] == Life().live("+???-").told
    assert [] == Life().live("????").events


def test_the_peak_is_the_worst_value_of_the_episode() -> None:
    assert 6003.0 == Life().live("+-++-").alert.peak
    below = AlertRule("few", "requests", "lt", 5.0)
    state, _ = step({}, [Observation(below, (), met=True, value=3.0)], 0)
    state, _ = step(state, [Observation(below, (), met=True, value=1.0)], MINUTE)
    state, _ = step(state, [Observation(below, (), met=True, value=4.0)], 2 * MINUTE)
    assert [1.0] == [alert.peak for alert in state.values()]


def test_each_group_is_an_alert_of_its_own() -> None:
    groups = [(("model", "a"),), (("model", "b"),)]
    state, found = step({}, [Observation(RULE, group, met=True, value=9000.0) for group in groups], 0)
    assert 2 == len(state)
    assert ["slow: model a", "slow: model b"] == [one.alert.title for one in found]
    assert [Event.FIRING, Event.FIRING] == [one.event for one in found]


def test_a_description_is_filled_in_and_evaluates_nothing() -> None:
    rule = AlertRule(
        "slow",
        "latency_p95_ms",
        threshold=5.0,
        by=("model",),
        description="{model}: {value} > {threshold} {0.x} {nope}",
    )
    assert "a{value}: 1,234 > 5 {0.x} {nope}" == description_of(
        rule, (("model", "a{value}"),), Figures(1234.0, count=7)
    )
    assert ["0.x", "nope"] == unknown_placeholders(rule.description, rule)


def test_an_alert_that_flaps_is_notified_a_few_times_and_then_only_if_it_lasts() -> None:
    life = with_rule(cooldown_minutes=0).live("+-------------------" * 40)
    triggers = [at for at, event in life.told if event == "trigger"]
    assert FLAPPING <= len(triggers) <= MOST_A_DAY
    assert 40 == sum(one.event is Event.FIRING for one in life.happened)
    assert "flapping: notified 6 times in a day" in life.happened[5 * 2].alert.description
    before = len(triggers)
    lasting = [at for at, event in life.live("+" * 60).told if event == "trigger"]
    assert before + 1 == len(lasting)
    assert 0 <= lasting[-1] - 40 * 20 <= 30


def test_no_alert_is_notified_more_than_a_dozen_times_a_day() -> None:
    told = with_rule(cooldown_minutes=0).live(("+" * 40 + "-" * 10) * 28).told
    assert MOST_A_DAY == sum(event == "trigger" for _, event in told)


def test_a_minute_that_is_evaluated_again_does_not_move_an_alert_back() -> None:
    life = Life().live("+++--")
    earlier = Observation(RULE, (), met=True, value=9000.0)
    again, found = step(life.state, [earlier], MINUTE)
    assert (life.state, []) == (again, found)


LEVELS = msgspec.structs.replace(
    RULE,
    severity=AlertSeverity.WARNING,
    levels=((AlertSeverity.WARNING, 5000.0), (AlertSeverity.CRITICAL, 10000.0)),
    cooldown_minutes=0,
)


def leveled(values: list[float], rule: AlertRule = LEVELS) -> list[Transition]:
    state: dict[str, Alert] = {}
    happened: list[Transition] = []
    for minute, value in enumerate(values):
        seen = Observation(rule, (), rule.is_met(value), value)
        state, found = step(state, [seen], minute * MINUTE)
        happened += found
    return happened


def moves(happened: list[Transition]) -> list[tuple[int, str, str, float | None]]:
    return [(one.at_us // MINUTE, one.event, one.alert.severity, one.alert.threshold) for one in happened]


def test_a_worse_level_is_one_alert_that_is_notified_once_more_and_keeps_its_severity() -> None:
    happened = leveled([6000, 7000, 12000, 13000, 6000, 4000])
    assert [
        (0, "firing", "warning", 5000.0),
        (2, "raised", "critical", 10000.0),
        (5, "resolved", "critical", 10000.0),
    ] == moves(happened)
    assert ["trigger", "trigger", "resolve"] == [one.notification for one in happened]
    assert "raised from warning to critical" in happened[1].reason


def test_the_worst_level_at_once_is_notified_once() -> None:
    assert [(0, "firing", "critical", 10000.0)] == moves(leveled([12000, 12000, 6000]))


def test_a_worse_level_must_hold_as_long_as_the_rule() -> None:
    rule = msgspec.structs.replace(LEVELS, for_us=2 * MINUTE)
    assert [
        (0, "pending", "warning", 5000.0),
        (2, "firing", "warning", 5000.0),
        (8, "raised", "critical", 10000.0),
    ] == moves(leveled([6000, 12000, 6000, 12000, 12000, 6000, 12000, 12000, 12000], rule))


def test_an_acknowledged_alert_that_gets_worse_is_notified() -> None:
    state, _ = step({}, [Observation(LEVELS, (), True, 6000.0)], 0)
    (name,) = state
    state[name], _ = acknowledged(state[name], MINUTE, "seen")
    state, found = step(state, [Observation(LEVELS, (), True, 12000.0)], 2 * MINUTE)
    assert [(Event.RAISED, False)] == [(one.event, one.alert.acknowledged) for one in found]


CAUSE = msgspec.structs.replace(RULE, name="Provider down", inhibits=("slow*",), by=("model",), window_us=5 * MINUTE)


def inhibited(course: list[tuple[bool, bool]], group: str = "a") -> list[tuple[int, str, str]]:
    """What is notified of `slow` while `Provider down` holds or not, minute by minute."""
    state: dict[str, Alert] = {}
    told = []
    for minute, (cause, effect) in enumerate(course):
        seen = [
            Observation(msgspec.structs.replace(RULE, cooldown_minutes=0), (("model", group),), effect, 6000.0),
            Observation(CAUSE, (("model", "a"),), cause, 6000.0),
        ]
        state, found = step(state, seen, minute * MINUTE)
        told += [(minute, one.alert.rule, one.notification) for one in found if one.notification is not None]
    return told


def test_an_alert_that_another_inhibits_is_not_notified() -> None:
    assert [(0, "Provider down", "trigger"), (3, "Provider down", "resolve")] == inhibited(
        [(True, True)] * 3 + [(False, True)] * 3 + [(False, False)]
    )


def test_what_goes_on_after_its_cause_is_over_is_notified() -> None:
    told = inhibited([(True, True)] * 2 + [(False, True)] * 10)
    assert [(0, "Provider down", "trigger"), (2, "Provider down", "resolve"), (8, "slow", "trigger")] == told


def test_another_group_is_not_inhibited() -> None:
    assert (0, "slow", "trigger") in inhibited([(True, True)], group="b")


def test_what_was_notified_before_its_cause_is_notified_of_its_end() -> None:
    told = inhibited([(False, True), (True, True), (True, False)])
    assert [(0, "slow", "trigger"), (1, "Provider down", "trigger"), (2, "slow", "resolve")] == told


def test_no_name_and_the_name_none_are_two_groups() -> None:
    assert alert_id("c", "slow", (("user", None),)) != alert_id("c", "slow", (("user", "None"),))
