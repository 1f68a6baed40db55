"""What a renderer may see: the results of every command, as frozen values in public units.

Missing is None (or NaN in arrays); times are microseconds UTC until a renderer writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:  # few commands have them
    from llmmon.alert import Alert, Group, Transition
    from llmmon.slo_standing import SloStanding


class RejectedLine(msgspec.Struct, frozen=True):
    """A line that could not be read: where (line from 1, None after a jump into the file), and why."""

    file: str
    line: int | None
    byte: int
    reason: str

    @property
    def place(self) -> str:
        """`file:line`, or the byte offset where the line's number is not known."""
        return f"{self.file}:{self.line}" if self.line is not None else f"{self.file} at byte {self.byte}"


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was read and what became of it: `lines == blank + used + skipped + rejected`."""

    files: tuple[str, ...] = ()
    bytes_read: int = 0
    lines: int = 0
    blank: int = 0
    used: int = 0
    skipped: int = 0
    rejected: int = 0
    requests: int = 0
    samples: int = 0
    duplicates: int = 0
    outside: int = 0
    filtered: int = 0
    undated: int = 0
    dialects: Mapping[str, int] = msgspec.field(default_factory=dict)
    rejects: tuple[RejectedLine, ...] = ()
    start_us: int | None = None
    end_us: int | None = None
    timezone: str = "UTC"
    now_us: int | None = None
    failed: tuple[tuple[str, str], ...] = ()  # path, why


class Window(msgspec.Struct, frozen=True):
    """The time that a report is about; None where it is open or nothing is dated."""

    start_us: int | None
    end_us: int | None
    minutes: float | None


Statistics = Mapping[str, float | int | None]


class GroupRow(msgspec.Struct, frozen=True):
    """One group (field -> value) and its statistics by name."""

    key: Mapping[str, str | None]
    statistics: Statistics


class Bucket(msgspec.Struct, frozen=True):
    """One group in one time bucket [start, end); `key` is empty for all calls."""

    start_us: int
    end_us: int
    key: Mapping[str, str | None]
    statistics: Statistics


class Share(msgspec.Struct, frozen=True):
    """How often a name occurred, and its share of the whole."""

    name: str | None
    count: int
    share: float


class SummaryReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon summarize`: totals, groups, time buckets, errors by type, finish reasons."""

    window: Window
    exact: bool
    totals: Statistics
    by: tuple[str, ...]
    groups: tuple[GroupRow, ...]
    series: tuple[Bucket, ...] = ()
    every_us: int | None = None
    errors: tuple[Share, ...] = ()
    finish_reasons: tuple[Share, ...] = ()
    more_groups: int = 0  # groups beyond the limit
    sorted_by: str = ""


class RequestsReport(msgspec.Struct, frozen=True):
    """`llmmon requests`: the calls themselves, one mapping of field to public value each."""

    rows: tuple[Mapping[str, Any], ...]
    found: int  # how many there were before the limit
    sorted_by: str


class FileInspection(msgspec.Struct, frozen=True):
    """`llmmon inspect` of one file."""

    file: str
    dialects: Mapping[str, int]
    mapping: tuple[Mapping[str, Any], ...]
    coverage: Mapping[str, float]
    rejected: int
    missing: tuple[Mapping[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class InspectReport(msgspec.Struct, frozen=True):
    """`llmmon inspect`: what each file is."""

    files: tuple[FileInspection, ...]


class IncidentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One incident of `anomalies`; `course` is the metric in the buckets around its beginning."""

    id: str
    metric_name: str
    group: Mapping[str, str | None]
    value: float | None
    low: float | None
    high: float | None
    severity: str
    score: float | None
    detector: str
    timestamp_us: int
    start_us: int
    end_us: int
    description: str
    contributors: tuple[Mapping[str, Any], ...] = ()
    course: tuple[float | None, ...] = ()


class MonitoredSeries(msgspec.Struct, frozen=True):
    """Whether a metric of a group could be judged, by which season, and why not."""

    metric_name: str
    group: Mapping[str, str | None]
    buckets: int
    season: str
    judged: bool
    reason: str


class AnomaliesReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon anomalies`: incidents in the window, what was watched, and on demand every bucket's score."""

    window: Window
    incidents: tuple[IncidentReport, ...]
    monitored: tuple[MonitoredSeries, ...]
    sensitivity: str
    false_alarms_per_week: float
    methods: tuple[str, ...] = ()
    scores: tuple[Mapping[str, Any], ...] = ()
    explained: tuple[Mapping[str, Any], ...] = ()

    @property
    def figures(self) -> dict[str, Any]:
        """What `--fail-on` can ask for."""
        return {"severity": {row.severity for row in self.incidents}, "incidents": len(self.incidents)}


class NotificationRow(msgspec.Struct, frozen=True):
    """A message to one channel: event trigger, acknowledge, resolve; status sent, queued, suppressed.

    `text` is the message itself, in a dry run.
    """

    alert_id: str
    channel: str
    event: str
    status: str
    reason: str = ""
    text: str = ""


class ExplainedRow(msgspec.Struct, frozen=True):
    """What a rule saw of one group at one minute."""

    minute_us: int
    group: Group
    value: float | None
    threshold: float
    count: int
    met: bool | None
    note: str
    state: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon check`: the alerts that are open or were resolved in this run, what happened, what was told."""

    alerts: tuple[Alert, ...]
    transitions: tuple[Transition, ...]
    notifications: tuple[NotificationRow, ...]
    minutes: int  # evaluated
    until_us: int | None
    last_event_us: int | None
    source: SourceReport
    pending_bytes: int = 0
    exit_code: int = 0
    explained: tuple[ExplainedRow, ...] = ()
    slos: tuple[SloStanding, ...] = ()
