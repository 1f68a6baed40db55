"""Foretells the next value of a series from its last ones and those a cycle ago, and learns from the miss.

Recursive least squares with slow forgetting (Ljung, 1999): no unit, season or trend is assumed, each is
picked up where it helps.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.series import FloatArray

_FORGETS: Final = 0.9995
_DOUBT: Final = 10.0  # variance of a coefficient before anything is known
_LEAST_GAIN: Final = 1e-12
_SIZE: Final = 7
_BOLD: Final = 4.0  # a miss beyond so many usual ones teaches no more than that


class Forecast:
    """Coefficients on (1, x1, x2, short mean, long mean, x a cycle ago, mean around it)."""

    def __init__(self) -> None:
        self.weights = np.zeros(_SIZE)
        self.weights[1] = 1.0
        self.doubt = np.eye(_SIZE) * _DOUBT
        self.usual = 1.0  # mean absolute miss

    def miss(self, inputs: FloatArray, value: float) -> float:
        """Value minus what the inputs, shape (7), foretold; both in like units near 1."""
        error = value - float(self.weights @ inputs)
        spread = self.doubt @ inputs
        gain = spread / (_FORGETS + float(inputs @ spread))
        bounded = min(max(error, -_BOLD * self.usual), _BOLD * self.usual)
        self.weights = self.weights + gain * bounded
        self.doubt = (self.doubt - np.outer(gain, spread)) / _FORGETS
        trace = float(self.doubt.trace())
        if trace > 10 * _SIZE * _DOUBT:  # inputs that do not vary would let it grow for ever
            self.doubt *= _SIZE * _DOUBT / trace
        self.usual = max(self.usual + 0.01 * (abs(bounded) - self.usual), _LEAST_GAIN)
        return error

    def forget_cycle(self) -> None:
        """The cycle has another length: learn its coefficients afresh."""
        self.weights[5:] = 0.0
        self.doubt[5:, :], self.doubt[:, 5:] = 0.0, 0.0
        self.doubt[5:, 5:] = np.eye(2) * _DOUBT
