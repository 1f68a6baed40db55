"""What `watch` shows where there is no screen: the figures of the window on one line, or as one JSON object."""

from __future__ import annotations

from typing import Any

from llmmon.live.watcher import LiveReport
from llmmon.text.figures import count, milliseconds, money_text, percent, rate
from llmmon.text.times import MINUTE_US, SECOND_US, age_text, duration_text, iso, local


def line_of(report: LiveReport) -> str:
    """The window's figures on one line, as `name=value`."""
    total = report.totals
    parts = [
        ("window", duration_text(report.window_us)),
        ("new", str(report.new)),
        ("requests", count(total["request_count"])),
        ("per_min", rate(total["requests_per_minute"] or 0.0)),
        ("errors", percent(total["error_rate"])),
        ("p50", milliseconds(total["latency_p50_ms"])),
        ("p95", milliseconds(total["latency_p95_ms"])),
        ("p99", milliseconds(total["latency_p99_ms"])),
        ("cost", cost_text(report)),
        ("cost_per_h", money_text(report.cost_per_hour_usd)),
        ("alerts", "-" if report.alerts is None else str(len(report.alerts))),
        ("last", "-" if report.last_us is None else age(max(0, report.now_us - report.last_us))),
        ("rejected", count(report.source.rejected)),
    ]
    stamp = local(report.now_us, report.tz)
    return f"{stamp} " + " ".join(f"{label}={text.replace(' ', '')}" for label, text in parts)


def row_of(report: LiveReport) -> dict[str, Any]:
    """The window's figures as one JSON object."""
    return {
        "now": iso(report.now_us),
        "start": iso(report.start_us),
        "new": report.new,
        "last": iso(report.last_us),
        "totals": dict(report.totals),
        "cost_per_hour_usd": report.cost_per_hour_usd,
        "groups": [{"key": dict(row.key), **row.statistics} for row in report.groups],
        "alerts": None if report.alerts is None else [
            {"title": a.title, "severity": a.severity, "state": a.state, "since": iso(a.since_us)}
            for a in report.alerts
        ],
        "lines": report.source.lines,
        "rejected": report.source.rejected,
        "pending": report.pending,
    }  # fmt: skip


def age(us: int) -> str:
    """How long ago something was, to the second where that is short."""
    return f"{us // SECOND_US} s" if us < MINUTE_US else age_text(us)


def cost_text(report: LiveReport) -> str:
    """The window's cost; `~` where some calls have no price."""
    return money_text(report.totals["cost_total_usd"], complete=not report.totals["unpriced_requests"])
