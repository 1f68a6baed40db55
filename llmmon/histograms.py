"""How the values of a metric are distributed, in bins of preferred numbers (ISO 3, series R10: ten a decade)."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.metrics import METRICS
from llmmon.overview import Histogram
from llmmon.partials import VALUE_BITS, Values, sorted_run

_R10: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
_MASK: Final = np.uint64((1 << VALUE_BITS) - 1)


def histogram(metric: str, values: Values) -> Histogram | None:
    """The distribution of all positive values, groups together; None without any. Values of 0 are in the first bin."""
    run = sorted_run(values)
    stored = (run.keys & _MASK).astype(np.float64) / METRICS[metric].scale
    weights = np.ones(len(stored)) if run.counts is None else run.counts.astype(np.float64)
    positive = stored[stored > 0]
    if not len(positive):
        return None
    edges = _edges(float(positive.min()), float(positive.max()))
    counts, _ = np.histogram(np.clip(stored, edges[0], None), edges, weights=weights)
    return Histogram(metric, tuple(edges), tuple(int(n) for n in counts))


def _edges(low: float, high: float) -> list[float]:
    """Preferred numbers around all values; a value on the last edge would be in the bin before it, so one more."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1
    numbers = [step * 10.0**decade for decade in range(first, last + 1) for step in _R10]
    start = max(i for i, number in enumerate(numbers) if number <= low or i == 0)
    end = next(i for i, number in enumerate(numbers) if number > high)
    return [round(number, 9) for number in numbers[start : end + 1]]
