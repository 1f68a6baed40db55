"""Incidents, scores and what was watched in public units: what a report of `anomalies` is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from llmmon.detectors import Verdicts
from llmmon.detectors.anomaly import micros
from llmmon.durations import iso
from llmmon.errors import UsageError
from llmmon.incidents import Anomaly, score_rows
from llmmon.names import unknown
from llmmon.reports import IncidentReport, MonitoredSeries, Window

_COURSE: Final = 24  # buckets shown around an incident


def incident_report(anomaly: Anomaly, verdicts: Sequence[Verdicts]) -> IncidentReport:
    """An incident in public units, with the metric's course around its beginning."""
    where = _place(anomaly, verdicts)
    course: tuple[float | None, ...] = ()
    if where is not None:
        one, j = where
        at = int(np.searchsorted(one.ends, micros(anomaly.timestamp)))
        around = one.value[max(0, at - _COURSE // 2) : at + _COURSE // 2, j]
        course = tuple(_known(value) for value in around.tolist())
    low, high = anomaly.expected_range
    return IncidentReport(
        id=anomaly.id,
        metric_name=anomaly.metric_name,
        group=dict(anomaly.group),
        value=_known(anomaly.value),
        low=_known(low),
        high=_known(high),
        severity=anomaly.severity.value,
        score=anomaly.score,
        detector=anomaly.detector,
        timestamp_us=micros(anomaly.timestamp),
        start_us=micros(anomaly.start or anomaly.timestamp),
        end_us=micros(anomaly.end or anomaly.timestamp),
        description=anomaly.description,
        contributors=tuple(anomaly.contributors),
        course=course,
    )


def _place(anomaly: Anomaly, verdicts: Sequence[Verdicts]) -> tuple[Verdicts, int] | None:
    for one in verdicts:
        for j, column in enumerate(one.columns):
            if (column.metric, column.group, column.detector) == (
                anomaly.metric_name,
                anomaly.group,
                anomaly.detector,
            ):
                return one, j
    return None


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def monitored_series(verdicts: Sequence[Verdicts]) -> tuple[MonitoredSeries, ...]:
    """Every series that was looked at, and why where it could not be judged."""
    return tuple(
        MonitoredSeries(row.metric_name, dict(row.group), row.buckets, row.season, row.judged, row.reason)
        for one in verdicts
        for row in one.monitored
    )


def bucket_scores(verdicts: Sequence[Verdicts], window: Window) -> tuple[Mapping[str, Any], ...]:
    """One row per bucket and series of the window, as `--scores` writes them."""
    return tuple(_scores(verdicts, window))


def _scores(verdicts: Sequence[Verdicts], window: Window) -> Iterator[Mapping[str, Any]]:
    for one in verdicts:
        for row in score_rows(one):
            if window.start_us is None or row.timestamp_us >= window.start_us:
                yield {
                    "timestamp": iso(row.timestamp_us),
                    "metric_name": row.metric_name,
                    "group": dict(row.group),
                    "value": _known(row.value),
                    "expected_range": [_known(bound) for bound in row.expected_range],
                    "score": row.score,
                }


def asked_for(wanted: str, every: Sequence[Anomaly]) -> Anomaly:
    """The incident whose id begins so; raises `UsageError`."""
    for anomaly in every:
        if anomaly.id.startswith(wanted):
            return anomaly
    raise UsageError("--explain: " + unknown("incident", wanted, [a.id for a in every] or ["none was found"]))


def explained_buckets(anomaly: Anomaly, verdicts: Sequence[Verdicts]) -> tuple[Mapping[str, Any], ...]:
    """Bucket by bucket around one incident."""
    where = _place(anomaly, verdicts)
    if where is None:
        return ()
    one, j = where
    first = int(np.searchsorted(one.ends, micros(anomaly.start or anomaly.timestamp)))
    last = int(np.searchsorted(one.ends, micros(anomaly.end or anomaly.timestamp)))
    rows = range(max(0, first - _COURSE // 2), min(len(one.starts), last + _COURSE // 4))
    return tuple(
        {
            "start": iso(int(one.starts[i])),
            "value": _known(one.value[i, j]),
            "low": _known(one.low[i, j]),
            "high": _known(one.high[i, j]),
            "z": _known(one.z[i, j]),
            "score": _known(one.score[i, j]),
            "alarm": bool(one.alarm[i, j]),
        }
        for i in rows
    )
