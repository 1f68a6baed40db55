"""What a session is: which calls belong together, in which order, and what a session comes to.

A session is all calls with the same `session`, across files and days; a call without one belongs to the session of
its `trace`, and a call with neither to none. Within a session its own line of work and each of its sub-agents are
threads: a thread is where one turn's context follows from the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import MISSING_CODE, BoolArray, CodeArray, Columns, FloatArray, IntArray, Interner, recode

SESSION: Final = ("session", "trace")  # the names that tell a call's session, the first that it has
PLACED_BY: Final = frozenset({*SESSION, "subagent", "timestamp", "latency_ms"})


class Runs(msgspec.Struct, frozen=True, eq=False):
    """Calls put together by session (or thread), each run in the order of time.

    `names` are the runs' names, `order` the calls' indices run after run, `starts` where in it each run begins,
    `of` the run of each place in `order`.
    """

    names: list[str]
    order: IntArray
    starts: IntArray
    of: IntArray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> IntArray:
        """Calls of each run; shape (runs,)."""
        sizes: IntArray = np.diff(np.append(self.starts, len(self.order)))
        return sizes

    @property
    def turns(self) -> IntArray:
        """Which call of its run each is, from 1; shape (calls in runs,)."""
        places: IntArray = np.arange(1, len(self.order) + 1)
        return np.subtract(places, self.starts[self.of]) if len(self) else places

    @property
    def last(self) -> IntArray:
        """The index of each run's last call; shape (runs,)."""
        last: IntArray = self.order[self.starts + self.sizes - 1]
        return last

    @property
    def first(self) -> IntArray:
        """The index of each run's first call; shape (runs,)."""
        first: IntArray = self.order[self.starts]
        return first

    def total(self, values: FloatArray) -> FloatArray:
        """The sum of a number of the calls for each run, NaN where no call has one; shape (runs,)."""
        return self._reduced(np.add, values, 0.0)

    def highest(self, values: FloatArray) -> FloatArray:
        """The largest of a number of the calls for each run, NaN where no call has one; shape (runs,)."""
        return self._reduced(np.maximum, values, -np.inf)

    def lowest(self, values: FloatArray) -> FloatArray:
        """The smallest of a number of the calls for each run, NaN where no call has one; shape (runs,)."""
        return self._reduced(np.minimum, values, np.inf)

    def _reduced(self, how: np.ufunc, values: FloatArray, nothing: float) -> FloatArray:
        if not len(self):
            return np.empty(0)
        ordered = values[self.order]
        missing = np.isnan(ordered)
        found: FloatArray = how.reduceat(np.where(missing, nothing, ordered), self.starts)
        found[np.logical_and.reduceat(missing, self.starts)] = np.nan
        return found

    def count(self, which: BoolArray) -> IntArray:
        """How many calls of each run are among `which`; shape (runs,)."""
        found: IntArray = np.bincount(self.of, which[self.order], minlength=len(self)).astype(np.int64)
        return found

    def known_first(self, codes: CodeArray | IntArray) -> IntArray:
        """The first code that is there in each run, -1 for none; shape (runs,)."""
        if not len(self):
            return np.empty(0, np.int64)
        ordered = codes[self.order]
        places = np.where(ordered != MISSING_CODE, np.arange(len(ordered)), len(ordered))
        first = np.minimum.reduceat(places, self.starts)
        return np.append(ordered, MISSING_CODE)[first].astype(np.int64)

    def before(self, values: FloatArray) -> FloatArray:
        """The number of the call before in the same run, for each place in `order`; NaN for the first of a run."""
        ordered = values[self.order]
        found = np.append(np.nan, ordered[:-1])[: len(ordered)]
        found[self.starts] = np.nan
        return found


def session_codes(columns: Columns, unit: Sequence[str] = SESSION) -> tuple[IntArray, list[str]]:
    """The session of each call (-1 for none), and the sessions' names; the first name of `unit` that is there tells."""
    interner = Interner()
    codes: IntArray = np.full(columns.size, MISSING_CODE, np.int64)
    for field in unit:
        gaps = codes == MISSING_CODE
        names = columns.names.get(field)
        if names is not None and gaps.any():
            codes = np.where(gaps, recode(names, interner), codes)
    return codes, interner.values_seen


