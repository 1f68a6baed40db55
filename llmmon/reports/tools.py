"""`tools`: tool calls of agents: how often they fail, how long they take, what their results cost, where they loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import InputError, UsageError
from llmmon.ingest.query import Query, Read
from llmmon.metrics.aggregates import GroupIndex
from llmmon.metrics.columns import MISSING_CODE, MISSING_TIME, BoolArray, Columns, FloatArray, IntArray, Names
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import NANO_DOLLARS
from llmmon.metrics.sessions import Threads
from llmmon.metrics.steps import LEAST_LOOP, Loops, loops_of
from llmmon.pricing.cost_modes import CostMode
from llmmon.pricing.costs import calculate
from llmmon.pricing.price_table import PriceTable
from llmmon.reports.session_figures import Finding, compacted, whole_numbers
from llmmon.reports.sessions import SessionTable, read_calls
from llmmon.text.figures import count, counted, money_text, percent

CHARS_PER_TOKEN: Final = 4.0  # of a result, where only its text is known
_OWN: Final = ("tool", "server", "session")
_MORE: Final = ("request_id", "cache_write_1h_tokens", "provider", "service_tier")
_SHOWN: Final = 200  # characters of a text


class ToolRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group of tool calls (or all).

    `failed` are those whose outcome says so, or whose result shows it: `hidden_failures` of them were reported as a
    success, or not at all. `result_tokens` is an estimate from the size of the results, `context_usd` what these cost
    in all calls that had them in their context. `loop_usd` is what the model calls cost that asked for a repetition.
    """

    key: Mapping[str, str | None]
    calls: int
    sessions: int
    failed: int
    failure_rate: float | None  # of the calls whose outcome is known
    hidden_failures: int
    unfinished: int  # calls without a result in the log
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    result_chars: int
    result_tokens: int
    context_usd: float | None
    loops: int
    looped_calls: int
    loop_usd: float | None


class LoopRow(msgspec.Struct, frozen=True, kw_only=True):
    """One loop: the same tool with the same arguments (known by their hash) again and again in a session."""

    session: str
    tool: str
    server: str | None
    arguments: str
    times: int
    failed: int
    start_us: int | None
    end_us: int | None
    usd: float | None
    text: str | None = None


class FailureRow(msgspec.Struct, frozen=True, kw_only=True):
    """One failed tool call, with its texts where they were asked for."""

    session: str | None
    tool: str
    at_us: int | None
    hidden: bool
    result_chars: int | None
    arguments: str | None
    result: str | None


class ToolsReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon tools`."""

    by: tuple[str, ...]
    totals: ToolRow
    groups: tuple[ToolRow, ...]
    loops: tuple[LoopRow, ...]
    failures: tuple[FailureRow, ...]  # only where texts were asked for
    findings: tuple[Finding, ...]
    cost_usd: float | None

    @property
    def figures(self) -> dict[str, float | int | None]:
        """The totals by the names that `--fail-on` takes."""
        plain = msgspec.to_builtins(self.totals)
        return {name: value for name, value in plain.items() if name != "key"}


def report_tools(query: Query, *, by: Sequence[str], show_text: bool = False) -> tuple[ToolsReport, Read]:
    """The tool calls of a query; raises `UsageError`, `InputError` where the logs have none."""
    fields = tuple(field for field in by if field not in _OWN)
    Grouping(fields)  # checks them
    asked = msgspec.structs.replace(query, step_texts=show_text)
    study, found = _studied(asked, fields)
    return study.report(tuple(by), show_text=show_text), found


def tool_rows(query: Query) -> tuple[list[dict[str, Any]], Read]:
    """A row for each tool call, in the order of time; raises as `report_tools`."""
    study, found = _studied(query, ("user", "model"))
    return study.rows(), found


def _studied(query: Query, fields: Sequence[str]) -> tuple[_Study, Read]:
    columns, found = read_calls(query, "session", (*fields, *_MORE))
    if not found.scanned.steps.size:
        raise InputError(
            "no tool call in these logs",
            hint="tool calls are read from Claude Code, Codex, Gemini CLI, OpenCode, OpenTelemetry, Langfuse and "
            "LangSmith, and from messages with tool calls",
        )
    table = SessionTable(columns, "session", steps=found.scanned.steps)
    if not (table.tool_sessions >= 0).any():
        raise UsageError("no tool call belongs to a session of these logs", hint="`llmmon sessions` lists these")
    return _Study(table, query), found


class _Study:
    """Tool calls beside the calls of models; arrays have one entry a tool call."""

    def __init__(self, table: SessionTable, query: Query) -> None:
        kept = table.tool_sessions >= 0
        self._table = table
        self._tools = table.tools.take(kept)
        self._sessions: IntArray = table.tool_sessions[kept]
        self._loops: Loops = loops_of(self._tools, self._sessions)
        self._asked_by = _askers(self._tools, self._sessions, table)
        costs = table.columns.number("cost_usd")
        self._whole = float(np.nansum(costs)) if not np.isnan(costs).all() else None
        self._tokens = np.nan_to_num(self._tools.number("result_chars")) / CHARS_PER_TOKEN
        self._context_usd = self._in_context(query)
        self._loop_usd = self._of_loops(costs)

    def _in_context(self, query: Query) -> FloatArray:
        """What each result cost in the calls that had it in their context, dollars; NaN where no price is known."""
        if query.cost == CostMode.NONE:
            return np.full(self._tools.size, np.nan)
        columns, threads = self._table.columns, self._table.threads
        fresh, again = _rates(columns, PriceTable.of(query.prices), query.wall_us)
        runs = threads.runs
        fresh, again = fresh[runs.order], again[runs.order]
        reached = np.append(0.0, np.cumsum(np.nan_to_num(again)))
        last = _ends_of_contexts(columns, threads)
        times = columns.timestamp[runs.order]
        place_of = np.zeros(columns.size, np.int64)
        place_of[runs.order] = np.arange(len(runs.order))
        over = np.nan_to_num(self._tools.number("end"), nan=-1.0)
        costs = np.full(self._tools.size, np.nan)
        for at, asker in enumerate(self._asked_by.tolist()):
            if asker < 0:
                continue
            place = int(place_of[asker])
            run = int(runs.of[place])
            end = int(runs.starts[run] + runs.sizes[run])
            nearest = place + 1
            while nearest < end and times[nearest] < over[at]:
                nearest += 1
            if nearest >= end or last[nearest] != last[place]:
                costs[at] = 0.0  # no call had it in its context
            elif fresh[nearest] == fresh[nearest]:
                later = reached[last[nearest] + 1] - reached[nearest + 1]
                costs[at] = self._tokens[at] * (fresh[nearest] + later)
        return costs / NANO_DOLLARS

    def _of_loops(self, costs: FloatArray) -> FloatArray:
        """What the model calls cost that asked for a repetition: each tool call's part of it, dollars."""
        asked = np.bincount(self._asked_by[self._asked_by >= 0], minlength=self._table.columns.size)
        found = np.zeros(self._tools.size)
        repeated = (self._loops.nth >= 2) & (self._asked_by >= 0)
        askers = self._asked_by[repeated]
        found[repeated] = np.nan_to_num(costs[askers]) / asked[askers]
        return found / NANO_DOLLARS

    def report(self, by: tuple[str, ...], *, show_text: bool) -> ToolsReport:
        """Everything that is found out about the tool calls."""
        grouped = self._grouped(by)
        index = GroupIndex()
        groups, _ = Grouping(tuple(f"tag.{field}" for field in by)).rows(grouped, index)
        rows = [self._row(dict(zip(by, group, strict=True)), groups == number) for number, group in enumerate(index)]
        rows.sort(key=lambda row: (-row.calls, str(row.key)))
        totals = self._row({}, np.ones(self._tools.size, np.bool_))
        loops = self._loop_rows(show_text=show_text)
        usd = None if self._whole is None else self._whole / NANO_DOLLARS
        return ToolsReport(
            by=by,
            totals=totals,
            groups=tuple(rows),
            loops=loops,
            failures=self._failures() if show_text else (),
            findings=_findings(totals, self._by_tool(), loops, usd),
            cost_usd=usd,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Each tool call by the names of `reports.tables`; times are microseconds UTC."""
        tools, columns = self._tools, self._table.columns
        asker = self._asked_by.tolist()
        named: dict[str, list[Any]] = {name: tools.name(name).texts() for name in ("tool", "server", "error_type")}
        asked = {name: [*columns.name(name).texts(), None] for name in ("model", "user", "request_id")}
        numbers = {name: whole_numbers(tools.number(name)) for name in ("arguments_chars", "result_chars")}
        flags = {name: _flags(tools.number(name)) for name in ("failed", "hidden")}
        spent: dict[str, list[float]] = {"context_usd": self._context_usd.tolist(), "loop_usd": self._loop_usd.tolist()}
        latency, moments = (tools.number("latency_ms") / 1000).tolist(), tools.timestamp.tolist()
        return [
            {
                "session": self._table.runs.names[session],
                "timestamp_us": _moment(moments[at]),
                "latency_ms": _known(latency[at]),
                "looped": nth or None,
                **{name: values[at] for name, values in (*named.items(), *numbers.items(), *flags.items())},
                **{name: values[asker[at]] for name, values in asked.items()},
                **{name: _known(values[at]) for name, values in spent.items()},
            }
            for at, (session, nth) in enumerate(zip(self._sessions.tolist(), self._loops.nth.tolist(), strict=True))
        ]

    def _grouped(self, by: Sequence[str]) -> Columns:
        """The tool calls with the names to group by: their own, or those of the model calls that asked for them."""
        names: dict[str, Names] = {}
        for field in by:
            if field == "session":
                found = Names(self._sessions.astype(np.int32), self._table.runs.names)
            elif field in _OWN:
                found = self._tools.name(field)
            else:
                of_calls = self._table.columns.name(field)
                codes = np.append(of_calls.codes, MISSING_CODE)[self._asked_by]
                found = Names(codes.astype(np.int32), of_calls.values)
            names[f"tag.{field}"] = found
        return Columns(self._tools.size, self._tools.timestamp, {}, names)

    def _by_tool(self) -> list[ToolRow]:
        names = self._tools.name("tool")
        return [self._row({"tool": names.values[code]}, names.codes == code) for code in np.unique(names.codes)]

    def _row(self, key: Mapping[str, str | None], chosen: BoolArray) -> ToolRow:
        tools = self._tools.take(chosen)
        failed, usd = tools.number("failed"), self._context_usd[chosen]
        known = ~np.isnan(failed)
        latency = tools.number("latency_ms")
        latency = latency[~np.isnan(latency)] / 1000
        p50, p95 = np.quantile(latency, (0.5, 0.95)).tolist() if len(latency) else (None, None)
        looped = self._loops.run[chosen]
        return ToolRow(
            key=key,
            calls=tools.size,
            sessions=len(set(self._sessions[chosen].tolist())),
            failed=int((failed == 1).sum()),
            failure_rate=float(failed[known].mean()) if known.any() else None,
            hidden_failures=int((tools.number("hidden") == 1).sum()),
            unfinished=int((~known).sum()),
            latency_p50_ms=p50,
            latency_p95_ms=p95,
            result_chars=int(np.nansum(tools.number("result_chars"))),
            result_tokens=round(float(self._tokens[chosen].sum())),
            context_usd=None if np.isnan(usd).all() else float(np.nansum(usd)),
            loops=len(set(looped[looped >= 0].tolist())),
            looped_calls=int((looped >= 0).sum()),
            loop_usd=None if self._whole is None else float(self._loop_usd[chosen].sum()),
        )

    def _loop_rows(self, *, show_text: bool) -> tuple[LoopRow, ...]:
        tools, rows = self._tools, []
        names, servers = tools.name("tool").texts(), tools.name("server").texts()
        texts = tools.text("arguments") if show_text else [None] * tools.size
        order = np.argsort(self._loops.run, kind="stable")
        runs = self._loops.run[order]
        present, starts = np.unique(runs, return_index=True)
        for run, start, end in zip(present, starts, [*starts, len(order)][1:], strict=True):
            if run < 0:
                continue
            mine = order[start:end]
            first = int(mine[0])
            rows.append(
                LoopRow(
                    session=self._table.runs.names[int(self._sessions[first])],
                    tool=names[first] or "",
                    server=servers[first],
                    arguments=f"{int(tools.number('arguments_key')[first]):014x}",
                    times=len(mine),
                    failed=int((tools.number("failed")[mine] == 1).sum()),
                    start_us=_moment(int(tools.timestamp[mine].min())),
                    end_us=_moment(int(tools.timestamp[mine].max())),
                    usd=None if self._whole is None else float(self._loop_usd[mine].sum()),
                    text=_short(texts[first]),
                )
            )
        return tuple(sorted(rows, key=lambda row: (-(row.usd or 0.0), -row.times, row.session, row.tool)))

    def _failures(self) -> tuple[FailureRow, ...]:
        failed = self._tools.take(self._tools.number("failed") == 1)
        sessions = self._sessions[self._tools.number("failed") == 1].tolist()
        given, gave, names = failed.text("arguments"), failed.text("result"), failed.name("tool").texts()
        sizes, hidden = failed.number("result_chars").tolist(), failed.number("hidden").tolist()
        return tuple(
            FailureRow(
                session=self._table.runs.names[sessions[at]],
                tool=names[at] or "",
                at_us=_moment(int(failed.timestamp[at])),
                hidden=hidden[at] == 1,
                result_chars=None if sizes[at] != sizes[at] else int(sizes[at]),
                arguments=_short(given[at]),
                result=_short(gave[at]),
            )
            for at in range(failed.size)
        )


def _known(value: float) -> float | None:
    return None if value != value else value


def _flags(values: FloatArray) -> list[bool | None]:
    return [None if value != value else value == 1 for value in values.tolist()]


def _moment(us: int) -> int | None:
    return None if us == MISSING_TIME else us


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _askers(tools: Columns, sessions: IntArray, table: SessionTable) -> IntArray:
    """The model call that asked for each tool call: by its id, else the last of the session before it; -1 for none."""
    columns, runs = table.columns, table.runs
    ids: dict[str | None, int] = {
        name: at for at, name in enumerate(columns.name("request_id").texts()) if name is not None
    }
    times = columns.timestamp[runs.order]
    edges = [*runs.starts.tolist(), len(runs.order)]
    found = np.full(tools.size, -1, np.int64)
    named, moments = tools.name("request_id").texts(), tools.timestamp.tolist()
    for at, session in enumerate(sessions.tolist()):
        if (known := ids.get(named[at])) is not None:
            found[at] = known
            continue
        start, end = edges[session], edges[session + 1]
        place = int(np.searchsorted(times[start:end], moments[at], side="right"))
        found[at] = runs.order[start + max(place - 1, 0)]
    return found


def _rates(columns: Columns, table: PriceTable, undated_us: int) -> tuple[FloatArray, FloatArray]:
    """What a token of the prompt costs each call, nano-dollars: one that is new to it, and one that was there before.

    As the prices say, in proportion to what the call cost; shape (calls,).
    """
    nothing = np.zeros(columns.size)
    prompt, cached = columns.number("prompt_tokens"), np.nan_to_num(columns.number("cached_tokens"))
    asked = columns.with_numbers(completion_tokens=nothing, reasoning_tokens=nothing, total_tokens=prompt)
    read_only = asked.with_numbers(
        prompt_tokens=cached, total_tokens=cached, cache_write_tokens=nothing, cache_write_1h_tokens=nothing
    )
    whole, full = calculate(columns, table, undated_us), calculate(asked, table, undated_us)
    read = np.where(cached > 0, calculate(read_only, table, undated_us), 0.0)
    scale = np.divide(columns.number("cost_usd"), whole, out=np.ones(columns.size), where=whole > 0)
    scale = np.where(np.isnan(scale), 1.0, scale)
    mean = np.divide(full, prompt, out=np.full(columns.size, np.nan), where=prompt > 0)
    fresh = np.divide(full - read, prompt - cached, out=mean.copy(), where=prompt > cached)
    again = np.divide(read, cached, out=mean.copy(), where=cached > 0)
    return fresh * scale, again * scale


def _ends_of_contexts(columns: Columns, threads: Threads) -> IntArray:
    """The last place in a thread's order up to which the context of each call lasts; shape (calls in runs,)."""
    runs = threads.runs
    begins = compacted(columns, threads)
    begins[runs.starts] = True
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:] - 1, len(runs.order) - 1)[: len(starts)]
    return np.repeat(ends, np.diff(np.append(starts, len(runs.order))))


def _findings(
    totals: ToolRow, tools: Sequence[ToolRow], loops: Sequence[LoopRow], cost_usd: float | None
) -> tuple[Finding, ...]:
    found = [_looping(totals, loops)] if loops else []
    broken = max(tools, key=lambda row: row.failed, default=None)
    if broken is not None and broken.failed:
        found.append(_failing(totals, broken))
    largest = max(tools, key=lambda row: row.context_usd or 0.0, default=None)
    if largest is not None and largest.context_usd:
        share = f" ({percent(largest.context_usd / cost_usd)} of the cost)" if cost_usd else ""
        text = (
            f"results of {largest.key['tool']} put about {count(largest.result_tokens)} tokens into contexts, "
            f"which cost {money_text(largest.context_usd)}{share} in all calls that carried them"
        )
        step = "let it return less: a range, a summary, the first matches"
        found.append(Finding("results", text, step, largest.context_usd))
    return tuple(sorted(found, key=lambda one: -(one.usd or 0.0)))


def _looping(totals: ToolRow, loops: Sequence[LoopRow]) -> Finding:
    longest = max(loops, key=lambda row: row.times)
    sessions = len({row.session for row in loops})
    spent = "" if totals.loop_usd is None else f": {money_text(totals.loop_usd)} spent from the first repetition on"
    text = (
        f"{counted(len(loops), 'loop')} (the same tool with the same arguments {LEAST_LOOP} times or more) in "
        f"{counted(sessions, 'session')}{spent}; the longest: {longest.tool} {longest.times} times in {longest.session}"
    )
    return Finding("loops", text, f"`llmmon sessions {longest.session}` shows it step by step", totals.loop_usd)


def _failing(totals: ToolRow, broken: ToolRow) -> Finding:
    text = (
        f"{counted(totals.failed, 'tool call')} of {totals.calls:,} failed, {totals.hidden_failures:,} of them without "
        f"being reported as failures; most often {broken.key['tool']}: {broken.failed:,} of {broken.calls:,} "
        f"({percent(broken.failure_rate)})"
    )
    return Finding("failures", text, "--show-text shows their arguments and results")
