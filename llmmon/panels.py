"""Partials by time bucket -> the panel of series that the monitor watches: overall, and by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from llmmon.columns import Columns, FloatArray, IntArray
from llmmon.digests import LOG, PLAIN, TAIL, digested, moments
from llmmon.evaluation import evaluate
from llmmon.grouping import Grouping
from llmmon.metrics import METRICS
from llmmon.outcome_masks import errors
from llmmon.partials import VALUE_BITS, Partials, Run, Values, only, rolled_up, sorted_run
from llmmon.series import Group, Kind, Panel, Series, Table, counts, level, panel, proportions, tables, totals

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
_MASK: Final = np.uint64((1 << VALUE_BITS) - 1)
_BITS: Final = np.uint64(VALUE_BITS)


def levels_of_successes(columns: Columns) -> Columns:
    """The calls without the latency and output of those that failed: a timeout says nothing about speed."""
    failed = errors(columns)
    if failed is None or not (failed == 1).any():
        return columns
    names = [name for name in _OF_SUCCESSES if name in columns.numbers]
    return columns.with_numbers(**{name: np.where(failed == 1, np.nan, columns.numbers[name]) for name in names})


def of_late(partials: Partials, most_buckets: int) -> Partials:
    """Without what lies so far back that a grid of all buckets could not be held: of a stray stamp, mostly."""
    buckets = np.array([group[0] for group in partials.groups], np.int64)
    kept = buckets > buckets.max(initial=0) - most_buckets
    return partials if kept.all() else only(partials, kept)


def panel_of(partials: Partials, grouping: Grouping, most_groups: int, by_error: Partials | None = None) -> Panel:
    """The series of all calls, and of each group (the `most_groups` with most calls), on one grid of buckets.

    `partials` are by time bucket and `grouping.by`; the grid holds every bucket from the first to the last.
    `by_error` are the errors by bucket and error type: one rate each, of all calls.
    """
    if not partials.groups:
        return panel(())
    partials = digested(partials)
    everything = rolled_up(partials, [(group[0],) for group in partials.groups])
    found = [*_series(everything, Grouping((), grouping.every_us, grouping.tz), [()])]
    if grouping.by:
        found += _series(partials, grouping, _largest(partials, most_groups))
    if by_error is not None and "error" in by_error.sums:
        found += _error_rates(by_error, everything, grouping.every_us)
    return panel(found)


def _error_rates(by_error: Partials, everything: Partials, every_us: int) -> Iterator[Series]:
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


def _largest(partials: Partials, most: int) -> list[tuple[str | None, ...]]:
    size: dict[tuple[str | None, ...], int] = {}
    for group, calls in zip(partials.groups, partials.sums[COUNTED].count.tolist(), strict=True):
        size[group[1:]] = size.get(group[1:], 0) + calls
    return sorted(size, key=lambda key: (-size[key], [value or "" for value in key]))[:most]


def _series(partials: Partials, grouping: Grouping, keys: Sequence[tuple[str | None, ...]]) -> Iterator[Series]:
    cells = _Cells(partials, grouping, keys)
    for name, metric in LEVELS.items():
        if LOG + metric in partials.sums and partials.sums[LOG + metric].count.any():
            yield from _levels(name, metric, partials, cells, grouping.every_us)
    calls = cells.spread(partials.sums[COUNTED].count)
    for name, metric in PROPORTIONS.items():
        if metric in partials.sums:
            hits, known = cells.spread(partials.sums[metric].total), cells.spread(partials.sums[metric].count)
            for k, group in enumerate(cells.groups):
                yield proportions(name, cells.starts, grouping.every_us, hits[k], known[k], group)
    for k, group in enumerate(cells.groups):
        yield counts(COUNTED, cells.starts, grouping.every_us, calls[k], group)
    if TOTALS in partials.sums:
        spent = cells.spread(partials.sums[TOTALS].total) / METRICS[TOTALS].scale
        for k, group in enumerate(cells.groups):
            yield totals(TOTALS, cells.starts, grouping.every_us, spent[k], calls[k], group)


def _levels(name: str, metric: str, partials: Partials, cells: _Cells, every_us: int) -> Iterator[Series]:
    count, mean, spread = (cells.spread(column) for column in moments(partials, metric))
    tails = partials.values.get(TAIL + metric)
    shown = None if tails is None else tables(cells.table(tails, METRICS[metric].scale), cells.width)
    for k, group in enumerate(cells.groups):
        table = None if shown is None else shown[k]
        log = metric not in PLAIN
        yield level(name, cells.starts, every_us, (count[k], mean[k], spread[k]), group, log=log, table=table)


class _Cells:
    """The (group, bucket) cells of a grid, group the slower index, and where each partial group lies in it."""

    def __init__(self, partials: Partials, grouping: Grouping, keys: Sequence[tuple[str | None, ...]]) -> None:
        numbers = [group[0] for group in partials.groups]
        first, self.width = min(numbers), max(numbers) - min(numbers) + 1
        self.starts: IntArray = np.array([grouping.bucket_start(first + i) for i in range(self.width)], np.int64)
        self.groups: list[Group] = [tuple(zip(grouping.by, key, strict=True)) for key in keys]
        place = {key: k * self.width for k, key in enumerate(keys)}
        self.size = len(keys) * self.width
        self.places: IntArray = np.array(
            [place.get(group[1:], self.size) + group[0] - first for group in partials.groups], np.int64
        )
        self.kept = self.places < self.size

    def spread(self, column: IntArray | FloatArray) -> FloatArray:
        """A number per partial group over the grid, 0 where there is none; shape (groups, buckets)."""
        out = np.zeros(self.size)
        out[self.places[self.kept]] = column[self.kept]
        return out.reshape(len(self.groups), self.width)

    def table(self, values: Values, scale: int) -> Table:
        """The values of all cells in public units."""
        run = sorted_run(values)
        cell = self.places[(run.keys >> _BITS).astype(np.int64)]
        inside = cell < self.size
        order = np.argsort(cell[inside], kind="stable")
        ordered = Run(run.keys[inside][order], None if run.counts is None else run.counts[inside][order])
        offsets = np.searchsorted(cell[inside][order], np.arange(self.size + 1))
        return Table(offsets.astype(np.int64), (ordered.keys & _MASK).astype(np.float64) / scale, ordered.counts)


def statistic_series(partials: Partials, grouping: Grouping, name: str) -> Series:
    """One statistic of all calls, bucket by bucket; empty buckets are gaps."""
    everything = rolled_up(partials, [(group[0],) for group in partials.groups])
    cells = _Cells(everything, Grouping((), grouping.every_us, grouping.tz), [()])
    found = evaluate(everything, [name], grouping.every_us / 60e6)[name][:-1]
    value = np.full(cells.width, np.nan)
    value[cells.places] = found
    calls = cells.spread(everything.sums[COUNTED].count)[0]
    return Series(name, Kind.LEVEL, cells.starts, value, calls, (), grouping.every_us)
