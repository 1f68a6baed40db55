"""Actions on alerts, silences and added rules, shared by the command line and the service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmmon.alerting.alert import Alert, Ended, Silence, State, Transition, matches
from llmmon.alerting.dispatch import BEING_SENT, send_due
from llmmon.alerting.lifecycle import acknowledged, resolved
from llmmon.alerting.outbox import NotificationRow, QueuedNotification, enqueue
from llmmon.alerting.rule_config import rules_of
from llmmon.alerting.rules import INCIDENT, AlertRule, AlertSeverity
from llmmon.alerting.state import BusyError, StateFile
from llmmon.errors import ConfigError, UsageError
from llmmon.text.names import lookup, unknown
from llmmon.text.tables import TomlTable
from llmmon.text.times import iso

if TYPE_CHECKING:
    from llmmon.alerting.mutes import Mute
    from llmmon.alerting.notifiers import Channel


MOST_ADDED: Final = 200
_FACT: Final = "added_rules"
Table = Mapping[str, Any]  # as one of `[[rules]]`


class FaultyRuleError(ConfigError):
    """An added rule that is not valid; `faults` are texts such as `metric: unknown metric ...`."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def added_rules(state: StateFile) -> tuple[AlertRule, ...]:
    """The added rules, oldest first; those that this version cannot read are left out."""
    found: list[AlertRule] = []
    for table in _tables(state):
        rules, faults = _rules_of(table)
        found += () if faults else rules
    return tuple(found)


def all_rules(configured: Sequence[AlertRule], state: StateFile) -> tuple[AlertRule, ...]:
    """All rules that are evaluated; a configured one takes precedence over an added one of the same name."""
    names = {rule.name for rule in configured}
    return (*configured, *(rule for rule in added_rules(state) if rule.name not in names))


def add_rule(state: StateFile, table: Table, configured: Sequence[AlertRule], channels: Sequence[Channel]) -> None:
    """Add a rule, or replace the added one of its name.

    Raises `FaultyRuleError`, and `UsageError` for the name of a configured rule or where there are too many.
    """
    _check(table, channels)
    if any(table["name"] == one.name for one in configured):
        raise UsageError(f"{table['name']!r} is a rule of the configuration", hint="choose another name")
    with state.transaction():
        others = [one for one in _tables(state) if one["name"] != table["name"]]
        if len(others) >= MOST_ADDED:
            raise UsageError(f"{MOST_ADDED} rules were added already", hint="put rules into llmmon.toml")
        _save(state, [*others, table])


_LONGEST_NAME: Final = 200
_NAME: Final = re.compile(rf"(?!\.\.?\Z)[^/\x00-\x1f]{{1,{_LONGEST_NAME}}}")


def _check(table: Table, channels: Sequence[Channel]) -> None:
    rules, faults = _rules_of(table)
    known = {channel.name for channel in channels}
    strange = [name for rule in rules for name in rule.notify or () if name not in known]
    faults += [f"notify: there is no channel {name!r}" for name in strange]
    if not _NAME.fullmatch(str(table.get("name", ""))):
        faults.append(f"name: must have 1 to {_LONGEST_NAME} characters, and no slash: it is part of an address")
    if faults:
        raise FaultyRuleError([fault.removeprefix("rules[1].") for fault in faults])


def _rules_of(table: Table) -> tuple[tuple[AlertRule, ...], list[str]]:
    """The rule of a table, and what is wrong with it."""
    read = TomlTable({"rules": [table]})
    return rules_of(read.tables("rules")), read.faults


def drop_rule(state: StateFile, name: str) -> None:
    """Remove an added rule; its alerts are resolved at the next evaluation. Raises `UsageError` if there is none."""
    with state.transaction():
        known = {table["name"]: table for table in _tables(state)}
        if not known:
            raise UsageError(f"no rule {name!r}: no rules were added")
        del known[lookup({one: one for one in known}, name, "rule")]
        _save(state, list(known.values()))


def _tables(state: StateFile) -> list[dict[str, Any]]:
    text = state.fact(_FACT)
    return [] if text is None else msgspec.json.decode(text, type=list[dict[str, Any]])


