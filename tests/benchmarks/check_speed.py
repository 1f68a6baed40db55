"""How long `check` takes when a megabyte was appended to a log of gigabytes.

    python tests/benchmarks/check_speed.py FOLDER [--gigabytes 10] [--rounds 7]

Writes the log into FOLDER once. The target: below 0.4 s and 150 MB, whatever the size of the log.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)
CONFIGURATION = """
logs = ["logs/*.jsonl"]
state = "state.db"

[[rules]]
name = "slow"
metric = "latency_p95_ms"
threshold = 50000
by = ["model"]

[[rules]]
name = "errors"
metric = "error_rate"
threshold = 0.5

[[rules]]
name = "spend"
metric = "cost_usd"
aggregation = "sum"
threshold = 1e9
window = "1h"
"""


def lines(first: int, count: int, per_second: int) -> bytes:
    """Lines of a log in order of time."""
    found = []
    for number in range(first, first + count):
        when = START + timedelta(seconds=number / per_second)
        row = {"request_id": f"req_{number:012}", "timestamp": when.isoformat(), "model": f"m{number % 5}"}
        row |= {"prompt_tokens": 500, "completion_tokens": 200, "latency_ms": 500 + number % 997, "cost_usd": 0.002}
        found.append(json.dumps({**row, "success": number % 50 > 0}))
    return ("\n".join(found) + "\n").encode()


def check(folder: Path, now: datetime) -> tuple[float, float]:
    """Seconds and megabytes of one run."""
    command = [sys.executable, "-m", "llmmon", "check", "--now", now.isoformat(), "-q"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 1}:
        raise SystemExit(f"check ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    log = options.folder / "logs" / "app.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    (options.folder / "llmmon.toml").write_text(CONFIGURATION)
    (options.folder / "state.db").unlink(missing_ok=True)
    per_second, at_once, number = 200, 100_000, 0
    with log.open("wb") as file:
        while file.tell() < options.gigabytes * 1e9:
            file.write(lines(number, at_once, per_second))
            number += at_once
    now = START + timedelta(seconds=number / per_second)
    first = check(options.folder, now)
    print(f"log of {log.stat().st_size / 1e9:.1f} GB, first run {first[0]:.1f} s, {first[1]:.0f} MB")
    count = 1_000_000 // len(lines(0, 1, per_second))
    runs = []
    for _ in range(options.rounds):
        with log.open("ab") as file:
            file.write(lines(number, count, per_second))
        number += count
        runs.append(check(options.folder, START + timedelta(seconds=number / per_second + 120)))
    seconds, megabytes = [one[0] for one in runs], [one[1] for one in runs]
    alone = min(_start_up() for _ in range(3))
    print("| check after 1 MB | median | min-max | target |")
    print("|---|---|---|---|")
    print(f"| seconds | {statistics.median(seconds):.2f} | {min(seconds):.2f}-{max(seconds):.2f} | 0.40 |")
    print(f"| MB | {statistics.median(megabytes):.0f} | {min(megabytes):.0f}-{max(megabytes):.0f} | 150 |")
    print(f"importing numpy alone: {alone:.2f} s; peak of this script {_own_mb():.0f} MB")


def _start_up() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return time.perf_counter() - started


def _own_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
