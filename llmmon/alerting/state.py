"""The state of `check` and `serve` between runs, in SQLite: checkpoints of logs, history, alerts, the outbox.

Everything that one evaluation decides is written in one transaction, queued notifications included. A kill at any
moment therefore loses nothing; a notification that was sent but not yet marked is sent again under the same key.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from llmmon.alerting.alert import Alert, Silence, with_evidence_of
from llmmon.alerting.history import Key, packed, split, unpacked
from llmmon.alerting.outbox import Outbox
from llmmon.errors import EXIT_BUSY, InputError, LlmmonError, reason_of
from llmmon.ingest.checkpoints import from_json, to_json
from llmmon.metrics.aggregates import EMPTY, Aggregates, merge
from llmmon.text.figures import plain

_WAIT_S: Final = 5.0
_WRITE_WAIT_S: Final = 30.0  # for a transaction of another process


class BusyError(LlmmonError):
    """Another evaluation with the same state file is running."""

    exit_code = EXIT_BUSY


@contextlib.contextmanager
def sole_evaluator(path: Path, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold the lock file beside a state file, so that one evaluation runs at a time; it is freed if its holder dies.

    Raises `BusyError` if another evaluation does not end within `wait_s` seconds, `InputError` if the lock file cannot
    be made.
    """
    with _locked(path, ".lock", wait_s, f"another evaluation of {path} is running"):
        yield


@contextlib.contextmanager
def sole_sender(path: Path) -> Iterator[None]:
    """Hold the lock of sending, which takes as long as the receivers do; raises `BusyError` if another holds it."""
    with _locked(path, ".sending", 0.0, f"another run with {path} is sending"):
        yield


@contextlib.contextmanager
def _locked(path: Path, ending: str, wait_s: float, busy: str) -> Iterator[None]:
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path.with_name(path.name + ending), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = reason_of(error)
        raise InputError(f"state file {path}: {why}", hint="name another with --state FILE") from None
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    raise BusyError(busy) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


