"""The columns of the monitor: which series of a panel is which, and their numbers as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from llmmon.anomaly.detectors.detector import DetectorResults, Monitored, ResultColumn
from llmmon.anomaly.detectors.evidence import Bad, Hour, HourBlock, Watch, watch_of
from llmmon.anomaly.detectors.rates import Tails
from llmmon.anomaly.series import BucketValues, Panel, Series, SeriesKind
from llmmon.metrics.columns import BoolArray, FloatArray

_USUAL_RATE: Final = 0.01
_TRAFFIC: Final = (SeriesKind.COUNT, SeriesKind.TOTAL)
_NEEDS: Final = {  # hours, and what else
    "level": (24, "24 hours", "60 values that differ are needed"),
    "traffic": (168, "7 days", ""),
}


@dataclass(frozen=True, slots=True)
class Matrices:
    """A panel's numbers by column; each (buckets, columns). `known`: where there were any calls."""

    count: FloatArray
    x: FloatArray
    spread: FloatArray
    known: BoolArray
    reach: FloatArray  # (buckets, tail columns)

    def block(self, panel: Panel, rows: slice, columns: slice) -> HourBlock:
        """Some columns of some rows."""
        cut = (rows, columns)
        return HourBlock(panel.starts[rows], panel.step_us, self.count[cut], self.x[cut], self.spread[cut])


