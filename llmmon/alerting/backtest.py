"""Backtests: what rules would have done over past logs, in episodes, notifications, weeks, and incidents caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.alerting.alert import (
    Alert,
    GroupLabels,
    NotificationEvent,
    Receiver,
    State,
    Suppression,
    Transition,
    routes_to,
)
from llmmon.alerting.evaluation import evaluate_minutes
from llmmon.alerting.evaluation.windows import RuleEvaluation
from llmmon.alerting.history import statistic_of
from llmmon.alerting.rules import AlertRule, Burn
from llmmon.errors import InputError
from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.metrics.definitions import METRICS, STATISTICS
from llmmon.metrics.grouping import Grouping
from llmmon.text.tables import TomlTable
from llmmon.text.times import DAY_US, MINUTE_US, to_us

_KEYS: Final = frozenset({"kind", "start", "end", "metric", "group"})


class LabelledIncident(msgspec.Struct, frozen=True):
    """An incident over [start, end), the base metric that shows it, and the group affected (empty: all calls)."""

    kind: str
    start_us: int
    end_us: int
    metric: str
    group: Mapping[str, str] = msgspec.field(default_factory=dict)

    def concerns(self, group: GroupLabels) -> bool:
        """Whether an alert of a group can be about it: the fields that both have are equal."""
        return all(self.group.get(field, name) == name for field, name in group)


def labels_of(table: Mapping[str, Any], path: str) -> tuple[LabelledIncident, ...]:
    """The incidents of a labels file, in order of time; raises `InputError`."""
    read = TomlTable(table)
    found = [_incident(one) for one in read.tables("incidents")]
    if read.faults:
        raise InputError(read.faults_text(path))
    return tuple(sorted(found, key=lambda one: one.start_us))


def _incident(read: TomlTable) -> LabelledIncident:
    read.only(_KEYS)
    start_us, end_us = _time(read, "start"), _time(read, "end")
    if start_us and end_us and end_us <= start_us:
        read.fault("end", "must be after its start")
    return LabelledIncident(
        kind=read.text("kind", "incident"),
        start_us=start_us,
        end_us=end_us,
        metric=base_metric(read.text("metric")),
        group=read.named_texts("group"),
    )


def _time(read: TomlTable, key: str) -> int:
    value = read.value(key)
    if not isinstance(value, datetime):
        read.fault(key, f"must be a time, such as {key} = 2026-03-05T09:00:00Z")
        return 0
    return to_us(value if value.tzinfo else value.replace(tzinfo=UTC))


def base_metric(name: str) -> str:
    """The base metric of a metric's or statistic's name; an unknown name stays."""
    if name in METRICS:
        return name
    return STATISTICS[name].metric.name if name in STATISTICS else name


def metric_of_rule(rule: AlertRule) -> str:
    """The base metric that a rule watches; failures for burn rates, empty for an anomaly rule of any metric."""
    if rule.measured:
        return statistic_of(rule).metric.name
    return "error" if isinstance(rule.basis, Burn) else base_metric(rule.metric_name)


ALWAYS: Final = 0.99  # share of the time from which a rule counts as always firing
_MOST_CELLS: Final = 36  # of a timeline


class Episode(msgspec.Struct, frozen=True):
    """One episode of an alert: when its condition began to hold, when it fired and was resolved (None: not yet)."""

    rule: str
    group: GroupLabels
    severity: str
    since_us: int
    fired_us: int
    resolved_us: int | None
    peak: float | None


class Message(msgspec.Struct, frozen=True):
    """One notification about one alert; `channel` is empty if none is configured."""

    at_us: int
    channel: str
    event: NotificationEvent
    rule: str
    group: GroupLabels
    repeated: bool = False


class Replay(msgspec.Struct, frozen=True):
    """Everything that happened over the minutes `ends`."""

    ends: IntArray
    episodes: tuple[Episode, ...]
    messages: tuple[Message, ...]


class Week(msgspec.Struct, frozen=True):
    """The number of notifications that one rule fires (repeats included), in the week from `start_us`."""

    start_us: int
    notifications: int


class Caught(msgspec.Struct, frozen=True):
    """A labelled incident, the rule that fired first for it (empty: none), and how long after its start."""

    incident: LabelledIncident
    rule: str = ""
    delay_us: int | None = None


class RuleBacktest(msgspec.Struct, frozen=True, kw_only=True):
    """The backtest of one rule; times are of any of its groups, `caught` counts among the `incidents` of its metric."""

    rule: str
    severity: str
    notifications: int
    weeks: tuple[Week, ...]
    episodes: int
    firing_us: int
    firing_share: float
    longest_us: int
    caught: int = 0
    incidents: int = 0
    delay_us: int | None = None  # the median of those caught


class Strip(msgspec.Struct, frozen=True):
    """When one group of one rule fired: its share of each cell of the days from the first call to the last."""

    rule: str
    group: GroupLabels
    shares: tuple[float, ...]


class BacktestReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon rules backtest`. `messages` counts by channel what would have been sent."""

    start_us: int
    end_us: int
    rules: tuple[RuleBacktest, ...]
    episodes: tuple[Episode, ...]
    strips: tuple[Strip, ...]
    strips_us: tuple[int, int]  # the time that they cover, in whole days
    messages: Mapping[str, int]
    incidents: tuple[Caught, ...] | None = None