def _save(state: StateFile, tables: list[Table]) -> None:
    state.set_fact(_FACT, msgspec.json.encode(tables).decode())


def open_alerts(state: StateFile, now_us: int, *, every: bool) -> tuple[list[Alert], list[dict[str, Any]]]:
    """The open alerts (with `every` all that are stored), most severe first, and the active silences."""
    known = [a for a in state.alerts().values() if not a.resolved or (every and a.fired_us is not None)]
    known.sort(key=lambda a: (a.resolved, -a.severity.rank, -a.since_us, a.alert_id))
    held = [one for one in state.silences() if one.until_us > now_us]
    return known, [
        {
            **msgspec.to_builtins(one),
            "start": iso(one.start_us or one.created_us),
            "until": iso(one.until_us),
            "created": iso(one.created_us),
        }
        for one in held
    ]


class PastAction(msgspec.Struct, frozen=True):
    """What a person did with an episode of an alert."""

    at_us: int
    action: str
    by: str
    why: str


def history(state: StateFile, since_us: int, rule: str = "") -> list[tuple[Alert, tuple[PastAction, ...]]]:
    """The episodes that fired since a time, oldest first, each with what people did; `rule` is a glob of names."""
    found: dict[tuple[str, int], list[PastAction]] = {}
    for at_us, alert_id, episode, action, by, why in state.actions():
        found.setdefault((alert_id, episode), []).append(PastAction(at_us, action, by, why))
    return [
        (alert, tuple(found.get((alert.alert_id, alert.episode), ())))
        for alert in state.episodes(since_us)
        if not rule or fnmatchcase(alert.rule, rule)
    ]


def retry_queued(state: StateFile, actor: Actor) -> list[NotificationRow]:
    """Send everything that waits in the queue now; returns a row for each, and raises `BusyError` while others send."""
    with state.transaction():
        state.outbox.retry(actor.now_us)
    by_name = {channel.name: channel for channel in actor.channels}
    rows = send_due(state, by_name, [], actor.now_us, actor.environment, mutes=actor.mutes)
    if any(row.reason == BEING_SENT for row in rows):
        raise BusyError("another run is sending just now; try again when it has ended")
    return rows


