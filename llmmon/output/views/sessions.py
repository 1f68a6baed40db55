"""What is shown of `sessions`: the list, the groups, how contexts grew, and one session step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.reports.session_figures import Finding, Spread
from llmmon.reports.session_timeline import Timeline, TimelineStep
from llmmon.reports.sessions import GroupRow, SessionRow, SessionsReport
from llmmon.text.figures import count, counted, key_text, many, milliseconds, money_text, percent
from llmmon.text.times import iso, local

_LONGEST_ID: Final = 12


def view_sessions(report: SessionsReport, tz: str, limit: int = 0) -> View:
    """Findings, spreads, the most expensive sessions with their sub-agents under them."""
    rows = [session_data(row) for row in report.sessions]
    tables = [_groups(report)] if report.by else []
    tables += [_sessions(report, tz, limit)]
    tables += [_growth(report)] if len(report.growth) > 1 else []
    return View(
        data={
            "unit": report.unit,
            "by": list(report.by),
            "calls": report.calls,
            "calls_without": report.without,
            "cost_usd": report.cost_usd,
            "complete": report.complete,
            "top": {"sessions": report.top_sessions, "share": report.top_share},
            "spreads": msgspec.to_builtins(report.spreads),
            "findings": findings_data(report.findings),
            "groups": msgspec.to_builtins(report.groups),
            "growth": msgspec.to_builtins(report.growth),
            "sessions": rows,
        },
        rows=msgspec.to_builtins(report.groups) if report.by else rows,
        title=_title(report),
        headline=_headline(report),
        lines=findings_lines(report.findings),
        tables=tuple(tables),
        notes=(f"{many(report.without, 'call')} without a {report.unit}",) if report.without else (),
    ).limited(limit, "sessions")


def session_data(row: SessionRow) -> dict[str, Any]:
    """A session's figures by name, times as ISO."""
    plain: dict[str, Any] = msgspec.to_builtins(row)
    times = {"start": iso(plain.pop("start_us")), "end": iso(plain.pop("end_us"))}
    return {"session": plain.pop("session"), "parent": plain.pop("parent"), **times, **plain}


