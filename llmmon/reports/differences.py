"""The difference of a statistic between two sets of calls: intervals, p-values, matching; numpy alone, nothing random.

Both sides are one table of calls. Calls of a user or session, and calls of the same stretch of time, depend on each
other: variances are sums over such clusters of the influence that each call has on the statistic (linearisation), with
the CR2 correction for small clusters (Bell & McCaffrey 2002), and both kinds of cluster as in Cameron, Gelbach & Miller
(2011). Each side has an interval of its own (Wilson for shares, Woodruff for quantiles), and
MOVER (Zou & Donner 2008) makes the interval of the difference of them. The p-value is the level at which that interval
touches 0, so that the two never contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import BoolArray, FloatArray, IntArray

Z95: Final = 1.959964
_Z80: Final = 0.841621
_FAR: Final = 40.0  # standard deviations; no difference is looked for beyond
_SWEEPS: Final = 4
_RAKINGS: Final = 30
_LEAST_OVERLAP: Final = 0.5  # of both sides' calls, for them to be matched
_LEAST_VALUES: Final = 2
_LEAST_BEYOND: Final = 5.0  # values that must lie beyond a quantile, for it to be compared


class Calls(msgspec.Struct, frozen=True, eq=False):
    """Calls of both sides; arrays of shape (calls,).

    `clusters` number the users (or sessions, or calls), `blocks` the stretches of time and `pairs` both (None: not
    dated). `margins` number what is matched: cells of the mix, hours of the day.
    """

    after: BoolArray
    clusters: IntArray
    blocks: IntArray | None = None
    pairs: IntArray | None = None
    margins: tuple[IntArray, ...] = ()

    def take(self, rows: BoolArray | IntArray) -> Calls:
        """Some of the calls."""
        return Calls(
            self.after[rows],
            self.clusters[rows],
            None if self.blocks is None else self.blocks[rows],
            None if self.pairs is None else self.pairs[rows],
            tuple(margin[rows] for margin in self.margins),
        )


class Measure(msgspec.Struct, frozen=True):
    """What is measured of values: a share of 0 and 1, a mean, or the quantile at `probability`."""

    is_share: bool = False
    probability: float | None = None


class Change(msgspec.Struct, frozen=True):
    """A statistic before and after, in the units of the values, with 95 % intervals and a two-sided p-value.

    `share`, `low_share` and `high_share` are relative to before, None where that is 0. `detectable` is the smallest
    change that would have been found with a probability of 80 %.
    """

    before: float
    after: float
    change: float
    low: float
    high: float
    share: float | None
    low_share: float | None
    high_share: float | None
    p: float
    detectable: float


def difference(values: FloatArray, calls: Calls, measure: Measure, weights: FloatArray | None = None) -> Change | None:
    """The change of a statistic from before to after; None where a side has hardly any value.

    `values` (calls,) holds no NaN. With `weights` (calls,), as `matching_weights` gives them, both sides are weighted
    to the same mix, and what the matched margins explain does not count as noise.
    """
    if weights is not None:
        kept = weights > 0
        values, calls, weights = values[kept], calls.take(kept), weights[kept]
    if min(int(calls.after.sum()), int((~calls.after).sum())) < _LEAST_VALUES:
        return None
    before, after = (_Side(values, calls, rows, measure, weights) for rows in (~calls.after, calls.after))
    if not (before.is_enough and after.is_enough):
        return None
    return _change(before, after, _correlation(before, after))


class _Side:
    """One side's estimate: its value, its variance, its limits at any number of standard deviations."""

    def __init__(
        self, values: FloatArray, calls: Calls, rows: BoolArray, measure: Measure, weights: FloatArray | None
    ) -> None:
        self._measure = measure
        part = calls.take(rows)
        self._values = values[rows]
        self._weights = np.ones(len(self._values)) if weights is None else weights[rows]
        self._total = float(self._weights.sum())
        self._size = self._total**2 / float(self._weights @ self._weights)  # of equal weights (Kish)
        if measure.probability is None:
            self.value = float(self._weights @ self._values) / self._total
            deviations = self._values - self.value
        else:
            self._sort()
            self.value = self._quantile(measure.probability)
            deviations = (self._values <= self.value).astype(np.float64) - self._share_below(self.value)
        influence = self._weights / self._total * _swept(deviations, self._weights, part.margins, weights is not None)
        self.clustered = _Clustered(influence, self._weights / self._total, part)
        self.variance = self.clustered.variance

    def _sort(self) -> None:
        order = np.argsort(self._values, kind="stable")
        self._sorted = self._values[order]
        weights = self._weights[order]
        self._at = (np.cumsum(weights) - weights[0] / 2 - weights / 2) / max(
            self._total - weights[0] / 2 - weights[-1] / 2, 1e-300
        )  # as numpy.quantile places them, where all weights are equal

    def _quantile(self, probability: float) -> float:
        return float(np.interp(probability, self._at, self._sorted))

    def _share_below(self, value: float) -> float:
        return float(self._weights[self._values <= value].sum()) / self._total

    def limits(self, z: float) -> tuple[float, float]:
        """The interval of z standard deviations of a normal distribution, wider where clusters are few."""
        t = _student(z, self.clustered.freedom)
        if self._measure.is_share:
            return self._wilson(t)
        reach = t * math.sqrt(self.variance)
        if self._measure.probability is not None:
            return self._beyond(-reach), self._beyond(reach)
        return self.value - reach, self.value + reach

    def log_limits(self, z: float) -> tuple[float, float]:
        """The interval of the logarithm, as far as it goes: symmetric for a mean."""
        if not self._measure.is_share and self._measure.probability is None:
            reach = _student(z, self.clustered.freedom) * math.sqrt(self.variance) / self.value
            return math.log(self.value) - reach, math.log(self.value) + reach
        low, high = self.limits(z)
        return math.log(low) if low > 0 else -math.inf, math.log(high) if high > 0 else -math.inf

    @property
    def is_enough(self) -> bool:
        """Whether a quantile has enough values on both of its sides."""
        p = self._measure.probability
        return p is None or self._size * min(p, 1 - p) >= _LEAST_BEYOND

    def _beyond(self, reach: float) -> float:
        """The quantile so much further up or down; past the last value its distance grows on in proportion."""
        p = self._measure.probability or 0.0
        most = p if reach < 0 else 1 - p
        if abs(reach) <= most:
            return self._quantile(p + reach)
        last = self._quantile(0.0 if reach < 0 else 1.0)
        return self.value + (last - self.value) * abs(reach) / most

    def _wilson(self, t: float) -> tuple[float, float]:
        p, t2 = self.value, t * t
        size = p * (1 - p) / self.variance if 0 < p < 1 and self.variance > 0 else self._size
        middle = (p + t2 / (2 * size)) / (1 + t2 / size)
        half = t / (1 + t2 / size) * math.sqrt(max(p * (1 - p), 0.0) / size + t2 / (4 * size * size))
        return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))


