"""The library's way in: record calls and samples in a `MetricsCollector`, read them with a `MetricsAggregator`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from llmmon.errors import UsageError
from llmmon.metrics.aggregates import GroupKey
from llmmon.metrics.aggregation import Measures, aggregate, evaluate
from llmmon.metrics.columns import EMPTY, MISSING_TIME, BoolArray, Columns, FloatArray, Interner, Names, concat
from llmmon.metrics.definitions import ALIASES, METRICS, STATISTICS, statistic_called, statistic_name
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import AGGREGATIONS, FIELDS, NUMBERS, Status
from llmmon.metrics.recording import LLMMetric, MetricType, RecordedCall, RequestMetrics
from llmmon.text.names import unknown
from llmmon.text.times import MINUTE_US, Clock, to_us, utc_now


class MetricsCollector:
    """Holds the newest `max_requests` calls and `max_samples` samples; older ones are forgotten, and counted.

    `clock` stamps what is recorded without a time.
    """

    def __init__(self, max_requests: int = 1_000_000, max_samples: int = 1_000_000, clock: Clock = utc_now) -> None:
        self.clock = clock
        self.forgotten = 0
        self._max_requests = max_requests
        self._requests: list[RequestMetrics] = []
        self._blocks: list[Columns] = []
        self._samples: deque[LLMMetric] = deque(maxlen=max_samples)
        self._sample_names: set[str] = set()

    def record_request(self, metrics: RequestMetrics) -> None:
        """Record one call."""
        self._requests.append(metrics)
        if len(self._requests) >= 2 * _BLOCK_ROWS:
            self._seal()

    def call(self, **known: Any) -> RecordedCall:
        """Time a call and read its reply: `with collector.call(model="gpt-4o") as call: call.reply(response)`.

        `known` are fields of `RequestMetrics`.
        """
        return RecordedCall(self, self.clock, **known)

    def record_columns(self, columns: Columns) -> None:
        """Record many calls at once."""
        self._seal()
        self._blocks.append(columns)
        self._forget()

    def record_metric(self, metric: LLMMetric) -> None:
        """Record a sample of any metric."""
        self._samples.append(metric)
        self._sample_names.add(metric.name)

    def record_quality(self, request_id: str, quality_score: float, quality_type: str = "overall") -> None:
        """Record the quality of one answer, in [0, 1]."""
        tags = {"request_id": request_id, "quality_type": quality_type}
        self.record_metric(LLMMetric("llm_quality_score", quality_score, MetricType.QUALITY, self.clock(), tags))

    @property
    def metrics(self) -> Sequence[LLMMetric]:
        """The samples, and those of the calls, that are still held, oldest first; made when asked for."""
        return sorted(self.get_metrics(), key=lambda metric: to_us(metric.timestamp))

    @property
    def request_metrics(self) -> Sequence[RequestMetrics]:
        """The calls that are still held, oldest block first; made when asked for."""
        return _requests_of(self.calls())

    def calls(self) -> Columns:
        """All calls that are still held, oldest block first."""
        self._seal()
        if len(self._blocks) > 1:
            self._blocks = [concat(self._blocks)]
        return self._blocks[0] if self._blocks else EMPTY

    def samples(self) -> tuple[LLMMetric, ...]:
        """All samples that are still held, oldest first."""
        return tuple(self._samples)

    def has_samples(self, name: str) -> bool:
        """Whether any sample of the name was recorded."""
        return name in self._sample_names

    def sample_values(self, name: str, start_us: int, end_us: int) -> FloatArray:
        """The values of a sampled metric between two moments, both included; shape (n,)."""
        found = [m.value for m in self._samples if m.name == name and start_us <= to_us(m.timestamp) <= end_us]
        return np.array(found, np.float64)

    def get_metrics(self, metric_type: MetricType | None = None, since: datetime | None = None) -> list[LLMMetric]:
        """Samples, and each call as its samples, of one type and since a moment if asked."""
        since_us = MISSING_TIME if since is None else to_us(since)
        found = (*self._samples, *self._samples_of_calls())
        return [m for m in found if metric_type in (None, m.metric_type) and to_us(m.timestamp) >= since_us]

    def _samples_of_calls(self) -> Iterator[LLMMetric]:
        calls = self.calls()
        model, ids = calls.name("model").texts(), calls.name("request_id").texts()
        status, error_type = calls.name("status").texts(), calls.name("error_type").texts()
        numbers = {name: calls.public(name).tolist() for name, *_ in _SAMPLED}
        for row in np.flatnonzero(calls.dated).tolist():
            when = datetime.fromtimestamp(int(calls.timestamp[row]) / 1e6, UTC)
            tags = {"model": model[row] or ""}
            for field_name, name, kind in _SAMPLED:
                value = numbers[field_name][row]
                if value == value:
                    yield LLMMetric(name, value, kind, when, {**tags, "request_id": ids[row] or ""})
            if status[row] == Status.ERROR:
                yield LLMMetric("llm_error", 1.0, MetricType.ERROR, when, {**tags, "error_type": error_type[row] or ""})

    def _seal(self) -> None:
        """Turn the calls recorded one by one into a block of columns."""
        if self._requests:
            self._blocks.append(columns_of(self._requests))
            self._requests = []
            self._forget()

    def _forget(self) -> None:
        excess = sum(block.size for block in self._blocks) - self._max_requests
        while excess > 0:
            oldest = self._blocks.pop(0)
            gone = min(excess, oldest.size)
            if gone < oldest.size:
                self._blocks.insert(0, oldest.take(np.arange(gone, oldest.size)).without_unused_names())
            self.forgotten += gone
            excess -= gone


_BLOCK_ROWS: Final = 4096
_SAMPLED: Final = (
    ("latency_ms", "llm_latency_ms", MetricType.LATENCY),
    ("total_tokens", "llm_tokens_total", MetricType.TOKENS),
    ("cost_usd", "llm_cost_usd", MetricType.COST),
)
_NAMED: Final = ("request_id", "model", "error_type", "finish_reason", "user", "session", "feature")
_STATUSES: Final = [status.value for status in Status]


def columns_of(requests: list[RequestMetrics]) -> Columns:
    """Recorded calls as columns."""

    def number(name: str) -> FloatArray:
        values = [np.nan if (v := getattr(r, name)) is None else v * FIELDS[name].scale for r in requests]
        return np.rint(np.array(values, np.float64))

    def names(values: list[str | None]) -> Names:
        interner = Interner()
        return Names(np.array([interner[value] for value in values], np.int32), interner.values_seen)

    status = np.array([0 if r.success else 1 for r in requests], np.int32)
    return Columns(
        size=len(requests),
        timestamp=np.array([to_us(r.timestamp) for r in requests], np.int64),
        numbers={name: number(name) for name in NUMBERS if name in RequestMetrics.__dataclass_fields__},
        names={
            **{name: names([getattr(r, name) for r in requests]) for name in _NAMED},
            "status": Names(status, _STATUSES),
        },
    )


def _requests_of(calls: Columns) -> list[RequestMetrics]:
    """Columns as recorded calls; those without a time get the earliest that there is."""
    names = {name: calls.name(name).texts() for name in (*_NAMED, "status")}
    fields = [name for name in NUMBERS if name in RequestMetrics.__dataclass_fields__]
    numbers: dict[str, list[Any]] = {name: calls.public(name).tolist() for name in fields}
    return [
        RequestMetrics(
            request_id=names["request_id"][row] or "",
            model=names["model"][row] or "",
            success=names["status"][row] != Status.ERROR,
            error_type=names["error_type"][row] or "",
            timestamp=datetime.fromtimestamp(max(int(calls.timestamp[row]), 0) / 1e6, UTC),
            finish_reason=names["finish_reason"][row],
            user=names["user"][row],
            session=names["session"][row],
            feature=names["feature"][row],
            **{name: _public(values[row], whole=FIELDS[name].scale == 1) for name, values in numbers.items()},
        )
        for row in range(calls.size)
    ]


def _public(value: float, *, whole: bool) -> Any:
    if np.isnan(value):
        return None
    return int(value) if whole else value


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
    ) -> dict[GroupKey, list[float]]:
        """Statistics by group over the window, in the order asked for; NaN for missing."""
        columns = self._calls(self._window(window_minutes, None))
        aggregates = aggregate(columns, Measures.of(statistics), Grouping(by))
        found = evaluate(aggregates, statistics, window_minutes)
        return {group: [float(found[s][i]) for s in statistics] for i, group in enumerate(aggregates.groups)}

    def _window(self, minutes: float, now: datetime | None) -> tuple[int, int]:

        end = to_us(now or self._now or self._collector.clock())
        return end - int(minutes * MINUTE_US), end

    def _calls(self, window: tuple[int, int]) -> Columns:
        columns = self._collector.calls()
        inside: BoolArray = (columns.timestamp >= window[0]) & (columns.timestamp <= window[1])
        return columns.take(inside)

    def _evaluate(self, names: Sequence[str], window: tuple[int, int], minutes: float) -> dict[str, float | None]:
        aggregates = aggregate(self._calls(window), Measures.of(names), Grouping())
        return {name: _none_for_nan(float(found[-1])) for name, found in evaluate(aggregates, names, minutes).items()}
