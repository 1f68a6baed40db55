"""What a rule sees at each minute: its statistic over the window that ends there, by group.

Windows are sums of minutes. Quantiles are made only where they can decide something: where enough values of
the window lie beyond the threshold, which counting tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.alert import GroupLabels, Observation
from llmmon.alerting.history import Key, statistic_of
from llmmon.alerting.rules import MINUTE_US, AlertRule, NoData
from llmmon.metrics.aggregates import VALUE_BITS, KeyArray, Partials, Run, Sums, Values, sorted_run
from llmmon.metrics.aggregation import evaluate
from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.metrics.definitions import QUANTILES, Statistic
from llmmon.text.times import duration_text

USUAL_MIN_COUNT: Final = 20
FORGOTTEN_AFTER: Final = 1440  # minutes without a call, after which a group is gone
LEARNT: Final = 35 * 1440  # minutes of history that the anomaly monitor learns from
_BITS: Final = np.uint64(VALUE_BITS)
_MASK: Final = np.uint64((1 << VALUE_BITS) - 1)
_MOST_KEYS: Final = 4_000_000  # gathered at once

CLEAR, MET, KEEP = 0, 1, 2


class RuleEvaluation(msgspec.Struct, frozen=True, eq=False):
    """What one rule sees: `ends` are minutes (shape (m,)), everything else is of shape (groups, m).

    `met` is CLEAR, MET or KEEP; `value` is NaN where there is none or where it decides nothing. `threshold` is
    the limit that applied, where it is not the rule's own; `notes` say by (row, column) why, in a sentence.
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

    def observation(self, row: int, at: int) -> Observation:
        """What it sees of one group at one minute."""
        met, value = int(self.met[row, at]), float(self.value[row, at])
        count = int(self.count[row, at])
        note = self.notes.get((row, at), "")
        limit = None if self.threshold is None else float(self.threshold[row, at])
        if not note and self.gone[row, at]:
            note = f"no calls for {duration_text(FORGOTTEN_AFTER * MINUTE_US)}"
        elif not note and count == 0 and np.isnan(value) and not self.rule.anomaly:
            note = f"no data for {duration_text(self.rule.window_us)}"
        found = None if np.isnan(value) else value
        return Observation(self.rule, self.groups[row], None if met == KEEP else met == MET, found, limit, count, note)


def least_count(rule: AlertRule, statistic: Statistic) -> int:
    """How many calls a window must rest on before it is judged."""
    if statistic.metric.name == "requests" or statistic.aggregation in {"count", "sum"}:
        return rule.min_count or 0
    return USUAL_MIN_COUNT if rule.min_count is None else rule.min_count


def evaluate_threshold(
    history: Partials, rule: AlertRule, ends: IntArray, *, everywhere: bool = False
) -> RuleEvaluation:
    """What a rule sees at consecutive minutes; values `everywhere`, not only where they decide something."""
    windows = Windows(history, rule, ends)
    value, count = windows.values(None if everywhere else rule)
    judged = (count >= least_count(rule, windows.statistic)) & ~np.isnan(value)
    with np.errstate(invalid="ignore"):
        return rule_evaluation(windows, rule, value, count, judged & compared(rule, value, rule.threshold))


def rule_evaluation(
    windows: Windows, rule: AlertRule, value: FloatArray, count: IntArray, held: BoolArray
) -> RuleEvaluation:
    """The sight of a condition that `held` where it was judged; windows without data are as the rule has it."""
    met = np.where(held, MET, CLEAR)
    empty = windows.calls == 0 if windows.statistic.metric.name != "requests" else np.zeros(count.shape, np.bool_)
    if rule.no_data is not NoData.OK:
        met = np.where(empty, MET if rule.no_data is NoData.ALERT else KEEP, met)
    if rule.no_data is NoData.KEEP:
        met = np.where(count < least_count(rule, windows.statistic), KEEP, met)
    met = np.where(windows.gone, CLEAR, met)
    return RuleEvaluation(rule, windows.groups, windows.ends, met, value, count.astype(np.int64), windows.gone)


def compared(rule: AlertRule, value: FloatArray, limit: float | FloatArray) -> BoolArray:
    """Whether a rule's condition holds for values; shape of the values."""
    compare = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal}
    compare |= {"eq": np.equal, "ne": np.not_equal}
    found: BoolArray = compare[rule.condition](value, limit)
    return found