@dataclass(frozen=True, slots=True)
class MonitorLayout:
    """The monitor's columns: levels, then shares and tails, then traffic. Fixed by the first panel.

    `up`, `down` (columns): which way is bad. `creeping`, `off` (alternatives, columns): which sums have the
    lower limit of creeping change; infinite where an alternative is not looked for.
    """

    columns: tuple[ResultColumn, ...]
    watches: tuple[Watch, ...]
    levels: int
    shares: int
    tails: int
    given: tuple[int, ...]
    traffic_sums: tuple[bool, ...]
    up: BoolArray
    down: BoolArray
    creeping: BoolArray
    off: FloatArray

    @classmethod
    def of(cls, panel: Panel) -> MonitorLayout:
        """The columns that watch the series of a panel."""
        numbered = list(enumerate(panel.series))
        level = [(i, s) for i, s in numbered if s.kind is SeriesKind.LEVEL]
        share = [(i, s) for i, s in numbered if s.kind is SeriesKind.PROPORTION]
        tail = [(i, s) for i, s in level if watch_of(s.metric).tail > 0]
        flow = [(i, s) for i, s in numbered if s.kind in _TRAFFIC]
        columns = [
            *(ResultColumn(s.metric, s.group, "level", i) for i, s in level),
            *(ResultColumn(s.metric, s.group, "rate", i) for i, s in share),
            *(ResultColumn(watch_of(s.metric).tail_metric or s.metric, s.group, "tail", i) for i, s in tail),
            *(ResultColumn(s.metric, s.group, "traffic", i) for i, s in flow),
        ]
        watches = [watch_of(s.metric) for _, s in [*level, *share, *tail, *flow]]
        sizes = (len(level), len(share), len(tail), len(flow))
        creeping, off = _alternatives(columns, watches, sizes)
        return cls(
            tuple(columns),
            tuple(watches),
            *sizes[:3],
            _given([s for _, s in level]),
            tuple(s.kind is SeriesKind.TOTAL for _, s in flow),
            np.array([_looks_up(w, c) for w, c in zip(watches, columns, strict=True)], np.bool_),
            np.array([_looks_down(w, c) for w, c in zip(watches, columns, strict=True)], np.bool_),
            creeping,
            off,
        )

    @property
    def sooner(self) -> FloatArray:
        """Nats by which a column may alarm sooner; shape (columns)."""
        return np.array([_share_of_budget(column) for column in self.columns])

    @property
    def sudden(self) -> BoolArray:
        """Columns of which only sudden change is an incident; shape (columns)."""
        return np.array([column.detector == "traffic" for column in self.columns], np.bool_)

    @property
    def level_watches(self) -> Sequence[Watch]:
        """Of the level columns."""
        return self.watches[: self.levels]

    @property
    def tail_watches(self) -> Sequence[Watch]:
        """Of the tail columns."""
        return self.watches[self.levels + self.shares : self.levels + self.shares + self.tails]

    @property
    def usual(self) -> Sequence[float]:
        """The rate to expect of shares and tails before any call was seen."""
        return [_USUAL_RATE] * self.shares + [w.tail for w in self.tail_watches]

    @property
    def traffic_bad(self) -> Sequence[Bad]:
        """Which way is bad, of the traffic columns."""
        return [w.bad for w in self.watches[self.levels + self.shares + self.tails :]]

    def matrices(self, panel: Panel, tails: Tails) -> Matrices:
        """The numbers of a panel of the same series as the first."""
        shape = (len(panel), len(self.columns))
        out = Matrices(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(shape, np.bool_), np.empty(0))
        for j, column in enumerate(self.columns):
            _fill(out, j, panel.series[column.series], column, self.watches[j])
        a, b = self.levels + self.shares, self.levels + self.shares + self.tails
        tables = [_table(panel.series[c.series]) for c in self.columns[a:b]]
        out.count[:, a:b], out.x[:, a:b], reach = tails.count(panel.starts, tables)
        for j, parts in _pools(self.columns[a:b]):
            out.count[:, a + j] = out.count[:, [a + k for k in parts]].sum(axis=1)
            out.x[:, a + j] = out.x[:, [a + k for k in parts]].sum(axis=1)
        out.known[:, :b] = out.count[:, :b] > 0
        return Matrices(out.count, out.x, out.spread, out.known, reach)

    def results(
        self,
        panel: Panel,
        matrices: Matrices,
        hours: Sequence[Hour],
        state: tuple[BoolArray, BoolArray, FloatArray],
    ) -> DetectorResults:
        """The results of all hours, in public units."""
        low, high, center = (self._joined(hours, name) for name in ("low", "high", "center"))
        self._publish(matrices, low, high, center)
        return DetectorResults(
            panel.starts,
            panel.starts + panel.step_us,
            self.columns,
            self._values(panel, matrices),
            low,
            high,
            self._joined(hours, "score"),
            self._joined(hours, "z"),
            self._joined(hours, "alarm").astype(np.bool_),
            self._joined(hours, "onset").astype(np.int64),
            self._monitored(panel, *state),
            panel.series,
            center,
        )

    def _joined(self, hours: Sequence[Hour], name: str) -> FloatArray:
        parts = [getattr(hour, name) for hour in hours]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.columns)))

    def _publish(self, matrices: Matrices, low: FloatArray, high: FloatArray, center: FloatArray) -> None:
        """From logarithms and shares to the units of the metric, in place."""
        log = np.array([w.log for w in self.level_watches], np.bool_)
        for bound in (low, high, center):
            part = bound[:, : self.levels]
            part[:, log] = np.exp(part[:, log])
        for k, watch in enumerate(self.tail_watches):
            j, blank = self.levels + self.shares + k, low[:, self.levels + self.shares + k] * 0.0
            falls = watch.bad is Bad.DOWN
            low[:, j] = (matrices.reach[:, k] if falls else 0.0) + blank
            high[:, j] = (np.inf if falls else matrices.reach[:, k]) + blank
            center[:, j] = np.nan  # of the share beyond the limit, not of the value

    def _values(self, panel: Panel, matrices: Matrices) -> FloatArray:
        out = np.empty(matrices.count.shape)
        for j, (column, watch) in enumerate(zip(self.columns, self.watches, strict=True)):
            series = panel.series[column.series]
            if column.detector == "tail":
                out[:, j] = _table(series).quantile(0.01 if watch.bad is Bad.DOWN else 0.99)
            else:
                out[:, j] = series.value
        return out

    def _monitored(self, panel: Panel, ready: BoolArray, weekly: BoolArray, hours: FloatArray) -> tuple[Monitored, ...]:
        found: dict[tuple[str, object], Monitored] = {}
        for j, column in enumerate(self.columns):
            season = "none" if column.detector in {"rate", "tail"} else "hour of day"
            season = "hour of week" if weekly[j] else season
            reason = "" if ready[j] else _reason(column, hours[j], panel.series[column.series])
            row = Monitored(column.metric, column.group, len(panel), season, bool(ready[j]), reason)
            known = found.get((column.metric, column.group))
            if known is None or (row.judged and not known.judged):
                found[column.metric, column.group] = row
        return tuple(found.values())


