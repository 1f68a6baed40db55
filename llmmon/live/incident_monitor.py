"""The default monitor kept up to date with what is appended to logs: incidents, once a bucket, found beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from llmmon.anomaly.analysis import MOST_GROUPS, STEP_US, MonitorPlan, measures_of
from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import Sensitivity, detect
from llmmon.anomaly.detectors.detector import Monitored
from llmmon.anomaly.incidents import NOTHING_ACCEPTED, Accepted, incidents, with_accepted
from llmmon.anomaly.panel import levels_of_successes, panel_of
from llmmon.anomaly.report import IncidentReport, incident_report
from llmmon.errors import LlmmonError
from llmmon.ingest.parallel import Child, fork
from llmmon.ingest.query import Query, read
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.aggregates import Aggregates, bounded, in_one_run, merge
from llmmon.metrics.aggregation import AggregatesFold, Measures
from llmmon.metrics.columns import Columns
from llmmon.metrics.definitions import METRICS, needed_fields, statistic_name
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import DAY_US

Result = TypeVar("Result")
_PLAN: Final = MonitorPlan()
_GROUPING: Final = Grouping(_PLAN.by, STEP_US)
_MEASURES: Final = measures_of(_PLAN)
_BY_ERROR: Final = (Measures(sums=("error",), values=()), Grouping(("error_type",), STEP_US))
_MOST_VALUES: Final = 500_000
_HISTORY_US: Final = 28 * DAY_US
_SHOWN_US: Final = DAY_US  # incidents that ended longer ago are no news
FIELDS: Final = needed_fields([statistic_name(METRICS[name], "count") for name in _MEASURES.sums]) | {
    *_PLAN.by,
    "error_type",
}
_Parts = list[Aggregates]


class IncidentMonitorFold(AggregatesFold):
    """Aggregates as the monitor wants them, of calls from `since_us` on."""

    def __init__(self, since_us: int) -> None:
        super().__init__([(_MEASURES, _GROUPING), _BY_ERROR], _MOST_VALUES, merge_every=16)
        self._since_us = since_us

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        super().add(levels_of_successes(columns.take(columns.timestamp >= self._since_us)), [])


class Found(msgspec.Struct, frozen=True):
    """Incidents, open ones first, then the newest, or why there can be none yet."""

    incidents: tuple[IncidentReport, ...] = ()
    learning: str = "learning from the log's history"


class IncidentMonitor:
    """Watches what is appended from `since_us` on, and what stood in the logs before, which is read beside."""

    def __init__(
        self, query: Query, since_us: int | None, accepted: Callable[[], Accepted] = lambda: NOTHING_ACCEPTED
    ) -> None:
        """Without `since_us` all of the logs is given to it, and nothing is read beside."""
        self.since_us = (since_us or 0) // STEP_US * STEP_US
        self.found = Found()
        self._accepted = accepted
        self._parts: list[_Parts] = []
        self._judged_bucket = 0
        self._history = fork(_history_of(query, self.since_us), background=True) if self.since_us else None
        self._judging: Child[Found] | None = None

    def add(self, parts: _Parts) -> None:
        """Take in what was read."""
        if any(part.groups for part in parts):
            self._parts.append(parts)

    def tend(self, now_us: int) -> None:
        """Fetch what is done; judge anew when a bucket is complete."""
        if self._history is not None:
            if self._history.is_done:
                history, self._history = _fetched(self._history), None
                self._parts[:0] = [] if history is None else [history]
            return
        if self._judging is not None:
            if self._judging.is_done:
                found, self._judging = _fetched(self._judging), None
                self.found = found or self.found
        elif now_us // STEP_US > self._judged_bucket:
            self._judged_bucket = now_us // STEP_US
            parts, accepted = self._merged(), self._accepted()
            self._judging = fork(lambda: _detected(parts, now_us, accepted), background=True)

    def _merged(self) -> _Parts:
        if not self._parts:
            return []
        whole = [in_one_run(bounded(merge(parts), _MOST_VALUES)) for parts in zip(*self._parts, strict=True)]
        self._parts = [whole]
        return whole

    def close(self) -> None:
        """End what still runs."""
        for work in (self._history, self._judging):
            if work is not None:
                work.end()


def _fetched(child: Child[Result]) -> Result | None:
    """What a child computed, None where it failed: nothing is lost, as the next bucket is judged anew."""
    try:
        return child.result()
    except Exception:  # noqa: BLE001 - whatever a child raised
        return None
    finally:
        child.end()


def _history_of(query: Query, before_us: int) -> Callable[[], _Parts]:
    """The calls of the weeks before, as aggregates; they are priced and filtered as the others."""
    asked = msgspec.structs.replace(
        query.quiet(),
        time=TimeRequest(since=before_us - _HISTORY_US, until=before_us),
        jobs=1,
        engine=None,
    )

    def work() -> _Parts:
        try:
            results = read(asked, FIELDS, lambda: IncidentMonitorFold(0)).results
        except LlmmonError:
            return IncidentMonitorFold(0).result()
        return [merge(parts) for parts in zip(*results, strict=True)]

    return work


def _detected(parts: Sequence[Aggregates], now_us: int, accepted: Accepted = NOTHING_ACCEPTED) -> Found:
    if not parts or not parts[0].groups:
        return Found((), "no calls yet")
    results = detect(panel_of(parts[0], _GROUPING, MOST_GROUPS, parts[1]), Sensitivity.MEDIUM, now_us)
    every = with_accepted(incidents(anomalies(results), [results]), accepted, now_us)
    reports = [incident_report(one, [results]) for one in every]
    news = [one for one in reports if one.end_us is None or one.end_us > now_us - _SHOWN_US]
    shown = sorted(news, key=lambda one: (one.end_us is not None, -one.start_us))
    waiting = "" if any(row.judged for row in results.monitored) else _reason(results.monitored)
    return Found(tuple(shown), waiting)


def _reason(monitored: Sequence[Monitored]) -> str:
    """Why nothing can be judged yet, as the metrics with most history have it."""
    rows = [row for row in monitored if "needs" in row.reason]
    return rows[0].reason if rows else "too little history"
