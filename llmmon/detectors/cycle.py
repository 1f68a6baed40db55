"""A series against its own cycle: how far it departs from the usual course, and how unlike it its last stretch is."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.detectors.history import RunningMean
from llmmon.detectors.shapes import Shapes
from llmmon.detectors.surprise import Surprise
from llmmon.series import FloatArray

_SHORT: Final = 6
_LEARNS: Final = 0.3  # of a departure, a cycle
_BOLD: Final = 4.0  # a departure of more than so many usual steps teaches no more than that


class Cycle:
    """The usual course of a cycle of `length` samples."""

    def __init__(self, length: int, past: FloatArray) -> None:
        """`past` (samples), scaled, at least one cycle; the course begins as its last one."""
        self.length = length
        self.usual = past[-length:].copy()
        self.place = 0
        self.apart = RunningMean(_SHORT)
        self.spread = float(np.abs(np.diff(past)).mean()) or 1.0
        self.above, self.below = Surprise(), Surprise()
        self.shapes, self.shape, self.unlike = Shapes(length), Surprise(), 0.0
        for value in past.tolist():
            self._stretch(value)

    def skip(self) -> None:
        """A sample is missing."""
        self.place = (self.place + 1) % self.length

    def _stretch(self, value: float) -> float:
        found = self.shapes.add(value)
        if found is not None:
            self.unlike = self.shape.nats(found)
        return self.unlike

    def nats(self, value: float) -> dict[str, float]:
        """How surprising each feature is with this value."""
        apart = value - float(self.usual[self.place])
        bounded = max(-_BOLD * self.spread, min(_BOLD * self.spread, apart))
        self.spread += 0.005 * (abs(bounded) - self.spread)
        self.usual[self.place] += _LEARNS * bounded
        self.skip()
        mean = self.apart.add(apart)
        return {
            "departure from its cycle": max(self.above.nats(mean), self.below.nats(-mean)),
            "shape of its last stretch": self._stretch(value),
        }
