"""The durable log: what arrives while the disk is busy is written and synced together, then confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Final, Self

from llmmon.errors import InputError, UsageError, reason_of
from llmmon.live.server.settings import RefusedError

TURN_BYTES: Final = 256 << 20
_FRESH: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """The open log; use as a context manager. One process writes it at a time."""

    def __init__(self, path: Path, turn_bytes: int = TURN_BYTES) -> None:
        """Open or create it, readable only by its owner; raises `InputError`, `UsageError` where another writes it."""
        self.path = path
        self._turn_bytes = turn_bytes
        self._file = self._day = -1
        self.open()

    def open(self) -> None:
        """Open or create the file, unless it is open; raises as the constructor does."""
        if self._file >= 0:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._open()
            self._day = _day_of(self._file)
        except OSError as error:
            why = f"cannot write {self.path}: {reason_of(error)}"
            raise InputError(why, hint="name another with --log FILE") from None

    def close(self) -> None:
        """Close the file, and let others write it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> int:
        """Open and lock the file at the path; raises `OSError`, `UsageError`."""
        file = os.open(self.path, _FRESH, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                _write(file, b"\n")  # a write that was cut off is a line of its own: nothing is joined to it
            _sync_folder(self.path.parent)
        except BlockingIOError:
            os.close(file)
            raise UsageError(
                f"{self.path} is being written by another llmmon", hint="--log FILE for this one"
            ) from None
        except BaseException:
            os.close(file)
            raise
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def logs(self) -> tuple[str, str]:
        """The names of the log and of its rotated files, as a path and a glob."""
        return str(self.path), f"{escape(str(self.path))}.[0-9]*"

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write whole lines and wait until they are on the disk, in a file that has a name.

        Raises `OSError`, and then wrote nothing.
        """
        self._follow()
        status = os.fstat(self._file)
        if status.st_size and (status.st_size >= self._turn_bytes or _day(time.time()) != self._day):
            self._turn()
        data = b"".join(pieces)
        _write(self._file, data)
        if not os.fstat(self._file).st_nlink:  # removed meanwhile, and these lines with it
            self._follow()
            _write(self._file, data)

    def _follow(self) -> None:
        """Begin a new file where the log was removed, moved or replaced by others, such as logrotate."""
        try:
            there, ours = self.path.stat(), os.fstat(self._file)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._renew()

    def _turn(self) -> None:
        """Put the log aside and begin a new one; where that fails, the old one goes on."""
        aside = self.path.with_name(f"{self.path.name}.{datetime.now(UTC):%Y%m%d%H%M%S%f}")
        with contextlib.suppress(OSError):
            self.path.rename(aside)
            try:
                self._renew()
            except OSError:
                aside.rename(self.path)

    def _renew(self) -> None:
        """Write to the file that is at the path now; raises `OSError`, and then the old one stays open."""
        try:
            file = self._open()
        except UsageError as error:
            raise OSError(errno.EAGAIN, str(error)) from None
        os.close(self._file)
        self._file, self._day = file, _day_of(file)


def _write(file: int, data: bytes) -> None:
    """Write all and wait until it is on the disk; raises `OSError`, and then nothing of it is there."""
    start = os.fstat(file).st_size
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            if os.fstat(file).st_size > start:  # else somebody has emptied it
                os.ftruncate(file, start)
        raise


def _day_of(file: int) -> int:
    """The day of the last write."""
    status = os.fstat(file)
    return _day(status.st_mtime if status.st_size else time.time())


def _day(seconds: float) -> int:
    return int(seconds // 86400)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_AT_ONCE: Final = 8 << 20  # bytes of one write


class Writer:
    """Hands lines to the journal; `record` returns when they are on the disk."""

    def __init__(self, journal: Journal, most_bytes: int, say: Callable[[str], None]) -> None:
        self._journal = journal
        self._most_bytes = most_bytes
        self._say = say
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "writer")
        self.queued_bytes = 0
        self.written = 0  # writes so far
        self.fault: str | None = None  # why the last write failed

    async def record(self, data: bytes) -> None:
        """Write whole lines; raises `RefusedError` 429 where too much waits, 503 where they cannot be written."""
        if self.queued_bytes + len(data) > self._most_bytes or self._closing:
            raise RefusedError(429, "too much is waiting to be written", hint="send it again later", retry_after="1")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queued_bytes += len(data)
        self._waiting.append((data, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write until `close`."""
        while not self._closing or self._waiting:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._write(self._next())

    def _next(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        size = count = 0
        for data, _ in self._waiting:
            size, count = size + len(data), count + 1
            if size >= _AT_ONCE:
                break
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _write(self, batch: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        pieces = [data for data, _ in batch]
        fault = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.append, pieces)
        except OSError as error:
            fault = f"cannot write {self._journal.path}: {reason_of(error)}"
        if fault is not None and fault != self.fault:
            self._say(fault)
        self.fault = fault
        self.written += fault is None
        self.queued_bytes -= sum(map(len, pieces))
        for _, done in batch:
            if done.done():
                continue
            if fault is None:
                done.set_result(None)
            else:
                done.set_exception(RefusedError(503, f"nothing was recorded: {fault}", retry_after="5"))

    def close(self) -> None:
        """Accept nothing more; `run` ends once all that waits is written."""
        self._closing = True
        self._wake.set()

    def shutdown(self) -> None:
        """End the thread."""
        with contextlib.suppress(RuntimeError):
            self._thread.shutdown()
