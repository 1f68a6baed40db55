"""What `llmmon watch` shows at one moment."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmmon.reports import GroupRow, IncidentReport, Share, SourceReport, Statistics

# statistics of the totals, of every group and, the last of them, of the course over time
TOTALS = (
    *("request_count", "error_count", "error_rate", "requests_per_minute"),
    *("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "ttft_p50_ms", "ttft_p95_ms"),
    *("prompt_tokens", "completion_tokens", "cost_total_usd", "unpriced_requests", "truncated_count"),
)
COURSE = ("requests_per_minute", "error_rate", "latency_p95_ms", "cost_total_usd")
SORTS = ("request_count", "error_rate", "latency_p95_ms", "cost_total_usd")


class LiveAlert(msgspec.Struct, frozen=True):
    """An alert that is open."""

    title: str
    severity: str
    state: str
    since_us: int


class LiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """The window [start, now) of the logs: totals, groups, course, what is wrong, and what was read so far.

    `alerts` is None where there is no state file to know them from; `learning` says why no incident is known.
    `new` are the calls that came since the last report.
    """

    logs: str
    tz: str
    now_us: int
    start_us: int
    window_us: int
    by: tuple[str, ...]
    sorted_by: str
    totals: Statistics
    exact: bool
    groups: tuple[GroupRow, ...]
    errors: tuple[Share, ...]
    course: tuple[Mapping[str, float | None], ...]
    every_us: int  # width of the course's buckets
    source: SourceReport
    pending: int = 0
    ahead: int = 0
    new: int = 0
    last_us: int | None = None
    alerts: tuple[LiveAlert, ...] | None = None
    incidents: tuple[IncidentReport, ...] = ()
    learning: str = ""
    paused: bool = False
    waiting: bool = False  # no log was there so far

    @property
    def minutes(self) -> float:
        """Length of the window."""
        return (self.now_us - self.start_us) / 60e6

    @property
    def cost_per_hour_usd(self) -> float | None:
        """What an hour costs at the rate of the window."""
        cost = self.totals["cost_total_usd"]
        return None if cost is None or self.minutes <= 0 else cost / self.minutes * 60
