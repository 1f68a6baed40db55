"""Judges synthetic bare series of many kinds, quiet and with one planted anomaly each, and prints what is found.

    python tests/benchmarks/bare_series.py [SEEDS]

AUC is the chance that a sample of the anomaly scores above one outside it; "first" says that the highest
score of the series lies within 100 samples of the anomaly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import detect_in_samples
from llmmon.anomaly.series import samples
from llmmon.metrics.columns import FloatArray

START_US: Final = 1_767_571_200_000_000
STEP_US: Final = 300_000_000
SIZE: Final = 4_000
Random = np.random.Generator


def wave(rng: Random, period: float) -> FloatArray:
    """A cycle of three harmonics."""
    time = 2 * np.pi * np.arange(SIZE) / period
    parts = [rng.normal(0, 1 / k) * np.sin(k * time + rng.uniform(0, 6.3)) for k in (1, 2, 3)]
    return np.sum(parts, axis=0)


def smooth(rng: Random, keep: float, sd: float) -> FloatArray:
    """A first-order autoregression."""
    steps, out = rng.normal(0, sd * np.sqrt(1 - keep * keep), SIZE), np.zeros(SIZE)
    for i in range(1, SIZE):
        out[i] = keep * out[i - 1] + steps[i]
    return out


def plateaus(rng: Random) -> FloatArray:
    """A machine that goes from one state to another."""
    lengths = 20 + rng.exponential(150, SIZE).astype(int)
    states = np.repeat(rng.choice(rng.uniform(20, 80, 4), SIZE), lengths)[:SIZE]
    return states + rng.normal(0, 1.2, SIZE)


def beats(rng: Random) -> FloatArray:
    """Humps of nearly the same height in nearly the same distance."""
    place = np.cumsum(1 + smooth(rng, 0.99, 0.02)) % 90
    humps = [h * np.exp(-0.5 * ((place - at) / 5) ** 2) for h, at in ((1.0, 20), (-0.4, 45), (0.6, 65))]
    return np.sum(humps, axis=0) + rng.normal(0, 0.04, SIZE)


KINDS: Final[dict[str, Callable[[Random], FloatArray]]] = {
    "cpu": lambda r: np.round(np.clip(40 + 12 * wave(r, 288) + smooth(r, 0.8, 3), 0, 100), 1),
    "latency": lambda r: np.exp(5 + 0.2 * wave(r, 288) + smooth(r, 0.6, 0.15) + r.exponential(0.1, SIZE)),
    "temperature": lambda r: np.round(70 + 2 * wave(r, 288) + smooth(r, 0.999, 4) + r.normal(0, 0.4, SIZE), 2),
    "clicks": lambda r: r.poisson(20 * np.exp(0.5 * wave(r, 288))).astype(np.float64),
    "exchange rate": lambda r: np.exp(np.cumsum(r.normal(0, 0.002, SIZE) * np.exp(smooth(r, 0.98, 0.5)))),
    "plateaus": plateaus,
    "beats": beats,
}


def plant(rng: Random, values: FloatArray) -> tuple[FloatArray, slice]:
    """A spike, a level, a spread, a standstill or a stretch turned round, in the second half."""
    out, at = values.copy(), int(rng.integers(SIZE // 2, SIZE - 400))
    sd, kind = float(values.std()), int(rng.integers(5))
    where = slice(at, at + (2, 120, 80, 80, 90)[kind])
    size = where.stop - at
    changed = (
        out[where] + 4 * sd,
        out[where] + 2 * sd,
        out[where] + rng.normal(0, sd, size),
        np.full(size, out[at]),
        2 * out[where].mean() - out[where],
    )
    out[where] = changed[kind]
    return out, where


def judged(values: FloatArray) -> tuple[FloatArray, int]:
    """(scores, number of incidents)."""
    results = detect_in_samples(samples("m", START_US + STEP_US * np.arange(SIZE), values))
    return results.score[:, 0], len(anomalies(results))


def area(scores: FloatArray, inside: FloatArray) -> float:
    """The chance that a score inside is above one outside."""
    known = np.isfinite(scores)
    ranks = np.empty(int(known.sum()))
    ranks[np.argsort(scores[known], kind="stable")] = np.arange(1, len(ranks) + 1)
    mine = inside[known] > 0
    n = int(mine.sum())
    return float((ranks[mine].sum() - n * (n + 1) / 2) / (n * (len(ranks) - n)))


def figures(make: Callable[[Random], FloatArray], seeds: int) -> FloatArray:
    """Incidents and share above 0.99 of quiet series; AUC and first of the others; shape (4)."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        values = make(rng)
        calm, false = judged(values)
        scores, _ = judged((planted := plant(rng, values))[0])
        inside, where = np.zeros(SIZE), planted[1]
        inside[where] = 1.0
        best = int(np.nanargmax(scores))
        first = where.start - 100 <= best <= where.stop + 100
        rows.append([false, np.mean(calm[np.isfinite(calm)] > 0.99), area(scores, inside), first])
    return np.mean(np.array(rows, np.float64), axis=0)


def main(seeds: int) -> None:
    """Print the table."""
    sys.stdout.write(f"{'':14s}  false incidents  above 0.99   AUC  first\n")
    for name, make in KINDS.items():
        false, above, auc, first = figures(make, seeds)
        sys.stdout.write(f"{name:14s}  {false:15.2f}  {above:10.2%}  {auc:.2f}  {first:5.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
