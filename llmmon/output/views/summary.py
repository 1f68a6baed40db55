"""What is shown of `summarize`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from llmmon.ingest.report import SourceReport
from llmmon.metrics.definitions import statistic_called
from llmmon.output.views import Column, Kind, Table, View
from llmmon.reports.attention import Sign
from llmmon.reports.summary import Bucket, Share, Statistics, SummaryReport
from llmmon.text.figures import (
    count,
    counted,
    key_text,
    metric_figure,
    milliseconds,
    money_text,
    name,
    percent,
    rate,
    score,
    shortened,
    sparkline,
    statistic_figure,
)
from llmmon.text.times import DAY_US, MINUTE_US, MONTH_US, duration_text, iso, local, period_text

_MOST_SHARES: Final = 8
_SPARK: Final = 24  # characters of a sparkline
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
        lead=_attention(report, source),
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
        "attention": [
            {
                "metric_name": sign.metric,
                "group": {} if sign.everyone else {"model": sign.model},
                "start": iso(sign.start_us),
                "end": iso(sign.end_us),
                "usual": sign.usual,
                "during": sign.during,
                "calls": sign.calls,
            }
            for sign in report.signs
        ],
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


def _attention(report: SummaryReport, source: SourceReport) -> str:
    """One line on what stands out, with the command to go on; "" where nothing does."""
    logs = shlex.join(report.logs)
    if report.signs:
        first, many = report.signs[0], len(report.signs)
        when = period_text(first.start_us, first.end_us, source.timezone)
        more = f", and {counted(many - 1, 'other time')}" if many > 1 else ""
        return f"{_sign_text(first)}, {when}{more}: llmmon anomalies {logs}".rstrip()
    if source.rejected:
        return f"{counted(source.rejected, 'line')} could not be read: llmmon inspect {logs}".rstrip()
    return ""


def _sign_text(sign: Sign) -> str:
    """`32 % of 62 calls failed (usually 1.0 %)`, `gpt-4o took 10.9 s (usually 4.3 s)`."""
    whose = "" if sign.everyone or sign.model is None else shortened(sign.model, _LONGEST_NAME)
    during, usual = (metric_figure(_AS_RATE.get(sign.metric, sign.metric), v) for v in (sign.during, sign.usual))
    calls = f"{sign.calls:,} {whose} calls".replace("  ", " ") if sign.calls != 1 else f"1 {whose} call"
    text = {
        "error": f"{during} of {calls} failed",
        "truncated": f"{during} of the answers to {calls} were cut off",
        "latency_ms": f"{calls} took {during}",
        "prompt_tokens": f"{calls} had {during} prompt tokens",
    }[sign.metric]
    return f"{text} (usually {usual})"


_AS_RATE: Final = {"error": "error_rate", "truncated": "truncated_rate"}
_LONGEST_NAME: Final = 32


def _with(text: str, more: str, form: str) -> str:
    return text if more == "-" or text == "-" else form.format(text, more)


def cost_text(statistics: Statistics) -> str:
    """`$12.34`, `~$12.34` where some calls have no price, `-` where none has."""
    return money_text(statistics["cost_total_usd"], complete=not statistics["unpriced_requests"])


def _groups(report: SummaryReport) -> Table:
    """One row a group, all of them together, and what share of the cost (or of the requests) is whose."""
    rows = [row.statistics for row in report.groups]
    known = [*_COLUMNS, *_asked_column(report.sorted_by)]
    shown = [column for column in known if any(row[column[1]] is not None for row in rows)]
    with_cost = any(row["cost_total_usd"] is not None or row["unpriced_requests"] for row in rows)
    shares = _shares_of(report)
    columns = [Column(" / ".join(report.by) or "group", right=False)]
    columns += [Column(title, rank=rank if statistic != report.sorted_by else 0) for title, statistic, _, rank in shown]
    columns += [Column("cost")] if with_cost else []
    columns += [Column(shares[0], right=False, rank=3, kind=Kind.FIXED)] if shares else []
    more = f"and {report.more_groups:,} more (--limit 0 shows all)" if report.more_groups else ""
    cells = tuple(
        (*_group_cells(key_text(row.key), row.statistics, shown, with_cost), *([shares[1][at]] if shares else []))
        for at, row in enumerate(report.groups)
    )
    total = (*_group_cells("all", report.totals, shown, with_cost), *([""] if shares else []))
    several = bool(report.by) and len(rows) + report.more_groups > 1
    title = "by " + ", ".join(report.by) if report.by else "all"
    return Table(title, tuple(columns), cells, more, total if several else ())


def _asked_column(statistic: str) -> list[tuple[str, str, Callable[[Any], str], int]]:
    """A column for the statistic that groups are sorted by, where none of the usual ones shows it."""
    if not statistic or statistic in {*(one for _, one, _, _ in _COLUMNS), "cost_total_usd"}:
        return []
    name = statistic_called(statistic).name
    return [(statistic, name, partial(statistic_figure, name), 0)]


_BAR: Final = 6  # characters


def _shares_of(report: SummaryReport) -> tuple[str, list[str]] | None:
    """A bar and a percentage a group: its share of the cost, or of the requests where nothing has a cost."""
    statistic = "cost_total_usd" if report.totals["cost_total_usd"] else "request_count"
    whole = report.totals[statistic]
    if not report.by or not whole or len(report.groups) + report.more_groups < 2:
        return None
    parts = [(row.statistics[statistic] or 0.0) / whole for row in report.groups]
    texts = [f"{'▇' * round(part * _BAR):<{_BAR}} {percent(part):>7}" for part in parts]
    return "of cost" if statistic == "cost_total_usd" else "of requests", texts


def _group_cells(name: str, statistics: Statistics, shown: Sequence[Any], with_cost: bool) -> tuple[str, ...]:
    cells = [write(statistics[statistic]) for _, statistic, write, _ in shown]
    return (name, *cells, *([cost_text(statistics)] if with_cost else []))


def _series(report: SummaryReport, tz: str) -> list[Table]:
    every = duration_text(report.every_us or 0)
    keys = list(dict.fromkeys(tuple(bucket.key.values()) for bucket in report.series))
    lines = Table(
        f"over time, 1 bar = {every}{' or more' * (len(report.series) > _SPARK * len(keys))}",
        (Column("", right=False), Column("requests", right=False), Column("errors", right=False, rank=1),
         Column("p95 latency", right=False, rank=2), Column("cost", right=False, rank=3)),
        tuple(_sparks(report, key) for key in keys[:20]),
    )  # fmt: skip
    return [lines, _bucket_table(report, every, tz)]


def _sparks(report: SummaryReport, key: tuple[str | None, ...]) -> tuple[str, ...]:
    mine = [bucket.statistics for bucket in report.series if tuple(bucket.key.values()) == key]
    names = ("request_count", "error_count", "latency_p95_ms", "cost_total_usd")
    label = " / ".join(map(name, key)) or "all"
    return (label, *(sparkline([s[statistic] for s in mine], _SPARK) for statistic in names))


def _bucket_table(report: SummaryReport, every: str, tz: str) -> Table:
    shown = [column for column in _COLUMNS if any(b.statistics[column[1]] is not None for b in report.series)]
    keyed = bool(report.series[0].key)
    with_cost = any(b.statistics["cost_total_usd"] is not None for b in report.series)
    columns = [Column("start", right=False), *([Column("group", right=False)] if keyed else [])]
    columns += [Column(title, rank=rank) for title, _, _, rank in shown] + ([Column("cost")] if with_cost else [])
    rows = []
    for b in report.series[-_MOST_LINES:]:
        cells = [_start_text(b.start_us, report.every_us or 0, tz)]
        cells += [key_text(b.key)] if keyed else []
        cells += [write(b.statistics[statistic]) for _, statistic, write, _ in shown]
        rows.append((*cells, *([cost_text(b.statistics)] if with_cost else [])))
    more = len(report.series) - len(rows)
    note = f"and {more:,} earlier ones (all with -f csv)" if more > 0 else ""
    return Table(f"every {every}", tuple(columns), tuple(rows), note)


def _start_text(us: int, every_us: int, tz: str) -> str:
    """When a bucket begins: the date of whole days, the time of shorter ones."""
    if every_us % DAY_US == 0 or every_us % MONTH_US == 0:
        return local(us, tz)[:10]
    return local(us, tz, seconds=bool(every_us % MINUTE_US))


def _shares(title: str, what: str, shares: Sequence[Share]) -> Table:
    rows = tuple((name(s.name), count(s.count), percent(s.share)) for s in shares[:_MOST_SHARES])
    more = len(shares) - len(rows)
    note = f"and {more:,} more" if more > 0 else ""
    return Table(title, (Column(what, right=False), Column("count"), Column("share")), rows, note)
