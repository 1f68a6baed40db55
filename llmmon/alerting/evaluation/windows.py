"""Statistics over the windows that end at each minute, by group, and `RuleEvaluation`, the result of a rule.

Windows are sums of minutes. Quantiles are computed only where they can decide something: where enough values of the
window are beyond the threshold, which is found by counting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.alert import Ended, GroupLabels, Observation
from llmmon.alerting.history import Key, statistic_of
from llmmon.alerting.rules import AlertRule, NoData
from llmmon.metrics.aggregates import Aggregates, Run, Sums, Values, pack, sorted_run
from llmmon.metrics.aggregation import evaluate
from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.metrics.definitions import QUANTILES, MetricKind, Statistic
from llmmon.text.times import MINUTE_US, duration_text

DEFAULT_MIN_COUNT: Final = 20
LEAST_CERTAIN: Final = 5  # calls from which a rate can be certain
_CHANCE: Final = 0.001
FORGOTTEN_AFTER: Final = 1440  # minutes without a call, after which a group is gone
LEARNING_MINUTES: Final = 35 * 1440  # minutes of history from which the anomaly monitor learns
_MOST_KEYS: Final = 4_000_000  # processed at once
_MOST_CELLS: Final = 8_000_000  # of a table

CLEAR, MET, KEEP = 0, 1, 2


class RuleEvaluation(msgspec.Struct, frozen=True, eq=False):
    """The evaluation of one rule: `ends` are minutes (shape (m,)), everything else has the shape (groups, m).

    `met` is CLEAR, MET or KEEP; `value` is NaN where there is none or where it decides nothing. `threshold` is the
    limit that applied, where it is not the rule's own; `notes` explain by (row, column), in a sentence; `headlines`
    and `endings` say by row what it is about and why it ends, where its group and the values do not.
    """

    rule: AlertRule
    groups: tuple[GroupLabels, ...]
    ends: IntArray
    met: IntArray
    value: FloatArray
    count: IntArray
    gone: BoolArray
    threshold: FloatArray | None = None
    notes: Mapping[tuple[int, int], str] = msgspec.field(default_factory=dict)
    headlines: tuple[str, ...] = ()
    endings: tuple[Ended, ...] = ()

    def observation(self, row: int, at: int) -> Observation:
        """The observation of one group at one minute."""
        met, value = int(self.met[row, at]), float(self.value[row, at])
        count = int(self.count[row, at])
        note, ended = self.notes.get((row, at), ""), Ended.RECOVERED
        limit = None if self.threshold is None else float(self.threshold[row, at])
        if not note and self.gone[row, at]:
            note, ended = f"no calls for {duration_text(FORGOTTEN_AFTER * MINUTE_US)}", Ended.GROUP_GONE
        elif not note and count == 0 and np.isnan(value) and not self.rule.anomaly:
            note, ended = f"no data for {duration_text(self.rule.window_us)}", Ended.NO_DATA
        found = None if np.isnan(value) else value
        holds = None if met == KEEP else met == MET
        ended = self.endings[row] if self.endings else ended
        headline = self.headlines[row] if self.headlines else ""
        return Observation(self.rule, self.groups[row], holds, found, limit, count, note, ended, headline)


def least_count(rule: AlertRule, statistic: Statistic) -> int:
    """The number of calls that a window needs before it is judged."""
    if statistic.metric.name == "requests" or statistic.aggregation in {"count", "sum"}:
        return rule.min_count or 0
    return DEFAULT_MIN_COUNT if rule.min_count is None else rule.min_count


def is_bounded(rule: AlertRule, statistic: Statistic) -> bool:
    """Whether few calls are judged by a confidence bound: rates of rules that do not say how many calls they need."""
    rate = statistic.metric.kind is MetricKind.EVENT and statistic.aggregation in {"rate", "avg"}
    return rate and rule.min_count is None and rule.condition not in {"eq", "ne"}


def judged_from(rule: AlertRule, statistic: Statistic) -> int:
    """The number of calls from which a window may be met."""
    return LEAST_CERTAIN if is_bounded(rule, statistic) else least_count(rule, statistic)


def certain(rule: AlertRule, value: FloatArray, count: IntArray) -> BoolArray:
    """Where a rate over few calls is certainly beyond the threshold.

    The chance of so many cases (or so few, for a condition below the threshold) among so many calls would be at most
    0.1 % if the true rate were the threshold: the exact binomial test of Clopper and Pearson (Biometrika 26, 1934).
    """
    above = rule.condition in {"gt", "ge"}
    share = min(max(rule.threshold, 0.0), 1.0)
    limits = np.array([_extreme_cases(calls, share, above=above) for calls in range(DEFAULT_MIN_COUNT)])
    few = (count >= LEAST_CERTAIN) & (count < DEFAULT_MIN_COUNT) & ~np.isnan(value)
    calls = np.where(few, count, 0)
    cases = np.rint(np.where(few, value, 0.0) * calls)
    found: BoolArray = few & (cases >= limits[calls] if above else cases <= limits[calls])
    return found


def _extreme_cases(calls: int, share: float, *, above: bool) -> int:
    """The fewest (most, if not `above`) cases among calls that are too many (too few) to be chance."""
    chances = [math.comb(calls, k) * share**k * (1 - share) ** (calls - k) for k in range(calls + 1)]
    if above:
        return next((k for k in range(calls + 1) if sum(chances[k:]) <= _CHANCE), calls + 1)
    return max((k for k in range(calls + 1) if sum(chances[: k + 1]) <= _CHANCE), default=-1)


def evaluate_threshold(
    history: Aggregates, rule: AlertRule, ends: IntArray, *, everywhere: bool = False
) -> RuleEvaluation:
    """Evaluate a rule with a fixed threshold; values are made `everywhere`, or only where they decide something."""
    windows = Windows(history, rule, ends)
    value, count = windows.values(None if everywhere else rule)
    judged = (count >= least_count(rule, windows.statistic)) & ~np.isnan(value)
    with np.errstate(invalid="ignore"):
        held = judged & compared(rule, value, rule.threshold)
    if is_bounded(rule, windows.statistic):
        held |= certain(rule, value, count)
    return rule_evaluation(windows, rule, value, count, held)


def rule_evaluation(
    windows: Windows, rule: AlertRule, value: FloatArray, count: IntArray, held: BoolArray
) -> RuleEvaluation:
    """The evaluation of a condition that `held` where it was judged; windows without data follow `no_data`."""
    met = np.where(held, MET, CLEAR)
    empty = windows.calls == 0 if windows.statistic.metric.name != "requests" else np.zeros(count.shape, np.bool_)
    if rule.no_data is not NoData.OK:
        met = np.where(empty, MET if rule.no_data is NoData.ALERT else KEEP, met)
    if rule.no_data is NoData.KEEP:
        met = np.where((count < least_count(rule, windows.statistic)) & ~held, KEEP, met)
    met = np.where(windows.gone, CLEAR, met)
    return RuleEvaluation(rule, windows.groups, windows.ends, met, value, count.astype(np.int64), windows.gone)


def compared(rule: AlertRule, value: FloatArray, limit: float | FloatArray) -> BoolArray:
    """Whether values meet a rule's condition; has the shape of the values."""
    compare = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal}
    compare |= {"eq": np.equal, "ne": np.not_equal}
    found: BoolArray = compare[rule.condition](value, limit)
    return found


