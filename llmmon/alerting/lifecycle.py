"""The lifecycle of alerts: `step` is a pure function of the alerts so far, new observations, and the time.

An alert is one group of one rule. It is pending while its condition has held for less than the rule's `for`,
then firing until the condition has been clear for `keep_firing_for`, then resolved. Each episode is notified at most
once as firing (and again with `repeat`), outside of cooldown and silences, and once as resolved if it was notified.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from llmmon.alerting.alert import (
    Alert,
    Alerts,
    Ended,
    Event,
    NotificationEvent,
    Observation,
    State,
    Suppression,
    Transition,
    alert_id,
    inhibits,
)
from llmmon.alerting.rules import AlertRule
from llmmon.alerting.sentences import Figures, description_of, link_of, title_of
from llmmon.text.times import DAY_US, HOUR_US, MINUTE_US, duration_text

FLAPPING: Final = 6  # notified episodes within a day, after which short ones are held back
MOST_A_DAY: Final = 12  # notified episodes of one alert within a day
_LASTS_US: Final = 30 * MINUTE_US
_PAUSE_US: Final = 4 * HOUR_US
NEVER_US: Final = 1 << 62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def step(
    state: Alerts,
    observations: Iterable[Observation],
    now_us: int,
    *,
    configuration: str = "",
    silences: Sequence[Suppression] = (),
) -> tuple[dict[str, Alert], list[Transition]]:
    """Apply observations to alerts; returns the alerts and what happened to them, in order of rule and group.

    Alerts without an observation stay as they are. Applying the same observations again changes nothing.
    """
    after = dict(state)
    found: list[Transition] = []
    for observation in sorted(observations, key=lambda one: not one.rule.inhibits):  # causes before what they inhibit
        name = alert_id(configuration, observation.rule.name, observation.group)
        changed = advance(after.get(name), observation, now_us, name, silences, found, after)
        if changed is None:
            after.pop(name, None)
        else:
            after[name] = changed
    found.sort(key=lambda t: (t.alert.rule, [(k, v or "") for k, v in t.alert.group]))
    return after, found


def advance(
    alert: Alert | None,
    observation: Observation,
    now_us: int,
    name: str,
    silences: Sequence[Suppression],
    found: list[Transition],
    others: Alerts,
) -> Alert | None:
    """Apply one observation to one alert, adding what happened to `found`; returns None if nothing is worth keeping.

    `others` are all alerts, some of which may inhibit it.
    """
    if alert is not None and now_us < max(alert.met_us, alert.resolved_us or 0):
        return alert  # a minute that is evaluated again says nothing new about an alert that is further on
    if observation.met is None:
        if alert is None:
            return None
        return _notify(alert, observation.rule, now_us, _held_back(alert, now_us, silences, others), found)
    if not observation.met:
        return alert if alert is None else _cleared(alert, observation, now_us, found)
    if alert is not None and alert.held:
        return msgspec.structs.replace(alert, met_us=now_us)
    begins = alert is None or alert.resolved
    alert = _holding(alert, observation, now_us, name)
    fires_now = alert.fired_us is None
    if fires_now:
        if now_us - alert.since_us < observation.rule.for_us:
            if begins:
                wait = duration_text(observation.rule.for_us)
                found.append(Transition(alert, Event.PENDING, now_us, f"condition met, fires if it lasts {wait}"))
            return alert
        alert = msgspec.structs.replace(alert, fired_us=now_us, timestamp=_moment(now_us), episode=alert.episode + 1)
    why = _held_back(alert, now_us, silences, others)
    return _notify(alert, observation.rule, now_us, why, found, fires_now=fires_now)


def _held_back(alert: Alert, now_us: int, silences: Sequence[Suppression], others: Alerts) -> str:
    """Why an alert is not notified now: a silence, a mute, or an alert that inhibits it; empty if it may be."""
    for one in silences:
        if one.covers(alert, now_us):
            return f"{one.kind}{': ' * bool(one.why)}{one.why}"
    cause = next((other for other in others.values() if inhibits(other, alert, now_us)), None)
    return "" if cause is None else f"inhibited by {cause.title}"


def _holding(alert: Alert | None, observation: Observation, now_us: int, name: str) -> Alert:
    """An alert whose condition holds: a new episode, or the current one with its newest value."""
    rule = observation.rule
    is_open = alert is not None and not alert.resolved
    since_us = alert.since_us if is_open and alert is not None else now_us
    level = _level(alert if is_open else None, observation, now_us)
    rule = msgspec.structs.replace(rule, severity=level["severity"])
    figures = Figures(
        observation.value, level["threshold"], observation.count, observation.note, since_us, observation.headline
    )
    current = {
        "title": title_of(rule, observation.group, figures),
        "metric_name": rule.metric_name,
        "aggregation": rule.aggregation,
        "window_us": rule.window_us,
        "value": observation.value,
        "count": observation.count,
        "description": description_of(rule, observation.group, figures),
        "runbook": link_of(rule.runbook, rule, observation.group, figures),
        "dashboard": link_of(rule.dashboard, rule, observation.group, figures),
        "condition": rule.condition,
        "labels": rule.labels,
        "notify": rule.notify,
        "inhibits": rule.inhibits,
        "met_us": now_us,
        **level,
    }
    if is_open and alert is not None:
        return msgspec.structs.replace(alert, **current, peak=_peak(rule, alert.peak, observation.value))
    kept = ("episode", "recent_us", "last_resolved_notified_us")
    return Alert(
        alert_id=name,
        rule=rule.name,
        group=observation.group,
        since_us=since_us,
        peak=observation.value,
        timestamp=_moment(now_us),
        **current,
        **({} if alert is None else {field: getattr(alert, field) for field in kept}),
    )


def _level(alert: Alert | None, observation: Observation, now_us: int) -> dict[str, Any]:
    """The severity, its threshold, and since when a more severe level holds.

    An alert keeps the highest severity that it has reached until it ends; a level must hold for as long as the rule.
    """
    rule = observation.rule
    if not rule.levels:
        limit = rule.threshold if observation.threshold is None else observation.threshold
        return {"severity": rule.severity, "threshold": limit, "worse_us": 0}
    reached, _ = rule.level_of(observation.value)
    severity = rule.severity if alert is None else max(alert.severity, rule.severity, key=lambda one: one.rank)
    worse_us = 0
    if reached.rank > severity.rank:
        worse_us = (alert.worse_us if alert is not None else 0) or now_us
        if now_us - worse_us >= rule.for_us:
            severity, worse_us = reached, 0
    return {"severity": severity, "threshold": dict(rule.levels).get(severity, rule.threshold), "worse_us": worse_us}


def _peak(rule: AlertRule, peak: float | None, value: float | None) -> float | None:
    if peak is None or value is None:
        return value if peak is None else peak
    return min(peak, value) if rule.condition in {"lt", "le"} else max(peak, value)


def _notify(
    alert: Alert, rule: AlertRule, now_us: int, held_back: str, found: list[Transition], *, fires_now: bool = False
) -> Alert:
    """Notify of a firing alert if that is due, and nothing holds it back."""
    if alert.state is not State.FIRING:
        return alert
    if held_back:
        return _silenced(alert, held_back, now_us, found)
    alert = msgspec.structs.replace(alert, silenced=False)
    if alert.notified_us is not None:
        return _again(alert, rule, now_us, found)
    if alert.last_resolved_notified_us is not None and now_us - alert.last_resolved_notified_us < rule.cooldown_us:
        if fires_now:
            left = duration_text(alert.last_resolved_notified_us + rule.cooldown_us - now_us)
            found.append(
                Transition(alert, Event.FIRING, now_us, f"within the cooldown, notified in {left} if it still fires")
            )
        return alert
    recent = tuple(at for at in alert.recent_us if now_us - at < DAY_US)
    if _is_flapping(alert, recent, now_us):
        if fires_now:
            reason = f"flapping, {len(recent)} times in a day: notified only if it lasts"
            found.append(Transition(alert, Event.FIRING, now_us, reason))
        return alert
    recent = (*recent, now_us)
    if len(recent) >= FLAPPING:
        note = f" (flapping: notified {len(recent)} times in a day; from now on only if it lasts)"
        alert = msgspec.structs.replace(alert, description=alert.description.removesuffix(note) + note)
    alert = msgspec.structs.replace(
        alert, notified_us=now_us, recent_us=recent, notified_severity=alert.severity, raised_from=""
    )
    event, reason = (Event.FIRING, alert.description) if fires_now else (Event.NOTIFIED, "silence or cooldown is over")
    found.append(Transition(alert, event, now_us, reason, NotificationEvent.TRIGGER))
    return alert


def _is_flapping(alert: Alert, recent: Sequence[int], now_us: int) -> bool:
    """Whether an alert that was notified often in the last day is held back, because it does not last."""
    if len(recent) < FLAPPING:
        return False
    lasts = now_us - (alert.fired_us or now_us) >= _LASTS_US
    return len(recent) >= MOST_A_DAY or not (lasts or now_us - recent[-1] >= _PAUSE_US)


def _again(alert: Alert, rule: AlertRule, now_us: int, found: list[Transition]) -> Alert:
    """Notify of an alert that was notified before, where its severity has risen or a reminder is due."""
    before = alert.notified_severity
    if before is not None and alert.severity.rank > before.rank and rule.levels:
        alert = msgspec.structs.replace(
            alert,
            notified_us=now_us,
            notified_severity=alert.severity,
            raised_from=before.value,
            acknowledged=False,  # what was acknowledged was less
        )
        reason = f"raised from {before.value} to {alert.severity.value}: {alert.description}"
        found.append(Transition(alert, Event.RAISED, now_us, reason, NotificationEvent.TRIGGER))
        return alert
    due = rule.repeat_us > 0 and not alert.acknowledged and now_us - (alert.notified_us or 0) >= rule.repeat_us
    if not due:
        return alert
    alert = msgspec.structs.replace(alert, notified_us=now_us, raised_from="")
    reason = f"still firing after {duration_text(now_us - alert.since_us)}"
    found.append(Transition(alert, Event.REPEATED, now_us, reason, NotificationEvent.TRIGGER))
    return alert


def _silenced(alert: Alert, why: str, now_us: int, found: list[Transition]) -> Alert:
    if alert.silenced:
        return alert
    alert = msgspec.structs.replace(alert, silenced=True)
    found.append(Transition(alert, Event.SILENCED, now_us, why))
    return alert


def _cleared(alert: Alert, observation: Observation, now_us: int, found: list[Transition]) -> Alert | None:
    """Apply to an alert that its condition does not hold."""
    if alert.resolved:
        return msgspec.structs.replace(alert, held=False)
    if alert.state is State.PENDING:
        found.append(Transition(alert, Event.CLEARED, now_us, "no longer holds"))
        return _last_episode(alert, now_us)
    if now_us - alert.met_us < observation.rule.keep_firing_for_us:
        return alert
    alert = msgspec.structs.replace(alert, value=alert.value if observation.value is None else observation.value)
    return resolved(alert, now_us, observation.note or "no longer holds", found, ended=observation.ended)


def _last_episode(alert: Alert, now_us: int) -> Alert | None:
    """What is kept of a pending alert that never fired: its cooldown, if there is one."""
    if alert.last_resolved_notified_us is None:
        return None
    return msgspec.structs.replace(alert, resolved=True, resolved_us=now_us, notified_us=None)


def resolved(
    alert: Alert, now_us: int, reason: str, found: list[Transition], *, ended: Ended, held: bool = False
) -> Alert:
    """Resolve a firing alert; the end is notified if the beginning was."""
    was_notified = alert.notified_us is not None
    alert = msgspec.structs.replace(
        alert,
        resolved=True,
        resolved_us=now_us,
        silenced=False,
        held=held,
        ended=ended.value,
        ended_reason=reason,
        last_resolved_notified_us=now_us if was_notified else alert.last_resolved_notified_us,
    )
    found.append(Transition(alert, Event.RESOLVED, now_us, reason, NotificationEvent.RESOLVE if was_notified else None))
    return alert


def next_change_us(alert: Alert, observation: Observation, now_us: int) -> int:
    """When `step` next changes an alert whose observation stays as it is, without silences and inhibitions.

    Never later than it does; `now_us` where it may be the very next minute, NEVER_US where it is never.
    """
    if alert.resolved:
        return NEVER_US
    rule = observation.rule
    if alert.state is State.FIRING and alert.notified_us is None:
        return now_us
    found = [NEVER_US]
    if observation.met is False:
        found.append(alert.met_us + rule.keep_firing_for_us)
    elif alert.fired_us is None:
        found.append(alert.since_us + rule.for_us)
    if alert.worse_us:
        found.append(alert.worse_us + rule.for_us)
    if alert.notified_us is not None and rule.repeat_us and not alert.acknowledged:
        found.append(alert.notified_us + rule.repeat_us)
    return min(found)


def without_rules(state: Alerts, rules: Iterable[str], now_us: int) -> tuple[dict[str, Alert], list[Transition]]:
    """Resolve the alerts of rules that no longer exist; `rules` are the names of those that do."""
    known = set(rules)
    after: dict[str, Alert] = {}
    found: list[Transition] = []
    for name, alert in state.items():
        if alert.rule in known:
            after[name] = alert
        elif alert.state is State.FIRING:
            after[name] = resolved(alert, now_us, "rule removed", found, ended=Ended.RULE_REMOVED)
        elif alert.resolved:
            after[name] = alert
    return after, found


def acknowledged(
    alert: Alert, now_us: int, reason: str, *, by: str = "", why: str = ""
) -> tuple[Alert, list[Transition]]:
    """Acknowledge an open alert, so that it is not repeated; a second time changes nothing."""
    if alert.resolved or alert.acknowledged:
        return alert, []
    alert = msgspec.structs.replace(alert, acknowledged=True, acknowledged_by=by, acknowledged_why=why)
    notification = NotificationEvent.ACKNOWLEDGE if alert.notified_us is not None else None
    return alert, [Transition(alert, Event.ACKNOWLEDGED, now_us, reason, notification)]


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
