"""Incidents: one per episode, with a stable id, a severity and a plain sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from llmmon.anomaly.detectors import DetectorResults, ResultColumn, detect
from llmmon.anomaly.detectors.detector import Anomaly, Severity, micros, moment, severity_of
from llmmon.anomaly.anomalies import anomalies, anomaly_id, merged, score_rows
from tests.support.synth import STEP_US, between, watched_service

AT = datetime(2026, 1, 5, tzinfo=UTC)


def results_of(alarm: list[int], z: float = 6.0, detector: str = "level") -> DetectorResults:
    size = len(alarm)
    starts = np.arange(size, dtype=np.int64) * STEP_US
    one = np.ones((size, 1))
    return DetectorResults(
        *(starts, starts + STEP_US, (ResultColumn("latency_ms", (("model", "m"),), detector, 0),)),
        *(900 * one, 100 * one, 200 * one, 0.999 * one, z * one, np.array(alarm, bool)[:, None]),
        np.full((size, 1), 1, np.int64),
    )


def anomaly(minutes: float, length: float = 5, **changes: object) -> Anomaly:
    at = AT + timedelta(minutes=minutes)
    made = Anomaly("latency_ms", 1.0, (0.0, 0.5), Severity.LOW, at, "", start=at, end=at + timedelta(minutes=length))
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("z", "severity"), [(3.2, "low"), (3.6, "medium"), (4.5, "high"), (5.1, "critical"), (-7.0, "critical")]
)
def test_severity_rises_with_the_deviation(z: float, severity: str) -> None:
    assert severity_of(z) == severity


def test_severities_compare_by_rank() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]


def test_an_episode_is_one_incident() -> None:
    (found,) = anomalies(results_of([0, 0, 1, 1, 1, 0]))
    assert micros(found.timestamp) == 3 * STEP_US
    assert found.start is not None
    assert found.end is not None
    assert (micros(found.start), micros(found.end)) == (STEP_US, 5 * STEP_US)
    assert found.severity is Severity.CRITICAL
    assert found.description == "latency_ms of model m is 900, above the expected 200, since 1970-01-01 00:05."


def test_an_incident_still_open_at_the_end_is_reported() -> None:
    assert len(anomalies(results_of([0, 1, 1]))) == 1


@pytest.mark.parametrize(
    ("calm", "end"),
    [(3, 9), (12, 6)],  # open still: it lasts, unless it has been calm for longer than it lasted
)
def test_an_incident_ends_where_its_evidence_does(calm: int, end: int) -> None:
    made = results_of([0, 0, *[1] * (4 + calm)])
    z = np.array([0.0, 0.0, *[6.0] * 4, *[0.0] * calm])[:, None]
    (found,) = anomalies(replace(made, z=z))
    assert found.end is not None
    assert micros(found.end) == end * STEP_US


def test_the_end_of_a_closed_incident_is_estimated() -> None:
    z = np.array([0.0, 6.0, 6.0, 6.0, 0.1, -0.2, 0.0, 0.0])[:, None]
    (found,) = anomalies(replace(results_of([0, 1, 1, 1, 1, 1, 0, 0]), z=z))
    assert found.end is not None
    assert micros(found.end) == 4 * STEP_US


def test_the_id_is_the_same_when_more_of_the_log_is_known() -> None:
    whole = watched_service(days=10, latency=between(9.3, 9.6, 3.0))
    early = anomalies(detect(whole[: round(9.4 * 288)]))
    late = {a.id for a in anomalies(detect(whole))}
    assert early
    assert {a.id for a in early} <= late


def test_ids_differ_by_metric_group_and_time() -> None:
    base = anomaly_id("a", (("m", "x"),), 1)
    others = {anomaly_id("b", (("m", "x"),), 1), anomaly_id("a", (("m", None),), 1), anomaly_id("a", (), 2)}
    assert base not in others
    assert len(others) == 3


def test_alarms_less_than_half_an_hour_apart_are_one() -> None:
    (one,) = merged([anomaly(0), anomaly(30, severity=Severity.HIGH)])
    assert one.severity is Severity.HIGH
    assert one.timestamp == AT
    assert one.end == AT + timedelta(minutes=35)
    assert len(merged([anomaly(0), anomaly(60)])) == 2


def test_different_metrics_and_groups_stay_apart() -> None:
    assert len(merged([anomaly(0), anomaly(0, metric_name="x"), anomaly(0, group=(("m", "a"),))])) == 3


def test_every_bucket_and_series_has_one_score_row() -> None:
    results = detect(watched_service(days=2))
    rows = score_rows(results)
    keys = {(row.timestamp_us, row.metric_name, row.group) for row in rows}
    series = {(c.metric, c.group) for c in results.columns}
    assert len(rows) == len(keys) == len(results.starts) * len(series)
    assert all(row.score is None or 0 <= row.score <= 1 for row in rows)
    assert any(row.score is None for row in rows)
    assert any(row.score is not None for row in rows)


def test_times_survive_the_way_to_microseconds_and_back() -> None:
    assert micros(moment(1_767_571_200_123_456)) == 1_767_571_200_123_456
