"""Delivery of due notifications: all channels at the same time, within a time budget, with secrets resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from llmmon.alerting.alert import Alert, NotificationEvent
from llmmon.alerting.notifiers import NOTIFIERS, Channel, Notification, Notifier, notifier_of
from llmmon.alerting.notifiers.channel import is_reference
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.senders import BUDGET_S, AppriseMessage, Mail, Outgoing, Sender
from llmmon.errors import ConfigError, DeliveryError, LlmmonError
from llmmon.http_client import RefusedError, Request
from llmmon.text.figures import plain_lines
from llmmon.text.times import SECOND_US


def rendered(message: Outgoing) -> str:
    """A message as text: `POST https://host` and the body, a mail, or a program and its input."""
    payload = message.payload
    if isinstance(payload, Request):
        return plain_lines(f"{payload.method} {payload.host}\n{_indented(payload.body)}")
    if isinstance(payload, Mail):
        head = f"mail by {message.place}\nFrom: {payload.sender}\nTo: {', '.join(payload.recipients)}"
        return plain_lines(f"{head}\nSubject: {payload.subject}\n\n{payload.text}")
    if isinstance(payload, AppriseMessage):
        return plain_lines(f"{payload.place} ({payload.kind})\n{payload.title}\n\n{payload.text}")
    return plain_lines(f"run {payload.name}\n{_indented(payload.stdin)}")


def _indented(body: bytes) -> str:
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


_LASTED_US = 1 * SECOND_US


def make_test_notifications(now_us: int) -> tuple[Notification, Notification]:
    """A firing and a resolved notification of a test alert; its id contains the time, so that no other is affected."""
    alert = Alert(
        alert_id=f"llmmon-test-{now_us}",
        title="TEST: llmmon reaches this channel",
        description="This is a test sent with `llmmon notify test`. Nothing is wrong.",
        severity=AlertSeverity.INFO,
        metric_name="error_rate",
        value=0.5,
        threshold=0.1,
        timestamp=datetime.fromtimestamp(now_us / SECOND_US, UTC),
        rule="llmmon notify test",
        labels={"test": "true"},
        peak=0.5,
        episode=1,
        since_us=now_us,
        met_us=now_us,
        fired_us=now_us,
        notified_us=now_us,
    )
    over = msgspec.structs.replace(alert, resolved=True, resolved_us=now_us + _LASTED_US)
    return Notification(NotificationEvent.TRIGGER, alert), Notification(NotificationEvent.RESOLVE, over)


HIDDEN: Final = "(secret)"
_GRACE_S: Final = 0.25  # for senders that stop by themselves when time is up
_LONGEST_PAUSE_S: Final = 3600.0
_LARGEST_SECRET: Final = 1 << 16  # bytes


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one notification to a channel; `index` is its position among those that were due.

    `reason` explains a failure or a partial success without any secret. `retryable` is whether another try may succeed
    without a change of the configuration, `retry_after_s` how long the service asked to wait. `place` is the host or
    program that it went to. In a dry run nothing is delivered and `text` is the message.
    """

    channel: str
    index: int
    delivered: bool
    reason: str = ""
    retryable: bool = True
    retry_after_s: float | None = None
    place: str = ""
    text: str = ""


Due = Mapping[Channel, Sequence[Notification]]
Record = Callable[[Sequence[Delivery]], None]  # called with the notifications of each message once it is delivered
Deliveries = dict[str, tuple[Delivery, ...]]  # by the channel's name, in the order of what was due


def deliver(
    due: Due,
    environment: Mapping[str, str],
    *,
    record: Record | None = None,
    budget_s: float = BUDGET_S,
    dry_run: bool = False,
) -> Deliveries:
    """Send all that is due; never raises for a failing channel. See `delivered`."""
    if dry_run:
        return {channel.name: _shown(channel, list(found), environment) for channel, found in due.items()}
    return asyncio.run(delivered(due, environment, record=record, budget_s=budget_s))


async def delivered(
    due: Due, environment: Mapping[str, str], *, record: Record | None = None, budget_s: float = BUDGET_S
) -> Deliveries:
    """Send all that is due, on all channels at the same time, and stop after `budget_s` seconds.

    `record` is called in this thread as soon as a message is delivered, so that a kill repeats at most one.
    """
    async with Sender(budget_s) as sender:
        deliveries = [_ChannelDelivery(channel, found, environment, sender, record) for channel, found in due.items()]
        await asyncio.gather(*(one.run() for one in deliveries))
    return {one.channel.name: one.outcome() for one in deliveries}


