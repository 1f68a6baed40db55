"""What is shown of `tools`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.output.views.sessions import findings_data, findings_lines
from llmmon.reports.tools import FailureRow, LoopRow, ToolRow, ToolsReport
from llmmon.text.figures import count, key_text, many, milliseconds, money_text, percent
from llmmon.text.times import iso, local


def view_tools(report: ToolsReport, tz: str, limit: int = 0) -> View:
    """Findings, a row for each tool (or group), loops, and failures with their texts where these were asked for."""
    tables = [_groups(report, limit)]
    tables += [_loops(report, tz, limit)] if report.loops else []
    tables += [_failures(report, tz, limit)] if report.failures else []
    groups = msgspec.to_builtins(report.groups)
    data = {
        "by": list(report.by),
        "cost_usd": report.cost_usd,
        "totals": {name: value for name, value in msgspec.to_builtins(report.totals).items() if name != "key"},
        "findings": findings_data(report.findings),
        "groups": groups,
        "loops": [_loop_data(row) for row in report.loops],
        "failures": [_failure_data(row) for row in report.failures],
    }
    return View(
        data=data,
        rows=groups,
        title=f"tool calls, by {', '.join(report.by)}",
        headline=_headline(report),
        lines=findings_lines(report.findings),
        tables=tuple(tables),
    ).limited(limit, "groups", "loops", "failures")


def _loop_data(row: LoopRow) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return {**plain, "start": iso(plain.pop("start_us")), "end": iso(plain.pop("end_us"))}


def _failure_data(row: FailureRow) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return {**plain, "timestamp": iso(plain.pop("at_us"))}


def _headline(report: ToolsReport) -> tuple[tuple[str, str], ...]:
    total, hidden = report.totals, count(report.totals.hidden_failures)
    pairs = (
        ("tool calls", f"{count(total.calls)} in {many(total.sessions, 'session')}"),
        ("failed", f"{count(total.failed)} ({percent(total.failure_rate)}), {hidden} not reported"),
        ("time", f"p50 {milliseconds(total.latency_p50_ms)} · p95 {milliseconds(total.latency_p95_ms)}"),
        ("results", f"about {many(total.result_tokens, 'token')}, {money_text(total.context_usd)} in contexts"),
        ("loops", f"{count(total.loops)}, {many(total.looped_calls, 'call')}, {money_text(total.loop_usd)}"),
    )
    return tuple((label, text) for label, text in pairs if text != "p50 - · p95 -")


_CELLS: Final[tuple[tuple[str, Callable[[ToolRow], str], int], ...]] = (
    ("calls", lambda row: count(row.calls), 0),
    ("sessions", lambda row: count(row.sessions), 6),
    ("failed", lambda row: percent(row.failure_rate), 0),
    ("hidden", lambda row: count(row.hidden_failures) if row.hidden_failures else "-", 2),
    ("p50", lambda row: milliseconds(row.latency_p50_ms), 4),
    ("p95", lambda row: milliseconds(row.latency_p95_ms), 3),
    ("result tokens", lambda row: count(row.result_tokens), 1),
    ("in contexts", lambda row: money_text(row.context_usd), 0),
    ("looped", lambda row: count(row.looped_calls) if row.looped_calls else "-", 2),
    ("loops cost", lambda row: money_text(row.loop_usd) if row.loop_usd else "-", 5),
)


def _groups(report: ToolsReport, limit: int) -> Table:
    shown = report.groups[:limit] if limit else report.groups
    left = len(report.groups) - len(shown)
    return Table(
        f"by {', '.join(report.by)}",
        (Column(" / ".join(report.by), right=False), *(Column(title, rank=rank) for title, _, rank in _CELLS)),
        tuple((key_text(row.key), *(cell(row) for _, cell, _ in _CELLS)) for row in shown),
        f"and {left:,} more (--limit 0 shows all)" if left else "",
    )


def _loops(report: ToolsReport, tz: str, limit: int) -> Table:
    shown = report.loops[:limit] if limit else report.loops
    left = len(report.loops) - len(shown)
    with_text = any(row.text for row in shown)
    heads = [
        Column("tool", right=False),
        Column("times"),
        Column("failed", rank=2),
        Column("from", right=False, rank=1),
        Column("to", right=False, rank=3),
        Column("cost"),
        Column("session", right=False, rank=1),
        Column("arguments", right=False, rank=0 if with_text else 4),
    ]
    rows = tuple(
        (
            row.tool,
            count(row.times),
            count(row.failed) if row.failed else "-",
            _time(row.start_us, tz),
            _time(row.end_us, tz),
            money_text(row.usd),
            row.session,
            (row.text or row.arguments) if with_text else row.arguments,
        )
        for row in shown
    )
    title = "loops: the same tool with the same arguments in one session"
    return Table(title, tuple(heads), rows, f"and {left:,} more (--limit 0 shows all)" if left else "")


def _failures(report: ToolsReport, tz: str, limit: int) -> Table:
    shown = report.failures[:limit] if limit else report.failures
    left = len(report.failures) - len(shown)
    rows = tuple(
        (
            row.tool,
            _time(row.at_us, tz),
            "no" if row.hidden else "yes",
            row.session or "-",
            row.arguments or "-",
            row.result or "-",
        )
        for row in shown
    )
    columns = (
        Column("tool", right=False),
        Column("time", right=False, rank=3),
        Column("reported", right=False, rank=2),
        Column("session", right=False, rank=4),
        Column("arguments", right=False, rank=1),
        Column("result", right=False),
    )
    return Table("failed tool calls", columns, rows, f"and {left:,} more (--limit 0 shows all)" if left else "")


def _time(us: int | None, tz: str) -> str:
    return "-" if us is None else local(us, tz)
