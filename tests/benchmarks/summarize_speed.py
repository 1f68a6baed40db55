"""How fast `summarize` is beside DuckDB, and how much memory it takes.

    python tests/benchmarks/summarize_speed.py FOLDER [--rounds 5] [--lines 2000000]

Writes slim.jsonl (no text, about 300 bytes a line) and fat.jsonl (prompt and output, about 3.5 KB a line; a tenth of
the lines) into FOLDER unless they are there, then runs each tool in turn, round after round. Times are whole
processes on a warm page cache; the ratios are of the same round. Memory is the sum of the process tree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB (sum over the process tree, sampled) of a command."""
    # compiled modules, as an installed package has them
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    process.wait()
    seconds = time.perf_counter() - begin
    watcher.join()
    if process.returncode:
        raise SystemExit(f"failed: {command}")
    return seconds, peak[0]


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=2_000_000)
    options = parser.parse_args()
    slim, fat = options.folder / "slim.jsonl", options.folder / "fat.jsonl"
    for path, lines in ((slim, options.lines), (fat, options.lines // 10)):
        if not path.exists():
            write_log(path, lines, with_text=path == fat)
    llmmon = [sys.executable, "-m", "llmmon"]
    last_hour = (
        "where timestamp >= (select max(timestamp) - interval 1 hour "
        "from read_json('{path}', columns={{timestamp: 'TIMESTAMP'}}))"
    )
    jobs = {
        ("slim", "llmmon"): [*llmmon, "summarize", str(slim)],
        ("slim", "duckdb"): [sys.executable, "-c", DUCKDB, SUMMARY_SQL.format(path=slim, where="")],
        ("fat", "llmmon"): [*llmmon, "summarize", str(fat)],
        ("fat", "duckdb"): [sys.executable, "-c", DUCKDB, SUMMARY_SQL.format(path=fat, where="")],
        ("last hour", "llmmon"): [*llmmon, "summarize", str(slim), "--window", "60"],
        ("last hour", "duckdb"): [
            *(sys.executable, "-c", DUCKDB),
            SUMMARY_SQL.format(path=slim, where=last_hour.format(path=slim)),
        ],
        ("--help", "llmmon"): [*llmmon, "--help"],
        ("--help", "duckdb"): [sys.executable, "-c", "import duckdb"],
    }
    results: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in jobs}
    for number in range(options.rounds + 1):
        for key, command in jobs.items():
            figures = run(command)
            if number:  # the first round warms the page cache
                results[key].append(figures)
    print(f"{'job':10} {'llmmon s':>9} {'duckdb s':>9} {'ratio (min-max)':>20} {'llmmon MB':>10} {'duckdb MB':>10}")
    for job in dict.fromkeys(name for name, _ in jobs):
        mine, theirs = results[job, "llmmon"], results[job, "duckdb"]
        ratios = [a / b for (a, _), (b, _) in zip(mine, theirs, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        seconds = [statistics.median(s for s, _ in runs) for runs in (mine, theirs)]
        memory = [max(m for _, m in runs) for runs in (mine, theirs)]
        print(f"{job:10} {seconds[0]:9.3f} {seconds[1]:9.3f} {spread:>20} {memory[0]:10.0f} {memory[1]:10.0f}")


if __name__ == "__main__":
    main()