class _ChannelDelivery:
    """Sends the messages of one channel, one after the other."""

    def __init__(
        self,
        channel: Channel,
        notifications: Sequence[Notification],
        environment: Mapping[str, str],
        sender: Sender,
        record: Record | None,
    ) -> None:
        self.channel = channel
        self._notifications = notifications
        self._environment = environment
        self._sender = sender
        self._record = record
        self._found: dict[int, Delivery] = {}
        self._left: dict[int, int] = {}  # by notification: its messages that are not delivered yet

    async def run(self) -> None:
        """Send the messages; failures become results and raise nothing."""
        try:
            messages = build(self.channel, self._environment).messages(self._notifications)
        except Exception as error:  # noqa: BLE001 - no failure stops other channels
            self._fail(range(len(self._notifications)), _as_ours(error))
            return
        for message in messages:
            for at in message.covers:
                self._left[at] = self._left.get(at, 0) + 1
        try:
            async with asyncio.timeout(max(0.0, self._sender.left_s) + _GRACE_S):
                await self._send(messages)
        except TimeoutError:
            self._fail(range(len(self._notifications)), DeliveryError("the time limit was reached"))

    async def _send(self, messages: Sequence[Outgoing]) -> None:
        gap = NOTIFIERS[self.channel.type].GAP_S
        for number, message in enumerate(messages):
            if any(at in self._found for at in message.covers):
                continue  # an earlier message of it failed: no resolve without a trigger
            if number and gap:
                await asyncio.sleep(gap)
            try:
                note = await self._sender.send(message.payload)
            except Exception as found:  # noqa: BLE001 - no failure stops other channels
                error = _as_ours(found)
                self._fail(message.covers, error, message.place)
                if not isinstance(error, DeliveryError) or error.retryable:  # down or busy: the rest would fail too
                    self._fail(range(len(self._notifications)), error, message.place)
                    return
            else:
                self._deliver(message, note)

    def _deliver(self, message: Outgoing, note: str) -> None:
        for at in message.covers:
            self._left[at] -= 1
        complete = [at for at in message.covers if self._left[at] == 0]
        name, place = self.channel.name, message.place
        done = [Delivery(channel=name, index=at, delivered=True, reason=note, place=place) for at in complete]
        self._found.update({one.index: one for one in done})
        if self._record is not None and done:
            self._record(done)

    def _fail(self, indexes: Sequence[int], error: LlmmonError, place: str = "") -> None:
        """Record the failure of those that were not delivered."""
        for at in indexes:
            self._found.setdefault(at, _failed(self.channel, at, error, place))

    def outcome(self) -> tuple[Delivery, ...]:
        """The result of each notification, in order."""
        return tuple(self._found[at] for at in sorted(self._found))


def _as_ours(error: Exception) -> LlmmonError:
    return error if isinstance(error, LlmmonError) else DeliveryError(f"internal error: {error!r}")


def _failed(channel: Channel, index: int, error: LlmmonError, place: str) -> Delivery:
    return Delivery(
        channel=channel.name,
        index=index,
        delivered=False,
        reason=str(error),
        retryable=error.retryable if isinstance(error, DeliveryError) else True,
        retry_after_s=_asked_s(error),
        place=place,
    )


def _asked_s(error: LlmmonError) -> float | None:
    """How long a service asked to wait, capped so that it cannot block a channel for good."""
    asked_s = error.retry_after_s if isinstance(error, RefusedError) else None
    return None if asked_s is None else min(asked_s, _LONGEST_PAUSE_S)


def _shown(channel: Channel, found: Sequence[Notification], environment: Mapping[str, str]) -> tuple[Delivery, ...]:
    """The results of a dry run; the text of a message is in the result of its first notification."""
    try:
        messages = build(channel, environment, hidden=True).messages(found)
    except Exception as error:  # noqa: BLE001 - no failure stops other channels
        return tuple(_failed(channel, at, _as_ours(error), "") for at in range(len(found)))
    texts: dict[int, list[str]] = {}
    places: dict[int, str] = {}
    for message in messages:
        texts.setdefault(message.covers[0], []).append(rendered(message))
        places |= dict.fromkeys(message.covers, message.place)
    return tuple(
        Delivery(
            channel=channel.name,
            index=at,
            delivered=False,
            reason="dry run",
            place=places.get(at, ""),
            text="\n".join(texts.get(at, [])),
        )
        for at in range(len(found))
    )


def build(channel: Channel, environment: Mapping[str, str], *, hidden: bool = False) -> Notifier:
    """The notifier of a channel with its secrets, or with `hidden` ones; raises `ConfigError`.

    URLs are kept even if hidden, because only their host is ever shown.
    """
    known = NOTIFIERS[channel.type].SETTINGS
    settings: dict[str, Any] = {}
    for key, value in channel.settings.items():
        at = f"notify.{channel.name}.{key}"
        if hidden and known[key].secret and known[key].type != "url":
            settings[key] = dict.fromkeys(value, HIDDEN) if isinstance(value, dict) else HIDDEN
        else:
            settings[key] = _resolved(value, environment, at) if known[key].refers else value
    return notifier_of(channel, settings)


def readiness(channel: Channel, environment: Mapping[str, str]) -> str:
    """Whether a channel has everything it needs to send: `yes`, or `no` and what is missing."""
    try:
        build(channel, environment)
    except LlmmonError as error:
        return f"no: {error}"
    return "yes"


def _resolved(value: Any, environment: Mapping[str, str], at: str) -> Any:
    if isinstance(value, list):
        return [_resolved(one, environment, at) for one in value]
    if isinstance(value, dict):
        return {name: _resolved(one, environment, f"{at}.{name}") for name, one in value.items()}
    return resolve_secret(value, environment, at) if isinstance(value, str) else value


def resolve_secret(text: str, environment: Mapping[str, str], at: str) -> str:
    """The value that `env:NAME` or `file:PATH` refers to, or the text itself; `at` names the key in errors.

    Raises `ConfigError`, which never repeats a value.
    """
    if not is_reference(text):
        return text
    kind, _, name = text.partition(":")
    if kind == "env":
        if not environment.get(name):
            raise ConfigError(f"{at}: the environment variable {name} is not set", hint=f"export {name}=...")
        return environment[name].strip()
    try:
        with Path(name).expanduser().open("rb") as file:
            held = file.read(_LARGEST_SECRET).decode().strip()
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or "is not text").lower()
        raise ConfigError(f"{at}: {name}: {why}") from None
    if not held:
        raise ConfigError(f"{at}: {name}: the file is empty")
    return held
