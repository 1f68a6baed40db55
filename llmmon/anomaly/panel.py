"""Aggregates by time bucket -> the panel of series that the monitor watches: overall, and by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.anomaly.series import (
    BucketValues,
    GroupLabels,
    Panel,
    Series,
    SeriesKind,
    counts,
    level,
    panel,
    proportions,
    tables,
    totals,
)
from llmmon.errors import UsageError
from llmmon.metrics.aggregates import (
    Aggregates,
    Run,
    Sums,
    Values,
    distinct,
    only,
    pack,
    regroup,
    sorted_run,
)
from llmmon.metrics.aggregation import evaluate
from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray
from llmmon.metrics.definitions import METRICS, errors
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import DAY_US, moment_us

LOG, SQUARE, TAIL = "log ", "square ", "tail "  # before the name of a metric
TAILS: Final = ("latency_ms", "output_tokens_per_second")  # of which the tail is watched
PLAIN: Final = ("quality_score",)  # summed as they are, without the logarithm
_UNITS: Final = 4096  # of a logarithm, or of 1; their squares add up exactly in 53 bits
_BINS: Final = 16  # to a factor of e: the middle of a bin is at most 3.2 % off
_MOST_RUNS: Final = 8


def digested(aggregates: Aggregates) -> Aggregates:
    """The same groups with sums and bins in place of values; sums and bins that are there already stay."""
    sums, tails = dict(aggregates.sums), {n: v for n, v in aggregates.values.items() if n.startswith(TAIL)}
    for name, values in aggregates.values.items():
        if name not in tails:
            for key, found in zip((LOG + name, SQUARE + name), _moments(name, values, len(aggregates)), strict=True):
                sums[key] = _added(sums.get(key), found)
            if name in TAILS:
                known = tails.get(TAIL + name, Values())
                tails[TAIL + name] = Values((*known.runs, *map(_binned, values.runs)))
    return msgspec.structs.replace(aggregates, sums=sums, values={n: _few_runs(v) for n, v in tails.items()})


def _moments(name: str, values: Values, size: int) -> tuple[Sums, Sums]:
    """The sums of the logarithms of the positive values, and of their squares, by group."""
    count, total, square = np.zeros(size), np.zeros(size), np.zeros(size)
    for run in values.runs:
        groups, numbers, weights = _positive(run) if name not in PLAIN else _parts(run)
        x = np.rint(_UNITS * (numbers / METRICS[name].scale if name in PLAIN else np.log(numbers)))
        count += np.bincount(groups, weights, size)
        total += np.bincount(groups, x if weights is None else x * weights, size)
        square += np.bincount(groups, x * x if weights is None else x * x * weights, size)
    whole = count.astype(np.int64)
    return Sums(whole, total.astype(np.int64)), Sums(whole, square.astype(np.int64))


def moments(aggregates: Aggregates, name: str) -> tuple[IntArray, FloatArray, FloatArray]:
    """(count, mean, variance) by group of a metric's logarithms in public units, or of itself if `PLAIN`."""
    found, count = aggregates.sums[LOG + name], aggregates.sums[LOG + name].count
    many = np.maximum(count, 1)
    mean = found.total / many
    spread = np.maximum(aggregates.sums[SQUARE + name].total / many - mean * mean, 0.0)
    shift = 0.0 if name in PLAIN else np.log(METRICS[name].scale)
    return count, np.where(count > 0, mean / _UNITS - shift, np.nan), spread / _UNITS**2


def _parts(run: Run) -> tuple[IntArray, FloatArray, IntArray | None]:
    return run.groups(), run.values().astype(np.float64), run.counts


def _positive(run: Run) -> tuple[IntArray, FloatArray, IntArray | None]:
    groups, numbers, weights = _parts(run)
    if (kept := numbers > 0).all():
        return groups, numbers, weights
    return groups[kept], numbers[kept], None if weights is None else weights[kept]


def _added(known: Sums | None, more: Sums) -> Sums:
    return more if known is None else Sums(known.count + more.count, known.total + more.total)


def _binned(run: Run) -> Run:
    """The values of a run in the middle of their bins, each once with its count."""
    groups, numbers, _ = _parts(run)
    middles = np.rint(np.exp(np.rint(np.log(np.maximum(numbers, 1.0)) * _BINS) / _BINS))
    return distinct(pack(groups, middles), run.weights())


def _few_runs(values: Values) -> Values:
    if len(values.runs) < _MOST_RUNS:
        return values
    keys = np.concatenate([run.keys for run in values.runs])
    return Values((distinct(keys, np.concatenate([run.weights() for run in values.runs])),))


_WEEK_US: Final = 7 * DAY_US


