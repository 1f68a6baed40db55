"""How fast `summarize` is beside DuckDB, Polars and jq, and how much memory each takes.

    python tests/benchmarks/summarize_speed.py FOLDER [--rounds 5] [--lines 2000000]

Writes slim.jsonl (no text, about 300 bytes a line) and fat.jsonl (prompt and output, about 3.5 KB a line; a tenth of
the lines) into FOLDER unless they are there, then runs each tool in turn, round after round. Times are whole
processes on a warm page cache, by the clock and of the processors (which others that use the machine change less); the
ratios to DuckDB are of the same round. Memory is the sum of the process tree.
Peers that are not installed are left out, and said so. jq, which takes long, runs once and does less: counts and
sums by model, no quantiles.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "claude-haiku-4-5", "llama-3.1-70b", "mistral-large")
ERRORS = ("rate_limit", "timeout", "server_error", "context_length")
WORDS = (
    "the model answers order table weekly report budget error system user function value list compare code example "
    "latency token query summary customer naïve résumé 数据 🙂 plan check result between about please"
).split()
SUMMARY_SQL = """
select model, count(*), sum(case when success then 0 else 1 end), sum(prompt_tokens), sum(completion_tokens),
  sum(total_tokens), sum(cost_usd), avg(latency_ms), quantile_cont(latency_ms, [0.5, 0.9, 0.95, 0.99]),
  max(latency_ms), avg(time_to_first_token_ms), quantile_cont(time_to_first_token_ms, [0.5, 0.95]),
  quantile_cont(completion_tokens * 1000 / latency_ms, 0.5), min(timestamp), max(timestamp)
from read_json('{path}', format='newline_delimited', columns={{model: 'VARCHAR', success: 'BOOLEAN',
  prompt_tokens: 'BIGINT', completion_tokens: 'BIGINT', total_tokens: 'BIGINT', cost_usd: 'DOUBLE',
  latency_ms: 'DOUBLE', time_to_first_token_ms: 'DOUBLE', timestamp: 'TIMESTAMP', error_type: 'VARCHAR'}})
{where} group by grouping sets ((model), ())
"""
DUCKDB = "import duckdb, sys; duckdb.sql('set threads=2'); print(duckdb.sql(sys.argv[1]).fetchall())"
POLARS = """
import polars as pl, sys
F, I, S = pl.Float64, pl.Int64, pl.String
logs = pl.scan_ndjson(sys.argv[1], schema=dict(model=S, success=pl.Boolean, prompt_tokens=I, completion_tokens=I,
    total_tokens=I, cost_usd=F, latency_ms=F, time_to_first_token_ms=F, timestamp=S, error_type=S))
c = pl.col
if len(sys.argv) > 2:
    logs = logs.with_columns(c("timestamp").str.to_datetime(time_zone="UTC"))
    logs = logs.filter(c("timestamp") >= c("timestamp").max() - pl.duration(hours=1))
what = [pl.len(), (~c("success")).sum(), c("^.*_tokens$").sum(), c("cost_usd").sum(), c("latency_ms").mean().alias("a"),
    *(c("latency_ms").quantile(q, "linear").alias(f"l{q}") for q in (0.5, 0.9, 0.95, 0.99)),
    c("latency_ms").max().alias("m"), c("time_to_first_token_ms").mean().alias("t"),
    *(c("time_to_first_token_ms").quantile(q, "linear").alias(f"t{q}") for q in (0.5, 0.95)),
    (c("completion_tokens") * 1000 / c("latency_ms")).quantile(0.5, "linear").alias("s"),
    c("timestamp").min().alias("from"), c("timestamp").max().alias("to")]
