"""The notification queue: transitions become one notification a channel, which are sent, retried and remembered.

What a channel has already been sent about an episode decides what follows: a resolve only after a trigger, a trigger
that was never sent is updated rather than followed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmmon.alerting.alert import Alert, Event, NotificationEvent, Transition, routes_to
from llmmon.text.times import HOUR_US, MINUTE_US

if TYPE_CHECKING:
    from llmmon.alerting.delivery import Delivery
    from llmmon.alerting.notifiers import Channel, Notification


class NotificationRow(msgspec.Struct, frozen=True):
    """A notification to one channel: event trigger, acknowledge or resolve; status sent, queued or suppressed.

    `text` is the message itself in a dry run.
    """

    alert_id: str
    channel: str
    event: str
    status: str
    reason: str = ""
    text: str = ""


class QueuedNotification(msgspec.Struct, frozen=True):
    """A notification in the outbox: its channel, the alert as it was then, and whether it was sent."""

    id: int
    channel: str
    alert: Alert
    event: str
    status: str = "queued"  # queued, sent
    tries: int = 0
    due_us: int = 0
    created_us: int = 0
    sent_us: int | None = None
    error: str = ""


class Outbox:
    """The outbox of a state file. Outside of a transaction each change is written at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of_episode(self, alert_id: str, episode: int) -> list[QueuedNotification]:
        """All notifications about one episode, oldest first."""
        return self._selected("alert_id = ? AND episode = ?", (alert_id, episode))

    def queued(self) -> list[QueuedNotification]:
        """All notifications that are not sent yet, oldest first."""
        return self._selected("status = 'queued'", ())

    def _selected(self, condition: str, values: Sequence[Any]) -> list[QueuedNotification]:
        columns = "id, channel, data, event, status, tries, due_us, created_us, sent_us, error"
        rows = self._db.execute(f"SELECT {columns} FROM outbox WHERE {condition} ORDER BY id", values).fetchall()  # noqa: S608
        return [QueuedNotification(i, c, msgspec.msgpack.decode(data, type=Alert), *more) for i, c, data, *more in rows]

    def add(self, channel: str, alert: Alert, event: str, now_us: int) -> int:
        """Queue a notification; returns its id."""
        row = (channel, alert.alert_id, alert.episode, event, msgspec.msgpack.encode(alert), now_us, now_us)
        found = self._db.execute(
            "INSERT INTO outbox (channel, alert_id, episode, event, data, due_us, created_us) VALUES (?,?,?,?,?,?,?)",
            row,
        )
        return int(found.lastrowid or 0)

    def change(self, notification_id: int, alert: Alert) -> None:
        """Update the alert of a queued notification."""
        self._db.execute("UPDATE outbox SET data = ? WHERE id = ?", (msgspec.msgpack.encode(alert), notification_id))

    def drop(self, notification_id: int) -> None:
        """Remove a queued notification that another one replaces."""
        self._db.execute("DELETE FROM outbox WHERE id = ?", (notification_id,))

    def sent(self, notification_id: int, now_us: int) -> None:
        """Mark a notification as sent."""
        self._db.execute(
            "UPDATE outbox SET status = 'sent', sent_us = ?, error = '' WHERE id = ?", (now_us, notification_id)
        )

    def failed(self, notification_id: int, due_us: int, error: str) -> None:
        """Record a failed try; the next one is due at `due_us`."""
        self._db.execute(
            "UPDATE outbox SET tries = tries + 1, due_us = ?, error = ? WHERE id = ?", (due_us, error, notification_id)
        )

    def forget(self, before_us: int) -> None:
        """Delete notifications that were sent before `before_us`."""
        self._db.execute("DELETE FROM outbox WHERE status = 'sent' AND sent_us < ?", (before_us,))


REPEAT: Final = "repeat"  # event of a queued notification: a trigger that was sent before
_FIRST_RETRY_US: Final = MINUTE_US
_LONGEST_RETRY_US: Final = HOUR_US
_MOST_DOUBLINGS: Final = 10


def enqueue(
    outbox: Outbox, transitions: Sequence[Transition], channels: Mapping[str, Channel], now_us: int
) -> list[NotificationRow]:
    """Queue the notifications of transitions; returns those that were suppressed."""
    suppressed: list[NotificationRow] = []
    for transition in transitions:
        match transition.notification:
            case NotificationEvent.TRIGGER:
                _trigger(outbox, transition.alert, channels, now_us)
            case NotificationEvent.RESOLVE:
                _resolve(outbox, transition.alert, channels, now_us)
            case NotificationEvent.ACKNOWLEDGE:
                _acknowledge(outbox, transition.alert, channels, now_us)
            case None:
                suppressed += _suppressed(transition, channels)
    return suppressed


def _suppressed(transition: Transition, channels: Mapping[str, Channel]) -> list[NotificationRow]:
    if transition.event not in {Event.FIRING, Event.SILENCED}:
        return []
    alert = transition.alert
    return [
        NotificationRow(alert.alert_id, one.name, NotificationEvent.TRIGGER, "suppressed", transition.reason)
        for one in channels.values()
        if routes_to(alert, one)
    ]


def _trigger(outbox: Outbox, alert: Alert, channels: Mapping[str, Channel], now_us: int) -> None:
    sent_before = {
        one.channel: one for one in outbox.of_episode(alert.alert_id, alert.episode) if one.event != "resolve"
    }
    for channel in channels.values():
        if not routes_to(alert, channel):
            continue
        before = sent_before.get(channel.name)
        if before is not None and before.status == "queued":
            outbox.change(before.id, alert)
        else:
            outbox.add(channel.name, alert, NotificationEvent.TRIGGER if before is None else REPEAT, now_us)


