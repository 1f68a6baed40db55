"""One job on one machine and on the workers of a Dask cluster, by the clock; that all give the same figures.

    python -m tests.benchmarks.workers FOLDER [--rounds 3]

FOLDER holds JSON lines. Workers are processes on this machine, one thread each, started before the clock; with more
workers than processors, what is measured is the cost of spreading the work, not the gain.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAM = (
    "import sys; from distributed import LocalCluster\n"
    "if __name__ == '__main__':\n"
    "    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, dashboard_address=':0') as cluster:\n"
    "        print(cluster.scheduler_address, flush=True)\n"
    "        sys.stdin.read()\n"
)


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[str]:
    """The address of a cluster of this many workers."""
    script = folder.parent / f"{workers}-workers.py"
    script.write_text(PROGRAM)
    started = subprocess.Popen(
        [sys.executable, str(script), str(workers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    try:
        yield started.stdout.readline().strip().removeprefix("tcp://")
    finally:
        started.communicate(timeout=120)
        script.unlink()


def run(folder: Path, *options: str) -> tuple[float, object]:
    """Seconds by the clock, and the figures."""
    command = [sys.executable, "-m", "llmmon", "summarize", str(folder), "--by", "model", "--no-cache", "-f", "json"]
    began = time.perf_counter()
    done = subprocess.run([*command, *options], capture_output=True, check=True)
    return time.perf_counter() - began, json.loads(done.stdout)["data"]


def main(arguments: Sequence[str]) -> None:
    """Print a row for each way to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    size = sum(path.stat().st_size for path in asked.folder.iterdir())
    print(f"{size / 1e9:.1f} GB, {os.cpu_count()} processors, {asked.rounds} rounds")
    with cluster(2, asked.folder) as two, cluster(4, asked.folder) as four:
        ways = {
            "one process": ("--jobs", "1"),
            "a process a processor": (),
            "2 workers": ("--engine", f"dask://{two}"),
            "4 workers": ("--engine", f"dask://{four}"),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        figures = None
        for _ in range(asked.rounds):
            for name, options in ways.items():
                seconds, found = run(asked.folder, *options)
                assert figures is None or found == figures, f"{name} gives other figures"
                figures = found
                times[name].append(seconds)
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.1f} ({min(found):.1f}-{max(found):.1f}) | {size / middle / 1e6:,.0f} MB/s |")


if __name__ == "__main__":
    main(sys.argv[1:])
