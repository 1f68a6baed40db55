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

from llmmon.anomaly.analysis import MOST_GROUPS, STEP_US, MonitorFold, MonitorPlan, measures_of
from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import detect
from llmmon.anomaly.detectors.detector import micros
from llmmon.anomaly.panel import panel_of
from llmmon.anomaly.series import Panel
from llmmon.metrics.columns import Columns, Names
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import MICROSECONDS, NANO_DOLLARS, SCORE_UNITS

BLOCK = 30_000  # calls
FIRST_SEED = 47000
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


def columns_of(log: Log) -> Columns:
    """The calls as they are held once a log is read."""
    numbers = {
        "latency_ms": np.rint(log["latency_ms"] * MICROSECONDS),
        "time_to_first_token_ms": np.rint(log["time_to_first_token_ms"] * MICROSECONDS),
        "cost_usd": np.rint(log["cost_usd"] * NANO_DOLLARS),
        "quality_score": np.rint(log["quality_score"] * SCORE_UNITS),
        **{name: log[name].astype(np.float64) for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
    }
    names = {
        "model": log["model"],
        "status": np.where(log["success"], "ok", "error"),
        "error_type": log["error_type"],
    }
    stamps = (log["t"] * 1e6).astype(np.int64)
    return Columns(len(stamps), stamps, numbers, {name: names_of(column) for name, column in names.items()})


def names_of(column: Any) -> Names:
    """A column of texts as codes; the empty text is missing."""
    values, codes = np.unique(column, return_inverse=True)
    places = np.cumsum(values != "") - 1
    kept = [str(value) for value in values if value != ""]
    return Names(np.where(values == "", -1, places)[codes].astype(np.int32), kept)


def panel_of_calls(columns: Columns) -> Panel:
    """Overall and by model, as `anomalies` makes it from blocks of calls."""
    plan = MonitorPlan()
    grouping = Grouping(plan.by, STEP_US)
    fold = MonitorFold(measures_of(plan), grouping, plan)
    for first in range(0, columns.size, BLOCK):
        fold.add(columns.take(np.arange(first, min(first + BLOCK, columns.size))), [])
    (aggregates, by_error), _ = fold.result()
    return panel_of(aggregates, grouping, MOST_GROUPS, by_error)


def detections(columns: Columns) -> list[tuple[float, str, str]]:
    """(unix seconds, metric, model) of every incident raised."""
    found = anomalies(detect(panel_of_calls(columns), until_us=int(columns.timestamp[-1])))
    return [(micros(a.timestamp) / 1e6 - 1, a.metric_name, dict(a.group).get("model") or "") for a in found]


def pooled(generator: Any, seeds: Sequence[int], per_day: float, strength: float, *, clean: bool) -> dict[str, Any]:
    """Delays by kind (None: missed), false alarms a day, alarms of another model, seconds of the slowest judging."""
    delays: dict[str, list[float | None]] = {kind: [] for kind in generator.KINDS}
    false, wrong, seconds = [], 0, 0.0
    for seed in seeds:
        log, labels = generator.generate(seed, per_day=per_day, clean=clean, strength=strength)
        columns = columns_of(log)
        began = time.process_time()
        found = detections(columns)
        seconds = max(seconds, time.process_time() - began)
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
