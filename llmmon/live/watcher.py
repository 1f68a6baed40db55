"""`watch`: what is appended to logs, counted while it comes, and what it looks like at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.incidents import NOTHING_ACCEPTED, Accepted
from llmmon.anomaly.report import IncidentReport
from llmmon.errors import LlmmonError
from llmmon.ingest.checkpoints import Checkpoint
from llmmon.ingest.follow import NewCalls, Plans, Seen, read_new
from llmmon.ingest.query import Query
from llmmon.ingest.report import COUNTS, SourceReport
from llmmon.ingest.scan import POSITION_BITS, Scanned, line_of, place
from llmmon.ingest.sources import expand
from llmmon.ingest.time_range import Now
from llmmon.live.incident_monitor import FIELDS as WATCHED_FIELDS
from llmmon.live.incident_monitor import IncidentMonitor, IncidentMonitorFold
from llmmon.live.rolling import LONGEST_US, Recent
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.aggregation import Measures, TopFold, evaluate
from llmmon.metrics.columns import Columns
from llmmon.metrics.definitions import errors, needed_fields, statistic_called
from llmmon.reports.summary import GroupRow, Share, Statistics
from llmmon.text.times import MINUTE_US

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


class FailedCall(msgspec.Struct, frozen=True):
    """A call that failed, with what was said of it and its place in the log, as far as that is known."""

    at_us: int
    names: Mapping[str, str | None]  # of the fields that groups are made of
    status_code: int | None
    message: str | None
    place: str


class Limit(msgspec.Struct, frozen=True):
    """From when on a statistic is out of bounds, by an alert rule: for all calls, or for groups of these fields."""

    statistic: str
    condition: str
    threshold: float
    by: tuple[str, ...] = ()
    grave: bool = True


class LiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """The window [start, now) of the logs: totals, groups, course, what is wrong, and what was read so far.

    `alerts` is None where there is no state file to know them from; `learning` says why no incident is known.
    `new` are the calls that came since the last report. Where a group is `opened`, totals and course are its own.
    `trends` are the requests of each group over time; `failing` the latest calls that failed, the newest first.
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
    opened: Mapping[str, str | None] | None = None
    trends: Mapping[tuple[str | None, ...], tuple[float | None, ...]] = msgspec.field(default_factory=dict)
    failing: tuple[FailedCall, ...] = ()
    limits: tuple[Limit, ...] = ()

    @property
    def minutes(self) -> float:
        """Length of the window."""
        return (self.now_us - self.start_us) / 60e6

    @property
    def cost_per_hour_usd(self) -> float | None:
        """What an hour costs at the rate of the window."""
        cost = self.totals["cost_total_usd"]
        return None if cost is None or self.minutes <= 0 else cost / self.minutes * 60


WINDOWS: Final = tuple(n * MINUTE_US for n in (1, 5, 15, 30, 60, 180, 360, 720, 1440))
GROUPS: Final = (("model",), ("user",), ("feature",), ("error_type",), ("provider",))
_FIRST_LOOK_US: Final = 60 * MINUTE_US  # read at least, so that a longer window shows something
_EXPAND_S: Final = 5.0  # how often folders and globs are looked at for new logs
_ALERTS_S: Final = 5.0
_MOST_GROUPS: Final = 100
_MOST_FAILING: Final = 100
_COUNTED_BYTES: Final = 64_000_000  # of a file, in which lines are counted to name one


class WatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `watch` was asked for; `state` is the file that `check` keeps its alerts in."""

    window_us: int = 15 * MINUTE_US
    by: tuple[str, ...] = ("model",)
    sort: str = "request_count"
    state: Path | None = None
    anomalies: bool = True
    accepted: Callable[[], Accepted] = lambda: NOTHING_ACCEPTED
    limits: tuple[Limit, ...] = ()


class _WatchFold:
    """One reading's calls, counted for the display and for the monitor; without `now_us` now is the last event."""

    def __init__(self, recent: Recent, monitor: IncidentMonitorFold, now_us: int | None) -> None:
        self._recent = recent
        self._monitor = monitor
        self._now_us = now_us
        self._failing = TopFold("timestamp", _MOST_FAILING, ascending=False)

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        self._recent.add(columns, self._now_us or max(self._recent.last_us or 0, int(columns.timestamp.max(initial=0))))
        self._monitor.add(columns, samples)
        failed = errors(columns)
        if failed is not None and (at := np.flatnonzero(failed == 1)).size:
            self._failing.add(columns.take(at), samples)

    def result(self) -> tuple[Recent, list[Aggregates], Columns]:
        return self._recent, self._monitor.result(), self._failing.result()[0].without_unused_names()


class Watcher:
    """Follows the logs of a query; `poll` reads what is new, `report` says how things stand.

    `clock` gives microseconds UTC. With `--now log` now is just after the last event.
    """

    def __init__(self, query: Query, plan: WatchPlan, clock: Callable[[], int]) -> None:
        self._query = query
        self._clock = clock
        self._replay = query.time.now is Now.LOG
        self._dimensions = tuple(dict.fromkeys((plan.by, *GROUPS)))
        self._recent = Recent(self._dimensions, Measures.of((*TOTALS, *COURSE)))
        self._fields = needed_fields((*TOTALS, *COURSE)) | {"error_type", *(n for d in self._dimensions for n in d)}
        self._fields |= {"status_code", "error_message", "timestamp"}
        self._fields |= WATCHED_FIELDS if plan.anomalies else frozenset()
        self._failing: tuple[FailedCall, ...] = ()
        self._limits = plan.limits
        self.opened: tuple[str | None, ...] | None = None
        self._checkpoints: tuple[Checkpoint, ...] = ()
        self._plans: Plans = {}
        self._seen = Seen()
        self._paths: tuple[str, ...] = ()
        self._expanded_s = -_EXPAND_S
        self._source = SourceReport(timezone=query.tz)
        self._pending = 0
        self._new = 0
        self._alerts = _Alerts(plan.state)
        self._first = True
        self._monitors = plan.anomalies
        self._plan_accepted = plan.accepted
        self._monitor: IncidentMonitor | None = None
        self.window_us = min(plan.window_us, LONGEST_US)
        self.by = plan.by
        self.sort = plan.sort
        self.paused = False

    @property
    def now_us(self) -> int:
        """The clock's now, or the log's."""
        last = self._recent.last_us
        return last + 1 if self._replay and last is not None else self._clock()

    @property
    def is_waiting(self) -> bool:
        """Whether no log was there so far."""
        return not self._checkpoints

    def poll(self) -> int:
        """Read what is new; how many calls that were."""
        now_us = self._clock()
        first, self._first = self._first, False
        since_us = None if self._replay else now_us - max(self.window_us, _FIRST_LOOK_US)
        if first and self._monitors:
            self._monitor = IncidentMonitor(self._query, since_us, self._plan_accepted)
        growth = read_new(
            msgspec.structs.replace(self._query, wall_us=now_us, progress=self._query.progress if first else None),
            self._fields,
            lambda: self._fold(now_us),
            self._checkpoints,
            since_us=since_us if first else None,
            plans=self._plans,
            paths=self._named(),
            seen=self._seen,
        )
        self._take(growth, now_us)
        return growth.source.requests

    def tend(self) -> None:
        """What is done beside reading: old buckets are dropped, alerts are looked up, incidents are fetched."""
        now_us = self.now_us
        self._recent.forget(now_us)
        self._alerts.refresh()
        if self._monitor is not None:
            self._monitor.tend(now_us)

    def _fold(self, now_us: int) -> _WatchFold:
        recent = Recent(self._dimensions, self._recent.measures)
        since_us = self._monitor.since_us if self._monitor else 0
        return _WatchFold(recent, IncidentMonitorFold(since_us), None if self._replay else now_us)

    def _named(self) -> tuple[str, ...]:
        """The paths of the logs; folders and globs are only looked at every few seconds."""
        if time.monotonic() - self._expanded_s >= _EXPAND_S:
            self._paths, self._expanded_s = expand(self._query.logs).paths, time.monotonic()
        return self._paths

    def _take(self, growth: NewCalls, now_us: int) -> None:
        if self._replay:
            now_us = max([self._recent.last_us or 0, *(recent.last_us or 0 for recent, *_ in growth.results)]) + 1
        for recent, parts, _ in growth.results:
            self._recent.absorb(recent, now_us)
            if self._monitor is not None:
                self._monitor.add(parts)
        scans = growth.scans or (None,) * len(growth.results)
        found = zip(growth.results, scans, strict=True)
        new = [call for (*_, failing), done in found for call in self._failed(failing, done)]
        if new:
            self._failing = tuple(sorted([*new, *self._failing], key=lambda call: -call.at_us)[:_MOST_FAILING])
        self._checkpoints = growth.checkpoints
        self._pending = growth.pending
        self._new += growth.source.requests
        sums = {name: getattr(self._source, name) + getattr(growth.source, name) for name in COUNTS}
        self._source = msgspec.structs.replace(
            self._source, **sums, failed=growth.failed, rejects=(*self._source.rejects, *growth.source.rejects)[-5:]
        )

    def _failed(self, columns: Columns, scanned: Scanned[Any] | None) -> list[FailedCall]:
        """Calls with their places; calls of repeating dialects have none."""
        fields = dict.fromkeys(name for dimension in self._dimensions for name in dimension)
        names = {name: columns.name(name).texts() for name in fields}
        messages, codes = columns.name("error_message").texts(), columns.number("status_code")
        positions = None if scanned is None or columns.positions is None else columns.positions.tolist()
        return [
            FailedCall(
                at_us=at_us,
                names={name: texts[row] for name, texts in names.items()},
                status_code=None if codes[row] != codes[row] else int(codes[row]),
                message=messages[row],
                place="" if positions is None or scanned is None else _place(positions[row], scanned),
            )
            for row, at_us in enumerate(columns.timestamp.tolist())
        ]

    def report(self) -> LiveReport:
        """How things stand now."""
        now_us = self.now_us
        start_us = self._recent.start_of(self.window_us, now_us)
        minutes = (now_us - start_us) / MINUTE_US
        self._recent.show([(), self.by, ("error_type",)])
        every = self._recent.window((), self.window_us, now_us)
        grouped = self._recent.window(self.by, self.window_us, now_us)
        groups = self._groups(grouped, minutes)
        opened = next((row for row in groups if tuple(row.key.values()) == self.opened), None)
        place = ((), ()) if opened is None else (self.by, tuple(opened.key.values()))
        trends = self._recent.courses(self.by, "request_count", self.window_us, now_us)
        new, self._new = self._new, 0
        found = self._monitor.found if self._monitor is not None else None
        return LiveReport(
            logs=", ".join(self._query.logs),
            tz=self._query.tz,
            now_us=now_us,
            start_us=start_us,
            window_us=self.window_us,
            by=self.by,
            sorted_by=self.sort,
            totals=_statistics(every, minutes)[-1] if opened is None else opened.statistics,
            exact=every.exact,
            groups=groups,
            errors=_shares(self._recent.window(("error_type",), self.window_us, now_us)),
            course=tuple(self._recent.course(COURSE, self.window_us, now_us, *place)),
            every_us=self._recent.width_of(self.window_us),
            source=self._source,
            pending=self._pending,
            ahead=self._recent.ahead,
            new=new,
            last_us=self._recent.last_us,
            alerts=self._alerts.open,
            incidents=found.incidents if found is not None else (),
            learning=found.learning if found is not None else "not looked for",
            paused=self.paused,
            waiting=self.is_waiting,
            opened=None if opened is None else opened.key,
            trends={group: tuple(values) for group, values in trends.items()},
            failing=tuple(call for call in self._failing if call.at_us >= start_us),
            limits=self._limits,
        )

    def _groups(self, aggregates: Aggregates, minutes: float) -> tuple[GroupRow, ...]:
        table = _statistics(aggregates, minutes)
        rows = [
            GroupRow(dict(zip(self.by, group, strict=True)), table[at]) for at, group in enumerate(aggregates.groups)
        ]
        rows.sort(key=lambda row: (-(row.statistics[self.sort] or 0.0), [value or "" for value in row.key.values()]))
        return tuple(rows[:_MOST_GROUPS])

    def toggle_pause(self) -> None:
        """Pause, or go on."""
        self.paused = not self.paused

    def next_group(self) -> None:
        """Group by the next field that calls have; by what was asked for where there is none."""
        at = self._dimensions.index(self.by)
        for dimension in (*self._dimensions[at + 1 :], *self._dimensions[: at + 1]):
            groups = self._recent.window(dimension, self.window_us, self.now_us).groups
            if dimension == self._dimensions[0] or any(name is not None for group in groups for name in group):
                self.by, self.opened = dimension, None
                return

    def change_window(self, step: int) -> None:
        """The next longer (1) or shorter (-1) window."""
        others = [w for w in WINDOWS if (w > self.window_us if step > 0 else w < self.window_us)]
        if others:
            self.window_us = others[0] if step > 0 else others[-1]

    def next_sort(self) -> None:
        """Sort by the next column."""
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)] if self.sort in SORTS else SORTS[0]

    def close(self) -> None:
        """End what runs beside."""
        if self._monitor is not None:
            self._monitor.close()


