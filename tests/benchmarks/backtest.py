"""Prints how long `rules backtest` takes over 30 days of 5,000,000 requests, and where the time goes.

    python tests/benchmarks/backtest.py FOLDER [CALLS]

The log is written into FOLDER once: a daily season, a slow afternoon and an outage a week.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DAYS = 30
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "claude-haiku-4-5")
RULES = """
[[rules]]
name = "High Latency"
metric = "latency_ms"
aggregation = "avg"
threshold = 5000

[[rules]]
name = "High Error Rate"
metric = "error_rate"
threshold = 0.1
severity = "critical"

[[rules]]
name = "Slow answers"
metric = "latency_p95_ms"
threshold = 9000
window = "15m"
for = "5m"
by = ["model"]

[[rules]]
name = "Errors of a model"
metric = "error_rate"
threshold = 0.05
window = "15m"
by = ["model"]
min_count = 50

[[rules]]
name = "Spend per hour"
metric = "cost_usd"
aggregation = "sum"
threshold = 100
window = "1h"

[[rules]]
name = "No calls"
metric = "requests"
condition = "lt"
threshold = 1
window = "30m"

[[rules]]
name = "Slower than last week"
metric = "latency_p95_ms"
change = "+50%"
versus = "previous 7d"
window = "30m"

[[slos]]
name = "answers"
objective = 0.99
good = "ok and latency_ms<20000"

[[budgets]]
name = "spend"
amount_usd = 2000
per = "day"
"""


def write_log(folder: Path, calls: int) -> None:
    """One file a day."""
    rng = np.random.default_rng(calls)
    for day in range(DAYS):
        with (folder / f"{np.datetime64('2026-03-02') + day}.jsonl").open("w", buffering=1 << 20) as file:
            file.writelines(_lines(rng, day, calls // DAYS))


def _lines(rng: np.random.Generator, day: int, size: int) -> Iterator[str]:
    second = np.sort(rng.normal(13, 4.5, size) % 24 * 3600)
    stamps = np.datetime_as_string(
        np.datetime64("2026-03-02", "ms") + (day * 86_400_000 + second * 1000).astype("m8[ms]")
    )
    model = rng.integers(0, len(MODELS), size)
    slow = (day % 7 == 3) & (second > 54_000) & (second < 64_800) & (model == 0)
    latency = np.round(rng.lognormal(7.4, 0.6, size) * np.where(slow, 3.0, 1.0), 1)
    failed = rng.random(size) < np.where((day % 7 == 5) & (second > 36_000) & (second < 38_000), 0.4, 0.01)
    tokens_in, tokens_out = rng.integers(50, 2000, size), rng.integers(20, 500, size)
    cost = np.round(tokens_in * 2.5e-7 + tokens_out * 1e-6, 7)
    rows = zip(*(a.tolist() for a in (stamps, model, latency, failed, tokens_in, tokens_out, cost)), strict=True)
    for at, which, took, wrong, used, made, paid in rows:
        yield (
            f'{{"timestamp": "{at}Z", "model": "{MODELS[which]}", "latency_ms": {took}, '
            f'"success": {"false" if wrong else "true"}, "prompt_tokens": {used}, "completion_tokens": {made}, '
            f'"cost_usd": {paid}}}\n'
        )


def main() -> None:
    folder = Path(sys.argv[1])
    calls = int(sys.argv[2]) if len(sys.argv) > 2 else 5_000_000
    logs = folder / "logs"
    if not logs.exists():
        logs.mkdir(parents=True)
        write_log(logs, calls)
    (folder / "rules.toml").write_text(RULES)
    command = [sys.executable, "-m", "llmmon", "rules", "backtest", str(logs), "--rules", str(folder / "rules.toml")]
    for name, more in (("read and replayed", ["--no-cache"]), ("columns cached", []), ("again", [])):
        begin = time.perf_counter()
        subprocess.run([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        print(f"{name:20s} {time.perf_counter() - begin:6.1f} s")


if __name__ == "__main__":
    main()