def _looks_up(watch: Watch, column: ResultColumn) -> bool:
    return watch.bad is not Bad.DOWN or column.detector in {"rate", "tail"}


def _looks_down(watch: Watch, column: ResultColumn) -> bool:
    return watch.bad is not Bad.UP and column.detector in {"level", "traffic"}


def _reason(column: ResultColumn, hours: float, series: Series) -> str:
    if not len(series):
        return "too little history: no bucket is complete"
    if not series.count.any():
        return "no values"
    needed, long, more = _NEEDS.get(column.detector, (12, "12 hours", "100 calls are needed"))
    return more if hours >= needed else f"too little history: {hours:.0f} hour{'s' * (round(hours) != 1)}, needs {long}"


def _given(levels: Sequence[Series]) -> tuple[int, ...]:
    place = {(s.metric, s.group): j for j, s in enumerate(levels)}
    return tuple(place.get((watch_of(s.metric).given, s.group), -1) for s in levels)


def _pools(tails: Sequence[ResultColumn]) -> list[tuple[int, list[int]]]:
    """For every overall tail its parts by model: a call is slow or not against its own model's tail."""
    parts: dict[str, list[int]] = {}
    for k, column in enumerate(tails):
        if len(column.group) == 1 and column.group[0][0] == "model":
            parts.setdefault(column.metric, []).append(k)
    return [(j, parts[c.metric]) for j, c in enumerate(tails) if not c.group and c.metric in parts]


def _table(series: Series) -> BucketValues:
    return series.table or BucketValues(np.zeros(len(series) + 1, np.int64), np.empty(0))


def _fill(out: Matrices, j: int, series: Series, column: ResultColumn, watch: Watch) -> None:
    match column.detector:
        case "level":
            known = series.count > 0
            with np.errstate(invalid="ignore"):
                x = np.log(series.value) if watch.log else series.value
            out.count[:, j], out.x[:, j] = series.count, np.where(known, x, 0.0)
            out.spread[:, j] = 0.0 if series.spread is None else series.spread
        case "rate":
            hits = np.zeros(len(series)) if series.hits is None else series.hits
            out.count[:, j], out.x[:, j] = series.count, hits
        case "tail":
            pass  # counted against limits that are learned
        case _:
            out.count[:, j], out.x[:, j] = series.count, np.maximum(np.nan_to_num(series.value), 0.0)


def _alternatives(
    columns: Sequence[ResultColumn], watches: Sequence[Watch], sizes: tuple[int, int, int, int]
) -> tuple[BoolArray, FloatArray]:
    """(creeping, off), each (alternatives, columns)."""
    levels, shares, tails, _ = sizes
    used = np.zeros((5, len(columns)), np.bool_)
    for j, (column, watch) in enumerate(zip(columns, watches, strict=True)):
        upward, downward = watch.bad is not Bad.DOWN, watch.bad is not Bad.UP
        if levels <= j < levels + shares + tails:
            used[:4, j] = True
        else:
            used[:2, j], used[2:4, j] = upward, downward
            # the total of one group is count times price, each watched already: only a large change
            used[0, j] &= not (column.metric == "cost_usd" and column.group)
        used[4, j] = watch.drift > 0 and not column.group and column.detector in {"level", "rate"}
    creeping = np.zeros_like(used)
    creeping[4] = used[4]
    return creeping, np.where(used, 0.0, np.inf)


def _share_of_budget(column: ResultColumn) -> float:
    """Nats by which a series may alarm sooner: the few that all calls make up have more of the budget."""
    if column.metric == "cost_usd":  # a few dear calls make a total: its tail is heavier than it is taken to be
        return 0.0 if not column.group else -3.0
    if column.detector == "traffic":
        return 0.0 if not column.group else -1.0
    if column.metric == "error_rate":  # when many calls fail is the first thing to know
        return 3.0 if not column.group else 1.5 if column.group[0][0] == "error_type" else 0.0
    return 0.0 if column.group else 1.0