class _Alerts:
    """The open alerts of a state file, looked up every few seconds; None where there is no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._looked_s = -_ALERTS_S
        self.open: tuple[LiveAlert, ...] | None = None

    def refresh(self) -> None:
        """Look, if the last time is long enough ago."""
        if self._path is None or time.monotonic() - self._looked_s < _ALERTS_S:
            return
        self._looked_s = time.monotonic()
        if not self._path.exists():
            return
        from llmmon.alerting.state import StateFile

        try:
            with StateFile(self._path) as state:
                found = [alert for alert in state.alerts().values() if not alert.resolved]
        except LlmmonError:
            return
        found.sort(key=lambda alert: (alert.fired_us is None, -alert.since_us))
        self.open = tuple(LiveAlert(a.title, a.severity.value, a.state.value, a.since_us) for a in found)


def _place(position: int, scanned: Scanned[Any]) -> str:
    """The file and line of a call; the file alone where too much of it stands before."""
    span, first = scanned.spans[position >> POSITION_BITS]
    counted = first is not None or span.start <= _COUNTED_BYTES
    file, line = line_of(position, scanned) if counted else (place(position, scanned)[0], None)
    return file if line is None else f"{file}:{line}"


def _statistics(aggregates: Aggregates, minutes: float) -> list[dict[str, float | int | None]]:
    """Of every group, then of all together."""
    table = evaluate(aggregates, TOTALS, minutes)
    whole = {name: statistic_called(name).integral for name in TOTALS}
    return [
        {
            name: None if np.isnan(value) else int(value) if whole[name] else float(value)
            for name in TOTALS
            for value in (table[name][row],)
        }
        for row in range(len(aggregates) + 1)
    ]


def _shares(by_error: Aggregates) -> tuple[Share, ...]:
    """The errors by type, the most frequent first."""
    sums = by_error.sums.get("error")
    if sums is None or not (whole := int(sums.total.sum())):
        return ()
    counted = [(group[0], int(n)) for group, n in zip(by_error.groups, sums.total, strict=True) if n]
    return tuple(Share(name, n, n / whole) for name, n in sorted(counted, key=lambda one: (-one[1], one[0] or "")))