def replay(
    evaluations: Sequence[RuleEvaluation],
    channels: Sequence[Receiver] = (),
    configuration: str = "",
    mutes: Sequence[Suppression] = (),
) -> Replay:
    """Run the alert lifecycle over all minutes of evaluations, as `check` would have done every minute."""
    ends = evaluations[0].ends if evaluations else np.empty(0, np.int64)
    after, found = evaluate_minutes({}, evaluations, configuration=configuration, silences=mutes)
    end_us = int(ends[-1]) * MINUTE_US if len(ends) else 0
    return Replay(ends, _episodes(found, after), tuple(_messages(found, channels, end_us)))


def _episodes(found: Sequence[Transition], after: Mapping[str, Alert]) -> tuple[Episode, ...]:
    last: dict[tuple[str, int], Alert] = {}
    for alert in (*(one.alert for one in found), *after.values()):
        if alert.fired_us is not None:
            last[alert.alert_id, alert.episode] = alert
    return tuple(sorted(map(episode_of, last.values()), key=lambda e: (e.fired_us, e.rule, str(e.group))))


def episode_of(alert: Alert) -> Episode:
    """The episode of an alert that has fired."""
    over = alert.resolved_us if alert.state is State.RESOLVED else None
    return Episode(alert.rule, alert.group, alert.severity.value, alert.since_us, alert.fired_us or 0, over, alert.peak)


def _messages(found: Sequence[Transition], channels: Sequence[Receiver], end_us: int) -> list[Message]:
    """The notifications that channels would have been sent; an end goes to the channels of its beginning."""
    messages: list[Message] = []
    routes: dict[tuple[str, int], list[str]] = {}
    later = [channel for channel in channels if channel.escalate_after_us]
    open_since: dict[tuple[str, int], int] = {}
    for one in found:
        if one.notification is None:
            continue
        alert, key = one.alert, (one.alert.alert_id, one.alert.episode)
        repeated = key in routes and one.notification is NotificationEvent.TRIGGER
        if key not in routes:
            routes[key] = [c.name for c in channels if routes_to(alert, c) and c not in later] if channels else [""]
            open_since[key] = one.at_us
        if one.notification is NotificationEvent.RESOLVE:
            messages += _escalated(one.alert, open_since.pop(key, one.at_us), one.at_us, later, routes[key])
        messages += [Message(one.at_us, to, one.notification, alert.rule, alert.group, repeated) for to in routes[key]]
    still = {(one.alert.alert_id, one.alert.episode): one.alert for one in found}
    for key, since_us in open_since.items():
        messages += _escalated(still[key], since_us, end_us, later, routes[key])
    return messages


def _escalated(
    alert: Alert, since_us: int, until_us: int, channels: Sequence[Receiver], routes: list[str]
) -> list[Message]:
    """What escalation sends of an alert that nobody acknowledges; adds the channels to its routes."""
    reached = [c for c in channels if until_us - since_us >= c.escalate_after_us and routes_to(alert, c)]
    routes += [channel.name for channel in reached]
    return [
        Message(since_us + c.escalate_after_us, c.name, NotificationEvent.TRIGGER, alert.rule, alert.group)
        for c in reached
    ]


def notified(messages: Sequence[Message]) -> list[tuple[int, str, GroupLabels]]:
    """The times at which alerts were notified as firing, whatever the channel."""
    return sorted({(m.at_us, m.rule, m.group) for m in messages if m.event is NotificationEvent.TRIGGER})


def report_of(
    done: Replay, rules: Sequence[AlertRule], tz: str, incidents: Sequence[LabelledIncident] | None, together: set[str]
) -> BacktestReport:
    """The report of a replay; the channels `together` get one message for all notifications of a run."""
    start, end = (int(done.ends[0]) - 1) * MINUTE_US, int(done.ends[-1]) * MINUTE_US
    notifications = notified(done.messages) if done.messages else []
    weeks, days = _weeks(start, end, tz), _days(start, end, tz)
    return BacktestReport(
        start_us=start,
        end_us=end,
        rules=tuple(_of_rule(rule, done, notifications, weeks, incidents or (), (start, end)) for rule in rules),
        episodes=done.episodes,
        strips=_strips(done.episodes, rules, days, end),
        strips_us=(days[0], days[-1]),
        messages=_sent(done.messages, together),
        incidents=None if incidents is None else tuple(_first(one, done.episodes, rules) for one in incidents),
    )


