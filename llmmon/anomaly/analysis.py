"""`anomalies`: the whole history of a log -> panel of series -> detector results -> incidents and contributors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.anomalies import anomalies, merged
from llmmon.anomaly.detectors import (
    DETECTORS,
    DetectorResults,
    Sensitivity,
    ThresholdAnomalyDetector,
    detect,
    detect_in_samples,
)
from llmmon.anomaly.detectors.detector import Anomaly, AnomalyStatus
from llmmon.anomaly.drift import drifts
from llmmon.anomaly.explanations import Explanation, explained
from llmmon.anomaly.incidents import NOTHING_ACCEPTED, Accepted, Incident, incidents, with_accepted
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
from llmmon.anomaly.report import (
    AnomaliesReport,
    AnomalyReport,
    IncidentReport,
    anomaly_report,
    asked_for,
    bucket_scores,
    drift_report,
    explained_buckets,
    incident_report,
    monitored_series,
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
from llmmon.metrics.definitions import meant_statistics, needed_fields, statistic_called, statistic_name
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.vocabulary import metric_word, value_of
from llmmon.text.names import lookup, unknown
from llmmon.text.times import DAY_US, MINUTE_US, to_us

STEP_US: Final = 5 * MINUTE_US
MOST_GROUPS: Final = 50
_MERGE_EVERY: Final = 64  # blocks
_ERRORS: Final = Measures(sums=("error",), values=())
MOST_BUCKETS: Final = 400 * 288  # of a history: 400 days


class MonitorPlan(msgspec.Struct, frozen=True):
    """The options of `anomalies`."""

    by: tuple[str, ...] = ("model",)
    metrics: tuple[str, ...] = ()
    sensitivity: str = Sensitivity.MEDIUM
    methods: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, str, float], ...] = ()  # statistic, > or <, limit
    exclude: tuple[tuple[int, int], ...] = ()
    explain: str | None = None
    contributors: bool = True  # of the symptoms, beside those of the leads
    with_scores: bool = False
    accepted: Accepted = NOTHING_ACCEPTED


def find_anomalies(query: Query, plan: MonitorPlan, extra: ExtraFold = NO_EXTRA_FOLD) -> tuple[AnomaliesReport, Read]:
    """The incidents of the last `--window` (all without it), learned from the whole history before them."""
    grouping = Grouping(plan.by, STEP_US)
    measures = measures_of(plan)
    time = query.time.without_start()
    if isinstance(time.now, int) and time.until is None:  # what comes after that is not known yet
        time = msgspec.structs.replace(time, until=time.now)
    history = msgspec.structs.replace(query, time=time)
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
    every = incidents(merged(anomaly for one in results for anomaly in anomalies(one)), results)
    every = with_accepted(every, plan.accepted, now_us)
    shown = [one for one in every if _overlaps(one, window) and not _excluded(one, plan.exclude)]
    drifting = [] if plan.methods else _drifts(watched, every, plan.accepted)
    asked = None
    if plan.explain and (named := [one for one in drifting if one.id.startswith(plan.explain)]):
        shown, drifting = [], named[:1]
    elif plan.explain:
        drifting = []
        incident, asked = asked_for(plan.explain, every)
        shown = [incident]
    shown.sort(key=_importance)
    explanations = explained(history, list(_worth_explaining(shown, plan)), STEP_US, now_us)
    report = AnomaliesReport(
        window=window,
        incidents=_in_order([incident_report(one, results, explanations.get(one.lead.id)) for one in shown], drifting),
        anomalies=_rows(shown, asked, results, explanations),
        monitored=monitored_series(results),
        sensitivity=str(plan.sensitivity),
        false_alarms_per_week=Sensitivity(plan.sensitivity).false_alarms_per_week,
        calls=_calls_in(aggregates, grouping, window),
        methods=plan.methods,
        scores=bucket_scores(results, window) if plan.with_scores else (),
        explained=() if asked is None else explained_buckets(asked, results),
    )
    return report, found


def _drifts(watched: Panel, every: Sequence[Incident], accepted: Accepted) -> list[IncidentReport]:
    """The slow drifts, without those that were accepted and those that are a step to a new level."""
    steps = {
        (one.metric_name, one.group)
        for incident in every
        if incident.status in (AnomalyStatus.NEW_LEVEL, AnomalyStatus.ACCEPTED)
        for one in incident.members
    }
    return [
        one
        for one in map(drift_report, drifts(watched))
        if (one.metric_name, tuple(one.group.items())) not in steps
        and one.start_us >= accepted.before_us
        and not any(one.id.startswith(name) for name in accepted.incidents)
    ]


def _in_order(incidents: Sequence[IncidentReport], drifting: Sequence[IncidentReport]) -> tuple[IncidentReport, ...]:
    """Open incidents, then drifts, then what is over."""
    going = [one for one in incidents if one.end_us is None]
    return (*going, *drifting, *(one for one in incidents if one.end_us is not None))


def _importance(incident: Incident) -> tuple[bool, int]:
    """Open incidents first, then the newest."""
    return incident.end is not None, -to_us(incident.start)


def _worth_explaining(shown: Sequence[Incident], plan: MonitorPlan) -> Iterator[Anomaly]:
    """The leads, open and grave ones first, then the symptoms."""
    ranked = sorted(shown, key=lambda one: (one.end is not None, -one.severity.rank, -to_us(one.start)))
    yield from (dataclasses.replace(one.lead, end=one.end) for one in ranked)
    if plan.contributors:
        yield from (symptom for one in ranked for symptom in one.symptoms)


def _rows(
    shown: Sequence[Incident],
    asked: Anomaly | None,
    results: Sequence[DetectorResults],
    explanations: Mapping[str, Explanation],
) -> tuple[AnomalyReport, ...]:
    """The series of the incidents in order of time; the one that was asked for alone."""
    found = [(member, one) for one in shown for member in one.members if asked is None or member.id == asked.id]
    found.sort(key=lambda item: (item[0].timestamp, item[0].metric_name, item[0].group))
    return tuple(anomaly_report(member, one, results, explanations.get(member.id)) for member, one in found)


def _calls_in(aggregates: Aggregates, grouping: Grouping, window: Window) -> int:
    """The number of calls in the buckets of a window."""
    counted = aggregates.sums.get(COUNTED)
    if counted is None:
        return 0
    starts = np.array([grouping.bucket_start(group[0]) for group in aggregates.groups], np.int64)
    inside = np.ones(len(starts), np.bool_) if window.start_us is None else starts + STEP_US > window.start_us
    return int(counted.count[inside].sum())


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
    there = {*known, *(one.metric for one in whole.series)}
    metrics = {next((one for one in (name, metric_word(name), *meant_statistics(name)) if one in there), name)
               for name in plan.metrics}  # fmt: skip
    for name in sorted(metrics - there):
        raise UsageError("--metric: " + unknown("metric", name, known))
    return Panel(whole.starts, whole.step_us, tuple(s for s in whole.series if s.metric in metrics))


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


def _overlaps(incident: Incident, window: Window) -> bool:
    return window.start_us is None or incident.end is None or to_us(incident.end) > window.start_us


def _excluded(incident: Incident, ranges: Sequence[tuple[int, int]]) -> bool:
    at = to_us(incident.timestamp)
    return any(start <= at <= end + STEP_US for start, end in ranges)


def parse_threshold(text: str) -> tuple[str, str, float]:
    """`latency_p95_ms>5000` from `--threshold`; raises `UsageError`."""
    for sign in (">", "<"):
        name, found, number = text.partition(sign)
        if found:
            statistic = statistic_called(name.strip()).name
            value = value_of(number.strip().removeprefix("="), statistic)
            if value is None:
                break
            return statistic, sign, value
    raise UsageError(f"--threshold {text!r} is not a limit", hint="for example --threshold 'latency_p95_ms>5000'")