def _swept(deviations: FloatArray, weights: FloatArray, margins: Sequence[IntArray], is_matched: bool) -> FloatArray:
    """What is left of deviations once the matched margins' own averages are taken out."""
    left = np.asarray(deviations, np.float64)
    if not is_matched or not margins:
        return left
    for _ in range(_SWEEPS if len(margins) > 1 else 1):
        for margin in margins:
            total = np.bincount(margin, weights)
            left = left - (np.bincount(margin, weights * left) / np.where(total > 0, total, 1.0))[margin]
    counts = np.bincount(margins[0])
    found: FloatArray = left * np.sqrt(counts / np.maximum(counts - 1, 1))[margins[0]]
    return found


class _Clustered:
    """The sums of influence by cluster, the variance that they give, and its degrees of freedom."""

    def __init__(self, influence: FloatArray, leverage: FloatArray, calls: Calls) -> None:
        self.users = _Sums(influence, leverage, calls.clusters)
        self.blocks: _Sums | None = None
        self.variance, self.freedom = self.users.variance, self.users.freedom
        if calls.blocks is None or calls.pairs is None:
            return
        blocks, pairs = (_Sums(influence, leverage, codes) for codes in (calls.blocks, calls.pairs))
        more, users = blocks.variance - pairs.variance, self.variance
        if more > pairs.variance * math.sqrt(2.0 / blocks.freedom):  # and not by chance
            self.blocks = blocks
            self.variance = users + more
            self.freedom = self.variance**2 / (users**2 / self.freedom + more**2 / blocks.freedom)