def runs_of(columns: Columns, codes: IntArray, names: list[str]) -> Runs:
    """The calls with a code, put together by it; those at the same time, or without one, as they stand in the log."""
    there = np.flatnonzero(codes != MISSING_CODE)
    positions = np.arange(columns.size) if columns.positions is None else columns.positions
    order = there[np.lexsort((positions[there], columns.timestamp[there], codes[there]))]
    present, starts, of = np.unique(codes[order], return_index=True, return_inverse=True)
    return Runs([names[code] for code in present.tolist()], order, starts, of.ravel())


def sessions_of(columns: Columns, unit: Sequence[str] = SESSION) -> Runs:
    """The calls put together by session."""
    return runs_of(columns, *session_codes(columns, unit))


class Threads(msgspec.Struct, frozen=True, eq=False):
    """The calls put together by thread: a session's own line of work and each of its sub-agents.

    `session` is the session of each thread, as a number of `sessions`; `main` says whether it is the session's own.
    """

    runs: Runs
    sessions: Runs
    session: IntArray
    main: BoolArray


def threads_of(columns: Columns, sessions: Runs) -> Threads:
    """The threads of sessions. A session's own is that without a sub-agent's name, else that of its first call."""
    codes: IntArray = np.full(columns.size, MISSING_CODE, np.int64)
    interner = Interner()
    agents = recode(columns.name("subagent"), interner).astype(np.int64)
    width = len(interner.values_seen) + 1
    codes[sessions.order] = sessions.of * width + agents[sessions.order] + 1
    present, dense = np.unique(codes[sessions.order], return_inverse=True)
    codes[sessions.order] = dense.ravel()
    names = [interner.values_seen[code % width - 1] if code % width else "" for code in present.tolist()]
    runs = runs_of(columns, codes, names)
    session = present // width
    unnamed = present % width == 0
    has_unnamed = np.zeros(len(sessions), np.bool_)
    has_unnamed[session[unnamed]] = True
    first = codes[sessions.first] if len(sessions) else np.empty(0, np.int64)
    main = unnamed | (~has_unnamed[session] & (first[session] == np.arange(len(present))))
    return Threads(runs, sessions, session, main)


def ends_of(columns: Columns) -> FloatArray:
    """When each call was over, microseconds UTC, NaN without a time; shape (calls,)."""
    times = np.where(columns.dated, columns.timestamp.astype(np.float64), np.nan)
    return times + np.nan_to_num(columns.number("latency_ms"))


def durations_of(columns: Columns, runs: Runs) -> FloatArray:
    """From the start of a run's first call to the end of its last, microseconds; shape (runs,)."""
    times = np.where(columns.dated, columns.timestamp.astype(np.float64), np.nan)
    lasted: FloatArray = runs.highest(ends_of(columns)) - runs.lowest(times)
    return lasted


def with_session_values(columns: Columns) -> Columns:
    """The calls with the metrics of sessions (stored units), as numbers of each session's last call."""
    sessions = sessions_of(columns)
    found = {
        "session_cost_usd": sessions.total(columns.number("cost_usd")),
        "session_calls": sessions.sizes.astype(np.float64),
        "session_duration_ms": durations_of(columns, sessions),
        "session_context_tokens": sessions.highest(columns.number("prompt_tokens")),
    }
    placed = {name: np.full(columns.size, np.nan) for name in found}
    for name, values in found.items():
        placed[name][sessions.last] = values
    return columns.with_numbers(**placed)


def sessions_at(steps: Columns, columns: Columns, runs: Runs) -> IntArray:
    """The session of each step, as a number of `runs`: by its name, else by that of the trace; -1 for none."""
    at: dict[str | None, int] = {name: number for number, name in enumerate(runs.names)}
    of_call: IntArray = np.full(columns.size, -1, np.int64)
    of_call[runs.order] = runs.of
    traces = columns.name("trace")
    by_trace: dict[str | None, int] = {}
    for code, session in dict(zip(traces.codes.tolist(), of_call.tolist(), strict=True)).items():
        if code >= 0 and session >= 0:
            by_trace[traces.values[code]] = session
    found = [
        at.get(session, -1) if session is not None else by_trace.get(trace, at.get(trace, -1) if trace else -1)
        for session, trace in zip(steps.name("session").texts(), steps.name("trace").texts(), strict=True)
    ]
    return np.array(found, np.int64)
