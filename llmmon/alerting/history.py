"""The history that rules read: streams of aggregates by minute, made while logs are read, and stored as rows.

A stream is one metric of the calls that a filter keeps, by minute and group. `StreamsFold` makes streams from columns;
`split`, `packed` and `unpacked` turn them into rows of the state file and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.alerting.rules import MOST_AVERAGED, MOST_GROUPS, AlertRule
from llmmon.anomaly.panel import LEVELS, METRICS_READ, levels_of_successes
from llmmon.errors import UsageError
from llmmon.ingest.samples import SAMPLED, sampled_columns
from llmmon.metrics.aggregates import (
    Aggregates,
    Run,
    Sums,
    Values,
    bin_values,
    merge,
    pack,
    regroup,
    sorted_run,
)
from llmmon.metrics.aggregation import Measures, aggregate
from llmmon.metrics.columns import Columns, IntArray
from llmmon.metrics.definitions import (
    METRICS,
    SESSION_METRICS,
    STATISTICS,
    MetricKind,
    Statistic,
    metric_called,
    statistic_called,
    statistic_name,
)
from llmmon.metrics.filters import Filter, parse
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import MINUTE_US

MONITORED: Final = "monitored"  # all the metrics that the anomaly monitor reads
MONITOR_STEP_US: Final = 5 * MINUTE_US
EXACT_PER_MINUTE: Final = 1024  # values of one group that are kept exactly
_MERGE_EVERY: Final = 16

Key = tuple[str | None, ...]


class Stream(msgspec.Struct, frozen=True):
    """One metric of the calls that `where` keeps, by minute and group; with `values` also what quantiles need.

    `step_us` is the width of its buckets, more than a minute for long lookbacks.
    """

    metric: str
    by: tuple[str, ...] = ()
    where: str = ""
    values: bool = False
    step_us: int = MINUTE_US

    @property
    def name(self) -> str:
        """A name that is the same for the same stream in every run."""
        parts = (self.metric, "values" if self.values else "sums", ",".join(self.by), self.where)
        return "|".join(parts if self.step_us == MINUTE_US else (*parts, str(self.step_us)))

    @property
    def every_us(self) -> int:
        """The width of its buckets; the stream of the anomaly monitor has its own."""
        return MONITOR_STEP_US if self.metric == MONITORED else self.step_us

    @property
    def most_groups(self) -> int | None:
        """The number of groups kept separate; None for no limit, as for sums: each group may have its own budget."""
        if self.values:
            return MOST_GROUPS
        metric = METRICS.get(self.metric)
        return None if metric is not None and metric.kind is MetricKind.AMOUNT else MOST_AVERAGED

    @property
    def by_minute(self) -> Stream:
        """The same stream by minute; that of the anomaly monitor stays as it is."""
        return msgspec.structs.replace(self, step_us=MINUTE_US)

    @property
    def measures(self) -> Measures:
        """The measures that it keeps of the calls."""
        if self.metric == MONITORED:
            return Measures(METRICS_READ, tuple(LEVELS.values()))
        return Measures((self.metric,), (self.metric,) if self.values else ())


def statistic_of(rule: AlertRule) -> Statistic:
    """The statistic that a rule compares; raises `UsageError` for names that do not exist, and metrics of sessions."""
    if rule.aggregation:
        found = STATISTICS[statistic_name(metric_called(rule.metric_name), rule.aggregation)]
    else:
        found = statistic_called(rule.metric_name)
    if found.metric.name in SESSION_METRICS:
        raise UsageError(
            f"{rule.metric_name} is known at the end of a session; in a rule, sum cost_usd or requests by session"
        )
    return found


def stream_of(rule: AlertRule) -> Stream:
    """The stream that a rule reads."""
    if rule.anomaly:
        return Stream(MONITORED, rule.by or ("model",), rule.where, values=True)
    statistic = statistic_of(rule)
    return Stream(statistic.metric.name, rule.by, rule.where, statistic.needs_values)


def fields_of(streams: Iterable[Stream]) -> frozenset[str]:
    """The fields of the record from which streams are made."""
    found: set[str] = set()
    for stream in streams:
        found |= set(stream.by).union(*(METRICS[name].needs for name in stream.measures.sums))
        if stream.where:
            found |= parse(stream.where).fields
    return frozenset(found)


class StreamsFold:
    """Aggregates the minutes of every stream while calls are read; the result has one element for each stream."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        shared: dict[tuple[tuple[str, ...], str, bool, int], list[Stream]] = {}
        self._finer = {
            stream: finer for stream in streams if (finer := stream.by_minute) in streams and finer != stream
        }
        for stream in streams:
            if stream in self._finer:
                continue
            key = (stream.by, stream.where, stream.metric == MONITORED, stream.every_us)
            shared.setdefault(key, []).append(stream)
        self._plans = [
            (Grouping(by, every_us), parse(where) if where else None, monitored, those)
            for (by, where, monitored, every_us), those in shared.items()
        ]
        self._pending: dict[Stream, list[Aggregates]] = {stream: [] for stream in streams}

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Add a block; a metric sample counts in its own metric only."""
        self._add(columns, self._plans)
        if samples:
            own = [(*plan, [one for one in streams if one.metric in SAMPLED]) for *plan, streams in self._plans]
            self._add(sampled_columns(samples, "UTC"), [plan for plan in own if plan[-1]])

    def _add(self, columns: Columns, plans: Sequence[Any]) -> None:
        for grouping, where, monitored, streams in plans:
            kept = _kept(columns, where)
            if not kept.size:
                continue
            found = aggregate(levels_of_successes(kept) if monitored else kept, _measures(streams), grouping)
            for stream in streams:
                self._take(stream, of_stream(found, stream))

    def _take(self, stream: Stream, part: Aggregates) -> None:
        pending = self._pending[stream]
        pending.append(part)
        if len(pending) >= _MERGE_EVERY:
            pending[:] = [bounded(merge(pending))]

    def result(self) -> list[Aggregates]:
        """The minutes of each stream, in the order of the streams."""
        made = {s: bounded(merge(pending)) for s, pending in self._pending.items() if s not in self._finer}
        return [made[s] if s in made else _coarser(made[self._finer[s]], s) for s in self._streams]


def _coarser(minutes: Aggregates, stream: Stream) -> Aggregates:
    """The wider buckets of a stream, from its minutes."""
    width = stream.every_us // MINUTE_US
    return bounded(regroup(minutes, [(group[0] // width, *group[1:]) for group in minutes.groups]))


def _measures(streams: Sequence[Stream]) -> Measures:
    parts = [stream.measures for stream in streams]
    return Measures(
        tuple(dict.fromkeys(name for part in parts for name in part.sums)),
        tuple(dict.fromkeys(name for part in parts for name in part.values)),
    )


def _kept(columns: Columns, where: Filter | None) -> Columns:
    if where is None or not columns.size:
        return columns
    mask = where.mask(columns)
    return columns if mask.all() else columns.take(mask)


def of_stream(aggregates: Aggregates, stream: Stream) -> Aggregates:
    """The part of aggregates that belongs to a stream."""
    return Aggregates(
        aggregates.groups,
        {name: aggregates.sums[name] for name in stream.measures.sums if name in aggregates.sums},
        {name: aggregates.values[name] for name in stream.measures.values if name in aggregates.values},
        aggregates.first_us,
        aggregates.last_us,
    )


def bounded(aggregates: Aggregates) -> Aggregates:
    """Bin the values of minutes with very many of them; idempotent, and independent of how the calls were cut."""
    return msgspec.structs.replace(aggregates, values={name: _bounded(v) for name, v in aggregates.values.items()})


def _bounded(values: Values) -> Values:
    if len(values) <= EXACT_PER_MINUTE:
        return values
    run = sorted_run(values)
    cells = run.groups()
    held = np.bincount(cells, run.counts)
    large = held[cells] > EXACT_PER_MINUTE
    if not large.any():
        return Values((run,))
    binned = bin_values(Values((run.take(large),)))
    return Values((sorted_run(Values((run.take(~large), *binned.runs))),))


def split(aggregates: Aggregates, width: int) -> Iterator[tuple[int, Aggregates]]:
    """Split into ranges of `width` buckets, in order; yields each with its number (first bucket // width)."""
    if not aggregates.groups:
        return
    numbers = np.array([group[0] for group in aggregates.groups], np.int64) // width
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    values = {name: _split_values(v, numbers, place, found) for name, v in aggregates.values.items()}
    for i, (number, start, end) in enumerate(zip(found.tolist(), starts, [*starts[1:], len(order)], strict=True)):
        kept = order[start:end]
        yield (
            number,
            Aggregates(
                groups=tuple(aggregates.groups[j] for j in kept.tolist()),
                sums={name: Sums(s.count[kept], s.total[kept]) for name, s in aggregates.sums.items()},
                values={name: those[i] for name, those in values.items()},
            ),
        )


def _split_values(values: Values, numbers: IntArray, place: IntArray, found: IntArray) -> list[Values]:
    """The values of each range, with the numbers of its own groups."""
    run = sorted_run(values)
    run = run.take(np.argsort(numbers[run.groups()], kind="stable"))
    cells = run.groups()
    edges = np.searchsorted(numbers[cells], [*found, np.iinfo(np.int64).max]).tolist()
    whole = Run(pack(place[cells], run.values()), run.counts)  # each range is in order
    return [Values((whole.take(slice(a, b)),), values.exact) for a, b in pairwise(edges)]


class _Stored(msgspec.Struct, frozen=True):
    groups: list[tuple[Any, ...]]
    sums: Mapping[str, tuple[bytes, bytes]]
    values: Mapping[str, tuple[bytes, bytes | None]]


def packed(aggregates: Aggregates) -> bytes:
    """Encode for `unpacked`."""
    runs = {name: sorted_run(v) for name, v in aggregates.values.items()}
    return msgspec.msgpack.encode(
        _Stored(
            groups=list(aggregates.groups),
            sums={name: (s.count.tobytes(), s.total.tobytes()) for name, s in aggregates.sums.items()},
            values={
                name: (run.keys.tobytes(), None if run.counts is None else run.counts.tobytes())
                for name, run in runs.items()
            },
        )
    )


def unpacked(data: bytes) -> Aggregates:
    """Decode `packed` bytes; raises `msgspec.MsgspecError` or `ValueError` for anything else."""
    stored = msgspec.msgpack.decode(data, type=_Stored)
    return Aggregates(
        groups=tuple(tuple(group) for group in stored.groups),
        sums={
            name: Sums(np.frombuffer(count, np.int64), np.frombuffer(total, np.int64))
            for name, (count, total) in stored.sums.items()
        },
        values={
            name: Values(
                (Run(np.frombuffer(keys, np.uint64), None if n is None else np.frombuffer(n, np.int64)),),
            )
            for name, (keys, n) in stored.values.items()
        },
    )