class _Sums:
    """Sums of influence by one kind of cluster."""

    def __init__(self, influence: FloatArray, leverage: FloatArray, clusters: IntArray) -> None:
        share = np.bincount(clusters, leverage)
        self.sums = np.bincount(clusters, influence) / np.sqrt(np.maximum(1.0 - share, 1e-9))
        self.variance = float(self.sums @ self.sums)
        self.freedom = max(1.0, 1.0 / float(share @ share) - 1.0)

    def with_(self, other: _Sums) -> float:
        """The covariance with another side, from the clusters that both have."""
        shared = min(len(self.sums), len(other.sums))
        return float(self.sums[:shared] @ other.sums[:shared])


def _correlation(before: _Side, after: _Side) -> float:
    """The correlation of both sides' estimates, from users and stretches of time that are on both."""
    a, b = before.clustered, after.clustered
    if a.variance <= 0 or b.variance <= 0:
        return 0.0
    covariance = a.users.with_(b.users)
    if a.blocks is not None and b.blocks is not None:
        covariance += a.blocks.with_(b.blocks)
    return max(-1.0, min(1.0, covariance / math.sqrt(a.variance * b.variance)))


Limits = Callable[[float], tuple[float, float]]


def _change(before: _Side, after: _Side, correlation: float) -> Change:
    low, high = _mover(before, after, correlation, Z95)
    change = after.value - before.value
    share, low_share, high_share = _relative(before, after, correlation)
    return Change(
        before=before.value,
        after=after.value,
        change=change,
        low=low,
        high=high,
        share=share,
        low_share=low_share,
        high_share=high_share,
        p=_p_value(lambda z: _mover(before, after, correlation, z)),
        detectable=(high - low) / 2 / Z95 * (Z95 + _Z80),
    )


def _mover(before: _Side, after: _Side, correlation: float, z: float) -> tuple[float, float]:
    (low_a, high_a), (low_b, high_b) = before.limits(z), after.limits(z)
    return _combined(
        (after.value - low_b, high_b - after.value),
        (before.value - low_a, high_a - before.value),
        after.value - before.value,
        correlation,
    )


def _combined(
    after: tuple[float, float], before: tuple[float, float], change: float, correlation: float
) -> tuple[float, float]:
    """The interval of a difference from the reach (down, up) of both sides' intervals."""
    down = after[0] ** 2 + before[1] ** 2 - 2 * correlation * after[0] * before[1]
    up = after[1] ** 2 + before[0] ** 2 - 2 * correlation * after[1] * before[0]
    return change - math.sqrt(max(down, 0.0)), change + math.sqrt(max(up, 0.0))


def _relative(before: _Side, after: _Side, correlation: float) -> tuple[float | None, float | None, float | None]:
    """The change relative to before, with its interval: that of the difference of logarithms."""
    if before.value <= 0:
        return None, None, None
    share = after.value / before.value - 1.0
    if after.value > 0:
        (low_a, high_a), (low_b, high_b) = before.log_limits(Z95), after.log_limits(Z95)
        if math.isfinite(low_a) and math.isfinite(low_b):
            a, b = math.log(before.value), math.log(after.value)
            low, high = _combined((b - low_b, high_b - b), (a - low_a, high_a - a), b - a, correlation)
            return share, math.expm1(low), math.expm1(min(high, 50.0))
    low, high = _mover(before, after, correlation, Z95)
    return share, low / before.value, high / before.value


