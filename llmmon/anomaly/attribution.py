"""Attribution: the change between two periods decomposed into its parts, by model, user, feature and so on.

A cause is a part that is over-represented: its share of the change is much larger than its share of the calls, and of
the metric's total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmmon.anomaly.detectors.detector import rounded_text
from llmmon.metrics.columns import FloatArray

_LEAST_SHARE: Final = 0.1  # of the change, under which a part is not named
_LEAST_CAUSE: Final = 0.2  # the same of a cause
_OVER: Final = 1.5  # its share of the change over its share of the calls
_NEARLY_ALL: Final = 0.9  # of the change: a name with so much of it may have many of the calls ...
_LEAST_ODDS: Final = 3.0  # ... if the odds are so much larger
_SURE: Final = 2.5  # standard errors by which the share of failed calls is larger than that of calls
_LARGER: Final = 1.5  # times the logarithm of the factor by which the rest changed
_SCATTER: Final = 0.6  # of the logarithm of single calls, about
_FEW_ERRORS: Final = 3  # of one type that can be a cause: there are none before
_MOST_CAUSES: Final = 3
_TINY: Final = 1e-12


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
    of_calls: float = 0.0  # its usual share of the calls, or of the metric where that is larger
    examples: tuple[str, ...] = ()

    @property
    def excess(self) -> float:
        """How much more of the change it has than of the calls."""
        return min(self.share, 1.0) - self.of_calls

    @property
    def is_over(self) -> bool:
        """Whether it is over-represented in the change."""
        share = min(self.share, 1.0)
        if share < _LEAST_CAUSE or self.of_calls >= 1 - _TINY:
            return False
        odds = (share / max(1 - share, 0.01)) / (max(self.of_calls, _TINY) / (1 - self.of_calls))
        return share >= _OVER * self.of_calls or (share >= _NEARLY_ALL and odds >= _LEAST_ODDS)

    @property
    def sentence(self) -> str:
        """A sentence about it that claims no cause."""
        parts = {"its own change": self.rate, "a different mix": self.mix, "volume": self.volume}
        mostly = max(parts, key=lambda part: abs(parts[part]))
        name = "missing" if self.name is None else self.name
        return (
            f"{self.field} {name} contributed {min(self.share, 1.0):.0%} of the change, mostly by {mostly}"
            f" ({rounded_text(self.before)} before, {rounded_text(self.now)} now)"
        )

    def to_dict(self) -> Mapping[str, Any]:
        """As an object in an anomaly's `contributors`."""
        return {
            "field": self.field,
            "name": self.name,
            "share": min(self.share, 1.0),
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
class PeriodSums:
    """Calls and the sum of the metric over them, by part of a dimension, in one period; each (parts)."""

    calls: FloatArray
    total: FloatArray
    length: float  # of the period, in any unit that both periods share

    @property
    def mean(self) -> FloatArray:
        """Per call, NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.calls > 0, self.total / self.calls, np.nan)


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field before and now: `names` are its parts, None for calls that have none."""

    field: str
    names: Sequence[str | None]
    before: PeriodSums
    now: PeriodSums


def split(before: PeriodSums, now: PeriodSums, *, total: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
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
    changes: Sequence[FieldChange], *, total: bool = False, min_calls: int = 10, limit: int = 3
) -> list[Contribution]:
    """The parts with the largest shares of the change between two periods, largest first.

    `total` asks for the change of the total (cost, requests) instead of the mean (latency, error rate). Parts
    with fewer than `min_calls` calls in both periods are not named, nor dimensions of a single part.
    """
    found = [part for change in changes for part in _of_change(change, total=total, min_calls=min_calls)]
    found.sort(key=lambda c: (-c.share, c.field, c.name or ""))
    return found[:limit]


def causes(
    changes: Sequence[FieldChange], *, total: bool = False, share: bool = False, min_calls: int = 10
) -> list[Contribution]:
    """The parts that are over-represented in the change, those that stand out most first; none if all are alike.

    `share` says that the metric is a share of the calls, whose hits must be more than chance puts into a part.
    """
    found = [
        part
        for change in changes
        for part in _of_change(change, total=total, min_calls=_least_calls(change, min_calls), share=share)
        if part.is_over and (_is_sure(part, change) if share else _moved_most(part, change, total=total))
    ]
    found.sort(key=lambda c: (-round(c.excess, 3), c.field, c.name or ""))
    return found[:_MOST_CAUSES]


def _least_calls(change: FieldChange, min_calls: int) -> int:
    return _FEW_ERRORS if change.field == "error_type" else min_calls


def _is_sure(part: Contribution, change: FieldChange) -> bool:
    """Whether more of the hits are of a part than its share of the calls explains."""
    now = change.now
    k = list(change.names).index(part.name)
    hits, calls = float(now.total.sum()), max(float(now.calls.sum()), 1.0)
    due = min(float(now.calls[k]) / calls, 1 - _TINY)
    return float(now.total[k]) - hits * due > _SURE * float(np.sqrt(hits * due * (1 - due)))


def _moved_most(part: Contribution, change: FieldChange, *, total: bool) -> bool:
    """Whether a part changed by a surely larger factor than the rest: if all did alike, the largest is no cause.

    A part whose share of the calls changed must have changed it by more than chance does.
    """
    before, now = change.before, change.now
    k = list(change.names).index(part.name)
    calls = max(float(now.calls.sum()), 1.0)
    if not total and abs(part.mix) > abs(part.rate):
        usual = float(before.calls[k]) / max(float(before.calls.sum()), 1.0)
        moved = abs(float(now.calls[k]) / calls - usual)
        return moved > _SURE * float(np.sqrt(max(usual, 1 / calls) * (1 - usual) / calls))
    own, rest = [], []
    for period in (before, now):
        others = float(period.calls.sum() - period.calls[k])
        sizes = (period.length, period.length) if total else (float(period.calls[k]), others)
        own.append(float(period.total[k]) / max(sizes[0], _TINY))
        rest.append(float(period.total.sum() - period.total[k]) / max(sizes[1], _TINY))
    if min(*own, *rest) <= _TINY:
        return True
    own_moved, rest_moved = float(np.log(own[1] / own[0])), float(np.log(rest[1] / rest[0]))
    few = float(np.sqrt(1 / max(float(now.calls[k]), 1.0) + 1 / max(calls - float(now.calls[k]), 1.0)))
    surely = abs(own_moved) - _LARGER * abs(rest_moved) > 2 * _SCATTER * few
    return surely or (own_moved * rest_moved < 0 and abs(own_moved) > 2 * _SCATTER * few)


def _of_change(change: FieldChange, *, total: bool, min_calls: int, share: bool = False) -> list[Contribution]:
    before, now = change.before, change.now
    rate, mix, volume = split(before, now, total=total)
    part = rate + mix + volume
    whole = float(part.sum())
    if abs(whole) < _TINY or np.count_nonzero((before.calls > 0) | (now.calls > 0)) < 2:
        return []
    of_change = part / whole
    supported = np.maximum(before.calls, now.calls) >= min_calls
    usual = _shares(before.calls) if share else np.maximum(_shares(before.calls), _shares(before.total))
    numbers = np.stack([of_change, rate, mix, volume, _shown(before, total), _shown(now, total), usual], axis=1)
    out = []
    for k in np.flatnonzero(supported & (of_change >= _LEAST_SHARE)).tolist():
        a, b, c, d, e, f, g = numbers[k].tolist()
        out.append(Contribution(change.field, change.names[k], a, b, c, d, e, f, int(now.calls[k]), g))
    return out


def _shares(amounts: FloatArray) -> FloatArray:
    found: FloatArray = amounts / max(float(amounts.sum()), _TINY)
    return found


def _shown(parts: PeriodSums, total: bool) -> FloatArray:
    return parts.total / parts.length if total else parts.mean
