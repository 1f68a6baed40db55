"""A progress bar in bytes on stderr, fed from several processes and drawn by the one that made it."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any, Final

_SLOTS: Final = 512
_COUNT: Final = struct.Struct("<q")


class Progress:
    """Counts bytes in shared memory, one slot a process; the bar appears from `least` bytes on."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._owner = os.getpid()
        self._shared = mmap.mmap(-1, _SLOTS * _COUNT.size)
        self._bar: Any = None
        self._task: Any = None

    def add(self, done: int, total: int) -> None:
        """More bytes are done, of a total."""
        if total < self._least:
            return
        at = os.getpid() % _SLOTS * _COUNT.size
        _COUNT.pack_into(self._shared, at, _COUNT.unpack_from(self._shared, at)[0] + done)
        if os.getpid() == self._owner:
            self._draw(sum(slot for (slot,) in _COUNT.iter_unpack(self._shared)), total)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            console = Console(stderr=True)
            columns = ("reading", BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=console, transient=True, auto_refresh=False)
            self._bar.start()
            self._task = self._bar.add_task("reading", total=total)
        self._bar.update(self._task, completed=done, refresh=True)
        if done >= total:
            self._bar.stop()

    def close(self) -> None:
        """Take the bar away, if this process drew one; harmless when repeated."""
        if self._bar is not None and os.getpid() == self._owner:
            self._bar.stop()
