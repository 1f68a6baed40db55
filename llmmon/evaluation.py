"""Partials -> statistics: what `metrics.STATISTICS` names, as numbers in public units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmmon.columns import FloatArray
from llmmon.metrics import METRICS, QUANTILES, STATISTICS, Sort, Statistic
from llmmon.partials import Partials
from llmmon.quantiles import quantiles


def evaluate(partials: Partials, names: Sequence[str], minutes: float | None) -> dict[str, FloatArray]:
    """Statistics of every group, then of all groups together; each of shape (groups + 1,), NaN for missing.

    `minutes` is the length of the time that the calls cover, for rates.
    """
    wanted = [STATISTICS[name] for name in names]
    quantiled = {
        metric: _quantile_table(partials, metric, [s for s in wanted if s.metric.name == metric and s.needs_values])
        for metric in dict.fromkeys(s.metric.name for s in wanted if s.needs_values)
    }
    return {
        s.name: quantiled[s.metric.name][s.aggregation] if s.needs_values else _summed(partials, s, minutes)
        for s in wanted
    }


def _quantile_table(partials: Partials, metric: str, wanted: Sequence[Statistic]) -> dict[str, FloatArray]:
    size = len(partials) + 1
    if metric not in partials.values:
        return {s.aggregation: np.full(size, np.nan) for s in wanted}
    ps = [QUANTILES[s.aggregation] for s in wanted]
    table = quantiles(partials.values[metric], len(partials), ps, pooled=True) / METRICS[metric].scale
    return {s.aggregation: table[:, column] for column, s in enumerate(wanted)}


def _summed(partials: Partials, statistic: Statistic, minutes: float | None) -> FloatArray:
    metric = statistic.metric
    sums = partials.sums.get(metric.name)
    if sums is None:
        none = not _calls(partials) and statistic.name in {"request_count", "error_count"}
        return np.full(len(partials) + 1, 0.0 if none else np.nan)
    count = np.append(sums.count, sums.count.sum()).astype(np.float64)
    units = np.append(sums.total, sums.total.sum())
    total = units / metric.scale
    with np.errstate(invalid="ignore", divide="ignore"):
        match statistic.aggregation:
            case "count":
                counted = total if metric.sort is Sort.EVENT else count
                return np.where((count == 0) & (metric.name != "requests"), np.nan, counted)
            case "sum":
                return np.where(count == 0, np.nan, total)
            case "rate" if metric.sort is not Sort.EVENT:
                amount = total if metric.sort is Sort.AMOUNT else count
                return np.where(count == 0, np.nan, amount / (minutes or np.nan))
            case _:
                return np.where(count == 0, np.nan, units / (count * metric.scale))


def _calls(partials: Partials) -> int:
    """How many calls there are, as far as they were counted."""
    requests = partials.sums.get("requests")
    return len(partials) if requests is None else int(requests.total.sum())