def findings_data(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings for JSON."""
    return [
        {"kind": one.kind, "finding": one.text, "next_step": one.next_step, "amount_usd": one.usd} for one in findings
    ]


def findings_lines(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Findings for people, a line each and one for the next step."""
    return tuple(line for one in findings for line in (f"- {one.text}", f"    next: {one.next_step}"))


def _title(report: SessionsReport) -> str:
    number = len(report.sessions)
    return f"{counted(number, report.unit)}, {counted(report.calls, 'call')}"


def _headline(report: SessionsReport) -> tuple[tuple[str, str], ...]:
    spreads = report.spreads
    unit = report.unit
    pairs = (
        ("cost", money_text(report.cost_usd, complete=report.complete)),
        (f"cost per {unit}", spread_text(spreads["session_cost_usd"], money_text)),
        (f"calls per {unit}", spread_text(spreads["session_calls"], count)),
        (f"time per {unit}", spread_text(spreads["session_duration_ms"], milliseconds)),
        ("largest context", spread_text(spreads["session_context_tokens"], count)),
        (f"tokens per {unit}", spread_text(spreads["session_total_tokens"], count)),
        (f"top {report.top_sessions}", _share(report.top_share)),
    )
    return tuple((label, text) for label, text in pairs if text != "-")


def _share(share: float | None) -> str:
    return "-" if share is None else f"{percent(share)} of the cost"


def spread_text(spread: Spread, write: Callable[[float | None], str]) -> str:
    """`p50 12 · p95 40`, a dash where nothing is known."""
    if not spread.count:
        return "-"
    return f"p50 {write(spread.p50)} · p95 {write(spread.p95)}"


def short(identifier: str, others: int = _LONGEST_ID) -> str:
    """The beginning of a long identifier, by which a session can be named."""
    return identifier if len(identifier) <= others + 2 else identifier[:others]


_Cell = Callable[[SessionRow], str]


def _columns(report: SessionsReport, tz: str) -> list[tuple[str, _Cell, bool, int]]:
    widths = _LONGEST_ID
    while widths < 40 and len({short(row.session, widths) for row in report.sessions}) < len(report.sessions):
        widths += 4

    def named(row: SessionRow) -> str:
        return ("└ " if row.parent and row.parent in known else "") + short(row.session, widths)

    known = {row.session for row in report.sessions}
    return [
        (report.unit, named, False, 0),
        ("start", lambda row: "-" if row.start_us is None else local(row.start_us, tz, seconds=False), False, 3),
        ("time", lambda row: milliseconds(row.duration_ms), True, 2),
        ("calls", lambda row: count(row.calls), True, 0),
        ("tools", lambda row: count(row.tool_calls), True, 4),
        ("failed", lambda row: count(row.failed_tool_calls) if row.failed_tool_calls else "-", True, 9),
        ("errors", lambda row: count(row.errors) if row.errors else "-", True, 5),
        ("cost", lambda row: money_text(row.cost_usd, complete=row.complete), True, 0),
        ("sub-agents", _delegated, True, 6),
        ("tokens", lambda row: count(row.total_tokens), True, 3),
        ("context", lambda row: count(row.context_tokens), True, 1),
        ("compacted", lambda row: count(row.compactions) if row.compactions else "-", True, 7),
        ("long from", lambda row: _turn(row.long_context_from_turn), True, 8),
        ("expensive from", lambda row: _turn(row.expensive_from_turn), True, 5),
        ("ended", lambda row: row.ended, False, 4),
        ("model", lambda row: row.model or "-", False, 7),
        ("user", lambda row: row.user or "-", False, 8),
        ("folder", lambda row: row.folder or "-", False, 9),
    ]


def _delegated(row: SessionRow) -> str:
    return f"{row.subagents} · {money_text(row.subagent_usd)}" if row.subagents else "-"


def _turn(turn: int | None) -> str:
    return "-" if turn is None else f"turn {turn}"


def _sessions(report: SessionsReport, tz: str, limit: int) -> Table:
    listed = nested(report.sessions)
    shown = listed[:limit] if limit else listed
    columns = [
        column
        for column in _columns(report, tz)
        if column[3] == 0 or any(column[1](row) not in ("-", "unknown") for row in shown)
    ]
    left = len(listed) - len(shown)
    return Table(
        f"{report.unit}s, the most expensive first" if report.cost_usd else f"{report.unit}s",
        tuple(Column(title, right=right, rank=rank) for title, _, right, rank in columns),
        tuple(tuple(cell(row) for _, cell, _, _ in columns) for row in shown),
        f"and {left:,} more (--limit 0 shows all)" if left else "",
    )


def nested(rows: Sequence[SessionRow]) -> list[SessionRow]:
    """The sessions in their order, each followed by those that are its sub-agents."""
    known = {row.session for row in rows}
    below: dict[str, list[SessionRow]] = {}
    for row in rows:
        if row.parent in known and row.parent is not None and row.parent != row.session:
            below.setdefault(row.parent, []).append(row)
    found: list[SessionRow] = []
    placed: set[str] = set()

    def place(row: SessionRow) -> None:
        if row.session not in placed:
            placed.add(row.session)
            found.append(row)
            for inner in below.get(row.session, ()):
                place(inner)

    for row in rows:
        if row.parent is None or row.parent not in known:
            place(row)
    for row in rows:
        place(row)  # a circle of parents has no outermost
    return found


def _groups(report: SessionsReport) -> Table:
    cells: tuple[tuple[str, Callable[[GroupRow], str], int], ...] = (
        (f"{report.unit}s", lambda row: count(row.sessions), 0),
        ("calls", lambda row: count(row.calls), 1),
        ("cost", lambda row: money_text(row.cost_usd, complete=row.complete), 0),
        ("share", lambda row: percent(row.cost_share), 2),
        ("cost p50", lambda row: money_text(row.cost_p50_usd), 3),
        ("cost p95", lambda row: money_text(row.cost_p95_usd), 1),
        ("calls p50", lambda row: count(row.calls_p50), 5),
        ("calls p95", lambda row: count(row.calls_p95), 4),
        ("time p50", lambda row: milliseconds(row.duration_p50_ms), 5),
        ("time p95", lambda row: milliseconds(row.duration_p95_ms), 4),
        ("context p95", lambda row: count(row.context_p95_tokens), 2),
        ("ended in error", lambda row: count(row.failed_sessions), 6),
    )
    return Table(
        f"by {', '.join(report.by)}",
        (Column(" / ".join(report.by), right=False), *(Column(title, rank=rank) for title, _, rank in cells)),
        tuple((key_text(row.key), *(cell(row) for _, cell, _ in cells)) for row in report.groups),
    )


def _growth(report: SessionsReport) -> Table:
    rows = tuple(
        (
            count(one.turn),
            count(one.sessions),
            count(one.context_p50_tokens),
            count(one.context_p95_tokens),
            money_text(one.cost_usd / one.sessions if one.cost_usd is not None else None),
        )
        for one in report.growth
    )
    heads = ("turn", f"{report.unit}s that came so far", "context p50", "context p95", "cost of the turn, mean")
    return Table("growth of the context", tuple(Column(head) for head in heads), rows)


def view_timeline(timeline: Timeline, tz: str, limit: int = 0) -> View:
    """One session: its figures, and a row for each step."""
    row = timeline.session
    steps = [_step_data(step) for step in timeline.steps]
    shown = timeline.steps[:limit] if limit else timeline.steps
    left = len(timeline.steps) - len(shown)
    table = Table(
        "steps",
        tuple(Column(title, right=right, rank=rank) for title, _, right, rank in _used_columns(shown, tz)),
        tuple(tuple(cell(step) for _, cell, _, _ in _used_columns(shown, tz)) for step in shown),
        f"and {left:,} more (--limit 0 shows all)" if left else "",
    )
    data = {
        "session": session_data(row),
        "steps": steps,
        "children": [session_data(child) for child in timeline.children],
    }
    return View(
        data=data,
        rows=steps,
        title=f"{row.session}: {counted(row.calls, 'call')}, {money_text(row.cost_usd, complete=row.complete)}",
        headline=_session_headline(row, tz),
        lines=tuple(
            f"- sub-agent {child.session}: {counted(child.calls, 'call')}, {money_text(child.with_subagents_usd)}"
            for child in timeline.children
        ),
        tables=(table,),
    ).limited(limit, "steps")


def _step_data(step: TimelineStep) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(step)
    return {"kind": plain.pop("kind"), "turn": plain.pop("turn"), "timestamp": iso(plain.pop("at_us")), **plain}


def _session_headline(row: SessionRow, tz: str) -> tuple[tuple[str, str], ...]:
    pairs = (
        ("from", "-" if row.start_us is None else local(row.start_us, tz)),
        ("to", "-" if row.end_us is None else local(row.end_us, tz)),
        ("time", milliseconds(row.duration_ms)),
        ("ended", row.ended),
        ("largest context", count(row.context_tokens)),
        ("long context from", _turn(row.long_context_from_turn)),
        ("expensive from", _turn(row.expensive_from_turn)),
        ("compactions", count(row.compactions or None)),
        ("tool calls", count(row.tool_calls)),
        ("failed tool calls", count(row.failed_tool_calls or None)),
        ("sub-agents", _delegated(row)),
        ("user", row.user or "-"),
        ("folder", row.folder or "-"),
        ("parent", row.parent or "-"),
    )
    return tuple((label, text) for label, text in pairs if text not in ("-", "unknown"))


_StepColumn = tuple[str, Callable[[TimelineStep], str], bool, int]


def _used_columns(steps: Sequence[TimelineStep], tz: str) -> list[_StepColumn]:
    columns: list[_StepColumn] = [
        ("turn", lambda step: count(step.turn), True, 0),
        ("time", lambda step: "-" if step.at_us is None else local(step.at_us, tz), False, 0),
        ("after", lambda step: milliseconds(step.gap_ms), True, 4),
        ("step", _named_step, False, 0),
        ("took", lambda step: milliseconds(step.latency_ms), True, 2),
        ("context", lambda step: count(step.context_tokens), True, 1),
        ("cached", lambda step: count(step.cached_tokens), True, 5),
        ("out", lambda step: count(step.completion_tokens), True, 3),
        ("result", lambda step: "-" if step.result_chars is None else f"{step.result_chars:,} chars", True, 3),
        ("cost", lambda step: money_text(step.cost_usd), True, 1),
        ("so far", lambda step: money_text(step.cost_so_far_usd), True, 2),
        ("outcome", lambda step: step.outcome or "-", False, 1),
        ("sub-agent", lambda step: step.subagent or "-", False, 6),
    ]
    return [column for column in columns if column[3] == 0 or any(column[1](step) != "-" for step in steps)]


def _named_step(step: TimelineStep) -> str:
    if step.kind == "compaction":
        return "context compacted"
    if step.kind == "tool":
        return f"  {step.name}" + (f" (the same, {step.repeated})" if step.repeated else "")
    return step.name or "-"
