"""Turns evidence into a score that means the same rarity in every series.

The score is one minus the share of a series' own calm past with at least this much evidence. Past its
record the tail falls as exp(-evidence), as evidence in nats does.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.detectors.cusum import BoolArray
from llmmon.series import FloatArray, IntArray

_BINS: Final = 96
_PER_NAT: Final = 6
_PRIOR: Final = 300.0  # buckets that the exponential tail counts for
_KEEP: Final = 0.5 ** (1 / (24 * 28))
_LEAST: Final = 1e-15


class Rarity:
    """Histograms of evidence seen so far; shape (columns, bins)."""

    def __init__(self, columns: int) -> None:
        self.seen = np.zeros((columns, _BINS))

    def score(self, evidence: FloatArray) -> FloatArray:
        """Scores in [0, 1] of evidence (buckets, columns)."""
        above = np.cumsum(self.seen[:, ::-1], axis=1)[:, ::-1]
        columns = np.arange(evidence.shape[1])
        reached = above[columns, _bin(evidence)]
        tail = np.exp(-np.minimum(evidence, 60.0))
        rare = (reached * (0.5 + 0.5 * tail) + _PRIOR * tail) / (above[:, 0] + _PRIOR)
        scores: FloatArray = 1.0 - np.clip(rare, _LEAST, 1.0)
        return scores

    def learn(self, evidence: FloatArray, calm: BoolArray) -> None:
        """Take in an hour of calm evidence (buckets, columns)."""
        self.seen *= _KEEP
        rows, columns = np.nonzero(calm)
        np.add.at(self.seen, (columns, _bin(evidence[rows, columns])), 1.0)


def _bin(evidence: FloatArray) -> IntArray:
    return np.minimum(evidence * _PER_NAT, _BINS - 1).astype(np.int64)
