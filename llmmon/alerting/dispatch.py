"""Sending what is due in the notification queue, one sender at a time, while the rules may be evaluated meanwhile.

The messages of one alert on one channel go in order. A message that gets through makes all that waits for its channel
due; one that does not is tried again after 1 to 5 minutes, or after up to an hour where only a change of the
configuration or of the service can help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from llmmon.alerting.alert import Alert, NotificationEvent, Suppression, routes_to
from llmmon.alerting.outbox import REPEAT, NotificationRow, QueuedNotification
from llmmon.alerting.state import BusyError, StateFile, sole_sender
from llmmon.text.times import DAY_US, HOUR_US, MINUTE_US, duration_text

if TYPE_CHECKING:
    from llmmon.alerting.delivery import Delivery
    from llmmon.alerting.mutes import Mute
    from llmmon.alerting.notifiers import Channel, Notification


BEING_SENT: Final = "another run is sending"
_FIRST_RETRY_US: Final = MINUTE_US
_LONGEST_RETRY_US: Final = 5 * MINUTE_US  # of what may pass by itself
_LONGEST_REFUSED_US: Final = HOUR_US
_MOST_DOUBLINGS: Final = 10
_MOST_ROUNDS: Final = 3
_ORPHAN_US: Final = DAY_US  # how long a message waits for a channel that is no longer configured

Batch = tuple[Sequence[QueuedNotification], Sequence["Notification"]]


def send_due(
    state: StateFile,
    channels: Mapping[str, Channel],
    firing: Sequence[Alert],
    now_us: int,
    environment: Mapping[str, str],
    *,
    dry_run: bool = False,
    mutes: Sequence[Mute] = (),
) -> list[NotificationRow]:
    """Send what is due, and record at once what was sent or has to be retried; returns a row for each.

    Services that need to be sent a firing alert in every run (Alertmanager) get those of `firing` too. While another
    process is sending, everything stays queued for it.
    """
    with _alone(state, dry_run=dry_run) as alone:
        if not alone:
            return [_row(one, "queued", BEING_SENT) for one in state.outbox.queued()]
        sending = _Sending(state, channels, firing, now_us, environment, dry_run, mutes)
        rows = sending.round()
        for _ in range(_MOST_ROUNDS - 1):
            if dry_run or not sending.more():
                break
            rows += sending.round()
        return [*rows, *sending.waiting()]


@contextmanager
def _alone(state: StateFile, *, dry_run: bool) -> Iterator[bool]:
    """Whether this process may send: no other one does."""
    if state.path is None or dry_run:
        yield True
        return
    try:
        with sole_sender(state.path):
            state.outbox.requeue()
            yield True
    except BusyError:
        yield False


class _Sending:
    def __init__(
        self,
        state: StateFile,
        channels: Mapping[str, Channel],
        firing: Sequence[Alert],
        now_us: int,
        environment: Mapping[str, str],
        dry_run: bool,
        mutes: Sequence[Mute],
    ) -> None:
        self._state, self._outbox, self._channels = state, state.outbox, channels
        self._firing, self._now_us, self._environment, self._dry_run = firing, now_us, environment, dry_run
        self._mutes = mutes
        self._tried: set[int] = set()

    def round(self) -> list[NotificationRow]:
        """Send everything that is due now."""
        with self._state.transaction():
            rows = self._given_up()
            due = self._due()
            self._outbox.taken([one.id for batch in due.values() for one in batch])
        self._tried |= {one.id for batch in due.values() for one in batch}
        batches: dict[str, Batch] = {
            name: (batch, [_notification(one, self._channels[name].tz) for one in batch]) for name, batch in due.items()
        }
        for name, reminders in self._reminders(due).items():
            batches[name] = (due.get(name, []), [*batches.get(name, ([], []))[1], *reminders])
        self._firing = ()
        return [*rows, *(self._sent(batches) if batches else [])]

    def more(self) -> bool:
        """Whether something was queued while the last round was sending."""
        return any(one.id not in self._tried for batch in self._due().values() for one in batch)

    def waiting(self) -> list[NotificationRow]:
        """What was not tried, and still waits."""
        rows = []
        for one in self._outbox.queued():
            if one.id not in self._tried:
                held = self._held_back(one)
                rows.append(_row(one, "queued", one.error) if held is None else _row(one, "suppressed", held.kind))
        return rows

    def _given_up(self) -> list[NotificationRow]:
        """Take out of the queue what nobody needs any more; returns a row for each."""
        rows = []
        for one in self._outbox.queued():
            status, reason = self._useless(one)
            if status:
                self._outbox.give_up(one.id, status, reason, self._now_us)
                rows.append(_row(one, status, reason))
        return rows

    def _useless(self, one: QueuedNotification) -> tuple[str, str]:
        channel = self._channels.get(one.channel)
        if channel is None:
            lost = self._now_us - one.created_us >= _ORPHAN_US
            return ("dropped", f"there is no channel {one.channel} any more") if lost else ("", "")
        if one.event != NotificationEvent.TRIGGER or not one.alert.resolved:
            return "", ""
        if (held := self._held_back(one)) is not None:
            return "suppressed", f"{held.kind}, and over"
        age_us = self._now_us - (one.alert.resolved_us or 0)
        if channel.max_age_us and age_us > channel.max_age_us:
            return "expired", f"over for {duration_text(age_us // MINUTE_US * MINUTE_US)}, longer than max_age"
        return "", ""

    def _held_back(self, one: QueuedNotification) -> Suppression | None:
        """The silence or mute that holds a message back: not the end of what was already sent."""
        if one.event == NotificationEvent.RESOLVE:
            return None
        known: list[Suppression] = [*self._state.silences(), *self._mutes]
        return next((each for each in known if each.covers(one.alert, self._now_us)), None)

    def _due(self) -> dict[str, list[QueuedNotification]]:
        """By channel everything that waits, where anything is due: it goes together, and in order."""
        found: dict[str, list[QueuedNotification]] = {}
        for one in self._outbox.queued():
            if one.channel in self._channels and one.id not in self._tried and self._held_back(one) is None:
                found.setdefault(one.channel, []).append(one)
        return {
            name: batch
            for name, batch in found.items()
            if any(one.due_us <= self._now_us for one in batch)
            and not self._now_us < self._outbox.paused_until_us(name) <= self._now_us + HOUR_US
        }

    def _reminders(self, due: Mapping[str, Sequence[QueuedNotification]]) -> dict[str, list[Notification]]:
        """Firing alerts, for services that forget those they are not sent in every run."""
        if not self._firing or not self._channels:
            return {}
        from llmmon.alerting.notifiers import NOTIFIERS, Notification

        found: dict[str, list[Notification]] = {}
        for name, channel in self._channels.items():
            if not NOTIFIERS[channel.type].resends:
                continue
            included = {one.alert.alert_id for one in due.get(name, ())}
            again = [
                alert
                for alert in self._firing
                if alert.notified_us is not None and alert.alert_id not in included and routes_to(alert, channel)
            ]
            if again:
                found[name] = [
                    Notification(NotificationEvent.TRIGGER, alert, repeated=True, tz=channel.tz) for alert in again
                ]
        return found

    def _sent(self, batches: Mapping[str, Batch]) -> list[NotificationRow]:
        from llmmon.alerting.delivery import deliver

        def record(done: Sequence[Delivery]) -> None:
            for one in done:
                queued = batches[one.channel][0]
                if one.index < len(queued):
                    self._outbox.sent(queued[one.index], self._now_us)

        due = {self._channels[name]: notifications for name, (_, notifications) in batches.items()}
        outcome = deliver(due, self._environment, record=record, dry_run=self._dry_run)
        return [self._settled(batch, delivery) for name, batch in batches.items() for delivery in outcome[name]]

    def _settled(self, batch: Batch, delivery: Delivery) -> NotificationRow:
        """The row of one notification; a failed one is scheduled to be sent again."""
        queued, notifications = batch
        notification = notifications[delivery.index]
        status = "sent" if delivery.delivered else "queued"
        row = NotificationRow(
            notification.alert.alert_id, delivery.channel, notification.event, status, delivery.reason, delivery.text
        )
        if not delivery.delivered and not self._dry_run and delivery.index < len(queued):
            one = queued[delivery.index]
            longest = _LONGEST_RETRY_US if delivery.retryable else _LONGEST_REFUSED_US
            wait = min(_FIRST_RETRY_US << min(one.tries, _MOST_DOUBLINGS), longest)
            if delivery.retry_after_s is not None:
                asked = round(delivery.retry_after_s * 1_000_000)
                wait = max(wait, asked)
                self._outbox.pause(delivery.channel, self._now_us + asked)
            self._outbox.failed(one.id, self._now_us + wait, delivery.reason)
        return row


def _notification(queued: QueuedNotification, tz: str) -> Notification:
    from llmmon.alerting.notifiers import Notification

    repeated = queued.event == REPEAT
    event = NotificationEvent.TRIGGER if repeated else NotificationEvent(queued.event)
    return Notification(event, queued.alert, repeated=repeated, tz=tz)


def _row(queued: QueuedNotification, status: str, reason: str) -> NotificationRow:
    event = NotificationEvent.TRIGGER if queued.event == REPEAT else NotificationEvent(queued.event)
    return NotificationRow(queued.alert.alert_id, queued.channel, event, status, reason)
