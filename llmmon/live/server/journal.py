"""The durable log: what arrives while the disk is busy is written and synced together, then confirmed."""

from __future__ import annotations

import asyncio
import contextlib
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
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open()
        except OSError as error:
            raise InputError(f"cannot write {path}: {reason_of(error)}", hint="name another with --log FILE") from None

    def _open(self) -> None:
        self._file = os.open(self.path, _FRESH, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise UsageError(
                f"{self.path} is being written by another llmmon", hint="--log FILE for this one"
            ) from None
        status = os.fstat(self._file)
        self._size = status.st_size
        self._day = _day(status.st_mtime if self._size else time.time())
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._write([b"\n"])  # a write that was cut off is a line of its own: nothing is joined to it
        _sync_folder(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @property
    def logs(self) -> tuple[str, str]:
        """The names of the log and of its rotated files, as a path and a glob."""
        return str(self.path), f"{escape(str(self.path))}.[0-9]*"

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write whole lines and wait until they are on the disk; raises `OSError`, and then wrote nothing."""
        if self._size and (self._size >= self._turn_bytes or _day(time.time()) != self._day):
            self._turn()
        self._write(pieces)

    def _write(self, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _turn(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.{datetime.now(UTC):%Y%m%d%H%M%S%f}")
        self.path.rename(aside)
        os.close(self._file)
        self._open()


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
