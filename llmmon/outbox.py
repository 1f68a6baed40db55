"""The messages that wait to be delivered, and those that were: a table of the state file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from llmmon.alert import Alert


class Post(msgspec.Struct, frozen=True):
    """One message in the outbox: to whom, about which alert as it was then, and how far it got."""

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
    """The outbox of a state file; what is written outside a transaction is written at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of_episode(self, alert_id: str, episode: int) -> list[Post]:
        """Every message about one episode, oldest first."""
        return self._posts("alert_id = ? AND episode = ?", (alert_id, episode))

    def due(self, now_us: int) -> list[Post]:
        """The messages that wait and whose time has come, oldest first."""
        return self._posts("status = 'queued' AND due_us <= ?", (now_us,))

    def queued(self) -> list[Post]:
        """All messages that wait, oldest first."""
        return self._posts("status = 'queued'", ())

    def _posts(self, condition: str, values: Sequence[Any]) -> list[Post]:
        columns = "id, channel, data, event, status, tries, due_us, created_us, sent_us, error"
        rows = self._db.execute(f"SELECT {columns} FROM outbox WHERE {condition} ORDER BY id", values).fetchall()  # noqa: S608
        return [Post(i, c, msgspec.msgpack.decode(data, type=Alert), *more) for i, c, data, *more in rows]

    def add(self, channel: str, alert: Alert, event: str, now_us: int) -> int:
        """Queue a message; its id."""
        row = (channel, alert.alert_id, alert.episode, event, msgspec.msgpack.encode(alert), now_us, now_us)
        found = self._db.execute(
            "INSERT INTO outbox (channel, alert_id, episode, event, data, due_us, created_us) VALUES (?,?,?,?,?,?,?)",
            row,
        )
        return int(found.lastrowid or 0)

    def change(self, post_id: int, alert: Alert) -> None:
        """Let a message that waits speak of the alert as it is now."""
        self._db.execute("UPDATE outbox SET data = ? WHERE id = ?", (msgspec.msgpack.encode(alert), post_id))

    def drop(self, post_id: int) -> None:
        """Take back a message that waits: another says the same."""
        self._db.execute("DELETE FROM outbox WHERE id = ?", (post_id,))

    def sent(self, post_id: int, now_us: int) -> None:
        """Mark a message as delivered, at once."""
        self._db.execute("UPDATE outbox SET status = 'sent', sent_us = ?, error = '' WHERE id = ?", (now_us, post_id))

    def failed(self, post_id: int, due_us: int, error: str) -> None:
        """Mark a message as tried in vain, to be tried again at `due_us`."""
        self._db.execute(
            "UPDATE outbox SET tries = tries + 1, due_us = ?, error = ? WHERE id = ?", (due_us, error, post_id)
        )

    def forget(self, before_us: int) -> None:
        """Drop messages that were delivered before then."""
        self._db.execute("DELETE FROM outbox WHERE status = 'sent' AND sent_us < ?", (before_us,))
