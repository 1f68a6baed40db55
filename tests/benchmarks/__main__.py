"""Every comparison of speed, one after the other, as one table that docs/benchmarks.md takes.

    python -m tests.benchmarks [NAME ...] [--quick] [--folder FOLDER] [--rounds 3] [--traces FOLDER]

Names: flat, nested, dialects, scale, jobs, startup, forecast; all without one. The last is a table of its own, of how
well costs are forecast (see `tests.benchmarks.forecast`, also for `--traces`). `--quick` takes logs of a few megabytes,
and shows whether everything runs and counts alike rather than how fast it is. Logs are kept in FOLDER for the next run.
Both sides of a comparison have to count the same, or the run ends; peers that are not installed are left out, and
named. What a row shows is told in `tests.benchmarks.comparison`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import orjson

from tests.benchmarks import backtest, dialects, forecast, nested, scale, startup, summarize_speed
from tests.benchmarks.comparison import (
    HEAD,
    LLMMON,
    Comparison,
    Side,
    is_installed,
    measure,
    object_counts,
    said_counts,
    skip,
    summary_counts,
    table_row,
)

FLAT_COLUMNS: Final = (
    "{model: 'VARCHAR', prompt_tokens: 'BIGINT', completion_tokens: 'BIGINT', latency_ms: 'DOUBLE', "
    "timestamp: 'TIMESTAMP', user: 'VARCHAR'}"
)
CALLS_SQL: Final = "select model m, prompt_tokens p, completion_tokens c, latency_ms l from lines"
BY_USER_SQL: Final = CALLS_SQL.replace("model m", '"user" m')
LAST_HOUR_SQL: Final = (
    f"{CALLS_SQL} where timestamp > (select max(timestamp) + interval 1 microsecond - interval 1 hour from lines)"
)
NO_DUCKDB: Final = "since DuckDB is not installed (extra `bench`)"


class Sizes:
    """How large the logs are."""

    def __init__(self, *, quick: bool) -> None:
        self.lines = 20_000 if quick else 2_000_000
        self.many_lines = 50_000 if quick else 10_000_000
        self.users = 5_000 if quick else 1_000_000
        self.backtest_calls = 30_000 if quick else 5_000_000
        self.megabytes = 3 if quick else 100
        self.growing_megabytes = 10 if quick else 10_000


def flat_log(folder: Path, lines: int, *, with_text: bool = False) -> Path:
    """A log of one's own with a flat object a line, written unless it is there."""
    path = folder / f"{'fat' if with_text else 'slim'}-{lines}.jsonl"
    if not path.exists():
        summarize_speed.write_log(path, lines, with_text=with_text)
    return path


def summary(path: Path, *more: str) -> Side:
    """A summary as JSON, by reading all of the log."""
    command = [*LLMMON, "summarize", str(path), "-f", "json", "--no-cache", *more]
    return Side("llmmon", command, summary_counts)


def query(path: Path, calls_sql: str) -> Side:
    """The same summary by DuckDB."""
    return Side("DuckDB", [sys.executable, "-c", nested.DUCKDB, str(path), FLAT_COLUMNS, calls_sql], object_counts)


