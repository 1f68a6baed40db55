"""What a small run costs, beside the import of the libraries that it cannot do without.

    python -m tests.benchmarks.startup FOLDER [--megabytes 1000] [--rounds 9]

`--help` beside typer; `summarize` of a small log beside numpy, with a table beside typer and rich too; and `check`
after a megabyte was appended to a log of `--megabytes`, beside numpy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from tests.benchmarks.check_speed import CONFIGURATION, START, lines
from tests.benchmarks.comparison import LLMMON, Comparison, Side, measure, print_table, summary_counts

SMALL_LINES: Final = 1_000
PER_SECOND: Final = 200
AT_ONCE: Final = 50_000  # lines


class GrowingLog:
    """A log in a folder of its own that grows by a megabyte before every run of `check`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self.command = [*LLMMON, "check", "-q", "--now", ""]
        self._path = folder / "logs" / "app.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        (folder / "llmmon.toml").write_text(CONFIGURATION)
        (folder / "state.db").unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        self._number = 0
        self._appended = 1_000_000 // len(lines(0, 1, PER_SECOND))
        while self._number == 0 or self._path.stat().st_size < megabytes * 1e6:
            self._append(AT_ONCE)

    def grow(self) -> None:
        """Append a megabyte, and set the time of the next check."""
        self._append(self._appended)
        self.command[-1] = (START + timedelta(seconds=self._number / PER_SECOND + 120)).isoformat()

    def _append(self, count: int) -> None:
        with self._path.open("ab") as file:
            file.write(lines(self._number, count, PER_SECOND))
        self._number += count


def importing(modules: str) -> Side:
    """An interpreter that only imports."""
    return Side(f"import {modules}", [sys.executable, "-c", f"import {modules}"])


def comparisons(folder: Path, megabytes: int) -> Iterator[Comparison]:
    """Every start, beside the libraries that it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    small = folder / "small.jsonl"
    small.write_bytes(lines(0, SMALL_LINES, PER_SECOND))
    truth = {"calls": SMALL_LINES, "prompt_tokens": SMALL_LINES * 500, "completion_tokens": SMALL_LINES * 200}
    summarize = [*LLMMON, "summarize", str(small)]
    yield Comparison("`--help`", Side("llmmon", [*LLMMON, "--help"]), importing("typer"), 1.25)
    table = Side("llmmon", summarize)
    yield Comparison("1,000 lines, table", table, importing("numpy, typer, rich.table"), 1.05)
    as_json = Side("llmmon", [*summarize, "-f", "json"], summary_counts)
    yield Comparison("1,000 lines, JSON", as_json, importing("numpy"), 1.15, truth)
    libraries = importing("numpy, typer, msgspec, orjson")
    yield Comparison("1,000 lines, JSON, beside all it imports", as_json, libraries, None, truth)
    log = GrowingLog(folder / f"check-{megabytes}", megabytes)
    check = Side("llmmon", log.command, before=log.grow, folder=log.folder)
    yield Comparison(f"`check` of 1 MB more of {megabytes:,} MB", check, importing("numpy"), 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print_table(measure(list(comparisons(options.folder, options.megabytes)), options.rounds))


if __name__ == "__main__":
    main()
