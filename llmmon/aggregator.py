"""Aggregating calls and samples over windows: `MetricsAggregator`, and `aggregate`, which the tool runs on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from llmmon.columns import BoolArray, Columns, FloatArray, IntArray
from llmmon.errors import UsageError
from llmmon.evaluation import evaluate
from llmmon.grouping import Grouping
from llmmon.metrics import AGGREGATIONS, ALIASES, METRICS, STATISTICS, statistic_called, statistic_name
from llmmon.names import unknown
from llmmon.partials import Group, GroupIndex, Partials, Run, Sums, Values, keys_of

if TYPE_CHECKING:
    from llmmon.collector import MetricsCollector

MINUTE_US: Final = 60_000_000


class Measures(msgspec.Struct, frozen=True):
    """Which metrics to add up, and of which to keep the values."""

    sums: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, statistics: Sequence[str]) -> Measures:
        """What the named statistics need."""
        wanted = [STATISTICS[name] for name in statistics]
        return cls(
            sums=tuple(dict.fromkeys(s.metric.name for s in wanted if not s.needs_values)),
            values=tuple(dict.fromkeys(s.metric.name for s in wanted if s.needs_values)),
        )


def aggregate(
    columns: Columns,
    measures: Measures,
    grouping: Grouping,
    index: GroupIndex | None = None,
    *,
    in_order: bool = True,
) -> Partials:
    """The partials of these calls by group; calls aggregated with one `index` merge without renumbering.

    Unless they are to be `in_order`, keys are left as they come, for whoever sorts them when all are there.
    """
    index = GroupIndex() if index is None else index
    groups, kept = grouping.rows(columns, index)
    if kept is not None:
        columns = columns.take(kept)
    size = len(index)
    rows = {name: METRICS[name].rows(columns) for name in dict.fromkeys((*measures.sums, *measures.values))}
    everyone = np.bincount(groups, minlength=size)
    bounds = columns.bounds()
    return Partials(
        groups=tuple(index),
        sums={name: _sums(found, groups, everyone) for name in measures.sums if (found := rows[name]) is not None},
        values={
            name: _values(groups, found, in_order) for name in measures.values if (found := rows[name]) is not None
        },
        first_us=bounds[0] if bounds else None,
        last_us=bounds[1] if bounds else None,
    )


def _sums(rows: FloatArray, groups: IntArray, everyone: IntArray) -> Sums:
    count = everyone
    total = np.bincount(groups, rows, minlength=len(everyone))  # whole numbers below 2**53: exact
    if np.isnan(total).any():
        known = ~np.isnan(rows)
        groups, rows = groups[known], rows[known]
        count = np.bincount(groups, minlength=len(everyone))
        total = np.bincount(groups, rows, minlength=len(everyone))
    return Sums(count.astype(np.int64), np.rint(total).astype(np.int64))


def _values(groups: IntArray, rows: FloatArray, in_order: bool) -> Values:
    keys = keys_of(groups, rows)
    if in_order:
        keys.sort()
    return Values((Run(keys, ordered=in_order),)) if len(keys) else Values()


class MetricsAggregator:
    """Statistics of what a collector holds, over the last minutes before `now` (default: the clock's now).

    A statistic without any value is None, never 0.
    """

    def __init__(self, collector: MetricsCollector, now: datetime | None = None) -> None:
        self._collector = collector
        self._now = now

    def aggregate(
        self, metric_name: str, window_minutes: float = 5, aggregation: str = "avg", *, now: datetime | None = None
    ) -> float | None:
        """One aggregation of a metric: avg, sum, max, min, p50, p90, p95, p99, count or rate.

        `metric_name` is a metric of the table (or its `llm_` name), or any name recorded as samples.
        Raises `UsageError` for an aggregation that does not exist.
        """
        if aggregation not in AGGREGATIONS:
            raise UsageError(unknown("aggregation", aggregation, AGGREGATIONS))
        window = self._window(window_minutes, now)
        name = ALIASES.get(metric_name, metric_name)
        if self._collector.has_samples(metric_name):
            return _of_samples(self._collector.sample_values(metric_name, *window), aggregation, window_minutes)
        if name not in METRICS and name not in STATISTICS:
            return 0.0 if aggregation == "count" else None
        statistic = (
            STATISTICS[statistic_name(METRICS[name], aggregation)] if name in METRICS else statistic_called(name)
        )
        found = self._evaluate([statistic.name], window, window_minutes)[statistic.name]
        return 0.0 if found is None and aggregation == "count" else found

    def get_summary(self, window_minutes: float = 60, *, now: datetime | None = None) -> dict[str, float | None]:
        """The guide's eight figures over the window; recorded quality counts beside logged quality."""
        summary = self._evaluate(_GUIDE_SUMMARY, self._window(window_minutes, now), window_minutes)
        if self._collector.has_samples(_QUALITY):
            summary["quality_avg"] = self.aggregate(_QUALITY, window_minutes, "avg", now=now)
        return summary

    def by_group(
        self, by: tuple[str, ...], window_minutes: float, statistics: Sequence[str]
    ) -> dict[Group, list[float]]:
        """Statistics by group over the window, in the order asked for; NaN for missing."""
        columns = self._calls(self._window(window_minutes, None))
        partials = aggregate(columns, Measures.of(statistics), Grouping(by))
        found = evaluate(partials, statistics, window_minutes)
        return {group: [float(found[s][i]) for s in statistics] for i, group in enumerate(partials.groups)}

    def _window(self, minutes: float, now: datetime | None) -> tuple[int, int]:
        from llmmon.collector import to_us  # whoever has no collector needs none of it

        end = to_us(now or self._now or self._collector.clock())
        return end - int(minutes * MINUTE_US), end

    def _calls(self, window: tuple[int, int]) -> Columns:
        columns = self._collector.calls()
        inside: BoolArray = (columns.timestamp >= window[0]) & (columns.timestamp <= window[1])
        return columns.take(inside)

    def _evaluate(self, names: Sequence[str], window: tuple[int, int], minutes: float) -> dict[str, float | None]:
        partials = aggregate(self._calls(window), Measures.of(names), Grouping())
        return {name: _none_for_nan(float(found[-1])) for name, found in evaluate(partials, names, minutes).items()}


_QUALITY: Final = "llm_quality_score"
_GUIDE_SUMMARY: Final = (
    *("latency_avg_ms", "latency_p95_ms", "latency_p99_ms", "tokens_total"),
    *("cost_total_usd", "error_count", "request_count", "quality_avg"),
)


def _none_for_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _of_samples(values: FloatArray, aggregation: str, minutes: float) -> float | None:
    if aggregation == "count":
        return float(len(values))
    if not len(values):
        return None
    match aggregation:
        case "avg":
            return float(values.mean())
        case "sum":
            return float(values.sum())
        case "rate":
            return len(values) / minutes
        case "min" | "max":
            return float(values.min() if aggregation == "min" else values.max())
        case _:
            return float(np.quantile(values, int(aggregation[1:]) / 100))
