"""The values of alerting: alerts, observations, silences, transitions, and how alerts match and are routed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, Protocol

import msgspec

from llmmon.alerting.rules import AlertRule, AlertSeverity
from llmmon.text.times import utc_now

GroupLabels = tuple[tuple[str, str | None], ...]  # (field, name) for each field that the rule groups by


class State(StrEnum):
    """The state of an alert."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Event(StrEnum):
    """What happened to an alert."""

    PENDING = "pending"
    CLEARED = "cleared"  # was pending, and its condition cleared before it fired
    FIRING = "firing"
    NOTIFIED = "notified"  # was firing, and is notified only now that a silence or cooldown is over
    REPEATED = "repeated"
    RAISED = "raised"  # its severity rose while it was firing
    RESOLVED = "resolved"
    SILENCED = "silenced"  # by a silence, a mute or another alert
    ACKNOWLEDGED = "acknowledged"


class Ended(StrEnum):
    """Why an episode ended."""

    RECOVERED = "recovered"  # the condition no longer holds
    NO_DATA = "no_data"
    GROUP_GONE = "group_gone"  # no calls of this group for a day
    RULE_REMOVED = "rule_removed"
    BY_HAND = "by_hand"
    ACCEPTED = "accepted"  # the level of an incident became the baseline


class NotificationEvent(StrEnum):
    """What a notification is about."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


# the keys of stored alerts, also of those that earlier versions wrote
_STORED_KEYS: Final = {"notified_us": "told_us", "last_resolved_notified_us": "told_end_us"}


class TopError(msgspec.Struct, frozen=True):
    """A kind of failure among the calls of an alert, and how many calls failed with it."""

    error_type: str
    message: str
    calls: int


class Example(msgspec.Struct, frozen=True):
    """A call that an alert is about: its id, and the file and line where it is logged (None: not known)."""

    request_id: str
    file: str
    line: int | None

    @property
    def place(self) -> str:
        """`app.jsonl:17`."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Alert(msgspec.Struct, frozen=True, rename=_STORED_KEYS):
    """An alert with its current or last episode.

    `alert_id` is the same for the same configuration, rule and group: it is the dedup key. `timestamp` is when the
    episode began. Every `_us` is microseconds UTC: `since_us`, when the condition began to hold; `met_us`, when it
    last held; when the alert fired, was resolved, and was last notified as firing (None: not yet); and
    `last_resolved_notified_us`, when the last notified episode ended. `peak` is the most extreme value of the
    episode, `episode` counts how often the alert has fired. `held` means that it was resolved by hand while its
    condition still holds. `ended` says why the episode is over, `ended_reason` in a sentence; `acknowledged_by` and
    `acknowledged_why` are of the person who acknowledged it. `raised_from` is the severity that it was first notified
    with, where that has risen since; `worse_us`, when a more severe level began to hold. `top_errors`, `examples` and
    `command`, which shows more, are of the calls when it was notified.
    """

    alert_id: str
    title: str
    description: str
    severity: AlertSeverity
    metric_name: str
    value: float | None
    threshold: float | None
    timestamp: datetime = msgspec.field(default_factory=utc_now)
    acknowledged: bool = False
    resolved: bool = False
    rule: str = ""
    group: GroupLabels = ()
    condition: str = "gt"
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    notify: tuple[str, ...] | None = None
    peak: float | None = None
    episode: int = 0
    since_us: int = 0
    met_us: int = 0
    fired_us: int | None = None
    resolved_us: int | None = None
    notified_us: int | None = None
    last_resolved_notified_us: int | None = None
    silenced: bool = False
    held: bool = False
    ended: str = ""
    ended_reason: str = ""
    acknowledged_by: str = ""
    acknowledged_why: str = ""
    recent_us: tuple[int, ...] = ()  # when its episodes of the last day were notified
    aggregation: str = ""
    window_us: int = 0
    count: int | None = None  # calls in the window
    runbook: str = ""
    dashboard: str = ""
    inhibits: tuple[str, ...] = ()  # globs of rules
    notified_severity: AlertSeverity | None = None
    raised_from: str = ""
    worse_us: int = 0
    top_errors: tuple[TopError, ...] = ()
    examples: tuple[Example, ...] = ()
    command: str = ""

    @property
    def state(self) -> State:
        """Pending, firing or resolved."""
        if self.resolved:
            return State.RESOLVED
        return State.PENDING if self.fired_us is None else State.FIRING

    @property
    def duration_us(self) -> int | None:
        """How long the episode lasted, None while it lasts."""
        return None if self.resolved_us is None else self.resolved_us - self.since_us


