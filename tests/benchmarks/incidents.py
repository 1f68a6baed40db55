"""Runs the default monitor on a folder's labelled incident generator and prints what it finds beside the targets.

    python tests/benchmarks/incidents.py INCIDENTS_FOLDER [SEEDS]

The folder holds `incidents.py` with `generate(seed, per_day=, clean=, strength=)` and `score(detections, ...)`.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmmon.detectors import judge
from llmmon.detectors.anomaly import micros
from llmmon.incidents import incidents
from llmmon.series import FloatArray, Group, IntArray, Panel, Series, Table, counts, levels, panel, proportions, totals

STEP_US = 300_000_000
FIRST_SEED = 9000
CREEPING = ("error_creep", "cost_creep")
TARGETS = {1.0: 0.97, 0.5: 0.85}
FAMILIES = {
    "latency_p99_ms": "latency",
    "output_tokens_per_second": "latency",
    "cost_per_request_usd": "cost",
    "cost_per_token_usd": "cost",
    "cost_usd": "cost",
}
Log = Mapping[str, Any]


def measures(log: Log) -> dict[str, FloatArray]:
    """The values of every call by metric, NaN where it has none."""
    ok = log["success"]
    first = np.nan_to_num(log["time_to_first_token_ms"])
    writing = np.maximum(log["latency_ms"] - first, 1e-3)
    found = {
        "latency_ms": log["latency_ms"],
        "output_tokens_per_second": log["completion_tokens"] * 1000 / writing,
        "completion_tokens": log["completion_tokens"],
        "cost_per_request_usd": log["cost_usd"],
        "cost_per_token_usd": log["cost_usd"] / np.maximum(log["total_tokens"], 1),
    }
    of_successes = {name: np.where(ok, values, np.nan) for name, values in found.items()}
    rest = ("time_to_first_token_ms", "prompt_tokens", "quality_score")
    return {**of_successes, **{name: log[name].astype(np.float64) for name in rest}}


def table_of(bucket: IntArray, values: FloatArray, size: int) -> Table:
    """Sorted values by bucket."""
    known = np.isfinite(values)
    bucket, values = bucket[known], values[known]
    order = np.lexsort((values, bucket))
    return Table(np.searchsorted(bucket[order], np.arange(size + 1)).astype(np.int64), values[order])


def group_series(
    log: Log, values: Mapping[str, FloatArray], rows: Any, grid: IntArray, bucket: IntArray, group: Group
) -> list[Series]:
    """Every default metric of the calls in `rows`."""
    size, mine = len(grid), bucket[rows]
    calls = np.bincount(mine, minlength=size)
    failed = np.bincount(mine, ~log["success"][rows], minlength=size)
    cost = np.bincount(mine, log["cost_usd"][rows], minlength=size)
    shown = [
        levels(name, grid, STEP_US, table_of(mine, v[rows], size), group, log=name != "quality_score")
        for name, v in values.items()
    ]
    return [
        *shown,
        proportions("error_rate", grid, STEP_US, failed, calls, group),
        counts("requests", grid, STEP_US, calls, group),
        totals("cost_usd", grid, STEP_US, cost, calls, group),
    ]


def panel_of(log: Log, epoch: float) -> Panel:
    """Overall and by model; without the last, incomplete bucket."""
    bucket = ((log["t"] - epoch) * 1e6 // STEP_US).astype(np.int64)
    size = int(bucket[-1])
    keep = bucket < size
    log, bucket = {name: column[keep] for name, column in log.items()}, bucket[keep]
    grid = int(epoch) * 1_000_000 + STEP_US * np.arange(size, dtype=np.int64)
    values = measures(log)
    found = group_series(log, values, slice(None), grid, bucket, ())
    for model in np.unique(log["model"]):
        found += group_series(log, values, log["model"] == model, grid, bucket, (("model", str(model)),))
    return panel(found)


def detections(series: Panel) -> list[tuple[float, str, str]]:
    """(unix seconds, metric, model) of every incident raised."""
    found = incidents(judge(series))
    return [(micros(a.timestamp) / 1e6 - 1, a.metric_name, dict(a.group).get("model") or "") for a in found]


def pooled(generator: Any, seeds: Sequence[int], per_day: float, strength: float, *, clean: bool) -> dict[str, Any]:
    """Delays by kind (None: missed), false alarms a day, alarms of another model, seconds of the slowest judging."""
    delays: dict[str, list[float | None]] = {kind: [] for kind in generator.KINDS}
    false, wrong, seconds = [], 0, 0.0
    for seed in seeds:
        log, labels = generator.generate(seed, per_day=per_day, clean=clean, strength=strength)
        series = panel_of(log, generator.EPOCH)
        began = time.perf_counter()
        found = detections(series)
        seconds = max(seconds, time.perf_counter() - began)
        result = generator.score(found, labels, 28)
        false.append(result["false_per_day"])
        wrong += result["wrong_model"]
        for kind, row in result["incidents"].items():
            delays[kind].append(row["delay_min"] if row["found"] else None)
    return {"delays": delays, "false": float(np.mean(false)), "wrong": wrong, "seconds": seconds}


def say(line: str = "") -> None:
    """One line of the table."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def recall_of(delays: Mapping[str, list[float | None]]) -> float:
    """Share of incidents found."""
    return float(np.mean([delay is not None for row in delays.values() for delay in row]))


def show_kinds(delays: Mapping[str, list[float | None]]) -> None:
    """Recall and delay of every kind."""
    for kind, row in delays.items():
        found = [delay for delay in row if delay is not None]
        target = 360 if kind in CREEPING else 10
        middle = f"{np.median(found):8.1f}" if found else "       -"
        say(f"    {kind:16s} recall {len(found) / len(row):.2f}  median delay {middle} min  (target {target})")


def main(folder: str, seeds: int) -> None:
    """Print the table."""
    sys.path.insert(0, folder)
    generator = importlib.import_module("incidents")
    generator.FAMILY.update(FAMILIES)
    chosen = range(FIRST_SEED, FIRST_SEED + seeds)
    for per_day in (1500, 6000, 20000):
        quiet = pooled(generator, [seed + 500 for seed in chosen], per_day, 1.0, clean=True)
        say(f"{per_day} requests a day: {quiet['false']:.3f} false alarms a day on clean logs (target 0.15)")
        for strength, target in TARGETS.items():
            loud = pooled(generator, chosen, per_day, strength, clean=False)
            found = recall_of(loud["delays"])
            say(
                f"  strength {strength}: recall {found:.3f} (target {target}), {loud['false']:.3f} unexplained a day,"
                f" {loud['wrong']} alarms of another model, {loud['seconds']:.2f} s a log of 28 days (target 3)"
            )
            show_kinds(loud["delays"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4)
