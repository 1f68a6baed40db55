"""The table of groups on the live display, fitted to the width and the rows that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size

from llmmon.live_report import LiveReport
from llmmon.money import money_text
from llmmon.renderers.plain import plain
from llmmon.reports import GroupRow
from llmmon.views.figures import count, key_text, milliseconds, percent, rate

Piece = tuple[str, str]  # text, style or ""
Line = list[Piece]

_GAP: Final = 2
_NARROWEST_NAME, _WIDEST_NAME = 12, 40
# title, statistic, how it is written, rank (the highest goes first where the terminal is narrow)
_COLUMNS: Final = (
    ("requests", "request_count", count, 0),
    ("/min", "requests_per_minute", rate, 3),
    ("errors", "error_rate", percent, 0),
    ("p50", "latency_p50_ms", milliseconds, 1),
    ("p95", "latency_p95_ms", milliseconds, 0),
    ("p99", "latency_p99_ms", milliseconds, 2),
    ("ttft p50", "ttft_p50_ms", milliseconds, 4),
    ("tokens in", "prompt_tokens", count, 5),
    ("tokens out", "completion_tokens", count, 5),
)


def table(report: LiveReport, width: int, rows: int) -> list[Line]:
    """The column names and at most `rows` lines of groups, the last one saying how many are left out."""
    shown = report.groups if len(report.groups) <= rows else report.groups[: max(1, rows - 1)]
    names = [plain(key_text(row.key)) for row in shown]
    columns = [column for column in _COLUMNS if any(row.statistics[column[1]] is not None for row in shown)]
    cells = {title: [write(row.statistics[key]) for row in shown] for title, key, write, _ in columns}
    cells["cost"] = [_group_cost(row) for row in shown]
    ranks = {title: rank for title, _, _, rank in columns} | {"cost": 0}
    widths = {title: max(map(cell_len, [title, *texts])) for title, texts in cells.items()}
    kept, name_width = _fitting(widths, ranks, [*names, "by " + ", ".join(report.by)], width - 1)
    sorted_title = {"request_count": "requests", "error_rate": "errors", "latency_p95_ms": "p95"}.get(report.sorted_by)
    head: Line = [(" " + _cut("by " + ", ".join(report.by), name_width), "bold")]
    for title in kept:
        chosen = title == (sorted_title or "cost")
        head.append((" " * (_GAP + widths[title] - cell_len(title)), ""))
        head.append((title, "bold" if chosen else "dim"))
    lines = [head]
    for at, (row, text) in enumerate(zip(shown, names, strict=True)):
        line: Line = [(" " + _cut(text, name_width), "")]
        for title in kept:
            cell = cells[title][at]
            failing = title == "errors" and (row.statistics["error_rate"] or 0) > 0
            line.append((" " * (_GAP + widths[title] - cell_len(cell)) + cell, "red" if failing else ""))
        lines.append(line)
    if len(shown) < len(report.groups):
        lines.append([(f" and {len(report.groups) - len(shown):,} more", "dim")])
    return lines if shown else [head, [(" no calls in this window", "dim")]]


def _fitting(widths: dict[str, int], ranks: dict[str, int], names: Sequence[str], width: int) -> tuple[list[str], int]:
    """The columns that stay, and how wide names may be."""
    longest = min(_WIDEST_NAME, max(map(cell_len, names)))
    kept = list(widths)

    def left() -> int:
        return width - sum(widths[title] + _GAP for title in kept)

    while left() < longest and (rank := max(ranks[title] for title in kept)) > 0:
        kept.remove([title for title in kept if ranks[title] == rank][-1])
    return kept, min(longest, max(_NARROWEST_NAME, left()))


def _cut(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _group_cost(row: GroupRow) -> str:
    return money_text(row.statistics["cost_total_usd"], complete=not row.statistics["unpriced_requests"])
