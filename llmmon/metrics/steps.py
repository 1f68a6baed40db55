"""What an agent did between its calls: calls of tools, and compactions of its context, as columns.

A tool call is one use of a tool with its arguments, from when a model (or a program) asked for it to its result.
Arguments and results are held as hashes and sizes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import EMPTY, MISSING_CODE, MISSING_TIME, BoolArray, Columns, FloatArray, IntArray, Names
from llmmon.metrics.sessions import Runs, runs_of, session_codes

# names: session, trace, subagent, tool, server (MCP), request_id (of the call that asked for it), error_type
STEP_NAMES: Final = ("session", "trace", "subagent", "tool", "server", "request_id", "error_type")
STEP_NUMBERS: Final = (
    "step_kind",
    "step_id",  # a hash; parts of one step have the same
    "end",  # microseconds UTC
    "latency_ms",  # microseconds, where it is logged
    "arguments_key",  # a hash
    "arguments_chars",
    "result_key",
    "result_chars",
    "reported",  # 1 where the log says that it failed, 0 that it did not
    "inside",  # 1 where the result itself shows a failure: an error object, an exit code
    "spoken",  # 1 where only a message tells of it
)
STEP_TEXTS: Final = ("arguments", "result")
TOOL, COMPACTION = 0.0, 1.0


def tool_calls(steps: Columns) -> Columns:
    """Each tool call once, its parts (the request, the result) put together; in the order of time.

    Adds the numbers `failed` (1 or 0, NaN where there is no result), `hidden` (1 where it failed and was reported as
    a success or not at all) and a `latency_ms` from the times of its parts. A tool call that is only in a message is
    left out where the session has records of the tools themselves, for these are the same.
    """
    parts = steps.take(steps.number("step_kind") == TOOL)
    if not parts.size:
        return EMPTY
    joined = _joined(parts)
    spoken = _only_in_messages(joined)
    joined = joined if not spoken.any() else joined.take(~spoken)
    named = joined.name("tool").codes != MISSING_CODE
    joined = joined.take(np.lexsort((_positions(joined), joined.timestamp)))
    return joined if named.all() else joined.take(joined.name("tool").codes != MISSING_CODE)


def compactions(steps: Columns) -> Columns:
    """The compactions that the log names, each once."""
    found = steps.take(steps.number("step_kind") == COMPACTION)
    if not found.size:
        return EMPTY
    keys = np.where(np.isnan(found.number("step_id")), -1.0 - np.arange(found.size), found.number("step_id"))
    return found.take(np.sort(np.unique(keys, return_index=True)[1]))


def _positions(columns: Columns) -> IntArray:
    return np.arange(columns.size) if columns.positions is None else columns.positions


def _joined(parts: Columns) -> Columns:
    """The parts with the same id as one; those without an id stay alone."""
    ids = parts.number("step_id")
    ids = np.where(np.isnan(ids), -1.0 - np.arange(parts.size), ids)
    present, codes = np.unique(ids, return_inverse=True)
    runs = runs_of(parts, codes.ravel().astype(np.int64), [""] * len(present))
    starts, ends = _times(parts, runs)
    latency = _known_first(parts, runs, "latency_ms")
    waited = ends - starts
    spoken = runs.lowest(parts.number("spoken"))
    # a message brings a result with the next call, which may wait for the user
    latency = np.where(np.isnan(latency) & (waited >= 0) & (spoken != 1), waited, latency)
    starts = np.where(np.isnan(starts), ends, starts)
    reported, inside = runs.highest(parts.number("reported")), runs.highest(parts.number("inside"))
    over = ~np.isnan(_known_last(parts, runs, "result_chars")) | ~np.isnan(reported)
    failed = np.where((np.nan_to_num(reported) == 1) | (np.nan_to_num(inside) == 1), 1.0, np.where(over, 0.0, np.nan))
    numbers = {
        "latency_ms": latency,
        "end": ends,
        "failed": failed,
        "hidden": np.where(failed == 1, (np.nan_to_num(reported) != 1).astype(np.float64), 0.0),
        "spoken": spoken,
        **{name: _known_first(parts, runs, name) for name in ("arguments_key", "arguments_chars")},
        **{name: _known_last(parts, runs, name) for name in ("result_key", "result_chars")},
    }
    first = runs.first
    return Columns(
        size=len(runs),
        timestamp=np.where(np.isnan(starts), MISSING_TIME, np.nan_to_num(starts)).astype(np.int64),
        numbers=numbers,
        names={
            name: Names(runs.known_first(parts.name(name).codes).astype(np.int32), parts.name(name).values)
            for name in STEP_NAMES
        },
        texts={name: _texts(parts, runs, name) for name in STEP_TEXTS if name in parts.texts},
        positions=None if parts.positions is None else parts.positions[first],
    )


def _times(parts: Columns, runs: Runs) -> tuple[FloatArray, FloatArray]:
    """When each step began and ended, NaN where not known; shape (runs,)."""
    starts = np.where(parts.dated, parts.timestamp.astype(np.float64), np.nan)
    return runs.lowest(starts), runs.highest(parts.number("end"))


def _known_first(parts: Columns, runs: Runs, name: str) -> FloatArray:
    return _known(parts.number(name), runs, np.minimum, len(runs.order))


def _known_last(parts: Columns, runs: Runs, name: str) -> FloatArray:
    return _known(parts.number(name), runs, np.maximum, -1)


def _known(values: FloatArray, runs: Runs, which: np.ufunc, nowhere: int) -> FloatArray:
    """The first (or last) number that is there in each run, NaN for none; shape (runs,)."""
    ordered = values[runs.order]
    places = np.where(np.isnan(ordered), nowhere, np.arange(len(ordered)))
    chosen = which.reduceat(places, runs.starts)
    found: FloatArray = np.append(ordered, np.nan)[chosen]
    return found


def _texts(parts: Columns, runs: Runs, name: str) -> list[str | None]:
    texts = parts.text(name)
    listed = [texts[at] for at in runs.order.tolist()]
    edges = [*runs.starts.tolist(), len(listed)]
    return [next((t for t in listed[a:b] if t is not None), None) for a, b in pairwise(edges)]


def _only_in_messages(joined: Columns) -> BoolArray:
    """Tool calls that are only in messages, in sessions that have records of tools; shape (calls,)."""
    spoken: BoolArray = joined.number("spoken") == 1
    if not spoken.any() or spoken.all():
        return spoken & False
    found = spoken & False
    for unit in (("session",), ("trace",)):
        codes, _ = session_codes(joined, unit)
        recorded = np.unique(codes[~spoken & (codes != MISSING_CODE)])
        found |= spoken & np.isin(codes, recorded)
    return found


class Loops(msgspec.Struct, frozen=True, eq=False):
    """Calls of one tool with the same arguments in one session; `run` is the loop of each call, -1 for none."""

    run: IntArray
    nth: IntArray  # which of its loop a call is, from 1; 0 outside of loops


LEAST_LOOP: Final = 3  # the same tool with the same arguments so often is a loop


def loops_of(calls: Columns, sessions: IntArray) -> Loops:
    """The loops among tool calls: the same tool and arguments in the same session (-1: none) three times or more."""
    keyed = np.flatnonzero((sessions != MISSING_CODE) & ~np.isnan(calls.number("arguments_key")))
    run, nth = np.full(calls.size, -1, np.int64), np.zeros(calls.size, np.int64)
    if not len(keyed):
        return Loops(run, nth)
    tools = calls.name("tool").codes.astype(np.int64)
    arguments = calls.number("arguments_key")
    order = keyed[np.lexsort((keyed, arguments[keyed], tools[keyed], sessions[keyed]))]
    same = (
        (sessions[order][1:] == sessions[order][:-1])
        & (tools[order][1:] == tools[order][:-1])
        & (arguments[order][1:] == arguments[order][:-1])
    )
    starts = np.flatnonzero(np.append(True, ~same))
    sizes = np.diff(np.append(starts, len(order)))
    of = np.repeat(np.arange(len(starts)), sizes)
    looped = sizes[of] >= LEAST_LOOP
    run[order[looped]] = of[looped]
    nth[order[looped]] = (np.arange(len(order)) - starts[of] + 1)[looped]
    return Loops(run, nth)
