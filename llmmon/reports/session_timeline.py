"""One session step by step: its calls, the tools it used, where its context was compacted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.ingest.query import Query, Read
from llmmon.metrics.columns import MISSING_TIME, Columns
from llmmon.metrics.definitions import TRUNCATED
from llmmon.metrics.record import NANO_DOLLARS, Status
from llmmon.metrics.sessions import sessions_at
from llmmon.metrics.steps import compactions, loops_of
from llmmon.reports.sessions import SessionRow, SessionTable, read_calls, unit_of


class TimelineStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step: a `call` (with its `turn` in its thread), a `tool` call, or a `compaction`.

    `gap_ms` is the time since the step before was over; `name` is the model, or the tool; `repeated` is which
    repetition of the same tool with the same arguments a tool call is, from 1, where it is in a loop.
    """

    kind: str
    turn: int | None
    at_us: int | None
    gap_ms: float | None
    latency_ms: float | None
    name: str | None
    subagent: str | None
    context_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    result_chars: int | None
    cost_usd: float | None
    cost_so_far_usd: float | None
    outcome: str | None
    repeated: int | None


class Timeline(msgspec.Struct, frozen=True):
    """A session's figures and its steps; `children` are the sessions of its sub-agents."""

    session: SessionRow
    steps: tuple[TimelineStep, ...]
    children: tuple[SessionRow, ...]


def session_timeline(query: Query, identifier: str, by: Sequence[str] = ()) -> tuple[Timeline, Read]:
    """The steps of the session with an id that begins so; raises `UsageError` where none does, or several do."""
    unit, fields = unit_of(by)
    columns, found = read_calls(query, unit, fields)
    table = SessionTable(columns, unit, steps=found.scanned.steps)
    at = _named(table.runs.names, identifier, unit)
    rows = table.rows()
    mine = table.runs.order[table.runs.of == at]
    named = compactions(found.scanned.steps)
    compacted = named.take(sessions_at(named, columns, table.runs) == at)
    steps = _calls(table, mine) + _tools(table, at) + _compactions(compacted)
    steps.sort(key=lambda step: (step.at_us is None, step.at_us or 0))
    children = tuple(row for row in rows if row.parent == rows[at].session and row.session != rows[at].session)
    return Timeline(rows[at], tuple(_with_sums(steps)), children), found


def _named(names: Sequence[str], identifier: str, unit: str) -> int:
    if identifier in names:
        return names.index(identifier)
    matching = [at for at, name in enumerate(names) if name.startswith(identifier)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise UsageError(
            f"{identifier!r} is no file, and no {unit} of these logs has an id that begins so",
            hint=f"`llmmon sessions` lists them; the first is {names[0]}",
        )
    some = ", ".join(names[at] for at in matching[:3])
    raise UsageError(f"{len(matching):,} {unit}s begin with {identifier!r}: {some}, ...", hint="give more of the id")


def _calls(table: SessionTable, mine: np.ndarray) -> list[TimelineStep]:
    runs = table.threads.runs
    turns = np.zeros(table.columns.size, np.int64)
    turns[runs.order] = runs.turns
    calls = table.columns.take(mine)
    whole = {name: _whole(calls, name) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
    names = {name: calls.name(name).texts() for name in ("model", "subagent", "status", "error_type", "finish_reason")}
    latency, cost = _public(calls, "latency_ms", 1000), _public(calls, "cost_usd", NANO_DOLLARS)
    return [
        TimelineStep(
            kind="call",
            turn=int(turns[index]),
            at_us=_moment(int(calls.timestamp[at])),
            gap_ms=None,
            latency_ms=latency[at],
            name=names["model"][at],
            subagent=names["subagent"][at],
            context_tokens=whole["prompt_tokens"][at],
            completion_tokens=whole["completion_tokens"][at],
            cached_tokens=whole["cached_tokens"][at],
            result_chars=None,
            cost_usd=cost[at],
            cost_so_far_usd=None,
            outcome=_outcome(names["status"][at], names["error_type"][at], names["finish_reason"][at]),
            repeated=None,
        )
        for at, index in enumerate(mine.tolist())
    ]


def _outcome(status: str | None, error: str | None, reason: str | None) -> str | None:
    if status == Status.ERROR:
        return error or "error"
    return "cut off" if (reason or "").lower() in TRUNCATED else reason or status


def _tools(table: SessionTable, session: int) -> list[TimelineStep]:
    chosen = table.tool_sessions == session
    loops = loops_of(table.tools, table.tool_sessions)
    tools, nth = table.tools.take(chosen), loops.nth[chosen].tolist()
    names, agents = tools.name("tool").texts(), tools.name("subagent").texts()
    latency, sizes = _public(tools, "latency_ms", 1000), _whole(tools, "result_chars")
    failed, hidden = tools.number("failed").tolist(), tools.number("hidden").tolist()
    return [
        _step("tool", int(tools.timestamp[at]), names[at], agents[at], latency[at], sizes[at],
              "failed, not reported" if hidden[at] == 1 else "failed" if failed[at] == 1 else None, nth[at] or None)
        for at in range(tools.size)
    ]  # fmt: skip


def _compactions(found: Columns) -> list[TimelineStep]:
    return [_step("compaction", int(at), None, None, None, None, None, None) for at in found.timestamp.tolist()]


def _step(
    kind: str,
    at: int,
    name: str | None,
    agent: str | None,
    latency_ms: float | None,
    chars: int | None,
    outcome: str | None,
    repeated: int | None,
) -> TimelineStep:
    return TimelineStep(
        kind=kind, turn=None, at_us=_moment(at), gap_ms=None, latency_ms=latency_ms, name=name, subagent=agent,
        context_tokens=None, completion_tokens=None, cached_tokens=None, result_chars=chars, cost_usd=None,
        cost_so_far_usd=None, outcome=outcome, repeated=repeated,
    )  # fmt: skip


def _with_sums(steps: Sequence[TimelineStep]) -> list[TimelineStep]:
    """The steps with the cost so far, and the time since the one before was over."""
    found: list[TimelineStep] = []
    spent: float = 0.0
    over: int | None = None
    for step in steps:
        spent += step.cost_usd or 0.0
        gap = None if over is None or step.at_us is None else max(0.0, (step.at_us - over) / 1000)
        found.append(msgspec.structs.replace(step, cost_so_far_usd=spent, gap_ms=gap))
        if step.at_us is not None:
            over = step.at_us + round((step.latency_ms or 0.0) * 1000)
    return found


def _moment(us: int) -> int | None:
    return None if us == MISSING_TIME else us


def _whole(columns: Columns, name: str) -> list[int | None]:
    return [None if value != value else int(value) for value in columns.number(name).tolist()]


def _public(columns: Columns, name: str, scale: int) -> list[float | None]:
    return [None if value != value else value / scale for value in columns.number(name).tolist()]
