"""The rarity of one more number of nats among all before it, one series at a time (`Rarity` does it for panels)."""

from __future__ import annotations

import math
from typing import Final

from llmmon.detectors.streaming import NATS_CEILING

_PER_NAT: Final = 6
_BINS: Final = 240
_PRIOR: Final = 100.0  # samples that an exponential past counts for
_ROOT: Final = 16


class Ranks:
    """A histogram of nats, with sums of runs of bins beside it so that a rank costs little."""

    def __init__(self) -> None:
        self.bins = [0] * _BINS
        self.runs = [0] * (_BINS // _ROOT)
        self.size = 0

    def add(self, nats: float) -> float:
        """The share of the past with less, as a score in [0, 1); then the number is remembered."""
        place = min(int(nats * _PER_NAT), _BINS - 1)
        run = place // _ROOT
        above = sum(self.runs[run + 1 :]) + sum(self.bins[place + 1 : (run + 1) * _ROOT])
        here = self.bins[place]
        inside = nats * _PER_NAT - place  # how far through its bin: the past there is taken to be even
        tail = math.exp(-min(nats, NATS_CEILING))
        share = (above + here * (1.0 - min(inside, 1.0)) + _PRIOR * tail) / (self.size + _PRIOR)
        self.bins[place] += 1
        self.runs[run] += 1
        self.size += 1
        return 1.0 - min(max(share, 2e-16), 1.0)
