"""A JSON lines log of our own that is appended to durably: what `append` returned from survives a crash.

It is turned (renamed with the time behind its name, and begun anew) by size and by day; nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Final, Self

from llmmon.errors import InputError, UsageError

TURN_BYTES: Final = 256 << 20
_FRESH: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """The open log; use as a context manager. One process writes it at a time."""

    def __init__(self, path: Path, turn_bytes: int = TURN_BYTES) -> None:
        """Open or make it, readable only by its owner; raises `InputError`, `UsageError` where another writes it."""
        self.path = path
        self._turn_bytes = turn_bytes
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open()
        except OSError as error:
            raise InputError(f"cannot write {path}: {_why(error)}", hint="--log FILE names another") from None

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
        """The names under which the log and what was turned away are found."""
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


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
