"""The interface of the family: notifications in, messages out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from llmmon.alert import Alert, Tell, fits
from llmmon.notifiers.settings import Setting
from llmmon.outgoing import Outgoing, Sender
from llmmon.rules import AlertSeverity


class Notification(msgspec.Struct, frozen=True):
    """What one channel is to be told about one alert.

    An alert that is `resolved` with the event trigger has fired and is over already: one message for both ends.
    `repeated` marks a reminder while it still fires.
    """

    event: Tell
    alert: Alert
    repeated: bool = False

    @property
    def over(self) -> bool:
        """Whether it tells of an end."""
        return self.event is Tell.RESOLVE or self.alert.resolved

    @property
    def status(self) -> str:
        """firing, acknowledged or resolved."""
        if self.over:
            return "resolved"
        return "acknowledged" if self.event is Tell.ACKNOWLEDGE else "firing"

    @classmethod
    def of(cls, alert: Alert) -> Notification:
        """What there is to tell of an alert as it stands."""
        if alert.resolved:
            return cls(Tell.RESOLVE, alert)
        return cls(Tell.ACKNOWLEDGE if alert.acknowledged else Tell.TRIGGER, alert)


class Channel(msgspec.Struct, frozen=True):
    """A configured channel, `[notify.NAME]`.

    `settings` are checked; secrets in them still stand as `env:NAME` or `file:PATH` until something is sent.
    Only alerts of `min_severity` or worse come here, and of them those that `match` fits (globs of group fields,
    labels, rule, metric and severity).
    """

    name: str
    type: str
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    min_severity: AlertSeverity = AlertSeverity.INFO
    match: Mapping[str, str] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.type))

    def takes(self, alert: Alert) -> bool:
        """Whether an alert is routed here: by the rule's `notify`, its severity, and `match`."""
        if alert.notify is not None and self.name not in alert.notify:
            return False
        return alert.severity.rank >= self.min_severity.rank and fits(alert, self.match)


class Notifier(ABC):
    """Makes the messages of one service; pure but for `notify`."""

    SETTINGS: ClassVar[Mapping[str, Setting]]  # the keys of its table in the configuration
    GAP_S: ClassVar[float] = 0.0  # least time between two messages
    acknowledges: ClassVar[bool] = False  # whether the service is told that someone has seen an alert
    resends: ClassVar[bool] = False  # whether an alert that fires must be told in every run
    one_each: ClassVar[bool] = False  # whether every alert is a message of its own, rather than all of a run one

    @classmethod
    @abstractmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The notifier of a channel whose settings hold their secrets."""

    @classmethod
    def faults(cls, settings: Mapping[str, Any]) -> list[str]:  # noqa: ARG003 - members may need them
        """What is wrong with settings that are each fine, as `key: what`."""
        return []

    @abstractmethod
    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """The messages that tell of these, in the order in which they must go; together they cover all."""

    async def notify(self, alert: Alert) -> None:
        """Tell of one alert at once; raises `DeliveryError`."""
        async with Sender() as sender:
            for message in self.messages([Notification.of(alert)]):
                await sender.send(message.payload)
