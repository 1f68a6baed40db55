"""The notification queue: transitions become one notification a channel, which `dispatch` sends.

What a channel has already been sent about an episode decides what follows: a resolve only after a trigger, a trigger
that was never sent is updated rather than followed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmmon.alerting.alert import Alert, Event, NotificationEvent, Transition, routes_to

if TYPE_CHECKING:
    from llmmon.alerting.notifiers import Channel


class NotificationRow(msgspec.Struct, frozen=True):
    """A notification to one channel: event trigger, acknowledge or resolve.

    Its status is sent, queued, suppressed (by a silence or cooldown), expired (over, and older than the channel's
    `max_age`) or dropped (by hand, or because its channel is gone). `text` is the message itself in a dry run.
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
    status: str = "queued"  # queued, sending, sent, expired, suppressed, superseded, dropped
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

    def listed(self) -> list[QueuedNotification]:
        """All notifications that wait or were given up, oldest first."""
        return self._selected("status NOT IN ('sent', 'superseded')", ())

    def channels_of(self, alert_id: str, episode: int) -> set[str]:
        """The channels that have a notification of an episode, whatever its status."""
        rows = self._db.execute(
            "SELECT DISTINCT channel FROM outbox WHERE alert_id = ? AND episode = ?", (alert_id, episode)
        )
        return {channel for (channel,) in rows}

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

    def change(self, notification_id: int, alert: Alert, now_us: int) -> None:
        """Update the alert of a queued notification, which is news and therefore due."""
        row = (msgspec.msgpack.encode(alert), now_us, notification_id)
        self._db.execute("UPDATE outbox SET data = ?, due_us = ? WHERE id = ?", row)

    def replace(self, notification_id: int, alert: Alert) -> None:
        """Replace the alert of a queued notification by one that says more."""
        row = (msgspec.msgpack.encode(alert), notification_id)
        self._db.execute("UPDATE outbox SET data = ? WHERE id = ? AND status = 'queued'", row)

    def drop(self, notification_id: int) -> None:
        """Remove a queued notification that another one replaces."""
        self._db.execute("DELETE FROM outbox WHERE id = ?", (notification_id,))

    def taken(self, ids: Sequence[int]) -> None:
        """Mark notifications as being sent, so that what happens meanwhile follows them."""
        rows = [(one,) for one in ids]
        self._db.executemany("UPDATE outbox SET status = 'sending' WHERE id = ?", rows)

    def requeue(self) -> None:
        """Queue again what was being sent when its sender was killed."""
        self._db.execute("UPDATE outbox SET status = 'queued' WHERE status = 'sending'")

    def sent(self, one: QueuedNotification, now_us: int) -> None:
        """Mark a notification as sent; older ones of the same alert that still wait must not follow it."""
        self._db.execute("UPDATE outbox SET status = 'sent', sent_us = ?, error = '' WHERE id = ?", (now_us, one.id))
        self._db.execute(
            "UPDATE outbox SET status = 'superseded', sent_us = ? WHERE channel = ? AND alert_id = ? AND id < ?"
            " AND status IN ('queued', 'sending')",
            (now_us, one.channel, one.alert.alert_id, one.id),
        )

    def failed(self, notification_id: int, due_us: int, error: str) -> None:
        """Record a failed try; the next one is due at `due_us`."""
        self._db.execute(
            "UPDATE outbox SET status = 'queued', tries = tries + 1, due_us = ?, error = ?"
            " WHERE id = ? AND status = 'sending'",
            (due_us, error, notification_id),
        )

    def give_up(self, notification_id: int, status: str, reason: str, now_us: int) -> None:
        """Take a notification out of the queue unsent, as expired, suppressed or dropped."""
        row = (status, reason, now_us, notification_id)
        self._db.execute("UPDATE outbox SET status = ?, error = ?, sent_us = ? WHERE id = ?", row)

    def retry(self, now_us: int) -> int:
        """Make everything that waits due; returns how many that are."""
        self._db.execute("DELETE FROM facts WHERE name LIKE 'paused:%'")
        return self._db.execute("UPDATE outbox SET due_us = ? WHERE status = 'queued'", (now_us,)).rowcount

    def paused_until_us(self, channel: str) -> int:
        """Until when a channel's service asked to be left alone; 0 if it did not."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (f"paused:{channel}",)).fetchone()
        return 0 if row is None else int(row[0])

    def pause(self, channel: str, until_us: int) -> None:
        """Leave a channel alone until a time."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (f"paused:{channel}", str(until_us)))

    def forget(self, before_us: int, active: Collection[str] = ()) -> None:
        """Delete what was sent or given up before `before_us`, but for alerts that are still `active`."""
        rows = self._db.execute("SELECT DISTINCT alert_id FROM outbox WHERE sent_us < ?", (before_us,)).fetchall()
        self._db.executemany(
            "DELETE FROM outbox WHERE status NOT IN ('queued', 'sending') AND sent_us < ? AND alert_id = ?",
            [(before_us, name) for (name,) in rows if name not in active],
        )


REPEAT: Final = "repeat"  # event of a queued notification: a trigger that was sent before
_GONE: Final = frozenset({"sent", "sending"})  # a receiver has it, or may have it


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
        if before is None and channel.escalate_after_us:
            continue  # `enqueue_missing` does it when nobody has acknowledged it by then
        if before is not None and before.status == "queued":
            outbox.change(before.id, alert, now_us)
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
        sent = any(one.status in _GONE and one.event != "acknowledge" for one in queued)
        for one in waiting[:-1] if not sent else waiting:
            outbox.drop(one.id)
        if sent:
            outbox.add(name, alert, NotificationEvent.RESOLVE, now_us)
        elif waiting:
            outbox.change(waiting[-1].id, alert, now_us)


def _acknowledge(outbox: Outbox, alert: Alert, channels: Mapping[str, Channel], now_us: int) -> None:
    for one in outbox.of_episode(alert.alert_id, alert.episode):
        if one.event == "trigger" and one.status in _GONE and one.channel in channels:
            from llmmon.alerting.notifiers import NOTIFIERS

            if NOTIFIERS[channels[one.channel].type].acknowledges:
                outbox.add(one.channel, alert, NotificationEvent.ACKNOWLEDGE, now_us)


def enqueue_missing(outbox: Outbox, firing: Sequence[Alert], channels: Mapping[str, Channel], now_us: int) -> None:
    """Queue the alerts that fire for channels to which they go only now.

    Such a channel was added, is reached by a higher severity, or is one to escalate to what nobody acknowledges.
    """
    for alert in firing:
        if alert.notified_us is None or alert.silenced or alert.acknowledged:
            continue
        known = outbox.channels_of(alert.alert_id, alert.episode)
        since_us = alert.recent_us[-1] if alert.recent_us else alert.notified_us
        for channel in channels.values():
            waited = now_us - since_us >= channel.escalate_after_us
            if channel.name not in known and waited and routes_to(alert, channel):
                outbox.add(channel.name, alert, NotificationEvent.TRIGGER, now_us)
