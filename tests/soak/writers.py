"""A program that records calls and keeps a ledger of its own: what it tried, and what was acknowledged.

    python -m tests.soak.writers file|http NAME FOLDER

`file` appends to a log with `JsonLinesWriter`; `http` posts to `serve`, and sends the same again until it is accepted.
A call fails while its model has an incident. Ends on SIGTERM; may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import resource
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from llmmon.live.json_lines import JsonLinesWriter
from llmmon.text.times import iso

BATCH: Final = 10
PAUSE_S: Final = 0.1
FULL_DISK: Final = 0.0005  # of the lines of `file`


class Incident(msgspec.Struct, frozen=True):
    """Minutes since 1970 in which all calls of a model fail."""

    model: str
    first: int
    end: int


class Plan(msgspec.Struct, frozen=True):
    """What the writers of a soak are given."""

    models: list[str]
    port: int
    incidents: list[Incident]


def plan_of(folder: Path) -> Plan:
    return msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process may grow beyond a size that the next line of the file crosses."""
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + random.randint(0, 150), free[1]))  # noqa: S311
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)


class Writer:
    """A source of calls; each has an id that no other has."""

    def __init__(self, kind: str, name: str, folder: Path) -> None:
        self._folder, self._kind = folder, kind
        self._plan = plan_of(folder)
        self._bad = {(one.model, minute) for one in self._plan.incidents for minute in range(one.first, one.end)}
        self._ledger = os.open(folder / "ledger" / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._life = f"{name}-{uuid.uuid4().hex[:12]}"
        self._count = 0
        self._ends = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self._ends = True

    def _note(self, mark: str, ids: list[str]) -> None:
        """One write, so that a kill leaves whole lines."""
        os.write(self._ledger, "".join(f"{mark} {one}\n" for one in ids).encode())

    def _calls(self) -> list[dict[str, Any]]:
        now_us = time.time_ns() // 1000
        found = []
        for _ in range(BATCH):
            model = random.choice(self._plan.models)  # noqa: S311 - only the share of each matters
            failed = (model, now_us // 60_000_000) in self._bad
            self._count += 1
            found.append(
                {
                    "request_id": f"{self._life}-{self._count}",
                    "timestamp": iso(now_us),
                    "model": model,
                    "prompt_tokens": 100,
                    "completion_tokens": 10,
                    "latency_ms": 500.0,
                    "status": "error" if failed else "ok",
                }
            )
        return found

    def run(self) -> None:
        """Record until the end."""
        while not self._ends:
            calls = self._calls()
            self._note("tried", [call["request_id"] for call in calls])
            if self._kind == "http":
                self._post(calls)
            else:
                self._append(calls)
            time.sleep(PAUSE_S)

    def _append(self, calls: list[dict[str, Any]]) -> None:
        with JsonLinesWriter(self._folder / "logs" / "app.jsonl") as log:
            for call in calls:
                try:
                    if random.random() < FULL_DISK:  # noqa: S311
                        self._note("full", [call["request_id"]])
                        with full_disk(log.path):
                            log.record(call)
                    else:
                        log.record(call)
                except OSError:
                    continue  # this one was not acknowledged
                self._note("kept", [call["request_id"]])

    def _post(self, calls: list[dict[str, Any]]) -> None:
        body = json.dumps(calls)
        until = time.monotonic() + 240
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", self._plan.port, timeout=30)
            try:
                connection.request("POST", "/v1/requests", body, {"Content-Type": "application/json"})
                reply = connection.getresponse()
                reply.read()
                if reply.status == http.HTTPStatus.OK:
                    self._note("kept", [call["request_id"] for call in calls])
                    return
            except (OSError, http.client.HTTPException):
                pass  # it was killed or has not started yet
            finally:
                connection.close()
            time.sleep(0.3)


if __name__ == "__main__":
    Writer(sys.argv[1], sys.argv[2], Path(sys.argv[3])).run()
