"""`anomalies`: the whole history of a log -> panel of series -> detector results -> incidents and contributors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.attribution import attributed
from llmmon.anomaly.detectors import (
    DETECTORS,
    DetectorResults,
    Sensitivity,
    ThresholdAnomalyDetector,
    detect,
    detect_in_samples,
)
from llmmon.anomaly.detectors.detector import Anomaly, micros
from llmmon.anomaly.anomalies import (
    AnomaliesReport,
    asked_for,
    bucket_scores,
    explained_buckets,
    anomaly_report,
    anomalies,
    merged,
    monitored_series,
)
from llmmon.anomaly.panel import (
    COUNTED,
    LEVELS,
    METRICS_READ,
    PROPORTIONS,
    bridged,
    digested,
    levels_of_successes,
    of_late,
    panel_of,
    statistic_series,
)
from llmmon.anomaly.series import Panel, Series, panel, samples
from llmmon.errors import UsageError
from llmmon.formats.timestamps import moments
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.report import Window
from llmmon.metrics.aggregates import Aggregates, merge
from llmmon.metrics.aggregation import EXACT_VALUES, NO_EXTRA_FOLD, AggregatesFold, ExtraFold, Measures, aggregate
from llmmon.metrics.columns import MISSING_TIME, Columns
from llmmon.metrics.definitions import METRICS as ALL_METRICS
from llmmon.metrics.definitions import needed_fields, statistic_called, statistic_name
from llmmon.metrics.grouping import Grouping
from llmmon.text.names import lookup, unknown
from llmmon.text.times import DAY_US, MINUTE_US

STEP_US: Final = 5 * MINUTE_US
MOST_GROUPS: Final = 50
_MERGE_EVERY: Final = 64  # blocks
_ERRORS: Final = Measures(sums=("error",), values=())
MOST_BUCKETS: Final = 400 * 288  # of a history: 400 days
_MOST_ATTRIBUTED: Final = 20


class MonitorPlan(msgspec.Struct, frozen=True):
    """The options of `anomalies`."""

    by: tuple[str, ...] = ("model",)
    metrics: tuple[str, ...] = ()
    sensitivity: str = Sensitivity.MEDIUM
    methods: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, str, float], ...] = ()  # statistic, > or <, limit
    exclude: tuple[tuple[int, int], ...] = ()
    explain: str | None = None
    with_scores: bool = False


def find_anomalies(query: Query, plan: MonitorPlan, extra: ExtraFold = NO_EXTRA_FOLD) -> tuple[AnomaliesReport, Read]:
    """The incidents of the last `--window` (all without it), learned from the whole history before them."""
    grouping = Grouping(plan.by, STEP_US)
    measures = measures_of(plan)
    history = msgspec.structs.replace(query, time=query.time.without_start())
    names = dict.fromkeys([*measures.sums, *measures.values])
    fields = needed_fields([statistic_name(ALL_METRICS[name], "count") for name in names])
    fields |= {"error_type", *plan.by, *extra.fields}
    found = read(history, fields, lambda: extra.wrap(MonitorFold(measures, grouping, plan)))
    aggregates, by_error = (merge(parts) for parts in zip(*(part for part, *_ in found.results), strict=True))
    calls, aggregates, by_error = (
        len(aggregates.groups),
        of_late(aggregates, MOST_BUCKETS),
        of_late(by_error, MOST_BUCKETS),
    )
    if len(aggregates.groups) < calls:
        query.say(f"history older than {MOST_BUCKETS * STEP_US // DAY_US} days is not used for learning")
    whole = panel(()) if plan.thresholds else panel_of(aggregates, grouping, MOST_GROUPS, by_error)
    watched = _selected(whole, plan)
    sampled = _selected_samples(_sample_series([s for _, s, *_ in found.results], query.naive_tz), plan)
    now_us = found.source.now_us or 0
    results = _detected(watched, sampled, aggregates, grouping, plan, now_us)
    window = _window(query, found, now_us)
    every = merged(anomaly for one in results for anomaly in anomalies(one))
    shown = [a for a in every if _overlaps(a, window) and not _excluded(a, plan.exclude)]
    if plan.explain:
        shown = [asked_for(plan.explain, every)]
    explained = attributed(history, [a for a in shown if a.group is not None][:_MOST_ATTRIBUTED], STEP_US)
    report = AnomaliesReport(
        window=window,
        incidents=tuple(anomaly_report(explained.get(a.id, a), results) for a in shown),
        monitored=monitored_series(results),
        sensitivity=str(plan.sensitivity),
        false_alarms_per_week=Sensitivity(plan.sensitivity).false_alarms_per_week,
        methods=plan.methods,
        scores=bucket_scores(results, window) if plan.with_scores else (),
        explained=explained_buckets(shown[0], results) if plan.explain else (),
    )
    return report, found


class MonitorFold:
    """Digests by bucket and group, errors by type, and the metric samples as they are.

    Hard limits have aggregates instead: they are on the statistics as everywhere else, failed calls and all.
    """

    def __init__(self, measures: Measures, grouping: Grouping, plan: MonitorPlan) -> None:
        plans = [(measures, grouping), (_ERRORS, Grouping(("error_type",), STEP_US))]
        self._parts = AggregatesFold(plans, EXACT_VALUES) if plan.thresholds else _Digests(plans)
        self._plan = plan
        self._samples: list[dict[str, Any]] = []

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        for start, end in self._plan.exclude:
            columns = columns.take((columns.timestamp < start) | (columns.timestamp >= end))
        self._parts.add(columns if self._plan.thresholds else levels_of_successes(columns), samples)
        self._samples += samples

    def result(self) -> tuple[list[Aggregates], list[dict[str, Any]]]:
        """The aggregates of each grouping, and the samples."""
        return self._parts.result(), self._samples


class _Digests:
    """Digests under several groupings; each block is digested at once, so that its values need not be sorted."""

    def __init__(self, plans: list[tuple[Measures, Grouping]]) -> None:
        self._plans = plans
        self._pending: list[list[Aggregates]] = [[] for _ in plans]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        if columns.size:
            for (measures, grouping), pending in zip(self._plans, self._pending, strict=True):
                pending.append(digested(aggregate(columns, measures, grouping, in_order=False)))
                if len(pending) == _MERGE_EVERY:
                    pending[:] = [digested(merge(pending))]

    def result(self) -> list[Aggregates]:
        return [digested(merge(pending)) for pending in self._pending]


def measures_of(plan: MonitorPlan) -> Measures:
    """The measures that a plan needs."""
    wanted = [statistic_called(name) for name, _, _ in plan.thresholds]
    if not wanted:
        return Measures(sums=METRICS_READ, values=tuple(LEVELS.values()))
    names = tuple(dict.fromkeys([COUNTED, *(s.metric.name for s in wanted)]))
    return Measures(sums=names, values=tuple(dict.fromkeys(s.metric.name for s in wanted if s.needs_values)))


def _selected(whole: Panel, plan: MonitorPlan) -> Panel:
    whole = bridged(whole, plan.exclude)
    if not plan.metrics:
        return whole
    known = {*LEVELS, *PROPORTIONS, "requests", "cost_usd"}
    for name in plan.metrics:
        if name not in known and not any(name == one.metric for one in whole.series):
            raise UsageError("--metric: " + unknown("metric", name, known))
    return Panel(whole.starts, whole.step_us, tuple(s for s in whole.series if s.metric in plan.metrics))


def _selected_samples(found: list[Series], plan: MonitorPlan) -> list[Series]:
    return [s for s in found if s.metric in plan.metrics] if plan.metrics else found


def _sample_series(parts: Iterable[list[dict[str, Any]]], naive: str) -> list[Series]:
    """One series per name and tags, at the samples' own stamps; those without a time are left out."""
    by_key: dict[Any, list[dict[str, Any]]] = {}
    for part in parts:
        for sample in part:
            tags = tuple(sorted((str(key), str(value)) for key, value in dict(sample["tags"]).items()))
            by_key.setdefault((str(sample["name"]), tags), []).append(sample)
    return [_sampled(name, tags, rows, naive) for (name, tags), rows in sorted(by_key.items())]