def parse_range(text: str, tz: str, wall_us: int) -> tuple[int, int]:
    """`START/END` from `--exclude`; raises `UsageError`."""
    start, slash, end = text.partition("/")
    if not slash:
        raise UsageError(f"--exclude {text!r} is not START/END", hint="2026-01-31T08:00/2026-01-31T09:00")
    first, last = moment_us(start, wall_us, tz), moment_us(end, wall_us, tz)
    if last <= first:
        raise UsageError(f"--exclude {text!r} ends before it begins", hint="START/END")
    return first, last


def bridged(panel: Panel, ranges: Sequence[tuple[int, int]]) -> Panel:
    """The panel with the traffic of excluded buckets as it was a week (else a day) before.

    Their calls are already left out, so levels and rates have gaps there; a gap in traffic would be a drop.
    """
    outside = np.zeros(len(panel), np.bool_)
    for start, end in ranges:
        outside |= (panel.starts + panel.step_us > start) & (panel.starts < end)
    if not outside.any():
        return panel
    return Panel(panel.starts, panel.step_us, tuple(_bridged(one, outside, panel.step_us) for one in panel.series))


def _bridged(series: Series, outside: BoolArray, step_us: int) -> Series:
    if series.kind not in (SeriesKind.COUNT, SeriesKind.TOTAL):
        return series
    value, count = _filled(series.value, outside, step_us), _filled(series.count, outside, step_us)
    return Series(series.metric, series.kind, series.starts, value, count, series.group, series.step_us)


