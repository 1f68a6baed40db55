"""How fast a folder of many small session files is summarized, beside ccusage and DuckDB's glob.

    python -m tests.benchmarks.many FOLDER [--rounds 5]

The files are sessions of Claude Code: 706 of 215 KB and 5,000 of 30 KB. ccusage is the native program of that name,
version 20 (npm `@ccusage/ccusage-linux-x64`), on the PATH or named by $CCUSAGE; without it only DuckDB is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from tests.benchmarks import nested
from tests.benchmarks.comparison import (
    LLMMON,
    Comparison,
    Counts,
    Side,
    is_installed,
    measure,
    object_counts,
    print_table,
    skip,
    summary_counts,
)

FOLDERS: Final = ((706, 215_000), (5_000, 30_000))  # files, and bytes of each


def write(folder: Path, files: int, size: int) -> Path:
    """A folder as `CLAUDE_CONFIG_DIR` has it, unless it is there."""
    projects = folder / f"sessions-{files}-{size}" / "projects" / "shop"
    if not projects.exists():
        projects.mkdir(parents=True)
        lines = nested.KINDS["sessions"].write(nested.Author())
        for number in range(files):
            with (projects / f"{number:05}.jsonl").open("wb") as file:
                for line in lines:
                    file.write(orjson.dumps(line.content) + b"\n")
                    if file.tell() >= size and line.calls:
                        break
    return projects.parents[1]


def tokens(output: bytes) -> Counts:
    """The tokens of `summarize -f json`."""
    return {name: count for name, count in summary_counts(output).items() if name != "calls"}


def ccusage_tokens(output: bytes) -> Counts:
    """The tokens of `ccusage claude daily --json`; prompts with what was read from and written to caches."""
    totals = json.loads(output)["totals"]
    prompts = ("inputTokens", "cacheCreationTokens", "cacheReadTokens")
    return {
        "prompt_tokens": sum(int(totals[name]) for name in prompts),
        "completion_tokens": int(totals["outputTokens"]),
    }


def comparisons(folder: Path, *, quick: bool = False) -> Iterator[Comparison]:
    """Each folder by `summarize`, beside ccusage and DuckDB where they are installed."""
    ccusage = os.environ.get("CCUSAGE") or shutil.which("ccusage")
    if ccusage is None:
        skip("many files beside ccusage", "since ccusage is not installed (npm `@ccusage/ccusage-linux-x64`)")
    kind = nested.KINDS["sessions"]
    columns = "{" + ", ".join(f"{key}: '{value}'" for key, value in kind.columns.items()) + "}"
    for all_files, size in FOLDERS:
        files = all_files // 50 if quick else all_files
        root = write(folder, files, size)
        job = f"{files:,} session files of {size // 1000} KB"
        command = [*LLMMON, "summarize", str(root), "-f", "json", "--no-cache"]
        if ccusage is not None:
            peer = ["env", f"CLAUDE_CONFIG_DIR={root}", ccusage, "claude", "daily", "--offline", "--json"]
            yield Comparison(job, Side("llmmon", command, tokens), Side("ccusage", peer, ccusage_tokens), 1.0)
        if is_installed("duckdb"):
            query = [sys.executable, "-c", nested.DUCKDB, f"{root}/projects/*/*.jsonl", columns, kind.calls_sql]
            yield Comparison(job, Side("llmmon", command, summary_counts), Side("DuckDB", query, object_counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print_table(measure(list(comparisons(options.folder)), options.rounds))


if __name__ == "__main__":
    main()
