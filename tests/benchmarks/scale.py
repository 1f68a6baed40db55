"""What grows with the log and what does not: time, memory, groups.

    python tests/benchmarks/scale.py FOLDER [--most 10000000]

Prints, for logs of 10,000 lines and ten times as many again and again, the seconds, the processor time (also for each
line) and the peak memory (sum of the process tree) of a full scan, of the same scan again, and of the last hour; then
of a million groups, and of bad lines.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.summarize_speed import LLMMON, Figures, run, write_log


def show(name: str, figures: Figures, lines: int) -> None:
    each_us = figures.processor_s / lines * 1e6
    print(
        f"{name:34} {lines:>11,} {figures.seconds:8.3f} {figures.processor_s:9.3f} {each_us:10.2f}"
        f" {figures.memory_mb:7.0f}",
        flush=True,
    )


def spoilt(path: Path, share: float) -> Path:
    """A copy of a log, of which a share of the lines is cut off half-way."""
    dice = random.Random(1)  # test data
    found = path.with_name(f"{path.stem}-bad-{share}.jsonl")
    if not found.exists():
        with path.open("rb") as lines, found.open("wb") as file:
            file.writelines(line[: len(line) // 2] + b"\n" if dice.random() < share else line for line in lines)
    return found


def with_users(path: Path, lines: int) -> Path:
    """A log in which every call is another user's."""
    found = path.with_name(f"users-{lines}.jsonl")
    if not found.exists():
        with path.open() as old, found.open("w") as file:
            file.writelines(_named(old, lines))
    return found


def _named(lines: Iterator[str], most: int) -> Iterator[str]:
    for number, line in zip(range(most), lines, strict=False):
        yield f'{line.rstrip()[:-1]}, "user": "user-{number * 7919 % most}"}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=10_000_000)
    options = parser.parse_args()
    cache = options.folder / "cache"
    print(f"{'job':34} {'lines':>11} {'seconds':>8} {'processor':>9} {'us a line':>10} {'MB':>7}")
    lines = 10_000
    path = options.folder / "scale-0.jsonl"
    while lines <= options.most:
        path = options.folder / f"scale-{lines}.jsonl"
        if not path.exists():
            write_log(path, lines, with_text=False)
        for name, extra in (
            ("full scan", ["--no-cache"]),
            ("cached", []),
            ("again", []),
            ("--window 60", ["--window", "60"]),
        ):
            show(name, run([*LLMMON, "summarize", str(path), *extra], cache), lines)
        lines *= 10
    middle = options.folder / f"scale-{min(1_000_000, options.most)}.jsonl"
    size = min(1_000_000, options.most)
    for share in (0.001, 0.05):
        bad = spoilt(middle, share)
        show(f"{share:.1%} of the lines cut off", run([*LLMMON, "summarize", str(bad), "--no-cache"], cache), size)
    users = with_users(middle, size)
    show("--by user, each another", run([*LLMMON, "summarize", str(users), "--by", "user", "--no-cache"], cache), size)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
