"""What contributed to an incident: the change of a metric between two periods, by dimension.

With weight w (calls a unit of time), share s = w / W and mean m per part of a dimension, baseline 0 and
incident 1, the change of a mean is exactly
    M1 - M0 = sum s1 (m1 - m0)          rate: the part itself changed
            + sum (s1 - s0) (m0 - M0)   mix: more of the calls went to dearer or slower parts
and the change of a total per unit of time, T = W M, adds the volume (Kitagawa, 1955):
    T1 - T0 = W1 rate + W1 mix + (w1 - w0) M0 of each part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmmon.series import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

MISSING: Final = -1
_LEAST_SHARE: Final = 0.1  # of the change, under which a part is not named
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Dimension:
    """One field: `codes` int (rows) into `names`, -1 for missing."""

    field: str
    codes: IntArray
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Contribution:
    """A part of the calls and its share of the change; `rate + mix + volume` is its absolute part."""

    field: str
    name: str | None
    share: float
    rate: float
    mix: float
    volume: float
    before: float
    now: float
    calls: int
    examples: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """In words, claiming no cause."""
        parts = {"its own change": self.rate, "a different mix": self.mix, "volume": self.volume}
        mostly = max(parts, key=lambda part: abs(parts[part]))
        name = "missing" if self.name is None else self.name
        return (
            f"{self.field} {name} contributed {self.share:.0%} of the change, mostly by {mostly}"
            f" ({self.before:.4g} before, {self.now:.4g} now)"
        )

    def to_dict(self) -> Mapping[str, Any]:
        """As it stands in an anomaly's `contributors`."""
        return {
            "field": self.field,
            "name": self.name,
            "share": self.share,
            "rate": self.rate,
            "mix": self.mix,
            "volume": self.volume,
            "before": self.before,
            "now": self.now,
            "calls": self.calls,
            "examples": list(self.examples),
            "text": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Parts:
    """Sums per part of a dimension over one period; each (parts). The last part is "missing"."""

    calls: FloatArray
    total: FloatArray
    length: float  # of the period, in any unit that both periods share

    @property
    def mean(self) -> FloatArray:
        """Per call, NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.calls > 0, self.total / self.calls, np.nan)


def split(before: Parts, now: Parts, *, total: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(rate, mix, volume) of each part: they add up to the change of the mean, or of the total per time."""
    w0, w1 = before.calls / before.length, now.calls / now.length
    overall0, overall1 = max(float(w0.sum()), _TINY), max(float(w1.sum()), _TINY)
    mean0 = float(before.total.sum()) / max(float(before.calls.sum()), _TINY)
    m0, m1 = before.mean, now.mean
    # a part without calls in one period changed nothing itself: it is mix
    m1 = np.where(np.isnan(m1), np.where(np.isnan(m0), mean0, m0), m1)
    m0 = np.where(np.isnan(m0), m1, m0)
    rate, mix = w1 / overall1 * (m1 - m0), (w1 / overall1 - w0 / overall0) * (m0 - mean0)
    if not total:
        return rate, mix, np.zeros(len(rate))
    return overall1 * rate, overall1 * mix, (w1 - w0) * mean0


def contributors(
    dimensions: Sequence[Dimension],
    count: ArrayLike,
    amount: ArrayLike,
    before: BoolArray,
    now: BoolArray,
    lengths: tuple[float, float],
    *,
    total: bool = False,
    min_calls: int = 10,
    limit: int = 3,
    request_ids: Sequence[str | None] | None = None,
) -> list[Contribution]:
    """The parts with the largest shares of the change between two periods, largest first.

    Rows are calls (`count` 1) or cells: `count` calls (rows) and the sum `amount` of the metric over them
    (rows); `before` and `now` bool (rows); `lengths` of the two periods in one unit of time. `total` asks
    for the change of the total (cost, requests) instead of the mean (latency, error rate). Parts with
    fewer than `min_calls` calls in both periods are not named, nor dimensions of a single part.
    """
    n, x = np.asarray(count, np.float64), np.asarray(amount, np.float64)
    known = np.isfinite(x) & np.isfinite(n)
    n, x = np.where(known, n, 0.0), np.where(known, x, 0.0)
    found: list[Contribution] = []
    for dimension in dimensions:
        periods = [_parts(dimension, n, x, rows, length) for rows, length in zip((before, now), lengths, strict=True)]
        found.extend(_of_dimension(dimension, periods[0], periods[1], total=total, min_calls=min_calls))
    found.sort(key=lambda c: (-c.share, c.field, c.name or ""))
    return [_with_examples(c, dimensions, x, n, now, request_ids) for c in found[:limit]]


def _parts(dimension: Dimension, n: FloatArray, x: FloatArray, rows: BoolArray, length: float) -> Parts:
    size = len(dimension.names) + 1
    codes = np.where(dimension.codes == MISSING, size - 1, dimension.codes)[rows]
    calls = np.bincount(codes, n[rows], minlength=size).astype(np.float64)
    amounts = np.bincount(codes, x[rows], minlength=size).astype(np.float64)
    return Parts(calls, amounts, max(length, _TINY))


def _of_dimension(
    dimension: Dimension, before: Parts, now: Parts, *, total: bool, min_calls: int
) -> list[Contribution]:
    rate, mix, volume = split(before, now, total=total)
    part = rate + mix + volume
    change = float(part.sum())
    if abs(change) < _TINY or np.count_nonzero((before.calls > 0) | (now.calls > 0)) < 2:
        return []
    share = part / change
    supported = np.maximum(before.calls, now.calls) >= min_calls
    out = []
    for k in np.flatnonzero(supported & (share >= _LEAST_SHARE)).tolist():
        name = dimension.names[k] if k < len(dimension.names) else None
        numbers = (share, rate, mix, volume, _shown(before, total), _shown(now, total))
        a, b, c, d, e, f = (float(number[k]) for number in numbers)
        out.append(Contribution(dimension.field, name, a, b, c, d, e, f, int(now.calls[k])))
    return out


def _shown(parts: Parts, total: bool) -> FloatArray:
    return parts.total / parts.length if total else parts.mean


def _with_examples(
    contribution: Contribution,
    dimensions: Sequence[Dimension],
    x: FloatArray,
    n: FloatArray,
    now: BoolArray,
    request_ids: Sequence[str | None] | None,
) -> Contribution:
    """The same with the ids of its most telling calls: the largest where the metric rose, else the smallest."""
    if request_ids is None:
        return contribution
    dimension = next(d for d in dimensions if d.field == contribution.field)
    code = MISSING if contribution.name is None else list(dimension.names).index(contribution.name)
    rows = np.flatnonzero(now & (dimension.codes == code) & (n > 0))
    rose = contribution.rate + contribution.mix + contribution.volume > 0
    order = rows[np.argsort(-x[rows] if rose else x[rows], kind="stable")]
    ids = [request_ids[row] for row in order[:20].tolist()]
    named = tuple(name for name in ids if name)[:3]
    return replace(contribution, examples=named)
