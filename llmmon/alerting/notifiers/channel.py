"""The interface of notifiers (notifications in, messages out), channels, and the settings of channels."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import msgspec

from llmmon.alerting.alert import Alert, NotificationEvent
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import Outgoing, Sender
from llmmon.errors import UsageError
from llmmon.http_client import check_url
from llmmon.text.tables import TomlTable
from llmmon.text.times import duration_us

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REFERENCE: Final = re.compile(r"(env|file):.+", re.DOTALL)


class Setting(msgspec.Struct, frozen=True):
    """One key of a channel's table. A `secret` is never shown; `env:NAME` and `file:PATH` refer to its value."""

    type: str
    required: bool = False
    default: Any = None
    secret: bool = False

    @property
    def refers(self) -> bool:
        """Whether its value may be a reference, `env:NAME` or `file:PATH`."""
        return self.type in _REFERRING


def is_reference(value: Any) -> bool:
    """Whether a value is a reference to the real one."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def fault(setting: Setting, value: Any) -> str:
    """What is wrong with a value; empty if nothing is. Never repeats the value, which may be secret."""
    return "" if setting.refers and is_reference(value) else VALUE_FAULTS[setting.type](value)


def note_faults(read: TomlTable, known: Mapping[str, Setting]) -> None:
    """Note what is wrong with the settings of a channel's table."""
    for key, setting in known.items():
        if not read.has(key):
            if setting.required:
                read.fault(key, "is missing")
        elif why := fault(setting, read.value(key)):
            read.fault(key, why)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        return "must be text"
    return "must be one line" if _CONTROL.search(value) else ""


def _url(value: Any) -> str:
    if why := _text(value):
        return why
    try:
        check_url(value)
    except UsageError as error:
        return str(error)
    return ""


def _address(value: Any) -> str:
    from email.utils import parseaddr

    if _text(value) or not parseaddr(value)[1]:
        return "must be a mail address"
    return ""


def _addresses(value: Any) -> str:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or any(not is_reference(one) and _address(one) for one in listed):
        return 'must be a list of mail addresses, as ["team@example.com"]'
    return ""


def _argv(value: Any) -> str:
    fine = isinstance(value, list) and value and all(isinstance(one, str) and "\0" not in one for one in value)
    return "" if fine and value[0].strip() else 'must be a list, the program first, as ["notify-send", "llmmon"]'


def _texts(value: Any) -> str:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        return 'must be a table of texts, as { name = "value" }'
    return ""


def _headers(value: Any) -> str:
    if why := _texts(value):
        return why
    if any(not _HEADER.fullmatch(name) for name in value):
        return "contains an invalid header name"
    if any(_CONTROL.search(text) or not text.isascii() for text in value.values()):
        return "contains an invalid header value"
    return ""


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _port(value: Any) -> str:
    fine = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
    return "" if fine else "must be a number from 1 to 65535"


def _duration(value: Any) -> str:
    try:
        fine = isinstance(value, str) and duration_us(value) > 0
    except UsageError:
        fine = False
    return "" if fine else "must be a duration, as 10s or 5m"


VALUE_FAULTS: Final[dict[str, Callable[[Any], str]]] = {
    "text": _text,
    "url": _url,
    "path": _text,
    "address": _address,
    "addresses": _addresses,
    "argv": _argv,
    "texts": _texts,
    "headers": _headers,
    "flag": _flag,
    "port": _port,
    "duration": _duration,
}
_REFERRING: Final = frozenset({"text", "url", "address", "addresses", "texts", "headers"})


class Notification(msgspec.Struct, frozen=True):
    """A notification to one channel about one alert.

    An alert that is `resolved` with the event trigger has fired and is already over: one message covers both.
    `repeated` marks a reminder while it is still firing. `tz` is the time zone of what people read.
    """

    event: NotificationEvent
    alert: Alert
    repeated: bool = False
    tz: str = "UTC"

    @property
    def over(self) -> bool:
        """Whether it is about the end of an episode."""
        return self.event is NotificationEvent.RESOLVE or self.alert.resolved

    @property
    def status(self) -> str:
        """firing, acknowledged or resolved."""
        if self.over:
            return "resolved"
        return "acknowledged" if self.event is NotificationEvent.ACKNOWLEDGE else "firing"

    @classmethod
    def of(cls, alert: Alert) -> Notification:
        """The notification of an alert in its current state."""
        if alert.resolved:
            return cls(NotificationEvent.RESOLVE, alert)
        return cls(NotificationEvent.ACKNOWLEDGE if alert.acknowledged else NotificationEvent.TRIGGER, alert)


class Channel(msgspec.Struct, frozen=True):
    """A configured channel, `[notify.NAME]`.

    `settings` are checked; secrets in them stay `env:NAME` or `file:PATH` until something is sent. Alerts are routed
    here from `min_severity` on if they match `match` (globs of group fields, labels, rule, metric and severity).
    What is over for longer than `max_age_us` before it could be sent is not sent any more (0: always sent). With
    `escalate_after_us`, only what has fired for that long and was not acknowledged goes here. `tz` is the time zone of
    what people read.
    """

    name: str
    type: str
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    min_severity: AlertSeverity = AlertSeverity.INFO
    match: Mapping[str, str] = msgspec.field(default_factory=dict)
    max_age_us: int = 0
    escalate_after_us: int = 0
    tz: str = "UTC"

    def __hash__(self) -> int:
        return hash((self.name, self.type))


class Notifier(ABC):
    """Makes the messages of one service; pure but for `notify`."""

    SETTINGS: ClassVar[Mapping[str, Setting]]  # the keys of its table in the configuration
    GAP_S: ClassVar[float] = 0.0  # least time between two messages
    acknowledges: ClassVar[bool] = False  # whether the service is notified of acknowledged alerts
    resends: ClassVar[bool] = False  # whether a firing alert has to be sent in every run
    MAX_AGE: ClassVar[str] = ""  # of what is over and was never sent, unless configured
    one_each: ClassVar[bool] = False  # whether every alert is its own message, instead of one message for a run

    @classmethod
    @abstractmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The notifier of a channel, with its secrets in `settings`."""

    @classmethod
    def faults(cls, settings: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG003 - for subclasses
        """What is wrong, by key, with settings that are each valid."""
        return {}

    @abstractmethod
    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """The messages for these notifications, in sending order; together they cover all of them."""

    async def notify(self, alert: Alert) -> None:
        """Notify of one alert at once; raises `DeliveryError`."""
        async with Sender() as sender:
            for message in self.messages([Notification.of(alert)]):
                await sender.send(message.payload)
