"""Figures of sessions: how contexts grow, turn by turn, when they shrank; main models, names, times, endings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import MISSING_CODE, BoolArray, Columns, FloatArray, IntArray
from llmmon.metrics.definitions import REFUSED, TRUNCATED
from llmmon.metrics.record import NANO_DOLLARS, Status
from llmmon.metrics.sessions import Runs, Threads, ends_of

_LEAST_CONTEXT: Final = 10_000  # tokens: a smaller context that shrinks was not compacted
_SHRUNK: Final = 0.5  # of what it was
_LEAST_TURNS: Final = 6  # for a turn from which on a session was expensive
_DEARER: Final = 2.0  # times as much for each turn as before


class Finding(msgspec.Struct, frozen=True):
    """A sentence with amounts, and what to do; `usd` is what it is about, None where no price is known."""

    kind: str
    text: str
    next_step: str
    usd: float | None = None


class Growth(msgspec.Struct, frozen=True):
    """A turn over all sessions that came so far: the median and p95 context in tokens, what these turns cost."""

    turn: int
    sessions: int
    context_p50_tokens: float | None
    context_p95_tokens: float | None
    cost_usd: float | None


class Spread(msgspec.Struct, frozen=True):
    """Quantiles of a figure over the sessions that have it."""

    count: int
    p50: float | None
    p95: float | None
    max: float | None
    sum: float | None


class Growths:
    """How the context of each session's own line of work grew, turn by turn; all lists have one entry a session."""

    def __init__(self, columns: Columns, threads: Threads, long_context: int) -> None:
        runs, sessions = threads.runs, len(threads.sessions)
        self._runs = runs
        self._own = threads.main[runs.of]
        self._contexts = columns.number("prompt_tokens")[runs.order]
        self._costs = columns.number("cost_usd")[runs.order]
        main = np.flatnonzero(threads.main)
        to_session = threads.session[main]
        highest = runs.highest(columns.number("prompt_tokens"))
        self.highest = spread_out(highest[main], to_session, sessions)
        self.first = spread_out(self._contexts[runs.starts][main], to_session, sessions)
        self.last = spread_out(self._contexts[runs.starts + runs.sizes - 1][main], to_session, sessions)
        self.turns = [size or 0 for size in spread_out(runs.sizes[main].astype(np.float64), to_session, sessions)]
        dropped = compacted(columns, threads)
        counts = np.bincount(threads.session[runs.of[dropped]], minlength=sessions)
        self.compactions: IntArray = counts
        long_turns = self._own & (self._contexts >= long_context)
        self.long_cost = float(np.nansum(self._costs[long_turns]))
        first_long = runs_first(runs, long_turns)
        self.long_from = spread_out(first_long[main], to_session, sessions)
        dear = self._dear(main)
        self.dear_from = spread_out(dear, to_session, sessions)

    def _dear(self, main: IntArray) -> FloatArray:
        """The turn from which on each run was expensive, NaN for none: two levels that fit the costs best.

        The levels are means of the logarithms, the split is where the squared distances from them are least
        (as in binary segmentation); it counts if the turns from there on cost at least twice as much on average.
        """
        runs = self._runs
        costs = np.nan_to_num(self._costs)
        logs = np.log(np.maximum(costs, 1.0))
        sizes = runs.sizes[runs.of].astype(np.float64)
        turn = runs.turns.astype(np.float64)
        summed = np.cumsum(logs) - np.repeat(np.append(0.0, np.cumsum(logs))[runs.starts], runs.sizes)
        whole = np.repeat(np.add.reduceat(logs, runs.starts), runs.sizes)
        possible = (turn >= _LEAST_TURNS / 2) & (sizes - turn >= _LEAST_TURNS / 2)
        gain = np.full(len(logs), -1.0)
        np.divide((summed - turn / sizes * whole) ** 2 * sizes, turn * (sizes - turn), out=gain, where=possible)
        paid = np.cumsum(costs) - np.repeat(np.append(0.0, np.cumsum(costs))[runs.starts], runs.sizes)
        found = np.full(len(runs), np.nan)
        self.dear_cost, times = 0.0, []
        for run in main.tolist():
            start, size = int(runs.starts[run]), int(runs.sizes[run])
            if size < _LEAST_TURNS:
                continue
            at = int(np.argmax(gain[start : start + size]))
            if gain[start + at] <= 0:
                continue
            before, after = paid[start + at] / (at + 1), (paid[start + size - 1] - paid[start + at]) / (size - at - 1)
            if before > 0 and after >= _DEARER * before:
                found[run] = at + 2
                times.append(after / before)
                self.dear_cost += (after - before) * (size - at - 1)
        self.dear_times = float(np.median(times)) if times else None
        return found[main]

    def by_turn(self, most: int = 12) -> tuple[Growth, ...]:
        """The course of the context over turns 1, 2, 5, 10, ... of all sessions."""
        turns = self._runs.turns
        longest = int(turns[self._own].max(initial=0))
        shown = [turn for turn in _TURNS if turn <= longest][:most]
        found = []
        for turn in shown:
            here = self._own & (turns == turn)
            contexts = spread(self._contexts[here])
            cost = self._costs[here]
            usd = float(np.nansum(cost)) / NANO_DOLLARS if not np.isnan(cost).all() else None
            found.append(Growth(turn, int(here.sum()), contexts.p50, contexts.p95, usd))
        return tuple(found)


