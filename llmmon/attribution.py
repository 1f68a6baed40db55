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
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmmon.detectors.anomaly import spoken
from llmmon.series import FloatArray

_LEAST_SHARE: Final = 0.1  # of the change, under which a part is not named
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
    examples: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """In words, claiming no cause."""
        parts = {"its own change": self.rate, "a different mix": self.mix, "volume": self.volume}
        mostly = max(parts, key=lambda part: abs(parts[part]))
        name = "missing" if self.name is None else self.name
        return (
            f"{self.field} {name} contributed {self.share:.0%} of the change, mostly by {mostly}"
            f" ({spoken(self.before)} before, {spoken(self.now)} now)"
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
class Change:
    """One field before and now: `names` are its parts, None for calls that have none."""

    field: str
    names: Sequence[str | None]
    before: Parts
    now: Parts


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
    changes: Sequence[Change], *, total: bool = False, min_calls: int = 10, limit: int = 3
) -> list[Contribution]:
    """The parts with the largest shares of the change between two periods, largest first.

    `total` asks for the change of the total (cost, requests) instead of the mean (latency, error rate). Parts
    with fewer than `min_calls` calls in both periods are not named, nor dimensions of a single part.
    """
    found = [part for change in changes for part in _of_change(change, total=total, min_calls=min_calls)]
    found.sort(key=lambda c: (-c.share, c.field, c.name or ""))
    return found[:limit]


def _of_change(change: Change, *, total: bool, min_calls: int) -> list[Contribution]:
    before, now = change.before, change.now
    rate, mix, volume = split(before, now, total=total)
    part = rate + mix + volume
    whole = float(part.sum())
    if abs(whole) < _TINY or np.count_nonzero((before.calls > 0) | (now.calls > 0)) < 2:
        return []
    share = part / whole
    supported = np.maximum(before.calls, now.calls) >= min_calls
    numbers = np.stack([share, rate, mix, volume, _shown(before, total), _shown(now, total)], axis=1)
    out = []
    for k in np.flatnonzero(supported & (share >= _LEAST_SHARE)).tolist():
        a, b, c, d, e, f = numbers[k].tolist()
        out.append(Contribution(change.field, change.names[k], a, b, c, d, e, f, int(now.calls[k])))
    return out


def _shown(parts: Parts, total: bool) -> FloatArray:
    return parts.total / parts.length if total else parts.mean