class Observation(msgspec.Struct, frozen=True):
    """The result of a rule for one group at one minute; `met` None leaves the alert unchanged.

    `threshold` is the limit that applied, where it is not the rule's own. `note` gives the reason where the value
    does not: no data, a group that is gone, the sentence of an incident. `ended` is why an alert ends here, if not
    because it recovered. `headline` says what it is about, where that is not its group.
    """

    rule: AlertRule
    group: GroupLabels
    met: bool | None
    value: float | None = None
    threshold: float | None = None
    count: int | None = None
    note: str = ""
    ended: Ended = Ended.RECOVERED
    headline: str = ""


def matches(alert: Alert, matchers: Mapping[str, str]) -> bool:
    """Whether an alert matches all matchers; their values may use `*` and `?`.

    They name rule, severity, metric, alert_id, fields of the group, and labels. What the alert does not have matches
    nothing, not even `*`.
    """
    known = {**alert.labels, **{k: v or "" for k, v in alert.group}}
    known |= {"rule": alert.rule, "severity": alert.severity.value, "metric": alert.metric_name}
    known |= {"alert_id": alert.alert_id}
    return all(name in known and fnmatchcase(known[name], wanted) for name, wanted in matchers.items())


def inhibits(cause: Alert, alert: Alert, now_us: int) -> bool:
    """Whether an alert holds back another: it fires, or did until a window ago, and they share no different group."""
    if not cause.inhibits or cause.fired_us is None or cause.alert_id == alert.alert_id:
        return False
    if cause.resolved and now_us - (cause.resolved_us or 0) > cause.window_us:
        return False
    other = dict(alert.group)
    return any(fnmatchcase(alert.rule, rule) for rule in cause.inhibits) and all(
        other.get(field, name) == name for field, name in cause.group
    )


class Receiver(Protocol):
    """What routing needs to know of a channel."""

    @property
    def name(self) -> str: ...
    @property
    def min_severity(self) -> AlertSeverity: ...
    @property
    def match(self) -> Mapping[str, str]: ...
    @property
    def escalate_after_us(self) -> int: ...


def routes_to(alert: Alert, channel: Receiver) -> bool:
    """Whether an alert goes to a channel: by its rule's `notify`, its severity, and the channel's `match`."""
    if alert.notify is not None and channel.name not in alert.notify:
        return False
    return alert.severity.rank >= channel.min_severity.rank and matches(alert, channel.match)


class Suppression(Protocol):
    """What can hold back the notifications of alerts: a silence, or a mute of the configuration."""

    @property
    def kind(self) -> str: ...
    @property
    def why(self) -> str: ...
    def covers(self, alert: Alert, now_us: int) -> bool: ...


class Silence(msgspec.Struct, frozen=True):
    """Suppresses the notifications of alerts that match all `matchers`, from `start_us` until `until_us`."""

    silence_id: str
    matchers: Mapping[str, str]
    until_us: int
    why: str = ""
    created_us: int = 0
    start_us: int = 0
    by: str = ""

    @property
    def kind(self) -> str:
        """What an alert that it covers is."""
        return "silenced"

    def covers(self, alert: Alert, now_us: int) -> bool:
        """Whether it silences an alert now."""
        return self.start_us <= now_us < self.until_us and matches(alert, self.matchers)


class Transition(msgspec.Struct, frozen=True):
    """What happened to an alert, when and why, and the notification that channels get (None: none)."""

    alert: Alert
    event: Event
    at_us: int
    reason: str
    notification: NotificationEvent | None = None


Alerts = Mapping[str, Alert]  # by alert_id


def with_evidence_of(alert: Alert, found: Alerts) -> Alert:
    """The alert with the evidence of the same episode, if there is some."""
    other = found.get(alert.alert_id)
    if other is None or other.episode != alert.episode:
        return alert
    return msgspec.structs.replace(alert, top_errors=other.top_errors, examples=other.examples, command=other.command)


def alert_id(configuration: str, rule: str, group: GroupLabels) -> str:
    """The identifier of an alert: the same for the same configuration, rule and group in every run."""
    from hashlib import sha256  # loads a library, and not every command has alerts

    # None is written as older versions did, the name "None" apart from it
    names = [(field, "\x1eNone" if name == "None" else str(name)) for field, name in group]
    text = "\x1f".join([configuration, rule, *(f"{field}\x1e{name}" for field, name in names)])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