_TURNS: Final = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)


def compacted(columns: Columns, threads: Threads) -> BoolArray:
    """The places in a thread's order at which the context is at most half of what it was; shape (calls in runs,)."""
    runs = threads.runs
    contexts, before = columns.number("prompt_tokens")[runs.order], runs.before(columns.number("prompt_tokens"))
    shrunk: BoolArray = (before >= _LEAST_CONTEXT) & (contexts <= before * _SHRUNK) & (contexts > 0)
    return shrunk


def runs_first(runs: Runs, which: BoolArray) -> FloatArray:
    """The first turn of each run that is among `which`, NaN for none; shape (runs,)."""
    found = np.full(len(runs), np.nan)
    places = np.flatnonzero(which)
    of, first = np.unique(runs.of[places], return_index=True)
    found[of] = runs.turns[places[first]]
    return found


def spread(values: FloatArray) -> Spread:
    """The quantiles of what is known (linear interpolation, as `numpy.quantile`)."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Spread(0, None, None, None, None)
    p50, p95 = np.quantile(known, (0.5, 0.95)).tolist()
    return Spread(len(known), p50, p95, float(known.max()), float(known.sum()))


def whole_numbers(values: FloatArray) -> list[int | None]:
    """Whole numbers, None for what is missing."""
    return [None if value != value else int(value) for value in values.tolist()]


def spread_out(values: FloatArray, at: IntArray, size: int) -> list[int | None]:
    """Whole numbers at their places, None elsewhere; `size` of them."""
    whole = np.full(size, np.nan)
    whole[at] = values
    return whole_numbers(whole)


def median_turn(turns: Sequence[int | None]) -> int:
    """The median of the turns that are known, of which there is at least one."""
    return round(float(np.median([turn for turn in turns if turn is not None])))


def moments(runs: Runs, columns: Columns) -> tuple[list[int | None], list[int | None]]:
    """When each run began and ended, microseconds UTC."""
    times = np.where(columns.dated, columns.timestamp.astype(np.float64), np.nan)
    return whole_numbers(runs.lowest(times)), whole_numbers(runs.highest(ends_of(columns)))


def first_names(runs: Runs, columns: Columns, field: str) -> list[str | None]:
    """The first name that each run has in a field."""
    names = columns.name(field)
    return [None if code < 0 else names.values[code] for code in runs.known_first(names.codes).tolist()]


def main_models(runs: Runs, columns: Columns) -> list[str | None]:
    """The model of most calls of each session."""
    names = columns.name("model")
    codes = names.codes[runs.order].astype(np.int64)
    there = codes != MISSING_CODE
    width = len(names.values) + 1
    pairs, counts = np.unique(runs.of[there] * width + codes[there], return_counts=True)
    best: dict[int, tuple[int, str]] = {}
    for pair, number in zip(pairs.tolist(), counts.tolist(), strict=True):
        session, model = pair // width, names.values[pair % width]
        if session not in best or number > best[session][0]:
            best[session] = (number, model)
    return [best[at][1] if at in best else None for at in range(len(runs))]


def endings(runs: Runs, columns: Columns) -> list[str]:
    """How the last call of each session ended: ok, error, cancelled, cut off, withheld, in a tool call, unknown."""
    last = columns.take(runs.last)
    statuses, reasons = last.name("status").texts(), last.name("finish_reason").texts()
    return [_ending(status, (reason or "").lower()) for status, reason in zip(statuses, reasons, strict=True)]


def _ending(status: str | None, reason: str) -> str:
    if status in (Status.ERROR, Status.CANCELLED):
        return status
    if reason in TRUNCATED:
        return "cut off"
    if reason in REFUSED:
        return "withheld"
    if reason in _ASKS_A_TOOL:
        return "in a tool call"
    return status or Status.UNKNOWN.value


def last_errors(runs: Runs, columns: Columns, failed: BoolArray) -> list[str | None]:
    """The class of the error that the last call of each session failed with."""
    last = runs.last
    types = columns.name("error_type").texts() if failed.any() else []
    return [types[at] if failed[at] else None for at in last.tolist()]


_ASKS_A_TOOL: Final = frozenset({"tool_use", "tool_calls", "tool-calls", "function_call"})
