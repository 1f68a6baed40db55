"""Kills `check` at every statement it gives to SQLite, then lets it run again; prints what became of each.

Each try is a forked process that really dies (SIGKILL). Run as `killed_checks.py FOLDER TIME`, where FOLDER holds a
configuration, a log, and a state up to before an alert; one JSON object a try comes out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from llmmon.alerting.check import check
from llmmon.config import load
from llmmon.ingest.query import Query
from llmmon.ingest.time_range import TimeRequest
from llmmon.text.times import moment_us
from tests.support.command_server import load_everything

_connect = sqlite3.connect


def run_check(folder: Path, now: str) -> None:
    config = load(str(folder / "llmmon.toml"), {}, folder)
    wall_us = moment_us(now, 0, "UTC")
    check(
        Query(logs=config.logs, wall_us=wall_us, time=TimeRequest(now=wall_us), jobs=1),
        config.check_plan(None, os.environ),
    )


def in_a_process(work: Callable[[], None]) -> int:
    """How a forked process that does the work ends: 0, or the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told by its status
            sys.stderr.write(f"{error!r}\n")
            os._exit(99)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def killing(after: int) -> Callable[..., sqlite3.Connection]:
    """`sqlite3.connect`, whose connections kill this process before their statement number `after`."""
    seen = 0

    def count(_statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen > after:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = _connect(*args, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(count)
        return connection

    return connect


def attempt(start: Path, folder: Path, now: str, after: int) -> bool:
    """Kill one run, run twice more, print what was told; whether the run was killed at all."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(start, folder)

    def killed() -> None:
        sqlite3.connect = killing(after)  # type: ignore[assignment]
        run_check(folder, now)

    ended = in_a_process(killed)
    again = [in_a_process(lambda: run_check(folder, now)) for _ in range(2)]
    file = folder / "told.jsonl"
    told = [json.loads(line)["alerts"] for line in file.read_text().splitlines() if line] if file.exists() else []
    events = [[alert["event"], alert["alert_id"], alert["episode"]] for message in told for alert in message]
    sys.stdout.write(json.dumps({"statement": after, "ended": ended, "again": again, "told": events}) + "\n")
    sys.stdout.flush()  # before the next fork
    return ended == signal.SIGKILL


def main() -> None:
    start, now = Path(sys.argv[1]), sys.argv[2]
    folder = start.with_name(f"{start.name}-killed")
    text = (start / "llmmon.toml").read_text()
    (start / "llmmon.toml").write_text(text.replace(str(start), str(folder)))
    load_everything()  # so that the forks need not
    after = 0
    while attempt(start, folder, now, after):
        after += 1


if __name__ == "__main__":
    main()
