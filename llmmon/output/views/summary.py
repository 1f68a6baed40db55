"""What is shown of `summarize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llmmon.ingest.report import SourceReport
from llmmon.output.views import Column, Table, View
from llmmon.reports.summary import Bucket, GroupRow, Share, Statistics, SummaryReport
from llmmon.text.figures import count, key_text, milliseconds, money_text, name, percent, rate, score, sparkline
from llmmon.text.times import MINUTE_US, duration_text, iso, local

_MOST_SHARES: Final = 8
_MOST_LINES: Final = 1000  # buckets that a table shows one by one, the latest ones
# title, statistic, how it is written, rank (the highest goes first where the terminal is narrow)
_COLUMNS: Final = (
    ("requests", "request_count", count, 0),
    ("errors", "error_rate", percent, 0),
    ("p50", "latency_p50_ms", milliseconds, 1),
    ("p95", "latency_p95_ms", milliseconds, 0),
    ("p99", "latency_p99_ms", milliseconds, 3),
    ("ttft p50", "ttft_p50_ms", milliseconds, 4),
    ("tok/s", "output_tokens_per_second_p50", rate, 5),
    ("tokens in", "prompt_tokens", count, 2),
    ("tokens out", "completion_tokens", count, 2),
    ("cut off", "truncated_count", count, 6),
    ("quality", "quality_avg", score, 6),
)


def view_summary(report: SummaryReport, source: SourceReport) -> View:
    """Totals, groups, buckets, errors, finish reasons."""
    tables = [_groups(report)]
    if report.series:
        tables += _series(report, source.timezone)
    if report.errors:
        tables.append(_shares("errors by type", "error", report.errors))
    if report.finish_reasons:
        tables.append(_shares("finish reasons", "reason", report.finish_reasons))
    return View(
        data=_data(report),
        rows=_rows(report),
        title=_title(report, source),
        headline=_headline(report),
        tables=tuple(tables),
        more={"groups": report.more_groups},
    )


def _data(report: SummaryReport) -> dict[str, Any]:
    window = report.window
    return {
        "window": {"start": iso(window.start_us), "end": iso(window.end_us), "minutes": window.minutes},
        "quantiles": "exact" if report.exact else "approximate",
        "totals": dict(report.totals),
        "groups": [{"key": dict(row.key), **row.statistics} for row in report.groups],
        "more_groups": report.more_groups,
        "series": [_bucket(bucket) for bucket in report.series],
        "errors": [{"error_type": s.name, "count": s.count, "share": s.share} for s in report.errors],
        "finish_reasons": [
            {"finish_reason": s.name, "count": s.count, "share": s.share} for s in report.finish_reasons
        ],
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    key = {"key": dict(bucket.key)} if bucket.key else {}
    return {"start": iso(bucket.start_us), "end": iso(bucket.end_us), **key, **bucket.statistics}


def _rows(report: SummaryReport) -> list[dict[str, Any]]:
    return [_bucket(b) for b in report.series] or [{"key": dict(row.key), **row.statistics} for row in report.groups]


def _title(report: SummaryReport, source: SourceReport) -> str:
    window = report.window
    files = source.files[0] if len(source.files) == 1 else f"{len(source.files)} files"
    if window.start_us is None or window.end_us is None:
        return f"{files}, no times"
    tz = source.timezone
    return f"{files}, {local(window.start_us, tz)} to {local(window.end_us, tz)} {tz}"


def _headline(report: SummaryReport) -> tuple[tuple[str, str], ...]:
    total = report.totals
    approximately = "" if report.exact else "~"

    def ms(statistic: str) -> str:
        return milliseconds(total[statistic])

    pairs = (
        ("requests", _with(count(total["request_count"]), rate(total["requests_per_minute"]), "{} ({}/min)")),
        ("errors", _with(count(total["error_count"]), percent(total["error_rate"]), "{} ({})")),
        ("cost", cost_text(total)),
        ("latency p50", approximately + ms("latency_p50_ms")),
        ("latency p95", approximately + ms("latency_p95_ms")),
        ("latency p99", approximately + ms("latency_p99_ms")),
        ("tokens in", _with(count(total["prompt_tokens"]), count(total["cached_tokens"]), "{} ({} cached)")),
        ("tokens out", _with(count(total["completion_tokens"]), count(total["reasoning_tokens"]), "{} ({} reasoning)")),
        ("ttft p50", ms("ttft_p50_ms")),
        ("cut off", count(total["truncated_count"])),
        ("quality", score(total["quality_avg"])),
    )
    return tuple((label, text) for label, text in pairs if text not in {"-", "~-"})


def _with(text: str, more: str, form: str) -> str:
    return text if more == "-" or text == "-" else form.format(text, more)


def cost_text(statistics: Statistics) -> str:
    """`$12.34`, `~$12.34` where some calls have no price, `-` where none has."""
    return money_text(statistics["cost_total_usd"], complete=not statistics["unpriced_requests"])


def _groups(report: SummaryReport) -> Table:
    rows = [row.statistics for row in report.groups]
    shown = [column for column in _COLUMNS if any(row[column[1]] is not None for row in rows)]
    with_cost = any(row["cost_total_usd"] is not None or row["unpriced_requests"] for row in rows)
    columns = [Column(" / ".join(report.by) or "group", right=False)]
    columns += [Column(title, rank=rank) for title, _, _, rank in shown]
    columns += [Column("cost")] if with_cost else []
    more = f"and {report.more_groups:,} more (--limit 0 shows all)" if report.more_groups else ""
    cells = tuple(_group_cells(row, shown, with_cost) for row in report.groups)
    return Table("by " + ", ".join(report.by) if report.by else "all", tuple(columns), cells, more)


def _group_cells(row: GroupRow, shown: Sequence[Any], with_cost: bool) -> tuple[str, ...]:
    cells = [write(row.statistics[statistic]) for _, statistic, write, _ in shown]
    return (key_text(row.key), *cells, *([cost_text(row.statistics)] if with_cost else []))


def _series(report: SummaryReport, tz: str) -> list[Table]:
    every = duration_text(report.every_us or 0)
    keys = list(dict.fromkeys(tuple(bucket.key.values()) for bucket in report.series))
    lines = Table(
        f"over time, one bar is {every} or more",
        (Column("", right=False), Column("requests", right=False), Column("errors", right=False, rank=1),
         Column("p95 latency", right=False, rank=2), Column("cost", right=False, rank=3)),
        tuple(_sparks(report, key) for key in keys[:20]),
    )  # fmt: skip
    return [lines, _bucket_table(report, every, tz)]


def _sparks(report: SummaryReport, key: tuple[str | None, ...]) -> tuple[str, ...]:
    mine = [bucket.statistics for bucket in report.series if tuple(bucket.key.values()) == key]
    names = ("request_count", "error_count", "latency_p95_ms", "cost_total_usd")
    label = " / ".join(map(name, key)) or "all"
    return (label, *(sparkline([s[statistic] for s in mine], 24) for statistic in names))


def _bucket_table(report: SummaryReport, every: str, tz: str) -> Table:
    shown = [column for column in _COLUMNS if any(b.statistics[column[1]] is not None for b in report.series)]
    keyed = bool(report.series[0].key)
    with_cost = any(b.statistics["cost_total_usd"] is not None for b in report.series)
    columns = [Column("start", right=False), *([Column("group", right=False)] if keyed else [])]
    columns += [Column(title, rank=rank) for title, _, _, rank in shown] + ([Column("cost")] if with_cost else [])
    rows = []
    for b in report.series[-_MOST_LINES:]:
        cells = [local(b.start_us, tz, seconds=bool((report.every_us or 0) % MINUTE_US))]
        cells += [key_text(b.key)] if keyed else []
        cells += [write(b.statistics[statistic]) for _, statistic, write, _ in shown]
        rows.append((*cells, *([cost_text(b.statistics)] if with_cost else [])))
    more = len(report.series) - len(rows)
    note = f"and {more:,} earlier ones (all with -f csv)" if more > 0 else ""
    return Table(f"every {every}", tuple(columns), tuple(rows), note)


def _shares(title: str, what: str, shares: Sequence[Share]) -> Table:
    rows = tuple((name(s.name), count(s.count), percent(s.share)) for s in shares[:_MOST_SHARES])
    more = len(shares) - len(rows)
    note = f"and {more:,} more" if more > 0 else ""
    return Table(title, (Column(what, right=False), Column("count"), Column("share")), rows, note)
