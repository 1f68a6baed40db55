"""How well a month is forecast: rolling origins over simulated courses of costs and over real traces.

    python -m tests.benchmarks.forecast [--quick] [--traces FOLDER]

From each origin, some days into a month of 30, the rest of the month is forecast from the days before. A row shows how
often the 80 % interval held the rest, and the median error of the whole month beside that of the pace so far (what was
spent, carried on evenly). FOLDER holds public traces of requests as JSON lines: those of Azure (`TIMESTAMP`,
`ContextTokens`, `GeneratedTokens`) and Mooncake (`timestamp` in ms, `input_length`, `output_length`). They last an
hour, so that 10 or 20 seconds of them stand for a day.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from llmmon.metrics.columns import FloatArray
from llmmon.pricing.forecast import outlook

WEEK: Final = np.array([1.0, 1.1, 1.2, 1.1, 1.0, 0.4, 0.2])
MONTH: Final = 30
HISTORIES: Final = (28, 45, 60, 90, 120)  # days before the origin
DONE: Final = (5, 10, 20)  # days of the month that are over
BUCKETS_S: Final = (10.0, 20.0)
INPUT, OUTPUT = 2.5, 10.0  # dollars for a million tokens
Make = Callable[[np.random.Generator, int], FloatArray]


def _noisy(deviation: float, growth: float = 0.0) -> Make:
    def make(rng: np.random.Generator, days: int) -> FloatArray:
        at = np.arange(days)
        made: FloatArray = 100 * WEEK[at % 7] * np.exp(growth * at + rng.normal(0, deviation, days))
        return made

    return make


def _without_weeks(rng: np.random.Generator, days: int) -> FloatArray:
    return 100 * np.exp(rng.normal(0, 0.3, days))


def _alike(rng: np.random.Generator, days: int) -> FloatArray:
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = 0.8 * level[day - 1] + rng.normal(0, 0.15)
    made: FloatArray = 100 * WEEK[np.arange(days) % 7] * np.exp(level)
    return made


def _wandering(rng: np.random.Generator, days: int) -> FloatArray:
    return _noisy(0.1)(rng, days) * np.exp(np.cumsum(rng.normal(0, 0.06, days)))


def _bursts(rng: np.random.Generator, days: int) -> FloatArray:
    made: FloatArray = _noisy(0.15)(rng, days) * np.where(rng.random(days) < 0.06, rng.uniform(2, 6, days), 1.0)
    return made


def _steps(rng: np.random.Generator, days: int) -> FloatArray:
    steps = np.where(rng.random(days) < 1 / 40, rng.normal(0, 0.4, days), 0.0)
    return _noisy(0.15)(rng, days) * np.exp(np.cumsum(steps))


def _few(rng: np.random.Generator, days: int) -> FloatArray:
    calls = rng.poisson(4 * WEEK[np.arange(days) % 7])
    return np.array([rng.lognormal(0, 1, count).sum() for count in calls])


KINDS: Final[dict[str, Make]] = {
    "quiet (noise 15 %)": _noisy(0.15),
    "noisy (40 %)": _noisy(0.4),
    "no course of the week": _without_weeks,
    "growing 1 % a day": _noisy(0.15, 0.01),
    "shrinking 1 % a day": _noisy(0.15, -0.01),
    "days like their neighbours": _alike,
    "wandering level": _wandering,
    "expensive days": _bursts,
    "steps": _steps,
    "few calls": _few,
}


class Trial(NamedTuple):
    """One origin: whether the interval held the rest, and relative errors of the whole month."""

    held: bool
    error: float
    pace_error: float


def trial(series: FloatArray, origin: int, done: int) -> Trial | None:
    """Forecast a month that began `done` days before `origin`; None without an interval."""
    ahead = MONTH - done
    spent, rest = series[origin - done : origin].sum(), series[origin : origin + ahead].sum()
    found = outlook(series[:origin], 0, ahead)
    if np.isnan(found.low) or not spent + rest:
        return None
    whole = spent + rest
    held = bool(found.low <= rest <= found.high)
    return Trial(held, abs((spent + found.total) / whole - 1), abs(spent / done * MONTH / whole - 1))


def simulated(make: Make, seeds: int, histories: Sequence[int] = HISTORIES) -> Iterator[Trial]:
    """Trials of one kind of course."""
    for history in histories:
        for done in DONE:
            for seed in range(seeds):
                series = make(np.random.default_rng([history, done, seed]), history + MONTH)
                if (found := trial(series, history, done)) is not None:
                    yield found


def rolled(series: FloatArray) -> Iterator[Trial]:
    """Trials from every fifth bucket of a real series, with at most 120 buckets of history."""
    for done in DONE:
        for origin in range(28 + done, len(series) - MONTH, 5):
            first = max(0, origin - 120)
            if (found := trial(series[first:], origin - first, done)) is not None:
                yield found


def row(name: str, trials: Sequence[Trial]) -> str:
    """A row of the table."""
    held = np.mean([one.held for one in trials])
    error, pace = (np.median([getattr(one, key) for one in trials]) for key in ("error", "pace_error"))
    return f"| {name} | {len(trials):,} | {held:.0%} | {error:.1%} | {pace:.1%} |"


HEAD: Final = """\
| costs | origins | 80 % interval held | error of the month | pace so far |
|---|---|---|---|---|"""


def report(*, quick: bool = False, traces: Path | None = None) -> Iterator[str]:
    """The lines of the table."""
    yield HEAD
    seeds = 4 if quick else 40
    everything: list[Trial] = []
    for name, make in KINDS.items():
        found = list(simulated(make, seeds))
        everything += found
        yield row(name, found)
    yield row("**all simulated**", everything)
    for history in HISTORIES:
        found = [one for make in KINDS.values() for one in simulated(make, seeds // 2, (history,))]
        yield row(f"after {history} days", found)
    for path in sorted(traces.glob("*.jsonl")) if traces is not None else ():
        for width_s in BUCKETS_S:
            yield row(f"{path.stem}, {width_s:g} s as a day", list(rolled(costs_of(path, width_s))))


def costs_of(path: Path, width_s: float) -> FloatArray:
    """The cost of a trace by bucket, in millionths of a dollar; shape (whole buckets,)."""
    with path.open() as file:
        lines = [json.loads(line) for line in file]
    if "TIMESTAMP" in lines[0]:
        times = np.array([datetime.fromisoformat(line["TIMESTAMP"][:26]).timestamp() for line in lines])
        cost = np.array([line["ContextTokens"] * INPUT + line["GeneratedTokens"] * OUTPUT for line in lines])
    else:
        times = np.array([line["timestamp"] / 1000 for line in lines])
        cost = np.array([line["input_length"] * INPUT + line["output_length"] * OUTPUT for line in lines])
    return np.bincount(((times - times[0]) / width_s).astype(np.int64), cost)[:-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--traces", type=Path)
    options = parser.parse_args()
    for line in report(quick=options.quick, traces=options.traces):
        print(line, flush=True)


if __name__ == "__main__":
    main()