def _filled(column: FloatArray, outside: BoolArray, step_us: int) -> FloatArray:
    filled = column.copy()
    for row in np.flatnonzero(outside).tolist():
        earlier = [row - back // step_us for back in (_WEEK_US, DAY_US) if row >= back // step_us]
        filled[row] = filled[earlier[0]] if earlier else column[~outside].mean() if (~outside).any() else 0.0
    return filled


# series -> the metric it is made of
LEVELS: Final = {
    "latency_ms": "latency_ms",
    "time_to_first_token_ms": "time_to_first_token_ms",
    "output_tokens_per_second": "output_tokens_per_second",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "cost_per_request_usd": "cost_usd",
    "cost_per_token_usd": "cost_per_token_usd",
    "quality_score": "quality_score",
}
PROPORTIONS: Final = {
    "error_rate": "error",
    "truncated_rate": "truncated",
    "refused_rate": "refused",
    "empty_rate": "empty",
}
COUNTED: Final = "requests"
TOTALS: Final = "cost_usd"
METRICS_READ: Final = tuple(dict.fromkeys([*LEVELS.values(), *PROPORTIONS.values(), COUNTED, TOTALS]))
_MOST_ERROR_TYPES: Final = 5
_OF_SUCCESSES: Final = ("latency_ms", "time_to_first_token_ms", "completion_tokens")


def levels_of_successes(columns: Columns) -> Columns:
    """The calls without the latency and output of those that failed: the length of a timeout is not a speed."""
    failed = errors(columns)
    if failed is None or not (failed == 1).any():
        return columns
    names = [name for name in _OF_SUCCESSES if name in columns.numbers]
    return columns.with_numbers(**{name: np.where(failed == 1, np.nan, columns.numbers[name]) for name in names})


def of_late(aggregates: Aggregates, most_buckets: int) -> Aggregates:
    """Without what lies so far back that a grid of all buckets could not be held: of a stray stamp, mostly."""
    buckets = np.array([group[0] for group in aggregates.groups], np.int64)
    kept = buckets > buckets.max(initial=0) - most_buckets
    return aggregates if kept.all() else only(aggregates, kept)


def panel_of(aggregates: Aggregates, grouping: Grouping, most_groups: int, by_error: Aggregates | None = None) -> Panel:
    """The series of all calls, and of each group (the `most_groups` with most calls), on one grid of buckets.

    `aggregates` are by time bucket and `grouping.by`; the grid holds every bucket from the first to the last.
    `by_error` are the errors by bucket and error type: one rate each, of all calls.
    """
    if not aggregates.groups:
        return panel(())
    aggregates = digested(aggregates)
    everything = regroup(aggregates, [(group[0],) for group in aggregates.groups])
    found = [*_series(everything, Grouping((), grouping.every_us, grouping.tz), [()])]
    if grouping.by:
        found += _series(aggregates, grouping, _largest(aggregates, most_groups))
    if by_error is not None and "error" in by_error.sums:
        found += _error_rates(by_error, everything, grouping.every_us)
    return panel(found)


def _error_rates(by_error: Aggregates, everything: Aggregates, every_us: int) -> Iterator[Series]:
    """The share of all calls that failed with each of the commonest types of error."""
    whole = _Cells(everything, Grouping((), every_us), [()])
    known = whole.spread(everything.sums["error"].count)[0]
    first, width = min(group[0] for group in everything.groups), whole.width
    hits: dict[str, FloatArray] = {}
    for (bucket, kind), count in zip(by_error.groups, by_error.sums["error"].total.tolist(), strict=True):
        if kind is not None and count:
            hits.setdefault(kind, np.zeros(width))[bucket - first] += count
    commonest = sorted(hits, key=lambda kind: (-hits[kind].sum(), kind))[:_MOST_ERROR_TYPES]
    for kind in commonest:
        yield proportions("error_rate", whole.starts, every_us, hits[kind], known, (("error_type", kind),))


def _largest(aggregates: Aggregates, most: int) -> list[tuple[str | None, ...]]:
    size: dict[tuple[str | None, ...], int] = {}
    for group, calls in zip(aggregates.groups, aggregates.sums[COUNTED].count.tolist(), strict=True):
        size[group[1:]] = size.get(group[1:], 0) + calls
    return sorted(size, key=lambda key: (-size[key], [value or "" for value in key]))[:most]


def _series(aggregates: Aggregates, grouping: Grouping, keys: Sequence[tuple[str | None, ...]]) -> Iterator[Series]:
    cells = _Cells(aggregates, grouping, keys)
    for name, metric in LEVELS.items():
        if LOG + metric in aggregates.sums and aggregates.sums[LOG + metric].count.any():
            yield from _levels(name, metric, aggregates, cells, grouping.every_us)
    calls = cells.spread(aggregates.sums[COUNTED].count)
    for name, metric in PROPORTIONS.items():
        if metric in aggregates.sums:
            hits, known = cells.spread(aggregates.sums[metric].total), cells.spread(aggregates.sums[metric].count)
            for k, group in enumerate(cells.groups):
                yield proportions(name, cells.starts, grouping.every_us, hits[k], known[k], group)
    for k, group in enumerate(cells.groups):
        yield counts(COUNTED, cells.starts, grouping.every_us, calls[k], group)
    if TOTALS in aggregates.sums:
        spent = cells.spread(aggregates.sums[TOTALS].total) / METRICS[TOTALS].scale
        for k, group in enumerate(cells.groups):
            yield totals(TOTALS, cells.starts, grouping.every_us, spent[k], calls[k], group)


def _levels(name: str, metric: str, aggregates: Aggregates, cells: _Cells, every_us: int) -> Iterator[Series]:
    count, mean, spread = (cells.spread(column) for column in moments(aggregates, metric))
    tails = aggregates.values.get(TAIL + metric)
    shown = None if tails is None else tables(cells.table(tails, METRICS[metric].scale), cells.width)
    for k, group in enumerate(cells.groups):
        table = None if shown is None else shown[k]
        log = metric not in PLAIN
        yield level(name, cells.starts, every_us, (count[k], mean[k], spread[k]), group, log=log, table=table)


class _Cells:
    """The (group, bucket) cells of a grid, group the slower index, and where each group lies in it."""

    def __init__(self, aggregates: Aggregates, grouping: Grouping, keys: Sequence[tuple[str | None, ...]]) -> None:
        numbers = [group[0] for group in aggregates.groups]
        first, self.width = min(numbers), max(numbers) - min(numbers) + 1
        self.starts: IntArray = np.array([grouping.bucket_start(first + i) for i in range(self.width)], np.int64)
        self.groups: list[GroupLabels] = [tuple(zip(grouping.by, key, strict=True)) for key in keys]
        place = {key: k * self.width for k, key in enumerate(keys)}
        self.size = len(keys) * self.width
        self.places: IntArray = np.array(
            [place.get(group[1:], self.size) + group[0] - first for group in aggregates.groups], np.int64
        )
        self.kept = self.places < self.size

    def spread(self, column: IntArray | FloatArray) -> FloatArray:
        """A number per group over the grid, 0 where there is none; shape (groups, buckets)."""
        out = np.zeros(self.size)
        out[self.places[self.kept]] = column[self.kept]
        return out.reshape(len(self.groups), self.width)

    def table(self, values: Values, scale: int) -> BucketValues:
        """The values of all cells in public units."""
        run = sorted_run(values)
        cell = self.places[run.groups()]
        inside = np.flatnonzero(cell < self.size)
        order = inside[np.argsort(cell[inside], kind="stable")]
        ordered = run.take(order)
        offsets = np.searchsorted(cell[order], np.arange(self.size + 1))
        return BucketValues(offsets.astype(np.int64), ordered.values().astype(np.float64) / scale, ordered.counts)


def statistic_series(aggregates: Aggregates, grouping: Grouping, name: str) -> Series:
    """One statistic of all calls, bucket by bucket; empty buckets are gaps."""
    everything = regroup(aggregates, [(group[0],) for group in aggregates.groups])
    cells = _Cells(everything, Grouping((), grouping.every_us, grouping.tz), [()])
    found = evaluate(everything, [name], grouping.every_us / 60e6)[name][:-1]
    value = np.full(cells.width, np.nan)
    value[cells.places] = found
    calls = cells.spread(everything.sums[COUNTED].count)[0]
    return Series(name, SeriesKind.LEVEL, cells.starts, value, calls, (), grouping.every_us)