print(*pl.collect_all([logs.group_by("model").agg(what), logs.select(what)]))
"""
JQ = """reduce inputs as $c ({}; .[$c.model] |= {n: (.n + 1), tokens: (.tokens + $c.total_tokens),
  cost: (.cost + $c.cost_usd), ms: (.ms + $c.latency_ms)})"""


def write_log(path: Path, lines: int, *, with_text: bool) -> None:
    """A week of calls in order of time; `lines` of them."""
    rng = np.random.default_rng(lines)
    texts = [json.dumps(" ".join(rng.choice(WORDS, rng.integers(60, 420)))) for _ in range(2000)] if with_text else []
    with path.open("w", encoding="utf-8", buffering=1 << 20) as file:
        for start in range(0, lines, 100_000):
            size = min(100_000, lines - start)
            file.writelines(_lines(rng, start, size, lines, texts))


def _lines(rng: np.random.Generator, start: int, size: int, whole: int, texts: list[str]) -> Iterator[str]:
    week_us = 7 * 86_400_000_000
    at = np.datetime64("2026-03-02", "us") + ((start + np.arange(size)) * (week_us / whole)).astype("m8[us]")
    latency = np.round(rng.lognormal(7, 0.7, size), 2)
    ttft = np.round(latency * rng.uniform(0.08, 0.4, size), 2)
    tokens_in = np.minimum(rng.lognormal(6.5, 1, size).astype(int) + 5, 120_000)
    tokens_out = np.minimum(rng.lognormal(5, 0.9, size).astype(int) + 1, 8000)
    model, failed, kind = rng.integers(0, 6, size), rng.random(size) < 0.02, rng.integers(0, 4, size)
    stamps, ids = np.datetime_as_string(at).tolist(), rng.integers(0, 1 << 62, size)
    pick = rng.integers(0, max(len(texts), 1), (size, 2))
    for i in range(size):
        out = 0 if failed[i] else int(tokens_out[i])
        text = f', "prompt": {texts[pick[i, 0]]}, "output": {texts[pick[i, 1]]}' if texts else ""
        yield (
            f'{{"request_id": "req_{ids[i]:016x}", "model": "{MODELS[model[i]]}", "prompt_tokens": {tokens_in[i]}, '
            f'"completion_tokens": {out}, "total_tokens": {tokens_in[i] + out}, "latency_ms": {latency[i]}, '
            f'"time_to_first_token_ms": {"null" if failed[i] else ttft[i]}, '
            f'"cost_usd": {round(tokens_in[i] * 2.5e-6 + out * 1e-5, 8)}, '
            f'"success": {"false" if failed[i] else "true"}, '
            f'"error_type": {json.dumps(ERRORS[kind[i]]) if failed[i] else "null"}, '
            f'"timestamp": "{stamps[i]}+00:00"{text}}}\n'
        )


class Figures(NamedTuple):
    """What a command took: seconds by the clock, seconds of processor time, peak MB, of its whole process tree."""

    seconds: float
    processor_s: float
    memory_mb: float


def run(command: list[str], cache: Path | None = None) -> Figures:
    """What a command takes; memory is sampled, with shared pages divided among those that share them."""
    # compiled modules, as an installed package has them
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    watcher.join()
    if process.returncode:
        raise SystemExit(f"failed: {command}")
    return Figures(seconds, used.ru_utime + used.ru_stime, peak[0])


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.returncode is None:
        peak[0] = max(peak[0], sum(map(_resident_mb, _tree(process.pid))))
        time.sleep(0.02)


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(p for child in children for p in _tree(int(child)))]


def _resident_mb(pid: int) -> float:
    """Memory of a process with shared pages divided among those that share them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


LAST_HOUR = (
    "where timestamp >= (select max(timestamp) - interval 1 hour "
    "from read_json('{path}', columns={{timestamp: 'TIMESTAMP'}}))"
)
LLMMON = (sys.executable, "-m", "llmmon")
Job = tuple[str, str]  # what is done, by which tool


def jobs_of(slim: Path, fat: Path) -> dict[Job, list[str]]:
    """Every job of every tool that is here."""
    jobs: dict[Job, list[str]] = {}
    for name, path, extra, where in (
        ("slim", slim, ["--no-cache"], ""),
        ("slim again", slim, [], ""),
        ("fat", fat, ["--no-cache"], ""),
        ("fat again", fat, [], ""),
        ("last hour", slim, ["--window", "60"], LAST_HOUR),
    ):
        jobs[name, "llmmon"] = [*LLMMON, "summarize", str(path), *extra]
        query = SUMMARY_SQL.format(path=path, where=where.format(path=path))
        jobs[name, "duckdb"] = [sys.executable, "-c", DUCKDB, query]
        if importlib.util.find_spec("polars") and "again" not in name:
            jobs[name, "polars"] = [sys.executable, "-c", POLARS, str(path), *(["hour"] if where else [])]
        if shutil.which("jq") and name in {"slim", "fat"}:
            jobs[name, "jq (once)"] = ["jq", "-n", JQ, str(path)]
    return jobs


def measure(jobs: dict[Job, list[str]], rounds: int, cache: Path) -> dict[Job, list[Figures]]:
    """The figures of each job, round after round; the first round warms the caches."""
    results: dict[Job, list[Figures]] = {job: [] for job in jobs}
    for number in range(rounds + 1):
        for job, command in jobs.items():
            if job[1].endswith("(once)") and number != 1:
                continue
            figures = run(command, cache)
            if number:
                results[job].append(figures)
    return results


def print_table(results: dict[Job, list[Figures]]) -> None:
    """One line a job and tool; ratios to DuckDB in the same round, median (least-most)."""
    print(f"{'job':10} {'tool':10} {'seconds':>8} {'to duckdb':>19} {'processor':>9} {'to duckdb':>19} {'MB':>6}")
    for (job, tool), runs in results.items():
        peers = results[job, "duckdb"]
        cells = []
        for figure in ("seconds", "processor_s"):
            mine = [getattr(each, figure) for each in runs]
            ratios = [one / getattr(peer, figure) for one, peer in zip(mine, peers, strict=False)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            cells.append(f"{statistics.median(mine):8.3f} {spread:>19}")
        print(f"{job:10} {tool:10} {cells[0]} {cells[1]:>29} {max(each.memory_mb for each in runs):6.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--without", action="append", default=[], help="leave this tool out")
    options = parser.parse_args()
    slim, fat = options.folder / "slim.jsonl", options.folder / "fat.jsonl"
    for path, lines in ((slim, options.lines), (fat, options.lines // 10)):
        if not path.exists():
            write_log(path, lines, with_text=path == fat)
    jobs = {job: command for job, command in jobs_of(slim, fat).items() if job[1].split()[0] not in options.without}
    for tool in ("polars", "jq"):
        if not any(name.startswith(tool) for _, name in jobs):
            print(f"{tool}: left out" + ("" if tool in options.without else ", since it is not installed"))
    print_table(measure(jobs, options.rounds, options.folder / "cache"))


if __name__ == "__main__":
    main()