def _sampled(name: str, tags: tuple[tuple[str, str], ...], rows: list[dict[str, Any]], naive: str) -> Series:
    stamps = moments([row["timestamp"] for row in rows], "", naive)
    values = np.array([row["value"] for row in rows], np.float64)
    dated = stamps != MISSING_TIME
    return samples(name, stamps[dated], values[dated], tags)


def _detected(
    panel: Panel, sampled: list[Series], aggregates: Any, grouping: Grouping, plan: MonitorPlan, now_us: int
) -> list[DetectorResults]:
    if plan.thresholds:
        return [_beyond(aggregates, grouping, limit) for limit in plan.thresholds]
    if plan.methods:
        every = [*panel.series, *sampled]
        return [lookup(DETECTORS, name, "method")().detect(one) for name in plan.methods for one in every]
    found = [detect(panel, plan.sensitivity, now_us)] if panel.series else []
    return [*found, *(detect_in_samples(one) for one in sampled)]


def _beyond(aggregates: Any, grouping: Grouping, limit: tuple[str, str, float]) -> DetectorResults:
    name, sign, number = limit
    series = statistic_series(aggregates, grouping, statistic_called(name).name)
    detector = ThresholdAnomalyDetector()
    detector.set_threshold(series.metric, critical=number, direction="above" if sign == ">" else "below")
    return detector.detect(series)


def _window(query: Query, found: Read, now_us: int) -> Window:
    start, _ = query.time.bounds(now_us) if query.time.has_start else (found.window.start_us, None)
    end = found.window.end_us
    return Window(start, end, (end - start) / 60e6 if start is not None and end is not None else None)


def _overlaps(anomaly: Anomaly, window: Window) -> bool:
    end = micros(anomaly.end or anomaly.timestamp)
    return window.start_us is None or end > window.start_us


def _excluded(anomaly: Anomaly, ranges: Sequence[tuple[int, int]]) -> bool:
    at = micros(anomaly.timestamp)
    return any(start <= at <= end + STEP_US for start, end in ranges)


def parse_threshold(text: str) -> tuple[str, str, float]:
    """`latency_p95_ms>5000` from `--threshold`; raises `UsageError`."""
    for sign in (">", "<"):
        name, found, number = text.partition(sign)
        if found:
            try:
                return statistic_called(name.strip()).name, sign, float(number.strip().removeprefix("="))
            except ValueError:
                break
    raise UsageError(f"--threshold {text!r} is not a limit", hint="for example --threshold 'latency_p95_ms>5000'")
