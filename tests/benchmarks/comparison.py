"""The same job by two commands in turn, round after round: processor time, time by the clock, ratios, and that both
counted the same.

Times are of whole processes with their start-up and their children, on a warm page cache. Ratios compare runs of the
same round, since a shared machine drifts between rounds; of each figure the median is shown, with least and most.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LLMMON = (sys.executable, "-m", "llmmon")
Counts = Mapping[str, int]


class Side(NamedTuple):
    """A command, and how its calls and tokens are read from what it prints; `counted` is None where it counts none."""

    tool: str
    command: Sequence[str]
    counted: Callable[[bytes], Counts] | None = None
    before: Callable[[], object] | None = None  # not measured
    folder: Path | None = None
    is_said: bool = False  # what is counted stands in what it says on stderr


class Comparison(NamedTuple):
    """A job that llmmon and a peer do; `goal` is the highest ratio of processor time that is aimed at."""

    job: str
    ours: Side
    peer: Side
    goal: float | None = None
    truth: Counts | None = None


class Times(NamedTuple):
    """Seconds of processor time (user and system, children included) and by the clock."""

    processor_s: float
    wall_s: float


class Result(NamedTuple):
    """The times of both sides, by round."""

    comparison: Comparison
    ours: Sequence[Times]
    peer: Sequence[Times]


def is_installed(*names: str) -> bool:
    """Whether every Python package or program of these names is here."""
    return all(importlib.util.find_spec(name) is not None or shutil.which(name) is not None for name in names)


def skip(job: str, reason: str) -> None:
    """Say that a job is left out, and why."""
    print(f"{job}: left out, {reason}", file=sys.stderr, flush=True)


def summary_counts(output: bytes) -> Counts:
    """Calls and tokens of `summarize -f json`."""
    totals = json.loads(output)["data"]["totals"]
    names = {"calls": "request_count", "prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens"}
    return {ours: int(totals[theirs] or 0) for ours, theirs in names.items()}


def said_counts(errors: bytes) -> Counts:
    """The calls that a command says it has read."""
    found = re.search(r"([\d,]+) calls", errors.decode())
    return {"calls": int(found[1].replace(",", "")) if found else 0}


def object_counts(output: bytes) -> Counts:
    """Calls and tokens of a peer that prints them as one JSON object."""
    return {name: int(value) for name, value in json.loads(output).items()}


def start(side: Side) -> tuple[Times, bytes]:
    """Run one side: its times, and what it printed (or said)."""
    if side.before:
        side.before()
    # compiled modules, as an installed package has them
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    begun = time.perf_counter()
    with subprocess.Popen(
        side.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=side.folder
    ) as process:
        assert process.stdout
        assert process.stderr
        output, errors = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(f"{' '.join(side.command)[:200]} ended with {process.returncode}: {errors.decode()[-500:]}")
    return Times(used.ru_utime + used.ru_stime, wall_s), errors if side.is_said else output


def check_counts(comparison: Comparison, ours: bytes, peer: bytes) -> None:
    """End the run where the sides disagree with each other or with the truth."""
    printed = ((comparison.ours, ours), (comparison.peer, peer))
    found = [(side.tool, dict(side.counted(output))) for side, output in printed if side.counted]
    if comparison.truth is not None:
        found.append(("the generator", dict(comparison.truth)))
    if any(counts != found[0][1] for _, counts in found):
        raise SystemExit(f"{comparison.job}: the sides count differently: {found}")


def measure(comparisons: Iterable[Comparison], rounds: int) -> list[Result]:
    """Run every comparison; the first round warms the caches and checks the counts, and is not timed."""
    results = [Result(comparison, [], []) for comparison in comparisons]
    for number in range(rounds + 1):
        for comparison, ours, peer in results:
            times, output = start(comparison.ours)
            peer_times, peer_output = start(comparison.peer)
            if number == 0:
                check_counts(comparison, output, peer_output)
                continue
            ours.append(times)  # type: ignore[attr-defined]
            peer.append(peer_times)  # type: ignore[attr-defined]
    return results


def spread(values: Sequence[float]) -> str:
    """Median (least-most)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


HEAD = """\
| job | llmmon, processor s | peer, processor s | peer | llmmon / peer | goal | by the clock |
|---|---|---|---|---|---|---|"""


def table_row(result: Result) -> str:
    """A row of the Markdown table."""
    comparison, ours, peer = result
    ratios = [mine.processor_s / other.processor_s for mine, other in zip(ours, peer, strict=True)]
    by_clock = [mine.wall_s / other.wall_s for mine, other in zip(ours, peer, strict=True)]
    goal = "" if comparison.goal is None else f"{comparison.goal:.2f}"
    if comparison.goal is not None and statistics.median(ratios) > comparison.goal:
        goal += ", missed"
    cells = (
        *(comparison.job, spread([each.processor_s for each in ours]), spread([each.processor_s for each in peer])),
        *(comparison.peer.tool, spread(ratios), goal, spread(by_clock)),
    )
    return f"| {' | '.join(cells)} |"


def print_table(results: Sequence[Result]) -> None:
    """Print the table that docs/benchmarks.md takes."""
    print(HEAD)
    for result in results:
        print(table_row(result), flush=True)
