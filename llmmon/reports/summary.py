"""`summarize`: calls -> totals, groups, time buckets, errors by type, finish reasons."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.ingest.parallel import cpu_count
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.report import Window
from llmmon.metrics.aggregates import Aggregates, GroupKey, merge
from llmmon.metrics.aggregation import EXACT_VALUES, AggregatesFold, Measures, evaluate
from llmmon.metrics.columns import FloatArray
from llmmon.metrics.definitions import SUMMARY, needed_fields, statistic_called
from llmmon.metrics.grouping import Grouping
from llmmon.reports.attention import HOURS, MEASURES, Sign, signs

Statistics = Mapping[str, float | int | None]


class GroupRow(msgspec.Struct, frozen=True):
    """One group (field -> value) and its statistics by name."""

    key: Mapping[str, str | None]
    statistics: Statistics


class Bucket(msgspec.Struct, frozen=True):
    """One group in one time bucket [start, end); `key` is empty for all calls."""

    start_us: int
    end_us: int
    key: Mapping[str, str | None]
    statistics: Statistics


class Share(msgspec.Struct, frozen=True):
    """How often a name occurred, and its share of the whole."""

    name: str | None
    count: int
    share: float


class SummaryReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon summarize`: totals, groups, time buckets, errors by type, finish reasons."""

    window: Window
    exact: bool
    totals: Statistics
    by: tuple[str, ...]
    groups: tuple[GroupRow, ...]
    series: tuple[Bucket, ...] = ()
    every_us: int | None = None
    errors: tuple[Share, ...] = ()
    finish_reasons: tuple[Share, ...] = ()
    more_groups: int = 0  # groups beyond the limit
    sorted_by: str = ""
    signs: tuple[Sign, ...] = ()
    logs: tuple[str, ...] = ()


_EXTRA_FIELDS: Final = frozenset({"error_type", "finish_reason", "status", "model"})
_MOST_BUCKETS: Final = 20_000
_ERRORS: Final = Measures(sums=("error",), values=())
_REQUESTS: Final = Measures(sums=("requests",), values=())


def summarize(
    query: Query,
    *,
    by: tuple[str, ...],
    every_us: int | None = None,
    series_by: tuple[str, ...] = (),
    sort: str = "request_count",
    limit: int = 20,
    also: Sequence[str] = (),
) -> tuple[SummaryReport, Read]:
    """The summary of a query's calls, with these statistics `also`; raises `UsageError` for unknown names."""
    names = tuple(dict.fromkeys((*_statistics(sort), *also)))
    measures = Measures.of(names)
    groupings = [
        (measures, Grouping(by)),
        (_ERRORS, Grouping(("error_type",))),
        (_REQUESTS, Grouping(("finish_reason",))),
        (MEASURES, HOURS),
    ]
    bucketed = Grouping(series_by, every_us, query.tz) if every_us else None
    if bucketed is not None:
        groupings.append((measures, bucketed))
    most = EXACT_VALUES // (query.jobs or cpu_count())
    fields = needed_fields(names) | _EXTRA_FIELDS | set(by) | set(series_by)
    found = read(query, fields, lambda: AggregatesFold(groupings, most))
    grouped, errors, reasons, hours, *series = (merge(parts) for parts in zip(*found.results, strict=True))
    rows, totals = _rows(grouped, by, names, found.window.minutes, sort, limit)
    report = SummaryReport(
        window=found.window,
        exact=all(part.exact for part in (grouped, *series)),
        totals=totals,
        by=by,
        groups=tuple(rows),
        more_groups=len(grouped) - len(rows),
        series=_series(series[0], bucketed, names) if bucketed is not None else (),
        every_us=every_us,
        errors=_shares(errors, "error"),
        finish_reasons=tuple(share for share in _shares(reasons, "requests") if share.name is not None),
        sorted_by=sort,
        signs=signs(hours),
        logs=query.logs,
    )
    return report, found


def _statistics(sort: str) -> tuple[str, ...]:
    extra = statistic_called(sort).name
    return SUMMARY if extra in SUMMARY else (*SUMMARY, extra)


def _rows(
    aggregates: Aggregates, by: Sequence[str], names: Sequence[str], minutes: float | None, sort: str, limit: int
) -> tuple[list[GroupRow], Statistics]:
    """The first groups by a statistic (all without a limit), and all calls together."""
    table = evaluate(aggregates, names, minutes)
    groups = aggregates.groups
    first = _first(groups, table[statistic_called(sort).name][: len(groups)], limit or len(groups))
    rows = [GroupRow(dict(zip(by, groups[i], strict=True)), statistics_at(table, i)) for i in first]
    return rows, statistics_at(table, len(groups))


def _first(groups: Sequence[GroupKey], column: FloatArray, limit: int) -> list[int]:
    """The places of the groups with the largest values, missing ones last, equal ones by name; at most `limit`."""
    ranks = np.where(np.isnan(column), np.inf, -column)
    among = np.arange(len(ranks))
    if limit < len(ranks):
        among = np.flatnonzero(ranks <= np.partition(ranks, limit - 1)[limit - 1])
    listed = ranks.tolist()
    return heapq.nsmallest(limit, among.tolist(), key=lambda i: (listed[i], [str(key) for key in groups[i]]))


def totals_of(aggregates: Aggregates, names: Sequence[str], minutes: float | None) -> Statistics:
    """Statistics of all groups together as public values."""
    return statistics_at(evaluate(aggregates, names, minutes), len(aggregates))


def statistics_at(table: Mapping[str, FloatArray], row: int) -> Statistics:
    """One row of a table of statistics as public values: whole numbers as int, missing as None."""
    return {name: _public(name, float(column[row])) for name, column in table.items()}


def _public(name: str, value: float) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if statistic_called(name).integral else value


def _series(aggregates: Aggregates, grouping: Grouping, names: Sequence[str]) -> tuple[Bucket, ...]:
    """The buckets in order of time; empty ones between the first and the last too."""
    if not aggregates.groups:
        return ()
    table = evaluate(aggregates, names, grouping.every_us / 60e6)
    found = {group: statistics_at(table, i) for i, group in enumerate(aggregates.groups)}
    keys = sorted({group[1:] for group in found}, key=lambda key: [(v is not None, v or "") for v in key])
    first, last = min(group[0] for group in found), max(group[0] for group in found)
    if (last - first + 1) * len(keys) > _MOST_BUCKETS:
        places = sorted(found, key=lambda group: (group[0], keys.index(group[1:])))
    else:
        places = [(number, *key) for number in range(first, last + 1) for key in keys]
    return tuple(_bucket(place, found.get(place), grouping, names) for place in places)


def _bucket(
    place: tuple[int, *tuple[str | None, ...]], found: Statistics | None, grouping: Grouping, names: Sequence[str]
) -> Bucket:
    start, end = grouping.bucket_start(place[0]), grouping.bucket_start(place[0] + 1)
    nothing = {name: 0 if name in {"request_count", "error_count"} else None for name in names}
    return Bucket(start, end, dict(zip(grouping.by, place[1:], strict=True)), found or nothing)


def _shares(aggregates: Aggregates, metric: str) -> tuple[Share, ...]:
    """How often each name occurred, most frequent first, as shares of all."""
    sums = aggregates.sums.get(metric)
    if sums is None or not (whole := int(sums.total.sum())):
        return ()
    counted = [(group[0], int(n)) for group, n in zip(aggregates.groups, sums.total, strict=True) if n]
    ranked = sorted(counted, key=lambda item: (-item[1], item[0] or ""))
    return tuple(Share(name, count, count / whole) for name, count in ranked)
