"""Measures `llmmon compare`: false verdicts on random splits, coverage of intervals, changes of the mix.

    python tests/benchmarks/compare.py [TRACES_FOLDER] [--rounds 100]

Splits of one log at random have no difference, so that every verdict is false; logs with a known change show how often
the 95 % interval holds it. The folder holds real traces, any log that `llmmon` reads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmmon.anomaly.simulation import simulate
from llmmon.ingest.query import Query, read
from llmmon.ingest.report import SourceReport
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns, Names, concat
from llmmon.reports.compare import ComparePlan, Verdict, compared
from llmmon.reports.sides import SideInfo, Sides, Split

FIELDS = frozenset(
    "timestamp model feature user session status latency_ms time_to_first_token_ms prompt_tokens completion_tokens"
    " total_tokens cost_usd finish_reason quality_score".split()
)
START_S = 1_772_409_600  # 2026-03-02


def columns_of(path: Path) -> Columns:
    """The calls of a log."""
    found = read(Query(logs=(str(path),), wall_us=START_S * 1_000_000), FIELDS, ColumnsFold)
    return concat(found.results)


def simulated(seed: int, days: int, per_day: int) -> Columns:
    """A quiet log of the simulation."""
    _, parts = simulate(seed, START_S, days, per_day, days)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(b"".join(orjson.dumps(call) + b"\n" for part in parts for call in part))
        return columns_of(path)


def sides_of(columns: Columns, after: np.ndarray, split: Split) -> Sides:
    """Both sides of one table of calls."""
    infos = []
    for name, rows in (("before", ~after), ("after", after)):
        bounds = columns.take(rows).bounds()
        infos.append(SideInfo(name, int(rows.sum()), *(bounds or (None, None))))
    return Sides(split, columns, after, (infos[0], infos[1]), SourceReport(), 0)


def by_call(rng: np.random.Generator, columns: Columns) -> np.ndarray:
    """Every call on either side."""
    return rng.random(columns.size) < rng.uniform(0.2, 0.8)


def by_user(rng: np.random.Generator, columns: Columns) -> np.ndarray:
    """All calls of a user on one side."""
    names = columns.name("user")
    return (rng.random(len(names.values) + 1) < 0.5)[names.codes]


def by_time(rng: np.random.Generator, columns: Columns) -> np.ndarray:
    """Before and after a moment."""
    first, last = columns.bounds() or (0, 0)
    return columns.timestamp >= first + (last - first) * rng.uniform(0.3, 0.7)


def false_verdicts(columns: Columns, how: object, rounds: int, seed: int = 1) -> tuple[float, float, float]:
    """(share of splits with any verdict, share of metrics with one, share of splits with a group's verdict)."""
    rng = np.random.default_rng(seed)
    any_found, groups, metrics, changed = 0, 0, 0, 0
    for _ in range(rounds):
        split = Split(at=0) if how is by_time else Split(field="tag.side")
        report = compared(sides_of(columns, how(rng, columns), split), ComparePlan(split), "UTC")
        verdicts = [j.verdict for row in report.metrics for j in (row.whole, row.within) if j is not None]
        found = sum(verdict.is_change for verdict in verdicts)
        any_found += found > 0
        changed, metrics = changed + found, metrics + len(verdicts)
        groups += any(row.judged.verdict.is_change for row in report.groups)
    return any_found / rounds, changed / max(1, metrics), groups / rounds


def changed_log(
    rng: np.random.Generator, calls: int, users: int, mix: bool
) -> tuple[Columns, np.ndarray, dict[str, float]]:
    """A log of two models with users of their own speed, and what truly changed within it: after is 10 % slower.

    With `mix` only the shares of the models change, from 30 to 70 % of the slow one.
    """
    after = rng.random(calls) < 0.5
    shares = np.where(after, 0.7, 0.3) if mix else np.full(calls, 0.4)
    slow = rng.random(calls) < shares
    weights = 1 / np.arange(1, users + 1) ** 0.6
    user = rng.choice(users, calls, p=weights / weights.sum())
    speed = rng.normal(0.0, 0.2, users)
    effect = 0.0 if mix else np.log(1.1)
    latency = np.exp(7.0 + 0.9 * slow + speed[user] + rng.normal(0, 0.5, calls) + effect * after)
    failed = rng.random(calls) < np.where(slow, 0.05, 0.02) * (1.0 if mix else np.where(after, 1.5, 1.0))
    columns = Columns(
        calls,
        START_S * 1_000_000 + np.sort(rng.integers(0, 4 * 86_400_000_000, calls)),
        {"latency_ms": np.rint(latency * 1000)},
        {
            "model": Names(slow.astype(np.int32), ["fast", "slow"]),
            "status": Names(failed.astype(np.int32), ["ok", "error"]),
            "user": Names(user.astype(np.int32), [f"user-{n}" for n in range(users)]),
        },
    )
    return columns, after


METRICS = ("latency_avg_ms", "latency_p50_ms", "latency_p95_ms", "error_rate")


def covered(rounds: int, calls: int, users: int, *, mix: bool, within: bool, seed: int = 5) -> dict[str, float]:
    """How often each metric's interval holds the true change, which a log of a million calls shows."""
    rng = np.random.default_rng(seed)
    plan = ComparePlan(Split(field="tag.side"), metrics=METRICS)
    truth = _changes(*changed_log(np.random.default_rng(seed + 1), 2_000_000, 20_000, mix=mix), plan, within)
    inside = dict.fromkeys(METRICS, 0)
    for _ in range(rounds):
        columns, after = changed_log(rng, calls, users, mix=mix)
        for name, (low, high, _) in _changes(columns, after, plan, within).items():
            inside[name] += low <= truth[name][2] <= high
    return {name: count / rounds for name, count in inside.items()}


def _changes(
    columns: Columns, after: np.ndarray, plan: ComparePlan, within: bool
) -> dict[str, tuple[float, float, float]]:
    report = compared(sides_of(columns, after, plan.split), plan, "UTC")
    found = {row.metric: row.within if within else row.whole for row in report.metrics}
    return {name: (one.change.low, one.change.high, one.change.change) for name, one in found.items() if one}


def mix_verdicts(rounds: int, calls: int, seed: int = 9) -> tuple[float, float, float]:
    """Where only the mix changes: the shares of (whole called changed, within called no difference, within changed)."""
    rng = np.random.default_rng(seed)
    plan = ComparePlan(Split(field="tag.side"))
    whole, none, wrong, total = 0, 0, 0, 0
    for _ in range(rounds):
        columns, after = changed_log(rng, calls, 300, mix=True)
        for row in compared(sides_of(columns, after, plan.split), plan, "UTC").metrics:
            assert row.whole is not None
            assert row.within is not None
            whole += row.whole.verdict.is_change
            none += row.within.verdict is Verdict.NO_DIFFERENCE
            wrong += row.within.verdict.is_change
            total += 1
    return whole / total, none / total, wrong / total


def logs(folder: Path | None) -> Iterator[tuple[str, Columns]]:
    """The real traces, then simulated logs."""
    if folder is not None:
        for path in sorted(folder.iterdir()):
            yield path.name, columns_of(path)
    for days, per_day in ((7, 500), (14, 1500)):
        yield f"simulated, {days} days of {per_day}", simulated(3, days, per_day)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    for name, columns in logs(options.folder):
        for how in (by_call, by_user, by_time):
            if how is not by_user or columns.name("user").values:
                found = false_verdicts(columns, how, options.rounds)
                print(
                    f"{name}, {how.__name__}: splits {found[0]:.3f}, metrics {found[1]:.4f}, groups {found[2]:.3f}",
                    flush=True,
                )
    for mix, within in ((False, False), (False, True), (True, True)):
        for calls, users in ((1000, 60), (8000, 300)):
            shares = covered(options.rounds, calls, users, mix=mix, within=within)
            print(f"coverage, {calls} calls, {users} users, mix={mix}, within={within}: {shares}", flush=True)
    print(
        "only the mix changes (whole changed, within no difference, within changed):",
        mix_verdicts(options.rounds, 8000),
    )


if __name__ == "__main__":
    main()
