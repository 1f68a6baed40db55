"""Many requests, one write: what comes in while the disk is busy is written and synced together, then answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from llmmon.journal import Journal
from llmmon.server.refusals import RefusedError

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
            raise RefusedError(429, "too much waits to be written", hint="send it again later", retry_after="1")
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
            fault = f"cannot write {self._journal.path}: {(error.strerror or str(error)).lower()}"
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
        """Take nothing more; `run` ends when what waits is written."""
        self._closing = True
        self._wake.set()

    def shutdown(self) -> None:
        """End the thread."""
        with contextlib.suppress(RuntimeError):
            self._thread.shutdown()
