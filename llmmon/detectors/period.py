"""The length of the cycle of a series, by its autocorrelation."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.series import FloatArray

_SHORTEST: Final = 8  # samples
_CLEAR: Final = 0.3  # least autocorrelation of a cycle
_NEARLY: Final = 0.85  # of the best: a shorter cycle that is nearly as clear is the cycle


def period_of(values: FloatArray) -> int | None:
    """The cycle of evenly spaced finite values in samples, at most half of their number; None without one."""
    size = len(values)
    if size < 4 * _SHORTEST:
        return None
    low, high = np.quantile(values, [0.01, 0.99])
    flat = np.clip(values, low, high)
    flat = flat - np.polyval(np.polyfit(np.arange(size), flat, 1), np.arange(size))
    power = np.abs(np.fft.rfft(flat, 2 * size)) ** 2
    correlation = np.fft.irfft(power)[: size // 2 + 1]
    correlation *= size / (size - np.arange(len(correlation)))  # each lag by its own number of pairs
    if not correlation[0] > 0:
        return None
    correlation = correlation / correlation[0]
    # a cycle has come down before it comes back
    below = np.flatnonzero(correlation < 0.5 * _CLEAR)
    first = max(int(below[0]) if len(below) else len(correlation), _SHORTEST)
    inner = correlation[first:-1]
    peaks = first + np.flatnonzero((inner >= correlation[first - 1 : -2]) & (inner > correlation[first + 1 :]))
    peaks = peaks[correlation[peaks] > _CLEAR]
    if not len(peaks):
        return None
    return _refined(int(peaks[correlation[peaks] >= _NEARLY * correlation[peaks].max()][0]), correlation)


def _refined(length: int, correlation: FloatArray) -> int:
    """From the peaks at multiples of the cycle, doubling, which are as sharp but further out."""
    exact, many = float(length), 1
    while 2 * many * exact * 1.02 < len(correlation):
        many *= 2
        reach = max(1, int(0.25 * exact))
        middle = round(many * exact)
        part = correlation[middle - reach : middle + reach + 1]
        if not part.max() > _CLEAR / 2:
            break
        exact = (middle - reach + int(part.argmax())) / many
    return round(exact)