class Windows:
    """The windows of a statistic that end at given minutes, by group; every array is of shape (groups, m)."""

    def __init__(self, history: Aggregates, rule: AlertRule, ends: IntArray) -> None:
        self.statistic = statistic_of(rule)
        self._history = history
        self.ends = ends
        self._width = max(1, rule.window_us // MINUTE_US)
        self._behind = max(self._width, FORGOTTEN_AFTER)
        self._first = int(ends[0]) - self._behind if len(ends) else 0
        self._span = self._behind + len(ends)
        keys = keys_in(rule.by, history)
        self.groups = labels_of(rule.by, keys)
        self._place = {key: i for i, key in enumerate(keys)}
        sums = RunningSums(history, self.statistic.metric.name, keys, self._first, self._first + self._span)
        self.calls = sums.counts(ends - self._width, ends)
        self._total = sums.totals(ends - self._width, ends)
        alive = sums.counts(ends - self._behind, ends) > 0
        self.gone: BoolArray = ~alive if rule.by else np.zeros(alive.shape, np.bool_)

    def values(self, rule: AlertRule | None, limits: FloatArray | None = None) -> tuple[FloatArray, IntArray]:
        """The statistic and its number of calls; with a rule, quantiles only where they may meet its condition.

        `limits` are thresholds by group that replace the rule's own.
        """
        shape = self.calls.shape
        if self.statistic.needs_values:
            return self._quantiles(rule, limits), self.calls
        name = self.statistic.metric.name
        flat = Aggregates(
            groups=tuple((i,) for i in range(self.calls.size)),
            sums={name: Sums(self.calls.ravel(), self._total.ravel())},
        )
        found = evaluate(flat, [self.statistic.name], float(self._width))[self.statistic.name][:-1].reshape(shape)
        if name == "requests":
            found = np.where(self.calls == 0, 0.0, found)  # no calls are known to be none, not missing
        return found, self.calls

    def _quantiles(self, rule: AlertRule | None, limits: FloatArray | None) -> FloatArray:
        out = np.full(self.calls.shape, np.nan)
        found = self._history.values.get(self.statistic.metric.name)
        if found is None or not len(found):
            return out
        table = _CellValues(sorted_run(found), self._cells(), len(self.groups) * self._span)
        rows, columns = np.nonzero(self._may_meet(table, rule, limits))
        low = rows * self._span + columns + self._behind - self._width
        out[rows, columns] = table.statistic(self.statistic, low, low + self._width)
        return out

    def _cells(self) -> IntArray:
        """The cell of each group of the history in the grid (groups x span), -1 outside it."""
        minutes = np.array([group[0] for group in self._history.groups], np.int64) - self._first
        rows = np.array([self._place[group[1:]] for group in self._history.groups], np.int64)
        inside = (minutes >= 0) & (minutes < self._span)
        cells: IntArray = np.where(inside, rows * self._span + minutes, -1)
        return cells

    def _may_meet(self, table: _CellValues, rule: AlertRule | None, limits: FloatArray | None) -> BoolArray:
        """The windows whose quantile may meet the condition: those with enough values beyond the threshold."""
        some: BoolArray = self.calls > 0
        if rule is None or rule.condition in {"eq", "ne"}:
            return some
        limit = (rule.threshold if limits is None else table.by_row(limits, self._span)) * self.statistic.metric.scale
        above = rule.condition in {"gt", "ge"}
        beyond = table.values >= limit - 1 if above else table.values <= limit + 1
        running = np.zeros((len(self.groups), self._span + 1), np.int64)
        running[:, 1:] = table.counted(beyond).reshape(len(self.groups), self._span).cumsum(axis=1)
        end = np.arange(len(self.ends)) + self._behind
        inside = running[:, end] - running[:, end - self._width]
        below = np.floor(np.maximum(self.calls - 1, 0) * QUANTILES[self.statistic.aggregation]).astype(np.int64)
        enough = self.calls - 1 - below if above else below + 1
        return some & (inside >= np.maximum(enough, 1))


class _CellValues:
    """The values of a history in order of their cell; a window is a run of neighbouring cells."""

    def __init__(self, run: Run, cells: IntArray, size: int) -> None:
        cell = cells[run.groups()]
        inside = np.flatnonzero(cell >= 0)
        order = inside[np.argsort(cell[inside], kind="stable")]
        self._cell = cell[order]
        chosen = run.take(order)
        self.values = chosen.values().astype(np.float64)
        self._weights = chosen.counts
        self._offsets = np.searchsorted(self._cell, np.arange(size + 1))
        self._size = size

    def by_row(self, limits: FloatArray, span: int) -> FloatArray:
        """For each value the limit of its row of cells."""
        found: FloatArray = limits[self._cell // span]
        return found

    def counted(self, chosen: BoolArray) -> IntArray:
        """The number of chosen values in each cell; shape (cells,)."""
        weights = None if self._weights is None else self._weights[chosen]
        return np.bincount(self._cell[chosen], weights, minlength=self._size).astype(np.int64)

    def statistic(self, statistic: Statistic, low: IntArray, high: IntArray) -> FloatArray:
        """A quantile of the values in cells [low, high) of each window, in public units; shape (windows,)."""
        first, last = self._offsets[low], self._offsets[high]
        out = np.empty(len(low))
        start = 0
        while start < len(low):
            held = np.cumsum(last[start:] - first[start:])
            stop = start + max(1, int(np.searchsorted(held, _MOST_KEYS, "right")))
            out[start:stop] = self._piece(statistic, first[start:stop], last[start:stop])
            start = stop
        return out

    def _piece(self, statistic: Statistic, first: IntArray, last: IntArray) -> FloatArray:
        sizes = last - first
        window = np.repeat(np.arange(len(sizes)), sizes)
        index = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(first, sizes)
        weights = None if self._weights is None else self._weights[index]
        run = Run(pack(window, self.values[index]), weights, ordered=False).sorted()
        name = statistic.metric.name
        flat = Aggregates(groups=tuple((i,) for i in range(len(sizes))), values={name: Values((run,))})
        return evaluate(flat, [statistic.name], None)[statistic.name][:-1]


def keys_in(by: tuple[str, ...], *histories: Aggregates) -> list[Key]:
    """The groups of histories in order of their names; without `by`, the one group of all calls."""
    if not by:
        return [()]
    found = {group[1:] for history in histories for group in history.groups}
    return sorted(found, key=lambda key: [(name is not None, name or "") for name in key])


def labels_of(by: tuple[str, ...], keys: Sequence[Key]) -> tuple[GroupLabels, ...]:
    """The labels of groups, from their keys and the fields that they are grouped by."""
    return tuple(tuple(zip(by, key, strict=True)) for key in keys)


class RunningSums:
    """Counts and totals of one metric by group over buckets [first, end); a window is one subtraction.

    Running sums are kept at the buckets that have calls, so that many groups with few calls need little memory.
    """

    def __init__(self, part: Aggregates, metric: str, keys: Sequence[Key], first: int, end: int) -> None:
        self._first, self._span, self._rows = first, max(0, end - first), len(keys)
        sums = part.sums.get(metric)
        places = {key: i for i, key in enumerate(keys)}
        bucket = np.array([group[0] for group in part.groups], np.int64) - first
        row = np.array([places.get(group[1:], -1) for group in part.groups], np.int64)
        known = np.zeros(len(row), np.bool_) if sums is None else sums.count > 0
        inside = np.flatnonzero((bucket >= 0) & (bucket < self._span) & (row >= 0) & known)
        cell = row[inside] * (self._span + 1) + bucket[inside]
        order = np.argsort(cell, kind="stable")
        self._cell = cell[order]
        self._count, self._total = (np.zeros(len(order) + 1, np.int64) for _ in range(2))
        if sums is not None:
            self._count[1:] = sums.count[inside][order].cumsum()
            self._total[1:] = sums.total[inside][order].cumsum()
        self._table: IntArray | None = None
        if self._rows * (self._span + 1) <= _MOST_CELLS:  # few enough to look up each bucket instead of searching it
            filled = np.bincount(self._cell, minlength=self._rows * (self._span + 1))
            self._table = filled.cumsum() - filled

    def counts(self, low: IntArray, high: IntArray) -> IntArray:
        """The number of calls in buckets [low, high); shape (groups, windows)."""
        return self._between(self._count, low, high)

    def totals(self, low: IntArray, high: IntArray) -> IntArray:
        """The total of buckets [low, high), in stored units; shape (groups, windows)."""
        return self._between(self._total, low, high)

    def _between(self, running: IntArray, low: IntArray, high: IntArray) -> IntArray:
        found: IntArray = running[self._places(high)] - running[self._places(low)]
        return found

    def _places(self, bucket: IntArray) -> IntArray:
        """How many cells with calls come before a bucket of each group; shape (groups, buckets)."""
        at = np.clip(bucket - self._first, 0, self._span)
        cells = np.arange(self._rows, dtype=np.int64)[:, None] * (self._span + 1) + at[None, :]
        found: IntArray = np.searchsorted(self._cell, cells) if self._table is None else self._table[cells]
        return found

    def begun(self, low: IntArray, high: IntArray) -> IntArray:
        """The first bucket of [low, high) with a call, `high` where there is none; shape (groups, windows)."""
        place = self._places(low)
        cell = np.append(self._cell, np.iinfo(np.int64).max)[place]
        start = np.arange(self._rows, dtype=np.int64)[:, None] * (self._span + 1)
        return np.minimum(np.where(cell < start + self._span, cell - start + self._first, high), high)