def flat(folder: Path, sizes: Sizes) -> Iterator[Comparison]:
    """Flat lines without and with text."""
    if not is_installed("duckdb"):
        skip("flat lines", NO_DUCKDB)
        return
    slim, fat = flat_log(folder, sizes.lines), flat_log(folder, sizes.lines // 10, with_text=True)
    yield Comparison(f"slim, {sizes.lines:,} lines", summary(slim), query(slim, CALLS_SQL), 0.95)
    yield Comparison(f"fat, {sizes.lines // 10:,} lines", summary(fat), query(fat, CALLS_SQL), 0.95)


def nested_logs(folder: Path, sizes: Sizes) -> Iterator[Comparison]:
    """Nested logs, as they are found in the field."""
    yield from nested.comparisons(folder / "nested", sizes.megabytes)


def dialect_logs(folder: Path, sizes: Sizes) -> Iterator[Comparison]:
    """Dialects beside flat lines of the same size."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"dialect-{name}-{sizes.megabytes}.jsonl" for name in dialects.SHAPES}
    for name, path in paths.items():
        if not path.exists():
            dialects.write(path, dialects.SHAPES[name], sizes.megabytes << 20)
    for name in ("litellm", "otlp"):
        with paths[name].open("rb") as file:
            calls = sum(_calls_on(line) for line in file)
        ours = summary(paths[name])._replace(counted=lambda output: {"calls": summary_counts(output)["calls"]})
        peer = Side("flat lines", summary(paths["flat"]).command)
        yield Comparison(f"{name}, {sizes.megabytes} MB", ours, peer, 2.0, {"calls": calls})


def _calls_on(line: bytes) -> int:
    """How many calls a line holds: a span each in a batch, else one."""
    batch = orjson.loads(line).get("resourceSpans")
    return sum(len(scope["spans"]) for one in batch for scope in one["scopeSpans"]) if batch else 1


def scaled(folder: Path, sizes: Sizes) -> Iterator[Comparison]:
    """What should not grow with the log: its last hour, and many groups."""
    if not is_installed("duckdb"):
        skip("the last hour and many users", NO_DUCKDB)
        return
    path = flat_log(folder, sizes.many_lines)
    ours = summary(path, "--window", "60")
    yield Comparison(f"the last hour of {sizes.many_lines:,} lines", ours, query(path, LAST_HOUR_SQL))
    users = scale.with_users(path, sizes.users)
    job = f"{sizes.users:,} users, a group each"
    yield Comparison(job, summary(users, "--by", "user"), query(users, BY_USER_SQL))


def jobs(folder: Path, sizes: Sizes) -> Iterator[Comparison]:
    """The other commands beside `summarize` of the same log."""
    path = flat_log(folder, sizes.lines)
    logs = folder / f"backtest-{sizes.backtest_calls}"
    if not logs.exists():
        logs.mkdir()
        backtest.write_log(logs, sizes.backtest_calls)
    rules = folder / "rules.toml"
    rules.write_text(backtest.RULES)
    for goal, log, name, options in (
        (1.5, path, "report", ["-o", str(folder / "report.html")]),
        (2.5, path, "cost", ["-f", "json"]),
        (2.5, path, "export", ["--to", "jsonl", "-o", str(folder / "export.jsonl")]),
        (6.0, logs, "rules backtest", ["--rules", str(rules), "-f", "json"]),
    ):
        command = [*LLMMON, *name.split(), str(log), *options, "--no-cache"]
        ours = Side("llmmon", command, said_counts, is_said=True)
        peer = Side("summarize", summary(log).command, said_counts, is_said=True)
        lines = sizes.lines if log == path else sizes.backtest_calls
        yield Comparison(f"`{name}`, {lines:,} lines", ours, peer, goal)


def starts(folder: Path, sizes: Sizes) -> Iterator[Comparison]:
    """Small runs beside the libraries they need."""
    yield from startup.comparisons(folder / "startup", sizes.growing_megabytes)


PARTS: Final[dict[str, Callable[[Path, Sizes], Iterator[Comparison]]]] = {
    "flat": flat,
    "nested": nested_logs,
    "dialects": dialect_logs,
    "scale": scaled,
    "jobs": jobs,
    "startup": starts,
}


FORECAST: Final = "forecast"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*PARTS, FORECAST)))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "llmmon-benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--traces", type=Path)
    options = parser.parse_args()
    known = (*PARTS, FORECAST)
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    names = options.names or known
    if timed := [name for name in names if name in PARTS]:
        print(HEAD, flush=True)
    for name in timed:
        found = list(PARTS[name](options.folder, Sizes(quick=options.quick)))
        for result in measure(found, 1 if options.quick else options.rounds):
            print(table_row(result), flush=True)
    for line in forecast.report(quick=options.quick, traces=options.traces) if FORECAST in names else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