def _resolve(outbox: Outbox, alert: Alert, channels: Mapping[str, Channel], now_us: int) -> None:
    """Notify of an end where the beginning was sent; a trigger that is still queued then covers both."""
    by_channel: dict[str, list[QueuedNotification]] = {}
    for one in outbox.of_episode(alert.alert_id, alert.episode):
        by_channel.setdefault(one.channel, []).append(one)
    for name, queued in by_channel.items():
        if name not in channels or any(one.event == "resolve" for one in queued):
            continue
        waiting = [one for one in queued if one.status == "queued"]
        sent = any(one.status == "sent" and one.event != "acknowledge" for one in queued)
        for one in waiting[:-1] if not sent else waiting:
            outbox.drop(one.id)
        if sent:
            outbox.add(name, alert, NotificationEvent.RESOLVE, now_us)
        elif waiting:
            outbox.change(waiting[-1].id, alert)


def _acknowledge(outbox: Outbox, alert: Alert, channels: Mapping[str, Channel], now_us: int) -> None:
    for one in outbox.of_episode(alert.alert_id, alert.episode):
        if one.event == "trigger" and one.status == "sent" and one.channel in channels:
            from llmmon.alerting.notifiers import NOTIFIERS

            if NOTIFIERS[channels[one.channel].type].acknowledges:
                outbox.add(one.channel, alert, NotificationEvent.ACKNOWLEDGE, now_us)


def send_due(
    outbox: Outbox,
    channels: Mapping[str, Channel],
    firing: Sequence[Alert],
    now_us: int,
    environment: Mapping[str, str],
    *,
    dry_run: bool = False,
) -> list[NotificationRow]:
    """Send what is due, and record at once what was sent or has to be retried; returns a row for each.

    Services that need to be sent a firing alert in every run (Alertmanager) get those of `firing` too.
    """
    waiting = outbox.queued()
    due: dict[str, list[QueuedNotification]] = {}
    for one in waiting:
        if one.channel in channels and one.due_us <= now_us:
            due.setdefault(one.channel, []).append(one)
    batches = {name: (queued, [_notification(one) for one in queued]) for name, queued in due.items()}
    for name, reminders in _reminders(channels, firing, due).items():
        batches[name] = (due.get(name, []), [*batches.get(name, ([], []))[1], *reminders])
    rows = _sent(outbox, channels, batches, now_us, environment, dry_run=dry_run) if batches else []
    tried = {one.id for queued in due.values() for one in queued}
    return [*rows, *(_row(one, "queued", one.error) for one in waiting if one.id not in tried)]


def _reminders(
    channels: Mapping[str, Channel], firing: Sequence[Alert], due: Mapping[str, Sequence[QueuedNotification]]
) -> dict[str, list[Notification]]:
    if not firing or not channels:
        return {}
    from llmmon.alerting.notifiers import NOTIFIERS, Notification

    found: dict[str, list[Notification]] = {}
    for name, channel in channels.items():
        if not NOTIFIERS[channel.type].resends:
            continue
        included = {one.alert.alert_id for one in due.get(name, ())}
        again = [
            a for a in firing if a.notified_us is not None and a.alert_id not in included and routes_to(a, channel)
        ]
        if again:
            found[name] = [Notification(NotificationEvent.TRIGGER, alert, repeated=True) for alert in again]
    return found


def _sent(
    outbox: Outbox,
    channels: Mapping[str, Channel],
    batches: Mapping[str, tuple[Sequence[QueuedNotification], Sequence[Notification]]],
    now_us: int,
    environment: Mapping[str, str],
    *,
    dry_run: bool,
) -> list[NotificationRow]:
    from llmmon.alerting.delivery import deliver

    def record(done: Sequence[Delivery]) -> None:
        for one in done:
            queued = batches[one.channel][0]
            if one.index < len(queued):
                outbox.sent(queued[one.index].id, now_us)

    due = {channels[name]: notifications for name, (_, notifications) in batches.items()}
    outcome = deliver(due, environment, record=record, dry_run=dry_run)
    return [
        _settled(outbox, queued, notifications, delivery, now_us, dry_run=dry_run)
        for name, (queued, notifications) in batches.items()
        for delivery in outcome[name]
    ]


def _settled(
    outbox: Outbox,
    queued: Sequence[QueuedNotification],
    notifications: Sequence[Notification],
    delivery: Delivery,
    now_us: int,
    *,
    dry_run: bool,
) -> NotificationRow:
    """The row of one notification; a failed one is scheduled to be sent again."""
    notification = notifications[delivery.index]
    status = "sent" if delivery.delivered else "queued"
    row = NotificationRow(
        notification.alert.alert_id, delivery.channel, notification.event, status, delivery.reason, delivery.text
    )
    if not delivery.delivered and not dry_run and delivery.index < len(queued):
        one = queued[delivery.index]
        wait = min(_FIRST_RETRY_US << min(one.tries, _MOST_DOUBLINGS), _LONGEST_RETRY_US)
        if delivery.retry_after_s is not None:
            wait = max(wait, round(delivery.retry_after_s * 1_000_000))
        outbox.failed(one.id, now_us + wait, delivery.reason)
    return row


def _notification(queued: QueuedNotification) -> Notification:
    from llmmon.alerting.notifiers import Notification

    repeated = queued.event == REPEAT
    return Notification(
        NotificationEvent.TRIGGER if repeated else NotificationEvent(queued.event), queued.alert, repeated=repeated
    )


def _row(queued: QueuedNotification, status: str, reason: str) -> NotificationRow:
    event = NotificationEvent.TRIGGER if queued.event == REPEAT else NotificationEvent(queued.event)
    return NotificationRow(queued.alert.alert_id, queued.channel, event, status, reason)
