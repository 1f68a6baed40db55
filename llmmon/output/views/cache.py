"""What is shown of `cache`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.output.views.sessions import findings_data, findings_lines
from llmmon.reports.prompt_cache import CacheReport, CacheRow
from llmmon.text.figures import count, key_text, many, money_text, percent


def view_cache(report: CacheReport, limit: int = 0) -> View:
    """Findings; groups, pauses, causes, the first parts that differ, sessions."""
    tables = [_groups(report), _gaps(report)]
    tables += [_causes(report)] if report.causes else []
    tables += [_parts(report)] if report.parts else []
    tables += [_sessions(report, limit)] if report.sessions else []
    plain = msgspec.to_builtins(report)
    plain["findings"] = findings_data(report.findings)
    return View(
        data=plain,
        rows=plain["groups"],
        title=f"prompt caching, by {', '.join(report.by) or 'all calls'}",
        headline=_headline(report),
        lines=findings_lines(report.findings),
        tables=tuple(tables),
        notes=(f"{many(report.silent, 'call')} without a count of cached tokens",) if report.silent else (),
    ).limited(limit, "sessions")


def _headline(report: CacheReport) -> tuple[tuple[str, str], ...]:
    total, other = report.totals, report.other_lasting
    pairs = [
        ("read from cache", f"{percent(total.read_share)} of {many(total.prompt_tokens, 'token')}"),
        ("saved", money_text(total.saved_usd)),
        ("missed", f"{money_text(total.missed_usd)} ({many(total.missed_tokens, 'token')})"),
    ]
    if other is not None:
        pairs.append(
            (
                f"with {other.lasts}",
                f"{'less' if other.saved_usd >= 0 else 'more'} by {money_text(abs(other.saved_usd))}",
            )
        )
    return tuple(pairs)


_CELLS: Final[tuple[tuple[str, Callable[[CacheRow], str], int], ...]] = (
    ("calls", lambda row: count(row.calls), 2),
    ("tokens in", lambda row: count(row.prompt_tokens), 1),
    ("read", lambda row: count(row.cached_tokens), 3),
    ("share", lambda row: percent(row.read_share), 0),
    ("written", lambda row: count(row.cache_write_tokens), 4),
    ("saved", lambda row: money_text(row.saved_usd), 0),
    ("missed tokens", lambda row: count(row.missed_tokens), 5),
    ("missed", lambda row: money_text(row.missed_usd), 0),
)


def _groups(report: CacheReport) -> Table:
    return Table(
        f"by {', '.join(report.by) or 'all calls'}",
        (
            Column(" / ".join(report.by) or "calls", right=False),
            *(Column(title, rank=rank) for title, _, rank in _CELLS),
        ),
        tuple((key_text(row.key), *(cell(row) for _, cell, _ in _CELLS)) for row in report.groups),
    )


def _gaps(report: CacheReport) -> Table:
    heads = (("calls", 1), ("tokens in", 2), ("read", 3), ("share", 0), ("missed", 0))
    return Table(
        "by the time since the call before",
        (Column("pause", right=False), *(Column(head, rank=rank) for head, rank in heads)),
        tuple(
            (
                row.gap,
                count(row.calls),
                count(row.prompt_tokens),
                count(row.cached_tokens),
                percent(row.read_share),
                money_text(row.missed_usd),
            )
            for row in report.gaps
        ),
    )


def _causes(report: CacheReport) -> Table:
    heads = (("calls", 1), ("sessions", 2), ("tokens", 3), ("cost", 0))
    return Table(
        "why calls read less than was there",
        (Column("cause", right=False), *(Column(head, rank=rank) for head, rank in heads)),
        tuple(
            (row.cause.value, count(row.calls), count(row.sessions), count(row.tokens), money_text(row.usd))
            for row in report.causes
        ),
        "; ".join(f"{row.cause.value}: {row.explanation}" for row in report.causes),
    )


def _parts(report: CacheReport) -> Table:
    return Table(
        f"the first part that differs, in {count(report.compared)} prompts whose texts are logged",
        (Column("part", right=False), Column("calls"), Column("character"), Column("cost")),
        tuple((row.part, count(row.calls), count(row.character), money_text(row.usd)) for row in report.parts),
    )


def _sessions(report: CacheReport, limit: int) -> Table:
    shown = report.sessions[:limit] if limit else report.sessions
    left = len(report.sessions) - len(shown)
    rows = tuple(
        (
            row.session,
            count(row.calls),
            count(row.misses),
            count(row.tokens),
            money_text(row.usd),
            ", ".join(f"{cause} {number}" for cause, number in row.causes.items()),
        )
        for row in shown
    )
    columns = (
        Column("session", right=False),
        Column("calls", rank=2),
        Column("misses", rank=1),
        Column("tokens", rank=3),
    )
    return Table(
        "sessions that missed the most",
        (*columns, Column("cost"), Column("causes", right=False, rank=1)),
        rows,
        f"and {left:,} more (--limit 0 shows all)" if left else "",
    )


_MISSED: Final = (("calls", True, 2), ("misses", True, 1), ("tokens", True, 3))
