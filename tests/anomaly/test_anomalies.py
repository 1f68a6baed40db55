"""Incidents: one per episode, with a stable id, a severity and a plain sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from llmmon.anomaly.anomalies import anomalies, anomaly_id, merged, score_rows
from llmmon.anomaly.detectors import DetectorResults, ResultColumn, detect
from llmmon.anomaly.detectors.detector import Anomaly, AnomalyStatus, Severity, moment, severity_of
from llmmon.anomaly.series import level
from llmmon.text.times import to_us
from tests.support.synth import STEP_US, between, watched_service

AT = datetime(2026, 1, 5, tzinfo=UTC)
CALM = 288  # buckets


USUAL, AWAY = 100.0, 900.0


def results_of(alarm: list[int], away: list[int] | None = None, z: float = 6.0) -> DetectorResults:
    """A level of 20 calls a bucket after a calm day, with the detector's alarm; `away` is where it is 900."""
    alarmed = np.array([*[0] * CALM, *alarm], bool)
    high = np.array([*[0] * CALM, *(alarm if away is None else away)], bool)
    size = len(alarmed)
    starts = np.arange(size, dtype=np.int64) * STEP_US
    one, calls = np.ones((size, 1)), np.full(size, 20.0)
    value = np.where(high, AWAY, USUAL)
    group = (("model", "m"),)
    series = level("latency_ms", starts, STEP_US, (calls, np.log(value), np.full(size, 0.1)), group)
    return DetectorResults(
        *(starts, starts + STEP_US, (ResultColumn("latency_ms", group, "level", 0),)),
        *(value[:, None], 50 * one, 200 * one, 0.999 * one, z * high[:, None], alarmed[:, None]),
        np.full((size, 1), CALM + 1, np.int64),
        series=(series,),
        expected=100 * one,
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


def row_us(row: int) -> int:
    """The start of a bucket after the calm day."""
    return (CALM + row) * STEP_US


def test_an_episode_is_one_anomaly() -> None:
    (found,) = anomalies(results_of([0, 0, 1, 1, 1, *[0] * 12], [0, 1, 1, 1, 1, *[0] * 12]))
    assert to_us(found.timestamp) == row_us(3)
    assert found.start is not None
    assert found.end is not None
    assert (to_us(found.start), to_us(found.end)) == (row_us(1), row_us(5))
    assert found.severity is Severity.CRITICAL
    assert (
        found.description == "m answers took 9.0 times as long, 100 ms → 900 ms, 2 Jan 00:05-00:25 (20 min), 80 calls"
    )


def test_an_anomaly_that_is_open_at_the_end_has_no_end() -> None:
    (found,) = anomalies(results_of([0, 1, 1, 1]))
    assert (found.status, found.end) == (AnomalyStatus.OPEN, None)
    assert "since 2 Jan 00:05" in found.description


@pytest.mark.parametrize(("calm", "status"), [(0, "open"), (8, "over")])
def test_an_anomaly_is_over_when_the_level_is_back_though_the_alarm_goes_on(calm: int, status: str) -> None:
    (found,) = anomalies(results_of([0, 0, *[1] * (6 + calm)], [0, 0, *[1] * 6, *[0] * calm]))
    assert found.status.value == status
    if calm:
        assert found.end is not None
        assert to_us(found.end) == row_us(8)


def test_a_level_that_stays_after_the_alarm_is_a_new_level_until_it_is_back() -> None:
    lasting = [0, *[1] * 150, *[0] * 100]
    (stays,) = anomalies(results_of(lasting, [0, *[1] * 250]))
    assert (stays.status, stays.end) == (AnomalyStatus.NEW_LEVEL, None)
    assert "has stayed at the new level since 2 Jan 00:05" in stays.description
    (back,) = anomalies(results_of(lasting, [0, *[1] * 200, *[0] * 50]))
    assert back.status is AnomalyStatus.OVER
    assert back.end is not None
    assert to_us(back.end) == row_us(201)


def test_an_alarm_about_a_level_that_never_moved_is_no_anomaly() -> None:
    assert anomalies(results_of([0, 0, 1, 1, 1, 0, 0], [0] * 7)) == []


def test_a_value_inside_its_expected_range_is_never_critical() -> None:
    whole = watched_service(days=12, latency=between(9.3, 9.6, 1.3), errors=between(10.2, 10.3, 8.0))
    found = anomalies(detect(whole))
    assert found
    assert not [
        a for a in found if a.severity is Severity.CRITICAL and a.expected_range[0] <= a.value <= a.expected_range[1]
    ]


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
    assert to_us(moment(1_767_571_200_123_456)) == 1_767_571_200_123_456
