"""The lifecycle of alerts: `step` is a pure function of the alerts so far, new observations, and the time.

An alert is one group of one rule. It is pending while its condition has held for less than the rule's `for`,
then firing until the condition has been clear for `keep_firing_for`, then resolved. Each episode is notified at most
once as firing (and again with `repeat`), outside of cooldown and silences, and once as resolved if it was notified.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from llmmon.alerting.alert import (
    Alert,
    Alerts,
    Ended,
    Event,
    NotificationEvent,
    Observation,
    Silence,
    State,
    Transition,
    alert_id,
)
from llmmon.alerting.rules import AlertRule, description_of, title_of
from llmmon.text.times import DAY_US, HOUR_US, MINUTE_US, duration_text

FLAPPING: Final = 6  # notified episodes within a day, after which short ones are held back
MOST_A_DAY: Final = 12  # notified episodes of one alert within a day
_LASTS_US: Final = 30 * MINUTE_US
_PAUSE_US: Final = 4 * HOUR_US
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def step(
    state: Alerts,
    observations: Iterable[Observation],
    now_us: int,
    *,
    configuration: str = "",
    silences: Sequence[Silence] = (),
) -> tuple[dict[str, Alert], list[Transition]]:
    """Apply observations to alerts; returns the alerts and what happened to them, in order of rule and group.

    Alerts without an observation stay as they are. Applying the same observations again changes nothing.
    """
    after = dict(state)
    found: list[Transition] = []
    for observation in observations:
        name = alert_id(configuration, observation.rule.name, observation.group)
        changed = advance(after.get(name), observation, now_us, name, silences, found)
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
    silences: Sequence[Silence],
    found: list[Transition],
) -> Alert | None:
    """Apply one observation to one alert, adding what happened to `found`; returns None if nothing is worth keeping."""
    if alert is not None and now_us < max(alert.met_us, alert.resolved_us or 0):
        return alert  # a minute that is evaluated again says nothing new about an alert that is further on
    if observation.met is None:
        return alert if alert is None else _notify(alert, observation.rule, now_us, silences, found, fires_now=False)
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
    return _notify(alert, observation.rule, now_us, silences, found, fires_now=fires_now)


def _holding(alert: Alert | None, observation: Observation, now_us: int, name: str) -> Alert:
    """An alert whose condition holds: a new episode, or the current one with its newest value."""
    rule = observation.rule
    current = {
        "title": title_of(rule, observation.group, observation.headline),
        "severity": rule.severity,
        "metric_name": rule.metric_name,
        "value": observation.value,
        "threshold": rule.threshold if observation.threshold is None else observation.threshold,
        "description": description_of(
            rule, observation.group, observation.value, observation.threshold, observation.count, observation.note
        ),
        "condition": rule.condition,
        "labels": rule.labels,
        "notify": rule.notify,
        "met_us": now_us,
    }
    if alert is not None and not alert.resolved:
        return msgspec.structs.replace(alert, **current, peak=_peak(rule, alert.peak, observation.value))
    kept = (
        {}
        if alert is None
        else {
            "episode": alert.episode,
            "recent_us": alert.recent_us,
            "last_resolved_notified_us": alert.last_resolved_notified_us,
        }
    )
    fresh = {
        "alert_id": name,
        "rule": rule.name,
        "group": observation.group,
        "since_us": now_us,
        "peak": observation.value,
    }
    return Alert(**current, **fresh, **kept, timestamp=_moment(now_us))  # type: ignore[arg-type]


def _peak(rule: AlertRule, peak: float | None, value: float | None) -> float | None:
    if peak is None or value is None:
        return value if peak is None else peak
    return min(peak, value) if rule.condition in {"lt", "le"} else max(peak, value)


def _notify(
    alert: Alert,
    rule: AlertRule,
    now_us: int,
    silences: Sequence[Silence],
    found: list[Transition],
    *,
    fires_now: bool,
) -> Alert:
    """Notify of a firing alert if that is due."""
    if alert.state is not State.FIRING:
        return alert
    silence = next((one for one in silences if one.covers(alert, now_us)), None)
    if silence is not None:
        return _silenced(alert, silence, now_us, found)
    alert = msgspec.structs.replace(alert, silenced=False)
    if alert.notified_us is not None:
        due = rule.repeat_us > 0 and not alert.acknowledged and now_us - alert.notified_us >= rule.repeat_us
        if not due:
            return alert
        alert = msgspec.structs.replace(alert, notified_us=now_us)
        lasting = duration_text(now_us - alert.since_us)
        found.append(
            Transition(alert, Event.REPEATED, now_us, f"still firing after {lasting}", NotificationEvent.TRIGGER)
        )
        return alert
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
    alert = msgspec.structs.replace(alert, notified_us=now_us, recent_us=recent)
    event, reason = (Event.FIRING, alert.description) if fires_now else (Event.NOTIFIED, "silence or cooldown is over")
    found.append(Transition(alert, event, now_us, reason, NotificationEvent.TRIGGER))
    return alert


def _is_flapping(alert: Alert, recent: Sequence[int], now_us: int) -> bool:
    """Whether an alert that was notified often in the last day is held back, because it does not last."""
    if len(recent) < FLAPPING:
        return False
    lasts = now_us - (alert.fired_us or now_us) >= _LASTS_US
    return len(recent) >= MOST_A_DAY or not (lasts or now_us - recent[-1] >= _PAUSE_US)


def _silenced(alert: Alert, silence: Silence, now_us: int, found: list[Transition]) -> Alert:
    if alert.silenced:
        return alert
    alert = msgspec.structs.replace(alert, silenced=True)
    found.append(Transition(alert, Event.SILENCED, now_us, f"silenced{': ' * bool(silence.why)}{silence.why}"))
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