def _p_value(interval: Limits) -> float:
    """The level at which the interval touches 0."""

    def holds_zero(z: float) -> bool:
        low, high = interval(z)
        return low <= 0.0 <= high

    near, far = 0.0, _FAR
    if holds_zero(1e-6):
        return 1.0
    if not holds_zero(far):
        return math.erfc(far / math.sqrt(2.0))
    for _ in range(30):
        middle = (near + far) / 2
        near, far = (near, middle) if holds_zero(middle) else (middle, far)
    return math.erfc(far / math.sqrt(2.0))


def _student(z: float, freedom: float) -> float:
    """The quantile of Student's t at the level where the normal one is z (Wallace 1959)."""
    if freedom > 1e5:
        return z
    exponent = (z * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom
    return math.sqrt(freedom * math.expm1(min(exponent, 600.0)))


class Matching(msgspec.Struct, frozen=True, eq=False):
    """Weights (calls,) that give both sides the same mix, and the share of each side's calls that are matched."""

    weights: FloatArray
    share_before: float
    share_after: float

    @property
    def is_enough(self) -> bool:
        """Whether enough of both sides is alike for them to be compared."""
        return min(self.share_before, self.share_after) >= _LEAST_OVERLAP


def matching_weights(calls: Calls) -> Matching:
    """Weights with which every margin has the same shares on both sides; 0 for what only one side has.

    The shares lie between those of both sides, a b / (a + b) of each cell, which is where both have most to say
    (overlap weights, Li, Morgan & Zaslavsky 2018); several margins are met by raking (Deming & Stephan 1940).
    """
    rows = (~calls.after, calls.after)
    kept = np.ones(len(calls.after), np.bool_)
    for _ in range(len(calls.margins) + 1):
        for margin in calls.margins:
            size = int(margin.max(initial=0)) + 1
            before, after = (np.bincount(margin[kept & side], minlength=size) for side in rows)
            kept &= ((before >= _LEAST_VALUES) & (after >= _LEAST_VALUES))[margin]
    weights = kept.astype(np.float64)
    targets = [_target(margin, kept, rows) for margin in calls.margins]
    for side in rows:
        part = kept & side
        weights[part] = _raked([margin[part] for margin in calls.margins], targets, int(part.sum()))
    shares = [float(kept[side].mean()) if side.any() else 0.0 for side in rows]
    return Matching(weights, shares[0], shares[1])


def _target(margin: IntArray, kept: BoolArray, rows: tuple[BoolArray, BoolArray]) -> FloatArray:
    size = int(margin.max(initial=0)) + 1
    a, b = (np.bincount(margin[kept & side], minlength=size) / max(1, int((kept & side).sum())) for side in rows)
    found = np.divide(a * b, a + b, out=np.zeros(size), where=a + b > 0)
    target: FloatArray = found / max(float(found.sum()), 1e-300)
    return target


def _raked(margins: Sequence[IntArray], targets: Sequence[FloatArray], size: int) -> FloatArray:
    weights = np.ones(size)
    for _ in range(_RAKINGS if len(margins) > 1 else 1):
        furthest = 0.0
        for margin, target in zip(margins, targets, strict=True):
            total = np.bincount(margin, weights, len(target))
            factor = np.divide(target * size, total, out=np.zeros(len(target)), where=total > 0)
            weights = weights * factor[margin]
            furthest = max(furthest, float(np.abs(factor[total > 0] - 1.0).max(initial=0.0)))
        if furthest < 1e-6:
            break
    return weights


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The p-values with the false discovery rate of all of them in view (Benjamini & Hochberg 1995).

    >>> adjusted([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    size = len(p_values)
    order = sorted(range(size), key=lambda i: p_values[i], reverse=True)
    found, least = [1.0] * size, 1.0
    for place, i in enumerate(order):
        least = min(least, p_values[i] * size / (size - place))
        found[i] = round(least, 12)
    return found
