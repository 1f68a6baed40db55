"""Judges shares of calls: errors, cut-off answers, calls beyond the usual tail, by likelihood ratio.

The evidence of k hits in n calls for a rate p1 against the usual p0 is k log(p1/p0) + (n-k) log((1-p1)/(1-p0)),
so a few calls weigh little without a rule of their own; it is divided by how much more than binomial the
hits of an hour vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from llmmon.detectors.blocks import Block, Judged
from llmmon.detectors.cusum import BoolArray
from llmmon.series import FloatArray

ALTERNATIVES: Final = 5
_FACTORS: Final = np.array([2.2, 4.0, 1.0, 1.0, 1.6])[:, None]  # of the usual rate ...
_ADDED: Final = np.array([0.015, 0.06, 0.35, 0.15, 0.008])[:, None]  # ... and at least so much more
_LIFE_H: Final = 168.0
_PRIOR_CALLS: Final = 30.0
_LEAST: Final = 0.002
_NO_ROOM: Final = 0.02  # a rate this near to 1 cannot get worse
_READY_H: Final = 12
_READY_CALLS: Final = 100


class RateJudge:
    """Usual rates of many shares; all state is (columns)."""

    alternatives = ALTERNATIVES

    def __init__(self, usual: Sequence[float]) -> None:
        """`usual[j]` is the rate to expect of column j before any call was seen."""
        self.usual = np.array(usual, np.float64)
        size = len(self.usual)
        self.hits, self.calls = self.usual * _PRIOR_CALLS, np.full(size, _PRIOR_CALLS)
        self.dispersion = np.ones(size)
        self.moved_hits, self.moved_calls = np.zeros(size), np.zeros(size)
        self.hours = np.zeros(size)

    @property
    def ready(self) -> BoolArray:
        """Which columns have enough history to be judged; shape (columns)."""
        ready: BoolArray = (self.hours >= _READY_H) & (self.calls >= _READY_CALLS + _PRIOR_CALLS)
        return ready

    @property
    def weekly(self) -> BoolArray:
        """Rates have no season; shape (columns)."""
        return np.zeros(len(self.hours), np.bool_)

    def _usual(self) -> tuple[FloatArray, FloatArray]:
        """(the usual rate, the same with its own doubt added); shape (columns)."""
        rate = np.clip(self.hits / self.calls, _LEAST, 0.999)
        # what was assumed before any call was seen makes no log in which most calls fail look worse than usual
        seen = (self.hits - _PRIOR_CALLS * self.usual) / np.maximum(self.calls - _PRIOR_CALLS, 1.0)
        doubtful = np.maximum(rate + np.sqrt(rate * (1 - rate) / self.calls), seen)
        return rate, np.clip(doubtful, _LEAST, 0.9995)

    def judge(self, block: Block) -> Judged:
        """Evidence of a block against the rates as they were before it."""
        rate, p0 = self._usual()
        p1 = np.minimum(np.maximum(_FACTORS * p0, p0 + _ADDED), 0.5 + p0 / 2)
        k, n = block.x[:, None, :], block.count[:, None, :]
        steps = k * np.log(p1 / p0) + (n - k) * np.log((1 - p1) / (1 - p0))
        steps = np.where(p0 > 1 - 2 * _NO_ROOM, 0.0, steps)
        sd = np.sqrt(rate * (1 - rate) * self.dispersion / np.maximum(block.count, 1.0))
        z = 2 * (np.sqrt(block.x + 0.375) - np.sqrt(block.count * rate + 0.375)) / np.sqrt(self.dispersion)
        low, high = np.clip(rate - 3 * sd, 0.0, 1.0), np.clip(rate + 3 * sd, 0.0, 1.0)
        return Judged(steps / self.dispersion, np.where(block.count > 0, z, 0.0), low, high)

    def learn(self, block: Block, calm: BoolArray) -> None:
        """Take in the buckets (buckets, columns) that belong to no incident."""
        n, k = np.where(calm, block.count, 0.0), np.where(calm, block.x, 0.0)
        self.hours += (self.hours > 0) | (block.count.sum(axis=0) > 0)
        calls, hits = n.sum(axis=0), k.sum(axis=0)
        rate, _ = self._usual()
        self._learn_dispersion(calls, hits, rate)
        keep = 0.5 ** (1.0 / _LIFE_H)
        bound = calls * rate + 4 * np.sqrt(calls * rate * self.dispersion) + 1.0
        hits = np.where(self.hours > _READY_H, np.minimum(hits, bound), hits)
        # what is forgotten is replaced by the prior, so that a silent group keeps its doubt
        self.hits = keep * self.hits + (1 - keep) * _PRIOR_CALLS * self.usual + hits
        self.calls = keep * self.calls + (1 - keep) * _PRIOR_CALLS + calls
        self.moved_hits = 0.9 * self.moved_hits + (block.x - k).sum(axis=0)
        self.moved_calls = 0.9 * self.moved_calls + (block.count - n).sum(axis=0)

    def _learn_dispersion(self, calls: FloatArray, hits: FloatArray, rate: FloatArray) -> None:
        expected = calls * rate
        found = (hits - expected) ** 2 / np.maximum(expected * (1 - rate), 0.5)
        gain = np.where((expected > 0.5) & (self.hours > _READY_H), 1 / 72.0, 0.0)
        self.dispersion = np.maximum(self.dispersion + gain * (np.minimum(found, 12.0) - self.dispersion), 1.0)

    def accept(self, columns: BoolArray) -> None:
        """Take the rate of a lasting incident as the usual one."""
        known = columns & (self.moved_calls > 0)
        self.hits = np.where(known, self.moved_hits + self.usual * _PRIOR_CALLS, self.hits)
        self.calls = np.where(known, self.moved_calls + _PRIOR_CALLS, self.calls)
        self.moved_hits = np.where(columns, 0.0, self.moved_hits)
        self.moved_calls = np.where(columns, 0.0, self.moved_calls)
