"""What stands out at a glance: hours in which a model, or all calls, were far from their usual figures.

It costs a summary next to nothing, since it rests on sums by hour. `anomalies` looks closely: at minutes, seasons,
groups, causes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.aggregation import Measures
from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.metrics.definitions import METRICS
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import HOUR_US

SHARES: Final = ("error", "truncated")
MEANS: Final = ("latency_ms", "prompt_tokens")
MEASURES: Final = Measures(sums=("requests", *SHARES, *MEANS), values=())
HOURS: Final = Grouping(("model",), HOUR_US)
_FEWEST_CALLS: Final = 10  # of an hour that is judged
_FEWEST_HITS: Final = 5
_FEWEST_HOURS: Final = 8  # from which the usual is known
_DEVIATIONS: Final = 7.0
_LEAST_SHARE: Final = 0.05  # above the usual
_TIMES: Final = 3.0  # a share, over the usual
_TIMES_MEAN: Final = 1.8


class Sign(msgspec.Struct, frozen=True):
    """Hours in which a metric was far from usual; `model` is whose, `everyone` where it is all calls together.

    `usual` and `during` are shares, or averages in the metric's public unit, of `calls`; `end_us` is not included.
    """

    metric: str
    everyone: bool
    model: str | None
    start_us: int
    end_us: int
    usual: float
    during: float
    calls: int
    strength: float


def signs(hours: Aggregates) -> tuple[Sign, ...]:
    """What stands out in aggregates of `MEASURES` by `HOURS`, the latest first; one sign for what overlaps in time."""
    if "requests" not in hours.sums or not hours.groups:
        return ()
    numbers = np.array([group[0] for group in hours.groups], np.int64)
    named: dict[str | None, list[int]] = {}
    for at, (_, model) in enumerate(hours.groups):
        named.setdefault(model, []).append(at)
    found = [
        sign for model, places in named.items() for sign in _signs_of(hours, numbers, np.array(places, np.int64), model)
    ]
    if len(named) > 1:
        found += _signs_of(hours, numbers, np.arange(len(numbers)), None, everyone=True)
    return _apart(found)


def _apart(found: Sequence[Sign]) -> tuple[Sign, ...]:
    """The strongest of those that overlap, the latest first."""
    kept: list[Sign] = []
    for sign in sorted(found, key=lambda one: (-one.strength, one.start_us, one.metric, one.model or "")):
        if all(sign.end_us <= other.start_us or sign.start_us >= other.end_us for other in kept):
            kept.append(sign)
    return tuple(sorted(kept, key=lambda one: (-one.end_us, one.metric)))


def _signs_of(
    hours: Aggregates, numbers: IntArray, places: IntArray, model: str | None, *, everyone: bool = False
) -> Iterator[Sign]:
    times, inverse = np.unique(numbers[places], return_inverse=True)

    def by_hour(column: IntArray) -> FloatArray:
        added: FloatArray = np.zeros(len(times))
        np.add.at(added, inverse, column[places])
        return added

    for metric in (*SHARES, *MEANS):
        sums = hours.sums.get(metric)
        if sums is None:
            continue
        calls, total = by_hour(sums.count), by_hour(sums.total) / METRICS[metric].scale
        judge = _shares_out if metric in SHARES else _means_out
        strength, usual = judge(calls, total)
        for first, last in _stretches(times, strength):
            inside = slice(first, last + 1)
            n = float(calls[inside].sum())
            yield Sign(
                metric=metric,
                everyone=everyone,
                model=model,
                start_us=HOURS.bucket_start(int(times[first])),
                end_us=HOURS.bucket_start(int(times[last]) + 1),
                usual=usual,
                during=float(total[inside].sum()) / n,
                calls=int(n),
                strength=float(strength[inside].max()),
            )


def _shares_out(calls: FloatArray, hits: FloatArray) -> tuple[FloatArray, float]:
    """How many standard deviations each hour's share is above that of the other hours, 0 where it is not judged."""
    others = np.maximum(calls.sum() - calls, 1.0)
    usual = (hits.sum() - hits) / others
    spread = np.sqrt(calls * usual * (1 - usual) + 1.0)
    share = hits / np.maximum(calls, 1.0)
    out = (calls >= _FEWEST_CALLS) & (hits >= _FEWEST_HITS) & (others >= calls)
    out &= (share >= usual + _LEAST_SHARE) & (share >= _TIMES * usual)
    strength = np.where(out, (hits - calls * usual) / spread, 0.0)
    calm = strength < _DEVIATIONS
    return strength, float(hits[calm].sum() / max(calls[calm].sum(), 1.0))


def _means_out(calls: FloatArray, total: FloatArray) -> tuple[FloatArray, float]:
    """How many usual spreads each hour's average is above the median one, 0 where it is not judged."""
    judged = calls >= _FEWEST_CALLS
    if judged.sum() < _FEWEST_HOURS:
        return np.zeros(len(calls)), 0.0
    mean = total / np.maximum(calls, 1.0)
    usual = float(np.median(mean[judged]))
    spread = 1.4826 * float(np.median(np.abs(mean[judged] - usual)))
    out = judged & (mean >= _TIMES_MEAN * usual) & (usual > 0)
    return np.where(out, (mean - usual) / max(spread, 0.05 * usual, 1e-12), 0.0), usual


def _stretches(times: IntArray, strength: FloatArray) -> Iterator[tuple[int, int]]:
    """The first and last place of each run of hours that are out, one of them clearly, with the hours between them."""
    found: list[list[int]] = []
    for at in np.flatnonzero(strength >= _DEVIATIONS / 2).tolist():
        if found and times[at] - times[found[-1][1]] <= 2:
            found[-1][1] = at
        else:
            found.append([at, at])
    yield from ((first, last) for first, last in found if strength[first : last + 1].max() >= _DEVIATIONS)