def _weeks(start: int, end: int, tz: str) -> list[int]:
    """The starts (Mondays) of all weeks that overlap the time range."""
    grouping = Grouping((), 7 * DAY_US, tz)
    first, last = (int(n) for n in grouping.numbers(np.array([start, max(start, end - 1)])))
    return [grouping.bucket_start(number) for number in range(first, last + 1)]


def _of_rule(
    rule: AlertRule,
    done: Replay,
    notifications: Sequence[tuple[int, str, GroupLabels]],
    weeks: Sequence[int],
    incidents: Sequence[LabelledIncident],
    bounds: tuple[int, int],
) -> RuleBacktest:
    start, end = bounds
    mine = [episode for episode in done.episodes if episode.rule == rule.name]
    times = np.array([at for at, name, _ in notifications if name == rule.name], np.int64)
    place = np.searchsorted(np.array(weeks), times, "right") - 1
    firing = _covered([(e.fired_us, end if e.resolved_us is None else e.resolved_us) for e in mine])
    relevant = [one for one in incidents if one.metric == metric_of_rule(rule)]
    delays = [delay for one in relevant if (delay := delay_of(one, mine, rule)) is not None]
    return RuleBacktest(
        rule=rule.name,
        severity=rule.severity.value,
        notifications=len(times),
        weeks=tuple(Week(at, int((place == i).sum())) for i, at in enumerate(weeks)),
        episodes=len(mine),
        firing_us=firing,
        firing_share=firing / max(1, end - start),
        longest_us=max(((end if e.resolved_us is None else e.resolved_us) - e.fired_us for e in mine), default=0),
        caught=len(delays),
        incidents=len(relevant),
        delay_us=round(float(np.median(delays))) if delays else None,
    )


def _covered(spans: Sequence[tuple[int, int]]) -> int:
    """The length of the union of spans."""
    total, reached = 0, -(1 << 62)
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def delay_of(incident: LabelledIncident, episodes: Sequence[Episode], rule: AlertRule) -> int | None:
    """How long after an incident's start the rule first fired for it; None if it did not."""
    until = incident.end_us + rule.window_us + rule.for_us
    hits = [
        e.fired_us - incident.start_us
        for e in episodes
        if incident.start_us <= e.since_us and e.fired_us <= until and incident.concerns(e.group)
    ]
    return min(hits, default=None)


def _first(incident: LabelledIncident, episodes: Sequence[Episode], rules: Sequence[AlertRule]) -> Caught:
    """The rule that fired first for an incident, whatever its metric."""
    by_rule = ((rule, [e for e in episodes if e.rule == rule.name]) for rule in rules)
    hits = [(d, rule.name) for rule, mine in by_rule if (d := delay_of(incident, mine, rule)) is not None]
    if not hits:
        return Caught(incident)
    delay, name = min(hits)
    return Caught(incident, name, delay)


def _days(start: int, end: int, tz: str) -> list[int]:
    """The midnights from the day of the first call to the one after the last."""
    grouping = Grouping((), DAY_US, tz)
    first, last = (int(n) for n in grouping.numbers(np.array([start, max(start, end - 1)])))
    return [grouping.bucket_start(number) for number in range(first, last + 2)]


def _strips(
    episodes: Sequence[Episode], rules: Sequence[AlertRule], days: Sequence[int], end: int
) -> tuple[Strip, ...]:
    rows: dict[tuple[str, GroupLabels], list[Episode]] = {}
    for episode in episodes:
        rows.setdefault((episode.rule, episode.group), []).append(episode)
    order = {rule.name: i for i, rule in enumerate(rules)}
    keys = sorted(rows, key=lambda key: (order.get(key[0], len(order)), str(key[1])))
    number = len(days) - 1
    cells = max(1, _MOST_CELLS // number) * number if number < _MOST_CELLS else _MOST_CELLS
    edges = np.interp(np.linspace(0, number, cells + 1), np.arange(number + 1), days)
    return tuple(Strip(*key, tuple(_shares(rows[key], edges, end).tolist())) for key in keys)


def _shares(episodes: Sequence[Episode], edges: FloatArray, end: int) -> FloatArray:
    """The share of each of the cells between edges in which one of the episodes fired; shape (cells,)."""
    shares = np.zeros(len(edges) - 1)
    for episode in episodes:
        until = end if episode.resolved_us is None else max(episode.resolved_us, episode.fired_us + MINUTE_US)
        shares += np.clip(np.minimum(until, edges[1:]) - np.maximum(episode.fired_us, edges[:-1]), 0, None)
    found: FloatArray = np.minimum(shares / np.diff(edges), 1.0)
    return found


def _sent(messages: Sequence[Message], together: set[str]) -> dict[str, int]:
    """The number of messages by channel."""
    found: dict[str, int] = {}
    for name in dict.fromkeys(m.channel for m in messages):
        mine = [m for m in messages if m.channel == name]
        found[name] = len({m.at_us for m in mine}) if name in together else len(mine)
    return found
