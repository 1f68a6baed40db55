"""Measures slow drift: recall before a change has reached 25 %, false drifts a month on quiet logs.

    python tests/benchmarks/drift.py [SEEDS]

Every log is judged at the end of each of its days, as whoever looks every day would.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmmon.anomaly.drift import drift_of, drifts
from llmmon.anomaly.series import Panel
from llmmon.anomaly.simulation import DAY_S, traffic
from llmmon.metrics.columns import Columns, Names
from tests.benchmarks.incidents import panel_of_calls

START_S = 1_772_409_600  # 2026-03-02, a Monday
BEFORE = 14  # days of the usual level
CHANGE = 0.25
KINDS = (
    "latency_ms",
    "prompt_tokens",
    "cost_per_request_usd",
    "output_tokens_per_second",
    "quality_score",
    "error_rate",
)
BURST = 0.3  # chance of a day to have an incident of three hours


def log(seed: int, days: int, per_day: int, kind: str = "", per_day_share: float = 0.0) -> Columns:
    """A log with daily and weekly seasons and short incidents, in which one metric drifts from day `BEFORE` on."""
    rng = np.random.default_rng(seed)
    grid = START_S + np.arange(0, days * DAY_S, 300.0)
    rate = traffic(grid) / traffic(grid[: 7 * 288]).sum() * 7 * per_day
    counts = rng.poisson(rate)
    times = np.repeat(grid, counts) + rng.uniform(0, 300, counts.sum())
    size = len(times)
    day = np.maximum((times - START_S) / DAY_S - BEFORE, 0.0)
    factor = (1 + per_day_share) ** day
    hour = times % DAY_S / 3600
    model = rng.choice(3, size, p=(0.5, 0.3, 0.2))
    noise = rng.normal(0, 0.02, days)[((times - START_S) // DAY_S).astype(int)]  # days differ by 2 %
    burst = np.zeros(size)
    for number in np.flatnonzero(rng.random(days) < BURST).tolist():
        begin = START_S + number * DAY_S + rng.uniform(8, 18) * 3600
        burst[(times >= begin) & (times < begin + 3 * 3600)] = 1.0
    prompt = np.exp(rng.normal(6.5, 0.7, size)) * (factor if kind == "prompt_tokens" else 1.0)
    answer = np.maximum(np.exp(rng.normal(5.2, 0.6, size)), 1.0)
    pace = np.array([9.0, 16.0, 19.0])[model] * np.exp(
        rng.normal(0, 0.2, size) + noise + 0.1 * np.sin(hour / 24 * 6.28)
    )
    pace = pace * (factor if kind in ("latency_ms", "output_tokens_per_second") else 1.0) * (1 + 1.5 * burst)
    latency = 300 + answer * pace
    failed = rng.random(size) < np.minimum(
        0.012 * (factor if kind == "error_rate" else 1.0) + 0.2 * burst * (rng.random() < 0.5), 1
    )
    cost = (prompt * 2.5 + answer * 10) / 1e6 * (factor if kind == "cost_per_request_usd" else 1.0)
    quality = np.clip(rng.normal(0.88, 0.07, size) / (factor if kind == "quality_score" else 1.0), 0, 1)
    numbers = {
        "latency_ms": np.rint(latency * 1000),
        "prompt_tokens": np.rint(prompt),
        "completion_tokens": np.rint(answer),
        "total_tokens": np.rint(prompt) + np.rint(answer),
        "cost_usd": np.rint(cost * 1e9),
        "quality_score": np.rint(quality * 1e6),
    }
    names = {
        "model": Names(model.astype(np.int32), ["mini", "large", "other"]),
        "status": Names(failed.astype(np.int32), ["ok", "error"]),
        "error_type": Names(np.where(failed, 0, -1).astype(np.int32), ["server_error"]),
    }
    order = np.argsort(times)
    return Columns(size, (times * 1e6).astype(np.int64), numbers, names).take(order)


def until(panel: Panel, day: int) -> Panel:
    """The panel as it was at the end of a day."""
    return panel[: int(np.searchsorted(panel.starts, (START_S + day * DAY_S) * 1_000_000))]


def days_to(kind: str, share: float) -> int:
    """Days until what drifts has reached 1.25 times its level (quality and speed: 1 / 1.25)."""
    return max(2, math.floor(math.log(1 + CHANGE) / math.log(1 + share)))


def found_on(panel: Panel, kind: str, first: int, last: int) -> int | None:
    """The first day on which the metric is said to drift."""
    for day in range(first, last + 1):
        part = until(panel, day)
        if any(drift_of(one) for one in part.series if one.metric == kind):
            return day
    return None


def main(seeds: int) -> None:
    for per_day in (2000, 10_000):
        false, months = 0, 0.0
        for seed in range(seeds):
            panel = panel_of_calls(log(900 + seed, 60, per_day))
            raised = {one.id for day in range(10, 61) for one in drifts(until(panel, day))}
            false, months = false + len(raised), months + 50 / 30
        print(f"{per_day} a day: {false} false drifts in {months:.0f} months of quiet logs", flush=True)
        for kind in KINDS:
            line = []
            for share in (0.005, 0.01, 0.02, 0.05):
                length = days_to(kind, share)
                found = []
                for seed in range(seeds):
                    panel = panel_of_calls(log(seed, BEFORE + length, per_day, kind, share))
                    found.append(found_on(panel, kind, BEFORE + 1, BEFORE + length))
                days = [day - BEFORE for day in found if day is not None]
                middle = f"day {np.median(days):.0f}" if days else "-"
                line.append(f"{share * 100:g} %: {len(days) / len(found):.2f} ({middle} of {length})")
            print(f"  {kind:26s} " + "  ".join(line), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
