"""One alert, what is seen of it, what silences it, and what happened to it: the values that `alerts.step` moves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, Protocol

import msgspec

from llmmon.alerting.rules import AlertRule, AlertSeverity
from llmmon.text.times import utc_now

GroupLabels = tuple[tuple[str, str | None], ...]  # (field, name) of each field that the rule groups by


class State(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Event(StrEnum):
    """What happened to an alert."""

    PENDING = "pending"
    CLEARED = "cleared"  # was pending and never fired
    FIRING = "firing"
    NOTIFIED = "notified"  # was firing, and is notified only now that a silence or cooldown is over
    REPEATED = "repeated"
    RESOLVED = "resolved"
    SILENCED = "silenced"
    ACKNOWLEDGED = "acknowledged"


class NotificationEvent(StrEnum):
    """What a notification is about."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


# stored and published under these names since the first release
_STORED_KEYS: Final = {"notified_us": "told_us", "last_resolved_notified_us": "told_end_us"}


class Alert(msgspec.Struct, frozen=True, rename=_STORED_KEYS):
    """An alert as it stands, with its current or last episode.

    `alert_id` is stable for configuration, rule and group: it is the dedup key. `timestamp` is when the
    episode was raised. Every `_us` is microseconds UTC: since when the condition holds, when it last held,
    when the alert fired, was resolved, was last told as firing (None: not yet), and when the last episode
    that was told ended. `peak` is the most extreme value of the episode, `episode` counts how often the
    alert has fired, `held` says that it was resolved by hand while its condition still holds.
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

    @property
    def state(self) -> State:
        """Pending, firing or resolved."""
        if self.resolved:
            return State.RESOLVED
        return State.PENDING if self.fired_us is None else State.FIRING

    @property
    def duration_us(self) -> int | None:
        """How long the episode lasted, from its beginning to its end; None while it lasts."""
        return None if self.resolved_us is None else self.resolved_us - self.since_us


class Observation(msgspec.Struct, frozen=True):
    """What a rule saw of one group at one minute; `met` None leaves the alert as it is.

    `threshold` is the limit that applied, where it is not the rule's; `note` says why where the value does
    not: no data, a group that is gone, an incident's sentence.
    """

    rule: AlertRule
    group: GroupLabels
    met: bool | None
    value: float | None = None
    threshold: float | None = None
    count: int | None = None
    note: str = ""


def matches(alert: Alert, matchers: Mapping[str, str]) -> bool:
    """Whether an alert has what all matchers ask for; a matcher's value may use `*` and `?`."""
    known = {**alert.labels, **{k: v or "" for k, v in alert.group}}
    known |= {"rule": alert.rule, "severity": alert.severity.value, "metric": alert.metric_name}
    known |= {"alert_id": alert.alert_id}
    return all(fnmatchcase(known.get(name, ""), wanted) for name, wanted in matchers.items())


class Receiver(Protocol):
    """What routing needs to know of a channel."""

    @property
    def name(self) -> str: ...
    @property
    def min_severity(self) -> AlertSeverity: ...
    @property
    def match(self) -> Mapping[str, str]: ...


def routes_to(alert: Alert, channel: Receiver) -> bool:
    """Whether an alert goes to a channel: by its rule's `notify`, its severity, and the channel's `match`."""
    if alert.notify is not None and channel.name not in alert.notify:
        return False
    return alert.severity.rank >= channel.min_severity.rank and matches(alert, channel.match)


class Silence(msgspec.Struct, frozen=True):
    """Alerts that all `matchers` fit are not told until `until_us`: rule, severity, metric, a group field or label.

    A matcher's value may use `*` and `?`.
    """

    silence_id: str
    matchers: Mapping[str, str]
    until_us: int
    why: str = ""
    created_us: int = 0

    def covers(self, alert: Alert, now_us: int) -> bool:
        """Whether it keeps an alert quiet now."""
        return now_us < self.until_us and matches(alert, self.matchers)


class Transition(msgspec.Struct, frozen=True):
    """What happened to an alert, when and why, and what channels are to be told (None: nothing)."""

    alert: Alert
    event: Event
    at_us: int
    reason: str
    notification: NotificationEvent | None = None


Alerts = Mapping[str, Alert]  # by alert_id


def alert_id(configuration: str, rule: str, group: GroupLabels) -> str:
    """The same for the same configuration, rule and group, in every run."""
    from hashlib import sha256  # loads a library, and not every command has alerts

    text = "\x1f".join([configuration, rule, *(f"{k}\x1e{v}" for k, v in group)])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
