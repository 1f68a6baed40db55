"""What the HTML report is assembled from: a fold over the calls, and the figures that its results give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.alerting.objectives import SloStatus
from llmmon.anomaly.report import AnomaliesReport
from llmmon.errors import UsageError
from llmmon.ingest.query import Read
from llmmon.ingest.report import SourceReport, Window
from llmmon.ingest.scan import Fold
from llmmon.metrics.aggregates import Aggregates, Values, merge, regroup, sorted_run
from llmmon.metrics.aggregation import (
    EXACT_VALUES,
    OTHER,
    WIDTHS,
    AggregatesFold,
    Measures,
    TimelineFold,
    Timelines,
    TopFold,
    evaluate,
    layers,
    merge_timelines,
    shown_width,
    top,
    widened,
)
from llmmon.metrics.columns import Columns, concat
from llmmon.metrics.definitions import METRICS, SUMMARY, errors
from llmmon.metrics.grouping import Grouping
from llmmon.reports.compare import CompareReport
from llmmon.reports.requests import request_rows
from llmmon.reports.summary import GroupRow, Statistics, statistics_at, totals_of
from llmmon.text.times import DAY_US

_R10: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)


def histogram(metric: str, values: Values) -> Histogram | None:
    """The distribution of all positive values, groups together; None without any. Values of 0 are in the first bin."""
    run = sorted_run(values)
    stored = run.values().astype(np.float64) / METRICS[metric].scale
    weights = run.weights().astype(np.float64)
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


SeriesValues = tuple[float | None, ...]


Parts = Mapping[str | None, Mapping[str, SeriesValues]]  # name -> statistic -> values


class Course(msgspec.Struct, frozen=True):
    """Statistics bucket by bucket without a hole; bucket i is [edges_us[i], edges_us[i + 1]).

    `by` has those of `SPLIT` by the names with most calls of each field in `SPLITS` that has several, `costs` the cost
    by the names that cost most. The last bucket is `incomplete` where the calls end before it does.
    """

    every_us: int
    edges_us: tuple[int, ...]
    statistics: Mapping[str, SeriesValues]
    by: Mapping[str, Parts]
    costs: Mapping[str, Mapping[str | None, SeriesValues]]
    errors_by_type: Mapping[str | None, SeriesValues]
    incomplete: bool = False


class Comparison(msgspec.Struct, frozen=True):
    """Two periods of equal length: the statistics of the later one and of the one before it."""

    length_us: int
    later: Statistics
    before: Statistics
    whole: bool  # whether the later period is all that the report is about


class Breakdown(msgspec.Struct, frozen=True):
    """The groups of one field with most calls, and how many more there are."""

    by: str
    groups: tuple[GroupRow, ...]
    more: int


class Histogram(msgspec.Struct, frozen=True):
    """How many values of a metric lie in [edges[i], edges[i + 1]), in the metric's public unit."""

    metric: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class ErrorKind(msgspec.Struct, frozen=True):
    """One type of error: how often, which share of all errors, and the model with most of it."""

    name: str | None
    count: int
    share: float
    model: str | None
    model_share: float


class Quality(msgspec.Struct, frozen=True):
    """What scoring the answers' texts gave: average scores, answers by flag, the worst answers without text."""

    summary: Mapping[str, float | int | None]
    flags: Mapping[str, int]
    worst: tuple[Mapping[str, Any], ...]


class AlertEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of an alert, from when it fired to when it was resolved (None: it still fires)."""

    rule: str
    severity: str
    state: str
    metric_name: str
    start_us: int
    end_us: int | None = None
    value: float | None = None
    threshold: float | None = None
    group: Mapping[str, str | None] = msgspec.field(default_factory=dict)
    description: str = ""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon report`: everything that the page shows."""

    command: str
    version: str
    anomalies_command: str = "llmmon anomalies"
    window: Window
    source: SourceReport
    exact: bool
    totals: Statistics
    anomalies: AnomaliesReport
    comparison: Comparison | None = None
    course: Course | None = None
    breakdowns: tuple[Breakdown, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    errors: tuple[ErrorKind, ...] = ()
    finish_reasons: tuple[tuple[str, int], ...] = ()
    slowest: tuple[Mapping[str, Any], ...] = ()
    most_expensive: tuple[Mapping[str, Any], ...] = ()
    failing: tuple[Mapping[str, Any], ...] = ()  # the latest ones
    quality: Quality | None = None
    alerts: tuple[AlertEpisode, ...] = ()
    slos: tuple[SloStatus, ...] = ()
    compared: CompareReport | None = None  # before and after a time


STATISTICS: Final = (*SUMMARY, "truncated_rate", "refused_count", "empty_count")
_MOST_BUCKETS: Final = 120
_MOST_GIVEN: Final = 2000  # buckets that a reader may ask for
_MOST_GROUPS: Final = 100
_MOST_LAYERS: Final = 7
_MOST_PARTS: Final = 6
_LISTED: Final = 10
_FAILING_LISTED: Final = 20
_KEPT_APART: Final = 5  # aggregates that keep values side by side
_COUNTED: Final = Measures(sums=("requests",), values=())
_ERRORS: Final = Measures(sums=("error",), values=())
SPLITS: Final = ("model", "feature")  # fields by which the charts over time can be split
SPLIT: Final = (
    *("request_count", "error_count", "latency_p50_ms", "ttft_p50_ms", "output_tokens_per_second_p50"),
    *("tokens_total", "cost_total_usd", "quality_avg", "truncated_count"),
)
_BYS: Final[tuple[tuple[str, ...], ...]] = ((), ("error_type",), *((field,) for field in SPLITS))  # of the timelines
_HISTOGRAMS: Final = ("latency_ms", "time_to_first_token_ms")
_LISTS: Final = ("latency_ms", "cost_usd")
SHOWN: Final = (  # of a single call; each further name that differs from call to call takes its time to read
    *("request_id", "timestamp", "model", "user", "feature", "error_type", "latency_ms", "time_to_first_token_ms"),
    *("prompt_tokens", "completion_tokens", "cost_usd"),
)
FAILING: Final = (
    *("timestamp", "model", "status_code", "error_type", "error_message", "latency_ms", "user", "feature"),
    "request_id",
)


class OverviewRequest(msgspec.Struct, frozen=True):
    """How the calls are divided: by which fields, into which buckets (None: as suits the time), for how many jobs."""

    by: tuple[str, ...]
    every_us: int | None
    tz: str
    jobs: int


class OverviewAggregates(msgspec.Struct, frozen=True, eq=False):
    """What one worker counted: partials by field, errors and finish reasons, timelines, lists of calls."""

    groups: list[Aggregates]
    timelines: Timelines
    lists: dict[str, Columns]
    failing: Columns


class OverviewFold:
    """All that the page needs of the calls, in one go; `inside` is another fold that is fed the same calls."""

    def __init__(self, request: OverviewRequest, inside: Any = None) -> None:
        measures = Measures.of(STATISTICS)
        most = EXACT_VALUES // request.jobs // _KEPT_APART
        groupings = [(measures, Grouping((by,))) for by in request.by]
        groupings += [(_ERRORS, Grouping(("error_type", "model"))), (_COUNTED, Grouping(("finish_reason",)))]
        split = Measures.of(SPLIT)
        plans = list(zip((measures, _ERRORS, *(split for _ in SPLITS)), _BYS, strict=True))
        widths = (request.every_us,) if request.every_us else WIDTHS
        self._inside = inside
        self._groups = AggregatesFold(groupings, most)
        self._timelines = TimelineFold(plans, request.tz, most, widths)
        self._lists = {key: TopFold(key, _LISTED, ascending=False) for key in _LISTS}
        self._failing = TopFold("timestamp", _FAILING_LISTED, ascending=False)

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if self._inside is not None:
            self._inside.add(columns, samples)
        folds: tuple[Fold[Any], ...] = (self._groups, self._timelines, *self._lists.values())
        for fold in folds:
            fold.add(columns, samples)
        failed = errors(columns)
        if failed is not None and (at := np.flatnonzero(failed == 1)).size:
            self._failing.add(columns.take(at), samples)

    def result(self) -> Any:
        """The aggregates, behind those of the fold inside where there is one."""
        lists = {key: fold.result()[0].without_unused_names() for key, fold in self._lists.items()}
        failing = self._failing.result()[0].without_unused_names()
        aggregates = OverviewAggregates(self._groups.result(), self._timelines.result(), lists, failing)
        return aggregates if self._inside is None else (*self._inside.result(), aggregates)


class OverviewFigures:
    """The figures of the page, from the aggregates of all workers."""

    def __init__(self, request: OverviewRequest, aggregates: Sequence[OverviewAggregates], calls: Read) -> None:
        self._request = request
        self._aggregates = aggregates
        self._calls = calls
        *self._by, self._errors, self._reasons = (
            merge(found) for found in zip(*(p.groups for p in aggregates), strict=True)
        )
        self._times = merge_timelines([part.timelines for part in aggregates], _BYS, request.tz)
        whole = self._by[0] if self._by else self._times.parts[0]
        self.totals = totals_of(whole, STATISTICS, calls.window.minutes)
        self.exact = all(part.exact for part in (*self._by, self._times.parts[0]))

    def breakdowns(self) -> tuple[Breakdown, ...]:
        """A breakdown by each field that any call has."""
        pairs = zip(self._request.by, self._by, strict=True)
        return tuple(
            self._breakdown(by, part) for by, part in pairs if any(group[0] is not None for group in part.groups)
        )

    def _breakdown(self, by: str, aggregates: Aggregates) -> Breakdown:
        table = evaluate(aggregates, STATISTICS, self._calls.window.minutes)
        calls = table["request_count"]
        order = sorted(range(len(aggregates)), key=lambda i: (-calls[i], aggregates.groups[i][0] or ""))
        rows = [GroupRow({by: aggregates.groups[i][0]}, statistics_at(table, i)) for i in order[:_MOST_GROUPS]]
        return Breakdown(by, tuple(rows), len(order) - len(rows))

    def histograms(self) -> tuple[Histogram, ...]:
        """How long calls took, and how long until the first token."""
        values = (self._by[0] if self._by else self._times.parts[0]).values
        found = (histogram(metric, values[metric]) for metric in _HISTOGRAMS if metric in values)
        return tuple(one for one in found if one is not None)

    def errors(self) -> tuple[ErrorKind, ...]:
        """The types of error, most frequent first."""
        if "error" not in self._errors.sums:
            return ()
        kinds: dict[str | None, dict[str | None, int]] = {}
        for (kind, model), count in zip(self._errors.groups, self._errors.sums["error"].total.tolist(), strict=True):
            if count:
                kinds.setdefault(kind, {})[model] = count
        whole = sum(sum(models.values()) for models in kinds.values())
        ranked = sorted(kinds.items(), key=lambda item: (-sum(item[1].values()), item[0] or ""))
        return tuple(_error_kind(kind, models, whole) for kind, models in ranked[:_MOST_GROUPS])

    def finish_reasons(self) -> tuple[tuple[str, int], ...]:
        """Why answers ended, most frequent first."""
        if "requests" not in self._reasons.sums:
            return ()
        counted = zip(self._reasons.groups, self._reasons.sums["requests"].total.tolist(), strict=True)
        found = [(group[0], count) for group, count in counted if group[0] is not None]
        return tuple(sorted(found, key=lambda item: (-item[1], item[0]))[:_MOST_GROUPS])

    def listed(self, key: str) -> tuple[Mapping[str, Any], ...]:
        """The calls with the largest values, without their texts."""
        columns = concat([part.lists[key] for part in self._aggregates])
        rows = request_rows(columns.take(top(columns, key, _LISTED, ascending=False)), SHOWN, self._calls.scanned)
        return tuple(row for row in rows if row[key])

    def failing(self) -> tuple[Mapping[str, Any], ...]:
        """The latest calls that failed, with what was said of them."""
        columns = concat([part.failing for part in self._aggregates])
        latest = columns.take(top(columns, "timestamp", _FAILING_LISTED, ascending=False))
        return tuple(request_rows(latest, FAILING, self._calls.scanned))

    def compared_with(self, before: Statistics | None) -> Comparison | None:
        """The window beside the time before it."""
        start, end = self._calls.window.start_us, self._calls.window.end_us
        if before is None or start is None or end is None:
            return None
        return Comparison(end - start, self.totals, before, whole=True)

    def comparison(self) -> Comparison | None:
        """The last week beside the week before, or the last day, or half; None where nothing is dated."""
        aggregates, every = self._times.parts[0], self._times.every_us
        if not aggregates.groups or aggregates.first_us is None or aggregates.last_us is None:
            return None
        span = aggregates.last_us + 1 - aggregates.first_us
        length = next((n * DAY_US for n in (7, 1) if span >= 2 * n * DAY_US), span // 2)
        buckets = max(1, length // every)
        last = max(group[0] for group in aggregates.groups)
        if last - 2 * buckets + 1 < min(group[0] for group in aggregates.groups):
            return None
        names = [min(2, (last - group[0]) // buckets) for group in aggregates.groups]
        periods = regroup(aggregates, [(name,) for name in names])
        table = evaluate(periods, STATISTICS, length / 60e6)
        later, before = (
            statistics_at(table, periods.groups.index((n,))) if (n,) in periods.groups else {} for n in (0, 1)
        )
        return Comparison(buckets * every, later, before, whole=False) if later and before else None

    def course(self) -> Course | None:
        """The statistics over time; raises `UsageError` where the buckets asked for are too many."""
        aggregates, every = self._times.parts[0], self._times.every_us
        if not aggregates.groups:
            return None
        first_us, last_us = self._bounds(aggregates)
        width = self._request.every_us or shown_width(last_us - first_us, every, _MOST_BUCKETS)
        grouping = Grouping((), width, self._request.tz)
        first, last = grouping.numbers(np.array([first_us, max(first_us, last_us - 1)], np.int64)).tolist()
        if last - first >= _MOST_GIVEN:
            raise UsageError(
                f"--every: {last - first + 1:,} buckets are more than a page can show ({_MOST_GIVEN:,})",
                hint="a longer --every, or a shorter time range with --window or --since",
            )
        wide = [
            widened(part, by, every, width, self._request.tz) for part, by in zip(self._times.parts, _BYS, strict=True)
        ]
        numbers = range(first, last + 1)
        table = evaluate(wide[0], STATISTICS, width / 60e6)
        place = {group[0]: i for i, group in enumerate(wide[0].groups)}
        rows = [statistics_at(table, place[n]) if n in place else _NOTHING for n in numbers]
        return Course(
            every_us=width,
            edges_us=tuple(grouping.bucket_start(number) for number in range(first, last + 2)),
            statistics={name: tuple(row.get(name) for row in rows) for name in STATISTICS},
            by={
                field: parts
                for field, part in zip(SPLITS, wide[2:], strict=True)
                if len(parts := _split(part, numbers)) > 1
            },
            costs={field: _layered(part, "cost_usd", numbers) for field, part in zip(SPLITS, wide[2:], strict=True)},
            errors_by_type=_layered(wide[1], "error", numbers),
            incomplete=last_us < grouping.bucket_start(last + 1),
        )

    def _bounds(self, aggregates: Aggregates) -> tuple[int, int]:
        """From when to when the page shows: the window where one was asked for, else first to last call."""
        window = self._calls.window
        first, last = aggregates.first_us or 0, (aggregates.last_us or 0) + 1
        return min(first, window.start_us or first), max(last, window.end_us or last)


_NOTHING: Final[Statistics] = {"request_count": 0, "error_count": 0}


def _error_kind(kind: str | None, models: Mapping[str | None, int], whole: int) -> ErrorKind:
    count = sum(models.values())
    model = min(models, key=lambda name: (-models[name], name or ""))
    return ErrorKind(kind, count, count / whole, model, models[model] / count)


def _split(aggregates: Aggregates, numbers: range) -> Parts:
    """The statistics of `SPLIT` over time by name: those with most calls, the rest as `OTHER`; {} without calls."""
    if "requests" not in aggregates.sums:
        return {}
    calls: dict[str | None, int] = {}
    for (_, name), number in zip(aggregates.groups, aggregates.sums["requests"].total.tolist(), strict=True):
        calls[name] = calls.get(name, 0) + number
    ranked = sorted(calls, key=lambda name: (-calls[name], name or ""))
    shown = ranked if len(ranked) <= _MOST_PARTS else [*ranked[: _MOST_PARTS - 1], OTHER]
    kept = set(shown)
    merged = regroup(aggregates, [(number, name if name in kept else OTHER) for number, name in aggregates.groups])
    table = evaluate(merged, SPLIT, None)
    rows = {group: statistics_at(table, at) for at, group in enumerate(merged.groups)}
    return {
        name: {one: tuple(rows.get((n, name), _NOTHING).get(one) for n in numbers) for one in SPLIT} for name in shown
    }


def _layered(aggregates: Aggregates, metric: str, numbers: range) -> dict[str | None, SeriesValues]:
    found = layers(aggregates, metric, METRICS[metric].scale, _MOST_LAYERS)
    return {name: tuple(cells.get(number) for number in numbers) for name, cells in found.items()}
