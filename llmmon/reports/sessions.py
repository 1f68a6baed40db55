"""`sessions`: the calls of a query -> what each session came to, how its context grew, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import InputError, UsageError
from llmmon.ingest.query import Query, Read, read
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import EMPTY, BoolArray, Columns, FloatArray, IntArray, concat, in_log_order
from llmmon.metrics.definitions import errors
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import NANO_DOLLARS, TAG_PREFIX
from llmmon.metrics.sessions import (
    PLACED_BY,
    SESSION,
    Runs,
    Threads,
    durations_of,
    sessions_at,
    sessions_of,
    threads_of,
)
from llmmon.metrics.steps import compactions, tool_calls
from llmmon.metrics.vocabulary import figure_called, metric_word
from llmmon.reports.session_figures import (
    Finding,
    Growth,
    Growths,
    Spread,
    endings,
    first_names,
    last_errors,
    main_models,
    median_turn,
    moments,
    spread,
    whole_numbers,
)
from llmmon.text.figures import counted, money_text, percent
from llmmon.text.names import unknown

UNITS: Final[dict[str, tuple[str, ...]]] = {
    "session": SESSION,
    "trace": ("trace",),
    "task": (f"{TAG_PREFIX}task_id", f"{TAG_PREFIX}task", f"{TAG_PREFIX}taskId"),
}
LONG_CONTEXT: Final = 150_000  # tokens
_COSTS: Final = ("cost_usd", "cost_logged_usd", "cost_calculated_usd", "unpriced")
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "total_tokens")
_NAMES: Final = ("model", "user", "feature", "folder", "parent_session", "status", "finish_reason", "error_type")
READ: Final = PLACED_BY | {*_COSTS, *_TOKENS, *_NAMES}


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session; None where the log does not say.

    `cost_usd` is that of its own calls; `with_subagents_usd` adds the sessions that it is the parent of, and
    `subagent_usd` is the part of all that its sub-agents spent. `context_tokens` is the largest context (the prompt's
    tokens) of its own line of work. Turns count its own calls from 1: `long_context_from_turn` is the first with a
    long context, `expensive_from_turn` the one from which on a turn cost at least twice as much as before.
    """

    session: str
    parent: str | None
    user: str | None
    feature: str | None
    folder: str | None
    model: str | None
    start_us: int | None
    end_us: int | None
    duration_ms: float | None
    calls: int
    tool_calls: int | None
    failed_tool_calls: int | None
    steps: int
    errors: int
    cost_usd: float | None
    complete: bool
    with_subagents_usd: float | None
    subagent_usd: float | None
    subagents: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    total_tokens: int | None
    context_tokens: int | None
    first_context_tokens: int | None
    last_context_tokens: int | None
    turns: int
    compactions: int
    long_context_from_turn: int | None
    expensive_from_turn: int | None
    ended: str
    error_type: str | None


class GroupRow(msgspec.Struct, frozen=True):
    """The sessions of a group; a session counts where its first known value of each field is."""

    key: Mapping[str, str | None]
    sessions: int
    calls: int
    failed_sessions: int
    cost_usd: float | None
    complete: bool
    cost_share: float | None
    cost_p50_usd: float | None
    cost_p95_usd: float | None
    calls_p50: float | None
    calls_p95: float | None
    duration_p50_ms: float | None
    duration_p95_ms: float | None
    context_p95_tokens: float | None


class SessionsReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon sessions`: all sessions, the most expensive first, their spreads, groups and findings."""

    unit: str
    by: tuple[str, ...]
    sessions: tuple[SessionRow, ...]
    groups: tuple[GroupRow, ...]
    spreads: Mapping[str, Spread]
    growth: tuple[Growth, ...]
    cost_usd: float | None
    complete: bool
    top_share: float | None  # of the cost, by the most expensive twentieth of the sessions (at least one)
    top_sessions: int
    calls: int
    without: int  # calls without a session
    has_tools: bool
    long_context: int
    findings: tuple[Finding, ...]

    @property
    def figures(self) -> dict[str, float | int | None]:
        """The totals by the names that `--fail-on` takes."""
        found: dict[str, float | int | None] = {
            "sessions": len(self.sessions),
            "calls": self.calls,
            "cost_usd": self.cost_usd,
            "failed_sessions": sum(row.ended == "error" for row in self.sessions),
            "compactions": sum(row.compactions for row in self.sessions),
        }
        for name, spread_ in self.spreads.items():
            for how in ("p50", "p95", "max"):
                found[statistic_of(name, how)] = getattr(spread_, how)
        return found


def statistic_of(metric: str, aggregation: str) -> str:
    """`session_cost_p95_usd`: the unit stays at the end."""
    for suffix in ("_ms", "_usd"):
        if metric.endswith(suffix):
            return f"{metric.removesuffix(suffix)}_{aggregation}{suffix}"
    return f"{metric}_{aggregation}"


def unit_of(by: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Which of the `--by` fields is the unit, and the fields to group sessions by; raises `UsageError`."""
    units = [name for name in by if name in UNITS]
    if len(units) > 1:
        raise UsageError(f"--by: the unit is one of {', '.join(UNITS)}, not {' and '.join(units)}")
    fields = tuple(name for name in by if name not in UNITS)
    Grouping(fields)  # checks them
    return (units[0] if units else "session"), fields


SORTS: Final = {
    "cost_usd": "with_subagents_usd",
    "calls": "calls",
    "steps": "steps",
    "duration_ms": "duration_ms",
    "context_tokens": "context_tokens",
    "total_tokens": "total_tokens",
    "errors": "errors",
    "start": "start_us",
}


def sort_key(name: str) -> str:
    """The figure of a session that `--sort` names; raises `UsageError`."""
    found = figure_called(name, SORTS, [word] if (word := metric_word(name)) else [])
    if found is None:
        raise UsageError("--sort: " + unknown("figure", name, SORTS))
    return SORTS[found]


def report_sessions(
    query: Query, *, by: Sequence[str] = (), sort: str = "cost_usd", long_context: int = LONG_CONTEXT
) -> tuple[SessionsReport, Read]:
    """What each session of a query came to; raises `UsageError`, `InputError` where no call has a session."""
    unit, fields = unit_of(by)
    key = sort_key(sort)
    columns, found = read_calls(query, unit, fields)
    table = SessionTable(columns, unit, long_context, found.scanned.steps)
    return table.report(fields, key), found


def read_calls(query: Query, unit: str, more: Sequence[str] = ()) -> tuple[Columns, Read]:
    """The calls of a query in log order, with what sessions are made of; raises `InputError` where there are none."""
    with_steps = msgspec.structs.replace(query, steps=True)
    found = read(with_steps, READ | {*UNITS[unit], *more}, ColumnsFold)
    found.source.need_calls()
    return in_log_order(concat(found.results)), found


def none_found(unit: str) -> InputError:
    """The error for calls that no session holds."""
    key = {"session": "session (or a trace)", "trace": "trace", "task": "task"}[unit]
    hint = "--map session=KEY names the key that holds it; --by trace or --by task counts other units"
    return InputError(f"no call of these logs has a {key}", hint=hint)


class SessionTable:
    """Calls put together by session, and what sessions come to; raises `InputError` where no call has one."""

    def __init__(self, columns: Columns, unit: str, long_context: int = LONG_CONTEXT, steps: Columns = EMPTY) -> None:
        self.columns = columns
        self.unit = unit
        self.runs: Runs = sessions_of(columns, UNITS[unit])
        if not len(self.runs):
            raise none_found(unit)
        self.threads: Threads = threads_of(columns, self.runs)
        self.long_context = long_context
        self.tools = tool_calls(steps)
        self.tool_sessions = sessions_at(self.tools, columns, self.runs)
        self._growths = Growths(columns, self.threads, long_context)
        self.compactions = self._compactions(compactions(steps))
        self.costs = self.runs.total(columns.number("cost_usd"))
        self.parents = self._parents()
        self._nested = self._with_subagents()

    def report(self, by: tuple[str, ...] = (), sort: str = "with_subagents_usd") -> SessionsReport:
        """Everything that is found out about the sessions."""
        rows = self.rows()
        order = sorted(range(len(rows)), key=lambda at: (-(getattr(rows[at], sort) or 0), rows[at].session))
        known = np.nan_to_num(self.costs)
        whole = float(known.sum())
        top = max(1, round(len(rows) / 20))
        costly = np.sort(known)[::-1]
        return SessionsReport(
            unit=self.unit,
            by=by,
            sessions=tuple(rows[at] for at in order),
            groups=self._groups(by) if by else (),
            spreads=self._spreads(),
            growth=self._growths.by_turn(),
            cost_usd=_usd(whole) if not np.isnan(self.costs).all() else None,
            complete=all(row.complete for row in rows),
            top_share=float(costly[:top].sum()) / whole if whole else None,
            top_sessions=top,
            calls=len(self.runs.order),
            without=self.columns.size - len(self.runs.order),
            has_tools=bool(self.tools.size),
            long_context=self.long_context,
            findings=self._findings(rows),
        )

    def _compactions(self, named: Columns) -> IntArray:
        """How often each session's context was compacted: as the log says, else how often it shrank by half."""
        said = np.bincount(_placed(sessions_at(named, self.columns, self.runs)), minlength=len(self.runs))
        found: IntArray = np.where(said > 0, said, self._growths.compactions)
        return found

    def _parents(self) -> IntArray:
        """The session whose sub-agent each is, as a number, -1 for none; shape (sessions,)."""
        names = self.columns.name("parent_session")
        codes = self.runs.known_first(names.codes)
        at = {name: number for number, name in enumerate(self.runs.names)}
        found = [at.get(names.values[code], -1) if code >= 0 else -1 for code in codes.tolist()]
        parents = np.array(found, np.int64)
        parents[parents == np.arange(len(parents))] = -1
        return parents

    def _with_subagents(self) -> FloatArray:
        """The cost of each session with those below it, nano-dollars; shape (sessions,)."""
        whole = np.nan_to_num(self.costs)
        for number, parent in enumerate(self.parents.tolist()):
            seen, above = {number}, parent
            while above >= 0 and above not in seen:  # a circle of parents ends
                whole[above] += np.nan_to_num(self.costs[number])
                seen.add(above)
                above = int(self.parents[above])
        return whole

    def rows(self) -> list[SessionRow]:
        """A row for each session, in the order of their names' first calls."""
        columns, runs, growths = self.columns, self.runs, self._growths
        tokens = {name: whole_numbers(runs.total(columns.number(name))) for name in _TOKENS}
        starts, ends = moments(runs, columns)
        durations = durations_of(columns, runs) / 1000
        failed = failures_of(columns)
        failures = runs.count(failed).tolist()
        unpriced = runs.count(columns.number("unpriced") == 1)
        children = Counter(self.parents[self.parents >= 0].tolist())
        of_threads = np.bincount(self.threads.session[~self.threads.main], minlength=len(runs)).tolist()
        in_threads = self._in_subagents()
        priced = ~np.isnan(self.costs)
        said = {name: first_names(runs, columns, name) for name in ("user", "feature", "folder", "parent_session")}
        models, ended, types = main_models(runs, columns), endings(runs, columns), last_errors(runs, columns, failed)
        sizes = runs.sizes.tolist()
        used = np.bincount(_placed(self.tool_sessions), minlength=len(runs)).tolist()
        unsuccessful = self.tool_sessions[self.tools.number("failed") == 1]
        broken = np.bincount(_placed(unsuccessful), minlength=len(runs)).tolist()
        return [
            SessionRow(
                session=runs.names[at],
                parent=said["parent_session"][at],
                user=said["user"][at],
                feature=said["feature"][at],
                folder=said["folder"][at],
                model=models[at],
                start_us=starts[at],
                end_us=ends[at],
                duration_ms=_number(durations[at]),
                calls=sizes[at],
                tool_calls=used[at] if self.tools.size else None,
                failed_tool_calls=broken[at] if self.tools.size else None,
                steps=sizes[at] + used[at],
                errors=failures[at],
                cost_usd=_usd(self.costs[at]),
                complete=not unpriced[at],
                with_subagents_usd=_usd(self._nested[at]) if priced[at] or self._nested[at] else None,
                subagent_usd=_usd(self._nested[at] - np.nan_to_num(self.costs[at]) + in_threads[at])
                if of_threads[at] or children[at]
                else None,
                subagents=of_threads[at] + children[at],
                prompt_tokens=tokens["prompt_tokens"][at],
                completion_tokens=tokens["completion_tokens"][at],
                cached_tokens=tokens["cached_tokens"][at],
                total_tokens=tokens["total_tokens"][at],
                context_tokens=growths.highest[at],
                first_context_tokens=growths.first[at],
                last_context_tokens=growths.last[at],
                turns=growths.turns[at],
                compactions=int(self.compactions[at]),
                long_context_from_turn=growths.long_from[at],
                expensive_from_turn=growths.dear_from[at],
                ended=ended[at],
                error_type=types[at],
            )
            for at in range(len(runs))
        ]

    def _in_subagents(self) -> FloatArray:
        """What the sub-agents within each session cost, nano-dollars; shape (sessions,)."""
        spent = np.nan_to_num(self.threads.runs.total(self.columns.number("cost_usd")))
        weights = np.where(self.threads.main, 0.0, spent)
        return np.bincount(self.threads.session, weights, minlength=len(self.runs)).astype(np.float64)

    def _spreads(self) -> dict[str, Spread]:
        columns, runs = self.columns, self.runs
        return {
            "session_cost_usd": spread(self.costs / NANO_DOLLARS),
            "session_calls": spread(runs.sizes.astype(np.float64)),
            "session_duration_ms": spread(durations_of(columns, runs) / 1000),
            "session_context_tokens": spread(runs.highest(columns.number("prompt_tokens"))),
            "session_total_tokens": spread(runs.total(columns.number("total_tokens"))),
        }

    def _groups(self, by: tuple[str, ...]) -> tuple[GroupRow, ...]:
        columns, runs = self.columns, self.runs
        said = [first_names(runs, columns, field) for field in by]
        members: dict[tuple[str | None, ...], list[int]] = {}
        for at in range(len(runs)):
            members.setdefault(tuple(names[at] for names in said), []).append(at)
        durations = durations_of(columns, runs) / 1000
        contexts = runs.highest(columns.number("prompt_tokens"))
        failed = np.array([ending == "error" for ending in endings(runs, columns)])
        unpriced = runs.count(columns.number("unpriced") == 1) > 0
        whole = float(np.nansum(self.costs))
        rows = []
        for key, listed in members.items():
            chosen = np.array(listed, np.int64)
            cost, calls = spread(self.costs[chosen] / NANO_DOLLARS), spread(runs.sizes[chosen].astype(np.float64))
            lasted = spread(durations[chosen])
            rows.append(
                GroupRow(
                    key=dict(zip(by, key, strict=True)),
                    sessions=len(chosen),
                    calls=int(runs.sizes[chosen].sum()),
                    failed_sessions=int(failed[chosen].sum()),
                    cost_usd=cost.sum,
                    complete=not unpriced[chosen].any(),
                    cost_share=(cost.sum or 0.0) * NANO_DOLLARS / whole if whole else None,
                    cost_p50_usd=cost.p50,
                    cost_p95_usd=cost.p95,
                    calls_p50=calls.p50,
                    calls_p95=calls.p95,
                    duration_p50_ms=lasted.p50,
                    duration_p95_ms=lasted.p95,
                    context_p95_tokens=spread(contexts[chosen]).p95,
                )
            )
        return tuple(sorted(rows, key=lambda row: (-(row.cost_usd or 0.0), -row.sessions, str(row.key))))

    def _findings(self, rows: Sequence[SessionRow]) -> tuple[Finding, ...]:
        found = (self._concentration(rows), self._long(), self._dear(), self._delegated(), _failures(rows))
        return tuple(sorted((one for one in found if one is not None), key=lambda one: -(one.usd or 0.0)))

    def _concentration(self, rows: Sequence[SessionRow]) -> Finding | None:
        """The fewest sessions that make half of the cost, where they are at most a fifth of all."""
        known = np.nan_to_num(self.costs)
        order = np.argsort(-known, kind="stable")
        reached = np.cumsum(known[order])
        half = int(np.searchsorted(reached, reached[-1] / 2)) + 1
        if not reached[-1] or len(rows) < 5 or half > len(rows) / 5:
            return None
        common = _common([rows[at] for at in order[:half].tolist()], [rows[at] for at in order[half:].tolist()])
        where = f"; all in {_listed(common)}" if common else ""
        share = percent(float(reached[half - 1] / reached[-1]))
        text = f"{counted(half, self.unit)} of {len(rows):,} {'is' if half == 1 else 'are'} {share} of the cost{where}"
        usd = float(reached[half - 1]) / NANO_DOLLARS
        return Finding("concentration", text, f"`llmmon sessions {rows[int(order[0])].session}` shows the first", usd)

    def _long(self) -> Finding | None:
        growths, whole = self._growths, float(np.nansum(self.costs))
        sessions = sum(turn is not None for turn in growths.long_from)
        if not sessions:
            return None
        since = f" from turn {median_turn(growths.long_from)} on" + (" (median)" if sessions > 1 else "")
        share = f", {percent(growths.long_cost / whole)} of the cost" if whole else ""
        usd = growths.long_cost / NANO_DOLLARS
        text = f"context above {self.long_context:,} tokens in {counted(sessions, self.unit)}{since}: "
        step = "start a new session, or compact, before that turn"
        return Finding("long_context", f"{text}{money_text(usd)} was spent on those turns{share}", step, usd)

    def _dear(self) -> Finding | None:
        growths = self._growths
        sessions = sum(turn is not None for turn in growths.dear_from)
        if not sessions or growths.dear_times is None:
            return None
        usd = growths.dear_cost / NANO_DOLLARS
        text = (
            f"a turn costs {growths.dear_times:.1f} times as much from turn {median_turn(growths.dear_from)} on "
            f"in {counted(sessions, self.unit)}: {money_text(usd)} more than at the price of the turns before"
        )
        return Finding("expensive_turns", text, "`llmmon cache` and `llmmon tools` show what filled the context", usd)

    def _delegated(self) -> Finding | None:
        nested = (self._in_subagents() + self._nested - np.nan_to_num(self.costs))[self.parents < 0]
        usd, whole = float(nested.sum()) / NANO_DOLLARS, float(np.nansum(self.costs)) / NANO_DOLLARS
        if not usd:
            return None
        sessions = int(np.count_nonzero(nested))
        text = f"sub-agents of {counted(sessions, self.unit)} are {percent(usd / whole)} of the cost: {money_text(usd)}"
        return Finding("subagents", text, "--by feature, or a smaller model for sub-agents", usd)


def _failures(rows: Sequence[SessionRow]) -> Finding | None:
    failed = [row for row in rows if row.ended == "error"]
    if not failed:
        return None
    usd = sum(row.cost_usd or 0.0 for row in failed)
    types = Counter(row.error_type or "unknown error" for row in failed)
    named = ", ".join(f"{name} ({number})" for name, number in types.most_common(3))
    text = f"{len(failed):,} of {counted(len(rows), 'session')} ended with an error: {named}; {money_text(usd)} spent"
    return Finding("failed", text, "`llmmon requests --where error` shows the calls", usd)


def _listed(common: Mapping[str, str]) -> str:
    return ", ".join(f"{field} {value}" for field, value in common.items())


def failures_of(columns: Columns) -> BoolArray:
    """The calls that failed; shape (calls,)."""
    failed = errors(columns)
    return np.zeros(columns.size, np.bool_) if failed is None else failed == 1


def _placed(sessions: IntArray) -> IntArray:
    return sessions[sessions >= 0]


def _usd(nano: float) -> float | None:
    return None if nano != nano else float(nano) / NANO_DOLLARS


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _common(chosen: Sequence[SessionRow], others: Sequence[SessionRow]) -> dict[str, str]:
    """What all of the chosen sessions have in common, where it is not true of all others as well."""
    found = {}
    for field in ("folder", "user", "feature", "model"):
        values = {getattr(row, field) for row in chosen}
        value = next(iter(values))
        if len(values) == 1 and len(chosen) > 1 and value and any(getattr(row, field) != value for row in others):
            found[field] = str(value)
    return found