HOUR: Final = 60  # minutes in a row of history
_MIGRATIONS: Final = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE checkpoints (path TEXT NOT NULL, device INTEGER, inode INTEGER, data BLOB NOT NULL);
    CREATE TABLE streams (name TEXT PRIMARY KEY, since_minute INTEGER NOT NULL, groups BLOB NOT NULL);
    CREATE TABLE history (stream TEXT NOT NULL, hour INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (stream, hour))
        WITHOUT ROWID;
    CREATE TABLE alerts (alert_id TEXT PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE episodes (alert_id TEXT NOT NULL, episode INTEGER NOT NULL, fired_us INTEGER NOT NULL,
        data BLOB NOT NULL, PRIMARY KEY (alert_id, episode)) WITHOUT ROWID;
    CREATE TABLE silences (silence_id TEXT PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, alert_id TEXT NOT NULL,
        episode INTEGER NOT NULL, event TEXT NOT NULL, data BLOB NOT NULL, status TEXT NOT NULL DEFAULT 'queued',
        tries INTEGER NOT NULL DEFAULT 0, due_us INTEGER NOT NULL, created_us INTEGER NOT NULL, sent_us INTEGER,
        error TEXT NOT NULL DEFAULT '');
    CREATE INDEX outbox_of_episode ON outbox (alert_id, episode, channel);
    CREATE INDEX outbox_due ON outbox (status, due_us);
    """,
    """
    CREATE TABLE actions (at_us INTEGER NOT NULL, alert_id TEXT NOT NULL, episode INTEGER NOT NULL,
        action TEXT NOT NULL, by TEXT NOT NULL, why TEXT NOT NULL)
    """,
)


class StateFile:
    """An open state file; use as a context manager. Raises `InputError` where it cannot be opened or written."""

    def __init__(
        self, path: Path | None, *, replaced: Callable[[str], None] | None = None, wait_s: float = _WRITE_WAIT_S
    ) -> None:
        """Open or create it (None: in memory); wait so long for a transaction of another process.

        A corrupt state file is an error; with `replaced` it is renamed, reported through that, and begun anew. A file
        that is no state file is never touched.
        """
        self.path = path
        try:
            self._db = sqlite3.connect(":memory:", isolation_level=None) if path is None else _opened(path, replaced)
            _migrate(self._db)
            self._db.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(f"state file {path}: {error}", hint="name another with --state FILE") from None
        self.outbox = Outbox(self._db)

    def copied(self) -> StateFile:
        """A copy in memory, whose changes are not kept."""
        copy = StateFile(None)
        self._db.backup(copy._db)
        return copy

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object = None, error: BaseException | None = None, _trace: object = None) -> None:
        self._db.close()
        if isinstance(error, sqlite3.OperationalError):
            hint = "free space or fix its permissions, or name another with --state FILE"
            raise InputError(f"state file {self.path}: {error}", hint=hint) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything inside at once, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    # facts

    def fact(self, name: str) -> str | None:
        """The value of a fact, None if it was never set."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Set a fact: a short text."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # checkpoints: how far logs were read

    def checkpoints(self, kind: type[Any]) -> tuple[Any, ...]:
        """The checkpoints, as values of `kind`."""
        rows = self._db.execute("SELECT data FROM checkpoints ORDER BY rowid").fetchall()
        return tuple(_checkpoint(data, kind) for (data,) in rows)

    def save_checkpoints(self, checkpoints: Iterable[Any]) -> None:
        """Replace the checkpoints."""
        self._db.execute("DELETE FROM checkpoints")
        self._db.executemany(
            "INSERT INTO checkpoints VALUES (?, ?, ?, ?)",
            [(plain(c.path), _signed(c.device), _signed(c.inode), _stored(c)) for c in checkpoints],
        )

    # history

    def streams(self) -> dict[str, tuple[int, tuple[Key, ...]]]:
        """By stream name: the first minute that it covers, and the groups that were admitted."""
        rows = self._db.execute("SELECT name, since_minute, groups FROM streams").fetchall()
        kind = list[tuple[str | None, ...]]
        return {name: (since, tuple(msgspec.msgpack.decode(groups, type=kind))) for name, since, groups in rows}

    def save_stream(self, name: str, since_minute: int, groups: Sequence[Key]) -> None:
        """Record a stream, the first minute that it covers, and its groups."""
        self._db.execute(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?)", (name, since_minute, msgspec.msgpack.encode(groups))
        )

    def forget_streams(self, names: Iterable[str]) -> None:
        """Delete streams that no rule reads any more."""
        for name in names:
            self._db.execute("DELETE FROM streams WHERE name = ?", (name,))
            self._db.execute("DELETE FROM history WHERE stream = ?", (name,))

    def history(self, stream: str, first_minute: int, end_minute: int) -> Aggregates:
        """The minutes of a stream from `first_minute` up to `end_minute`, in whole hours."""
        rows = self._db.execute(
            "SELECT data FROM history WHERE stream = ? AND hour >= ? AND hour <= ? ORDER BY hour",
            (stream, first_minute // HOUR, end_minute // HOUR),
        )
        return merge(unpacked(data) for (data,) in rows)

    def add_history(self, stream: str, part: Aggregates, joined: Callable[[Iterable[Aggregates]], Aggregates]) -> None:
        """Add minutes to a stream; `joined` merges them with those that are there."""
        for hour, new in split(part, HOUR):
            row = self._db.execute("SELECT data FROM history WHERE stream = ? AND hour = ?", (stream, hour)).fetchone()
            old = EMPTY if row is None else unpacked(row[0])
            self._db.execute(
                "INSERT OR REPLACE INTO history VALUES (?, ?, ?)", (stream, hour, packed(joined([old, new])))
            )

    def forget_history(self, stream: str, before_minute: int) -> None:
        """Delete history before a minute, in whole hours."""
        self._db.execute("DELETE FROM history WHERE stream = ? AND hour < ?", (stream, before_minute // HOUR))

    # alerts

    def alerts(self) -> dict[str, Alert]:
        """All stored alerts, by id."""
        rows = self._db.execute("SELECT data FROM alerts ORDER BY alert_id").fetchall()
        found = [msgspec.msgpack.decode(data, type=Alert) for (data,) in rows]
        return {alert.alert_id: alert for alert in found}

    def save_alerts(self, before: Mapping[str, Alert], after: Mapping[str, Alert]) -> None:
        """Write the alerts that changed, and their episodes if they have fired."""
        for name in before.keys() - after.keys():
            self._db.execute("DELETE FROM alerts WHERE alert_id = ?", (name,))
        for name, alert in after.items():
            if before.get(name) != alert:
                self._db.execute("INSERT OR REPLACE INTO alerts VALUES (?, ?)", (name, msgspec.msgpack.encode(alert)))
                self.save_episode(alert)

    def save_evidence(self, found: Mapping[str, Alert]) -> None:
        """Add evidence to alerts, and to their messages that wait."""
        before = self.alerts()
        self.save_alerts(before, {name: with_evidence_of(alert, found) for name, alert in before.items()})
        for one in self.outbox.queued():
            if (alert := with_evidence_of(one.alert, found)) != one.alert:
                self.outbox.replace(one.id, alert)

    def save_episode(self, alert: Alert) -> None:
        """Write the current episode of an alert, if it has fired."""
        if alert.fired_us is not None:
            row = (alert.alert_id, alert.episode, alert.fired_us, msgspec.msgpack.encode(alert))
            self._db.execute("INSERT OR REPLACE INTO episodes VALUES (?, ?, ?, ?)", row)

    def episodes(self, since_us: int = 0) -> list[Alert]:
        """Every episode that fired since `since_us`, in order of time."""
        rows = self._db.execute(
            "SELECT data FROM episodes WHERE fired_us >= ? ORDER BY fired_us, alert_id", (since_us,)
        ).fetchall()
        return [msgspec.msgpack.decode(data, type=Alert) for (data,) in rows]

    def forget_episodes(self, before_us: int) -> None:
        """Delete episodes that fired before `before_us`."""
        self._db.execute("DELETE FROM episodes WHERE fired_us < ?", (before_us,))
        self._db.execute("DELETE FROM actions WHERE at_us < ?", (before_us,))

    def add_action(self, at_us: int, alert: Alert, action: str, by: str, why: str) -> None:
        """Record what a person did with an alert."""
        row = (at_us, alert.alert_id, alert.episode, action, by, why)
        self._db.execute("INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?)", row)

    def actions(self, since_us: int = 0) -> list[tuple[int, str, int, str, str, str]]:
        """What people did, oldest first: time, alert, episode, action, by whom, why."""
        found = self._db.execute("SELECT * FROM actions WHERE at_us >= ? ORDER BY at_us, rowid", (since_us,))
        return list(found.fetchall())

    # silences

    def forget_silences(self, before_us: int) -> None:
        """Delete silences that ended before a time."""
        for silence in self.silences():
            if silence.until_us < before_us:
                self.drop_silence(silence.silence_id)

    def silences(self) -> list[Silence]:
        """All silences, newest last."""
        rows = self._db.execute("SELECT data FROM silences").fetchall()
        found = [msgspec.msgpack.decode(data, type=Silence) for (data,) in rows]
        return sorted(found, key=lambda silence: (silence.created_us, silence.silence_id))

    def save_silence(self, silence: Silence) -> None:
        """Add or replace a silence."""
        row = (silence.silence_id, msgspec.msgpack.encode(silence))
        self._db.execute("INSERT OR REPLACE INTO silences VALUES (?, ?)", row)

    def drop_silence(self, silence_id: str) -> bool:
        """Delete a silence; returns whether there was one."""
        return self._db.execute("DELETE FROM silences WHERE silence_id = ?", (silence_id,)).rowcount > 0


_INSTALLATION: Final = "installation"


def installation_of(state: StateFile, legacy: str) -> str:
    """The random id of an installation, which is part of its alerts' ids; it is made at its first evaluation.

    Alerts that an older version opened keep their ids, which were made of the path of the configuration, until none of
    them is open.
    """
    known = state.fact(_INSTALLATION)
    if known is not None:
        return known
    if any(not alert.resolved or alert.held for alert in state.alerts().values()):
        return legacy
    from secrets import token_hex

    made = token_hex(8)
    state.set_fact(_INSTALLATION, made)
    return made


def _opened(path: Path, replaced: Callable[[str], None] | None) -> sqlite3.Connection:
    _check_ours(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return _connected(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        if replaced is None:
            raise InputError(
                f"state file {path} is corrupt ({error})", hint="`llmmon check` puts it aside and begins a new one"
            ) from None
        aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
        replaced(f"state file {path} is corrupt ({error}): renamed to {aside.name}, starting with a new one")
        return _connected(path)


_FIRST_PAGE: Final = 4096  # bytes; the names of the tables are in it


def _check_ours(path: Path) -> None:
    """Raise `InputError` for a file that no llmmon has written: it belongs to somebody else."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_FIRST_PAGE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"state file {path}: {reason_of(error)}", hint="name another with --state FILE") from None
    empty_database = beginning.startswith(b"SQLite format 3\0") and b"CREATE TABLE" not in beginning
    if beginning and not empty_database and b"CREATE TABLE facts" not in beginning:
        raise InputError(f"{path} is not a state file of llmmon", hint="name another with --state FILE")


def _connected(path: Path) -> sqlite3.Connection:
    """Connect to a file that is readable only by its owner, and check that it is intact."""
    if not path.exists():
        path.touch(0o600)
    db = sqlite3.connect(path, timeout=_WRITE_WAIT_S, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        _migrate(db)
        for table in ("facts", "checkpoints", "alerts", "silences", "outbox"):
            db.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - finds unreadable pages
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection) -> None:
    """Migrate the schema; raises `InputError` for one that is newer than this version."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(_MIGRATIONS):
        raise InputError(
            f"the state file was written by a newer llmmon (schema {version}, known {len(_MIGRATIONS)})",
            hint="update llmmon, or name another with --state",
        )
    if version < len(_MIGRATIONS):
        db.execute("BEGIN IMMEDIATE")  # two processes may open a new file at the same time
        for number in range(int(db.execute("PRAGMA user_version").fetchone()[0]), len(_MIGRATIONS)):
            for statement in _MIGRATIONS[number].split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
        db.execute("COMMIT")


def _stored(checkpoint: Any) -> bytes:
    """As MessagePack, or as JSON where a path is not UTF-8 and MessagePack has no form for it."""
    try:
        return msgspec.msgpack.encode(checkpoint)
    except UnicodeEncodeError:
        return to_json(checkpoint)


def _checkpoint(data: bytes, kind: type[Any]) -> Any:
    return from_json(data, kind) if data[:1] == b"{" else msgspec.msgpack.decode(data, type=kind)


def _signed(number: int) -> int:
    """An unsigned 64-bit number, such as an inode, as a signed one for SQLite."""
    return number - (1 << 64) if number >= 1 << 63 else number