def drop_queued(state: StateFile, ids: Sequence[str], channel: str, now_us: int) -> list[QueuedNotification]:
    """Take notifications out of the queue, by their numbers or all of a channel; raises `UsageError`."""
    with state.transaction():
        waiting = {str(one.id): one for one in state.outbox.queued()}
        if unknown_ids := [text for text in ids if text not in waiting]:
            raise UsageError(f"no notification {unknown_ids[0]!r} waits", hint="`llmmon notify queue` lists them")
        chosen = [one for number, one in waiting.items() if number in ids or (channel and one.channel == channel)]
        if channel and not chosen:
            raise UsageError(f"nothing waits for the channel {channel!r}", hint="`llmmon notify queue` lists the queue")
        for one in chosen:
            state.outbox.give_up(one.id, "dropped", "dropped by hand", now_us)
    return chosen


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts on alerts, when and why, and the channels that are notified of it."""

    now_us: int
    by: str = ""
    why: str = ""
    channels: Sequence[Channel] = ()
    mutes: Sequence[Mute] = ()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def whom(self) -> str:
        """` by NAME`, as reasons show it."""
        return f" by {self.by}" if self.by else ""

    @property
    def because(self) -> str:
        """`: REASON`, as reasons show it."""
        return f": {self.why}" if self.why else ""


def acknowledge(state: StateFile, ids: Iterable[str], actor: Actor) -> list[Alert]:
    """Acknowledge open alerts, and notify services that support it; raises `UsageError` for unknown or ended ones."""
    reason = f"acknowledged{actor.because}"

    def acknowledge_one(alert: Alert) -> tuple[Alert, list[Transition]]:
        if alert.resolved:
            raise UsageError(f"alert {alert.alert_id} is over, so that there is nothing to acknowledge")
        return acknowledged(alert, actor.now_us, reason, by=actor.by, why=actor.why)

    return _changed(state, ids, acknowledge_one, "acknowledged", actor)


def resolve(state: StateFile, ids: Iterable[str], actor: Actor) -> list[Alert]:
    """Resolve open alerts by hand until their condition has cleared; raises `UsageError` for unknown or ended ones."""

    def resolve_one(alert: Alert) -> tuple[Alert, list[Transition]]:
        if alert.resolved:
            raise UsageError(f"alert {alert.alert_id} is over already")
        if alert.state is not State.FIRING:
            held = msgspec.structs.replace(alert, resolved=True, resolved_us=actor.now_us, held=True)
            return held, []
        found: list[Transition] = []
        reason = f"resolved by hand{actor.whom}{actor.because}"
        return resolved(alert, actor.now_us, reason, found, ended=Ended.BY_HAND, held=True), found

    return _changed(state, ids, resolve_one, "resolved", actor)


def accept(state: StateFile, ids: Iterable[str], actor: Actor) -> list[str]:
    """Take the levels of incidents as the baseline: their alerts end, and nothing shows them as lasting any more.

    The ids are of incidents or of their alerts; an incident need not have an alert. Raises `UsageError` for ids of
    other alerts and for texts that are no ids. Returns what was accepted, in words.
    """
    names = list(ids)
    known = state.alerts()
    done = []
    for text in names:
        alert = next((one for name, one in known.items() if name.startswith(text) or _is_of(one, text)), None)
        incident = text if alert is None else dict(alert.group).get(INCIDENT)
        if incident is None or not _INCIDENT_ID.fullmatch(incident):
            what = f"alert {text} is of no incident" if incident is None else f"{text!r} is no id of an incident"
            raise UsageError(what, hint="`llmmon anomalies -f json` and `llmmon alerts list` have their ids")
        with state.transaction():
            state.set_fact(ACCEPTED, _with(state.fact(ACCEPTED), incident, actor.now_us))
        if alert is not None and not alert.resolved:
            _changed(state, [alert.alert_id], partial(_accept_one, actor), "accepted", actor)
        done.append(f"incident {incident}" if alert is None else f"incident {incident}: {alert.title}")
    return done


def accepted_incidents(path: Path | None) -> dict[str, int]:
    """The incidents whose level was accepted, by id (or the beginning of one), with when; none without a state file."""
    if path is None or not path.exists():
        return {}
    with StateFile(path) as state:
        return _accepted_of(state.fact(ACCEPTED))


def _accepted_of(stored: str | None) -> dict[str, int]:
    return {} if stored is None else msgspec.json.decode(stored, type=dict[str, int])


def _with(stored: str | None, incident: str, now_us: int) -> str:
    return msgspec.json.encode({**_accepted_of(stored), incident: now_us}).decode()


def _is_of(alert: Alert, text: str) -> bool:
    return (dict(alert.group).get(INCIDENT) or "").startswith(text)


def _accept_one(actor: Actor, alert: Alert) -> tuple[Alert, list[Transition]]:
    found: list[Transition] = []
    reason = f"accepted as the baseline{actor.whom}{actor.because}"
    return resolved(alert, actor.now_us, reason, found, ended=Ended.ACCEPTED, held=True), found


def _changed(
    state: StateFile,
    ids: Iterable[str],
    change: Callable[[Alert], tuple[Alert, list[Transition]]],
    action: str,
    actor: Actor,
) -> list[Alert]:
    by_name = {channel.name: channel for channel in actor.channels}
    with state.transaction():
        before = state.alerts()
        chosen = [_called(before, text) for text in ids]
        after = dict(before)
        transitions: list[Transition] = []
        for alert in chosen:
            after[alert.alert_id], found = change(after[alert.alert_id])
            transitions += found
            state.add_action(actor.now_us, after[alert.alert_id], action, actor.by, actor.why)
        state.save_alerts(before, after)
        enqueue(state.outbox, transitions, by_name, actor.now_us)
    send_due(state, by_name, [], actor.now_us, actor.environment, mutes=actor.mutes)
    return [after[alert.alert_id] for alert in chosen]


def _called(known: Mapping[str, Alert], text: str) -> Alert:
    """The alert with this id, the beginning of one, or the name of its rule; raises `UsageError`."""
    found = [alert for name, alert in known.items() if name.startswith(text)]
    found = found or [alert for alert in known.values() if text in (alert.rule, alert.title)]
    open_ones = [alert for alert in found if not alert.resolved]
    if len(found) == 1 or len(open_ones) == 1:
        return (open_ones or found)[0]
    if found:
        several = ", ".join(alert.alert_id for alert in open_ones or found)
        raise UsageError(f"{text!r} may be {len(open_ones or found)} alerts: {several}", hint="give more characters")
    open_ids = [name for name, alert in known.items() if not alert.resolved]
    raise UsageError(unknown("alert", text, open_ids) if open_ids else f"no alert {text!r}: none is open")


def add_silence(
    state: StateFile,
    matchers: Mapping[str, str],
    until_us: int,
    why: str,
    now_us: int,
    *,
    start_us: int = 0,
    by: str = "",
) -> Silence:
    """Silence matching alerts from a time (0: now) until another; raises `UsageError` for one that never applies."""
    if until_us <= max(start_us, now_us):
        raise UsageError("the silence would be over before it begins", hint="--for 2h gives it two hours")
    text = "\x1f".join([str(now_us), *(f"{k}={v}" for k, v in sorted(matchers.items()))])
    made = Silence(sha256(text.encode()).hexdigest()[:8], dict(matchers), until_us, why, now_us, start_us, by)
    with state.transaction():
        state.save_silence(made)
    return made


ACCEPTED: Final = "accepted incidents"  # the fact of the state file
_INCIDENT_ID: Final = re.compile("[0-9a-f]{6,12}")
_MATCHED: Final = ("rule", "severity", "metric", "alert_id")


def check_matchers(state: StateFile, matchers: Mapping[str, str], rules: Sequence[AlertRule]) -> None:
    """Check that matchers can match an alert of these rules or one that is stored; raises `UsageError`."""
    alerts = list(state.alerts().values())
    fields = {field for rule in rules for field in rule.by} | {field for one in alerts for field, _ in one.group}
    labels = {name for rule in rules for name in rule.labels} | {name for one in alerts for name in one.labels}
    anomalous = {"model", INCIDENT} if any(rule.anomaly for rule in rules) else set()
    known = {
        "rule": {rule.name for rule in rules} | {one.rule for one in alerts},
        "severity": {severity.value for severity in AlertSeverity},
        "metric": {rule.metric_name for rule in rules} | {one.metric_name for one in alerts},
        "alert_id": {one.alert_id for one in alerts},
    }
    for name, wanted in matchers.items():
        if name not in {*_MATCHED, *fields, *labels, *anomalous}:
            raise UsageError(
                unknown("matcher", name, {*_MATCHED, *fields, *labels}),
                hint="an alert has a rule, a severity, a metric, the fields its rule groups by, and labels",
            )
        if not wanted:
            raise UsageError(f"{name}= matches no alert", hint=f"{name}='*' matches every alert with a {name}")
        if name in {"rule", "severity"} and not any(fnmatchcase(one, wanted) for one in known[name]):
            raise UsageError(unknown(name, wanted, known[name]))


def covered(state: StateFile, matchers: Mapping[str, str]) -> list[Alert]:
    """The open alerts that matchers match."""
    return [alert for alert in state.alerts().values() if not alert.resolved and matches(alert, matchers)]


def drop_silences(state: StateFile, ids: Iterable[str]) -> list[str]:
    """Remove silences by their ids or unique prefixes of them; raises `UsageError` for unknown ones."""
    dropped = []
    with state.transaction():
        for text in ids:
            known = [one.silence_id for one in state.silences()]
            found = [name for name in known if name.startswith(text)]
            if len(found) != 1:
                raise UsageError(unknown("silence", text, known) if known else f"no silence {text!r}: there are none")
            state.drop_silence(found[0])
            dropped.append(found[0])
    return dropped