class Windows:
    """The windows of a statistic that end at given minutes, by group; every array is of shape (groups, m)."""

    def __init__(self, history: Partials, rule: AlertRule, ends: IntArray) -> None:
        self.statistic = statistic_of(rule)
        self._history = history
        self.ends = ends
        self._width = max(1, rule.window_us // MINUTE_US)
        self._behind = max(self._width, FORGOTTEN_AFTER)
        self._first = int(ends[0]) - self._behind if len(ends) else 0
        keys = _keys(history, rule)
        self.groups: tuple[GroupLabels, ...] = tuple(tuple(zip(rule.by, key, strict=True)) for key in keys)
        self._place = {key: i for i, key in enumerate(keys)}
        self._span = self._behind + len(ends)
        self._cells = self._cell_numbers(history)
        count, total = self._columns()
        self.calls = self._summed(count, self._width)
        self._total = self._summed(total, self._width)
        alive = self._summed(count, self._behind) > 0
        self.gone: BoolArray = ~alive if rule.by else np.zeros(alive.shape, np.bool_)

    def _cell_numbers(self, history: Partials) -> IntArray:
        """For each group of the history its place in the grid (groups x span), -1 outside it."""
        minutes = np.array([group[0] for group in history.groups], np.int64) - self._first
        rows = np.array([self._place[group[1:]] for group in history.groups], np.int64)
        inside = (minutes >= 0) & (minutes < self._span)
        cells: IntArray = np.where(inside, rows * self._span + minutes, -1)
        return cells

    def _columns(self) -> tuple[IntArray, IntArray]:
        """Count and total by (group, minute)."""
        shape = len(self.groups) * self._span
        sums = self._history.sums.get(self.statistic.metric.name)
        found = []
        for column in (None, None) if sums is None else (sums.count, sums.total):
            grid = np.zeros(shape, np.int64)
            if column is not None:
                inside = self._cells >= 0
                grid[self._cells[inside]] = column[inside]
            found.append(grid.reshape(len(self.groups), self._span))
        return found[0], found[1]

    def _summed(self, grid: IntArray, width: int) -> IntArray:
        """Sums over the `width` minutes before each end."""
        running = np.concatenate([np.zeros((len(grid), 1), np.int64), grid.cumsum(axis=1)], axis=1)
        at = np.arange(len(self.ends)) + self._behind
        summed: IntArray = running[:, at] - running[:, at - width]
        return summed

    def values(self, rule: AlertRule | None, limits: FloatArray | None = None) -> tuple[FloatArray, IntArray]:
        """The statistic and the calls it rests on; with a rule, quantiles only where they may meet its condition.

        `limits` are thresholds by group that stand for the rule's own.
        """
        shape = self.calls.shape
        if self.statistic.needs_values:
            return self._quantiles(rule, limits), self.calls
        name = self.statistic.metric.name
        flat = Partials(
            groups=tuple((i,) for i in range(self.calls.size)),
            sums={name: Sums(self.calls.ravel(), self._total.ravel())},
        )
        found = evaluate(flat, [self.statistic.name], float(self._width))[self.statistic.name][:-1].reshape(shape)
        if name == "requests":
            found = np.where(self.calls == 0, 0.0, found)  # that nobody called is known, not missing
        return found, self.calls

    def _quantiles(self, rule: AlertRule | None, limits: FloatArray | None) -> FloatArray:
        out = np.full(self.calls.shape, np.nan)
        found = self._history.values.get(self.statistic.metric.name)
        if found is None or not len(found):
            return out
        table = _Table(sorted_run(found), self._cells, len(self.groups) * self._span)
        rows, columns = np.nonzero(self._worth_a_look(table, rule, limits))
        low = rows * self._span + columns + self._behind - self._width
        out[rows, columns] = table.statistic(self.statistic, low, low + self._width)
        return out

    def _worth_a_look(self, table: _Table, rule: AlertRule | None, limits: FloatArray | None) -> BoolArray:
        """The windows whose quantile may meet the condition: those with enough values beyond the threshold."""
        some: BoolArray = self.calls > 0
        if rule is None or rule.condition in {"eq", "ne"}:
            return some
        limit = (rule.threshold if limits is None else table.by_row(limits, self._span)) * self.statistic.metric.scale
        above = rule.condition in {"gt", "ge"}
        beyond = table.values >= limit - 1 if above else table.values <= limit + 1
        grid = table.counted(beyond).reshape(len(self.groups), self._span)
        inside = self._summed(grid, self._width)
        below = np.floor(np.maximum(self.calls - 1, 0) * QUANTILES[self.statistic.aggregation]).astype(np.int64)
        enough = self.calls - 1 - below if above else below + 1
        return some & (inside >= np.maximum(enough, 1))


class _Table:
    """The values of a history in order of their cell; a window is a run of neighbouring cells."""

    def __init__(self, run: Run, cells: IntArray, size: int) -> None:
        cell = cells[(run.keys >> _BITS).astype(np.int64)]
        inside = np.flatnonzero(cell >= 0)
        order = inside[np.argsort(cell[inside], kind="stable")]
        self._cell = cell[order]
        self.values = (run.keys[order] & _MASK).astype(np.float64)
        self._weights = None if run.counts is None else run.counts[order]
        self._offsets = np.searchsorted(self._cell, np.arange(size + 1))
        self._size = size

    def by_row(self, limits: FloatArray, span: int) -> FloatArray:
        """For each value the limit of its row of cells."""
        found: FloatArray = limits[self._cell // span]
        return found

    def counted(self, chosen: BoolArray) -> IntArray:
        """How many of the chosen values lie in each cell; shape (cells,)."""
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
        keys: KeyArray = (window.astype(np.uint64) << _BITS) | self.values[index].astype(np.uint64)
        weights = None if self._weights is None else self._weights[index]
        run = Run(np.sort(keys)) if weights is None else Run(keys[o := np.argsort(keys, kind="stable")], weights[o])
        name = statistic.metric.name
        flat = Partials(groups=tuple((i,) for i in range(len(sizes))), values={name: Values((run,))})
        return evaluate(flat, [statistic.name], None)[statistic.name][:-1]


def _keys(history: Partials, rule: AlertRule) -> list[Key]:
    """The groups of a history, in order of their names; all calls is there even where there are none."""
    found = {group[1:] for group in history.groups}
    if not rule.by:
        return [()]
    return sorted(found, key=lambda key: [(name is not None, name or "") for name in key])
