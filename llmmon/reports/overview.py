"""`report`: one reading of the calls -> everything that the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from llmmon.alerting.history import StreamsFold, fields_of
from llmmon.alerting.objectives import SloStatus
from llmmon.alerting.reading import complete
from llmmon.alerting.state import StateFile
from llmmon.anomaly.analysis import MonitorPlan, find_anomalies
from llmmon.anomaly.incidents import NOTHING_ACCEPTED, Accepted
from llmmon.ingest.parallel import cpu_count
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.report import Window
from llmmon.ingest.reread import Rereadable
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.aggregates import merge
from llmmon.metrics.aggregation import EXACT_VALUES, AggregatesFold, ExtraFold, Measures
from llmmon.metrics.definitions import needed_fields
from llmmon.metrics.grouping import Grouping
from llmmon.quality.scoring import NO_THRESHOLDS, Asked, score_calls, with_quality
from llmmon.reports.compare import ComparePlan, compare
from llmmon.reports.overview_fold import (
    FAILING,
    SHOWN,
    SPLIT,
    SPLITS,
    STATISTICS,
    AlertEpisode,
    Overview,
    OverviewFigures,
    OverviewFold,
    OverviewRequest,
    Quality,
)
from llmmon.reports.sides import Split
from llmmon.reports.summary import Statistics, totals_of
from llmmon.text.times import HOUR_US, MINUTE_US, TimePoint

if TYPE_CHECKING:
    from llmmon.alerting.objectives import Slo

_WORST: Final = 10
_LATE_START: Final = 0.05  # share of the period before that the log may not cover


class ReportPlan(msgspec.Struct, frozen=True):
    """What `report` was asked for; `every_us` None: as the time suggests."""

    command: str
    version: str
    anomalies_command: str = "llmmon anomalies"  # that finds the same incidents
    by: tuple[str, ...] = ("model", "user", "feature")
    every_us: int | None = None
    score: bool = False
    thresholds: Mapping[str, float] = NO_THRESHOLDS
    slos: tuple[Slo, ...] = ()
    state: Path | None = None  # where `check` remembers its alerts
    at: TimePoint | None = None  # before and after which the calls are compared
    accepted: Accepted = NOTHING_ACCEPTED


def make_report(again: Rereadable, plan: ReportPlan) -> tuple[Overview, Read]:
    """Everything about the calls of a query; raises `UsageError`."""
    query = again.query
    asked = with_quality(query, plan.thresholds) if plan.score else query
    fields = (
        needed_fields((*STATISTICS, *SPLIT)) | {*SHOWN, *FAILING, *plan.by, "finish_reason", "status"} | set(SPLITS)
    )
    request = OverviewRequest(plan.by, plan.every_us, query.tz, query.jobs or cpu_count())
    if not (whole := not query.time.has_start):
        calls = read(asked, fields, lambda: OverviewFold(request))
        aggregates = list(calls.results)
        anomalies, history = find_anomalies(query.quiet(), MonitorPlan(contributors=False, accepted=plan.accepted))
        before = _before(query.quiet(), calls, history)
    else:
        beside = ExtraFold(fields, lambda inside: OverviewFold(request, inside))
        anomalies, calls = find_anomalies(asked, MonitorPlan(contributors=False, accepted=plan.accepted), beside)
        aggregates = [part for *_, part in calls.results]
        before = None
    calls = again.named(calls)
    figures = OverviewFigures(request, aggregates, calls)
    overview = Overview(
        command=plan.command,
        version=plan.version,
        anomalies_command=plan.anomalies_command,
        window=calls.window,
        source=calls.source,
        exact=figures.exact,
        totals=figures.totals,
        anomalies=anomalies,
        comparison=figures.comparison() if whole else figures.compared_with(before),
        course=figures.course(),
        breakdowns=figures.breakdowns(),
        histograms=figures.histograms(),
        errors=figures.errors(),
        finish_reasons=figures.finish_reasons(),
        slowest=figures.listed("latency_ms"),
        most_expensive=figures.listed("cost_usd"),
        failing=figures.failing(),
        quality=_quality(query, plan.thresholds) if plan.score else None,
        alerts=_episodes(plan.state, calls.window),
        slos=_slo_statuses(plan.slos, query, calls.window),
        compared=None if plan.at is None else compare(query.quiet(), ComparePlan(Split(at=plan.at)))[0],
    )
    return overview, calls


def _before(query: Query, calls: Read, history: Read) -> Statistics | None:
    """The statistics of the time of equal length before the window, where the log goes back that far."""
    start, end, first = calls.window.start_us, calls.window.end_us, history.source.start_us
    if start is None or end is None or first is None or end <= start:
        return None
    length = end - start
    if first > start - length * (1 - _LATE_START):
        return None
    earlier = msgspec.structs.replace(query, time=TimeRequest(since=start - length, until=start))
    groupings = [(Measures.of(STATISTICS), Grouping())]
    found = read(earlier, needed_fields(STATISTICS), lambda: AggregatesFold(groupings, EXACT_VALUES // 2))
    return totals_of(merge(part for (part,) in found.results), STATISTICS, length / 60e6)


def _slo_statuses(slos: Sequence[Slo], query: Query, window: Window) -> tuple[SloStatus, ...]:
    """How the objectives of the configuration stand at the end of the window, whose calls are read for that."""
    end = window.end_us
    if not slos or end is None:
        return ()
    from llmmon.alerting.objectives import slo_statuses

    streams = list(dict.fromkeys(stream for slo in slos for stream in slo.streams))
    since = end - max(slo.window_us for slo in slos) - HOUR_US
    earlier = msgspec.structs.replace(query.quiet(), time=TimeRequest(since=since, until=end))
    found = read(earlier, fields_of(streams), lambda: StreamsFold(streams))
    return slo_statuses(slos, complete(streams, found.results), -(-end // MINUTE_US))


def _episodes(path: Path | None, window: Window) -> tuple[AlertEpisode, ...]:
    """The alerts that fired within the window, or were firing when it began."""
    start, end = window.start_us, window.end_us
    if path is None or start is None or end is None or not path.exists():
        return ()
    with StateFile(path) as state:
        found = state.episodes()
    return tuple(
        AlertEpisode(
            rule=one.rule or one.title,
            severity=one.severity.value,
            state=one.state.value,
            metric_name=one.metric_name,
            start_us=one.fired_us,
            end_us=one.resolved_us,
            value=one.value if one.peak is None else one.peak,
            threshold=one.threshold,
            group=dict(one.group),
            description=one.description,
        )
        for one in found
        if one.fired_us is not None and one.fired_us < end and (one.resolved_us is None or one.resolved_us > start)
    )


def _quality(query: Query, thresholds: Mapping[str, float]) -> Quality:
    report, _ = score_calls(query.quiet(), thresholds=thresholds, asked=Asked(limit=_WORST))
    flags = {name: count for name, count in report.flags.items() if count}
    return Quality(report.summary, flags, tuple(worst.row for worst in report.worst))
