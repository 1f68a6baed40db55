"""Looks that take long, each the command itself in a process beside this one: incidents, the page, long windows.

One runs at a time, at low priority; its result is kept, and made anew when it is asked for and has aged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from llmmon.errors import EXIT_INPUT
from llmmon.ingest.query import Query
from llmmon.live.server.settings import RefusedError

_PATIENCE_S: Final = 25.0  # that a request waits for the first result
_LONGEST_S: Final = 600.0
_MOST_KEPT: Final = 8
_NICE: Final = 10


class Done(msgspec.Struct, frozen=True):
    """What a command wrote; `nothing` where no log holds a call yet."""

    text: bytes
    made_s: float
    nothing: bool = False
    fault: str = ""


class Children:
    """Runs commands on the logs of a query."""

    def __init__(
        self, query: Query, config: Path | None, logs: Callable[[], Sequence[str]], fresh_s: float = 60.0
    ) -> None:
        self._query = query
        self._config = config
        self._logs = logs
        self._fresh_s = fresh_s
        self._turn = asyncio.Semaphore(1)
        self._kept: OrderedDict[tuple[str, ...], Done] = OrderedDict()
        self._running: dict[tuple[str, ...], asyncio.Task[Done]] = {}

    async def ask(self, command: str, *options: str) -> Done:
        """What `llmmon COMMAND` says of the logs, perhaps of a minute ago; raises `RefusedError`."""
        key = (command, *options)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept.made_s < self._fresh_s:
            return kept
        if key not in self._running:
            if len(self._running) >= _MOST_KEPT:
                raise RefusedError(429, "too much is being looked for", retry_after="5")
            self._running[key] = asyncio.create_task(self._made(key))
        if kept is not None:
            return kept
        try:
            done = await asyncio.wait_for(asyncio.shield(self._running[key]), _PATIENCE_S)
        except TimeoutError:
            raise RefusedError(503, "this takes a while; ask again", retry_after="5") from None
        if done.fault:
            raise RefusedError(503, f"llmmon {command}: {done.fault}", retry_after="30")
        return done

    async def _made(self, key: tuple[str, ...]) -> Done:
        try:
            async with self._turn:
                done = await self._run(key)
        finally:
            del self._running[key]
        if not done.fault or key not in self._kept:
            self._kept[key] = done
            self._kept.move_to_end(key)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return done

    async def _run(self, key: tuple[str, ...]) -> Done:
        logs = self._logs()
        if not logs:
            return Done(b"", time.monotonic(), nothing=True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "llmmon", *key, *self._options(), "--", *logs),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
            out, talk = await asyncio.wait_for(process.communicate(), _LONGEST_S)
        except TimeoutError:
            return Done(b"", time.monotonic(), fault=f"took more than {_LONGEST_S:.0f} s")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return Done(out, time.monotonic())
        nothing = process.returncode == EXIT_INPUT and (b"no LLM call found" in talk or b"nothing to read" in talk)
        return Done(b"", time.monotonic(), nothing=nothing, fault="" if nothing else _last_line(talk))

    def _options(self) -> list[str]:
        """How the logs are to be read, as this process was told."""
        query = self._query
        given = {
            "--config": self._config,
            "--tz": query.tz,
            "--naive-tz": query.naive_tz,
            "--dialect": query.dialect,
            "--cost": query.cost,
            "--now": "wall",
        }
        options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        options += [part for text in query.where for part in ("--where", text)]
        options += [part for text in query.maps for part in ("--map", text)]
        return [*options, *(["--dedup"] if query.dedup else [])]

    async def close(self) -> None:
        """End what runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _last_line(talk: bytes) -> str:
    lines = [line for line in talk.decode("utf-8", "replace").splitlines() if line.startswith("llmmon: ")]
    return lines[-1].removeprefix("llmmon: ")[:300] if lines else "it failed"
