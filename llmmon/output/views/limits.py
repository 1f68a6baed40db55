"""What is shown of `limits`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.output.views.sessions import findings_data, findings_lines
from llmmon.reports.limits import WORDS, LimitRow, LimitsReport
from llmmon.text.figures import count, key_text, many, percent, rate
from llmmon.text.times import iso, local

_MOST_USERS: Final = 12


def view_limits(report: LimitsReport, tz: str) -> View:
    """Findings, what is used of each limit, rejections and concurrency, who uses it up."""
    limits = [_timed(msgspec.to_builtins(row), "peak_us", "reached_us") for row in report.limits]
    scopes = [_timed(msgspec.to_builtins(row), "first_rejected_us") for row in report.scopes]
    tables = [_limits(report, tz), _scopes(report, tz)]
    tables += [_users(report)] if report.users else []
    data = {
        "by": list(report.by),
        "findings": findings_data(report.findings),
        "limits": limits,
        "scopes": scopes,
        "users": msgspec.to_builtins(report.users),
        "undated": report.undated,
    }
    return View(
        data=data,
        rows=limits,
        title=f"rate limits, by {', '.join(report.by) or 'all calls'}",
        lines=findings_lines(report.findings),
        tables=tuple(tables),
        notes=(f"{many(report.undated, 'call')} without a time, not counted here",) if report.undated else (),
    )


def _timed(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """The row with its moments as ISO texts, at the end."""
    return {
        **{name: value for name, value in row.items() if name not in names},
        **{name.removesuffix("_us"): iso(row[name]) for name in names},
    }


def _limits(report: LimitsReport, tz: str) -> Table:
    cells: tuple[tuple[str, Callable[[LimitRow], str], bool, int], ...] = (
        ("a minute", lambda row: _short(row.what), False, 0),
        ("peak", lambda row: count(row.peak), True, 0),
        ("p99", lambda row: count(row.p99), True, 1),
        ("10 s peak", lambda row: count(row.peak_10s), True, 4),
        ("mean", lambda row: rate(row.mean), True, 6),
        ("limit", lambda row: count(row.limit), True, 0),
        ("from", lambda row: row.limit_from or "-", False, 3),
        ("peak of it", lambda row: percent(row.peak_share), True, 0),
        ("p99 of it", lambda row: percent(row.p99_share), True, 5),
        ("would reject", lambda row: count(row.rejected_at_limit), True, 2),
        ("peak at", lambda row: local(row.peak_us, tz), False, 3),
        ("grows a week", lambda row: percent(row.growth_a_week), True, 6),
        ("reached on", lambda row: "-" if row.reached_us is None else local(row.reached_us, tz)[:10], False, 5),
    )
    used = [cell for cell in cells if cell[3] == 0 or any(cell[1](row) != "-" for row in report.limits)]
    return Table(
        "in any 60 seconds",
        (
            Column(_scope(report.by), right=False),
            *(Column(title, right=right, rank=rank) for title, _, right, rank in used),
        ),
        tuple((key_text(row.key), *(cell(row) for _, cell, _, _ in used)) for row in report.limits),
    )


def _scope(by: tuple[str, ...]) -> str:
    return " / ".join(by) or "calls"


def _short(what: str) -> str:
    return WORDS[what].partition(" (")[0]


def _scopes(report: LimitsReport, tz: str) -> Table:
    heads = ("calls", "rejected", "first", "at the same time, mean", "p99", "most")
    ranks = (0, 0, 3, 2, 1, 0)
    rows = tuple(
        (
            key_text(row.key),
            count(row.calls),
            count(row.rejected) if row.rejected else "-",
            "-" if row.first_rejected_us is None else local(row.first_rejected_us, tz),
            rate(row.concurrency_mean),
            count(row.concurrency_p99),
            count(row.concurrency_max),
        )
        for row in report.scopes
    )
    columns = tuple(Column(head, rank=rank) for head, rank in zip(heads, ranks, strict=True))
    return Table("rejections and concurrency", (Column(_scope(report.by), right=False), *columns), rows)


def _users(report: LimitsReport) -> Table:
    shown = sorted(report.users, key=lambda user: -user.share)
    heads = (_scope(report.by), "of", "field", "name")
    return Table(
        "who used it in the fullest minutes",
        (*(Column(head, right=False) for head in heads), Column("share"), Column("calls")),
        tuple(
            (key_text(one.key), _short(one.what), one.field, one.name or "(none)", percent(one.share), count(one.calls))
            for one in shown
        ),
        most=_MOST_USERS,
    )
