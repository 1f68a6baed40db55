"""The four named detectors, value by value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from llmmon.anomaly.detectors import (
    CompositeAnomalyDetector,
    StatisticalAnomalyDetector,
    ThresholdAnomalyDetector,
    TrendAnomalyDetector,
)
from llmmon.anomaly.detectors.detector import Anomaly

AT = datetime(2026, 1, 5, tzinfo=UTC)


def feed(detector: StatisticalAnomalyDetector | TrendAnomalyDetector, values: list[float]) -> list[Anomaly]:
    found = [detector.add_value("m", value, AT + timedelta(minutes=k)) for k, value in enumerate(values)]
    return [anomaly for anomaly in found if anomaly is not None]


def around(level: float, size: int) -> list[float]:
    return [level + (k % 3 - 1) for k in range(size)]


def test_a_spike_is_found_at_its_own_time() -> None:
    (found,) = feed(StatisticalAnomalyDetector(), [*around(10, 30), 50.0, *around(10, 5)])
    assert found.timestamp == AT + timedelta(minutes=30)
    assert found.value == 50.0
    assert found.expected_range[0] < 10 < found.expected_range[1]
    assert found.severity == "critical"
    assert "standard deviations" in found.description


def test_the_first_ten_values_are_not_judged() -> None:
    assert feed(StatisticalAnomalyDetector(), [*around(10, 9), 500.0]) == []


def test_a_spike_does_not_hide_the_next() -> None:
    values = [*around(10, 30), 1000.0, *around(10, 3), 40.0, *around(10, 3)]
    assert [a.value for a in feed(StatisticalAnomalyDetector(), values)] == [1000.0, 40.0]


def test_any_change_of_a_value_that_never_changed_is_an_anomaly() -> None:
    assert [a.value for a in feed(StatisticalAnomalyDetector(), [5.0] * 20 + [5.1])] == [5.1]


def test_an_incident_speaks_once() -> None:
    assert len(feed(StatisticalAnomalyDetector(), [*around(10, 40), *[60.0] * 4])) == 1


def test_a_new_level_becomes_usual() -> None:
    assert len(feed(StatisticalAnomalyDetector(window_size=20), [*around(10, 40), *around(30, 200)])) <= 3


def test_metrics_do_not_mix() -> None:
    detector = StatisticalAnomalyDetector()
    for k, value in enumerate(around(10, 40)):
        assert detector.add_value("a", value, AT + timedelta(minutes=k)) is None
        assert detector.add_value("b", value * 100, AT + timedelta(minutes=k)) is None


def test_without_a_time_the_clock_is_asked() -> None:
    detector = StatisticalAnomalyDetector(clock=lambda: AT)
    found = [detector.add_value("m", value) for value in [*around(10, 30), 99.0]]
    assert found[-1] is not None
    assert found[-1].timestamp == AT


@pytest.mark.parametrize("arguments", [{"window_size": 1}, {"z_threshold": 0.0}, {"z_threshold": float("nan")}])
def test_impossible_settings_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="window"):
        StatisticalAnomalyDetector(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window"):
        TrendAnomalyDetector(window_size=2)


@pytest.mark.parametrize(
    ("value", "direction", "severity"),
    [
        (2500.0, "above", "medium"),
        (6000.0, "above", "critical"),
        (2000.0, "above", None),
        (1000.0, "below", "medium"),
    ],
)
def test_limits_must_be_passed_not_met(value: float, direction: str, severity: str | None) -> None:
    detector = ThresholdAnomalyDetector()
    detector.set_threshold("m", 2000.0, 5000.0 if direction == "above" else 500.0, direction)  # type: ignore[arg-type]
    found = detector.check("m", value, AT)
    assert (found.severity if found else None) == severity


def test_check_answers_each_time_and_add_value_once_an_incident() -> None:
    detector = ThresholdAnomalyDetector()
    detector.set_threshold("m", warning=1.0, critical=10.0)
    assert all(detector.check("m", 2.0, AT) for _ in range(3))
    spoken = [detector.add_value("m", value, AT) for value in (2.0, 3.0, 20.0, 2.0, 0.5, 2.0)]
    assert [a.severity if a else None for a in spoken] == ["medium", None, "critical", None, None, "medium"]


def test_a_metric_without_limits_is_not_judged() -> None:
    assert ThresholdAnomalyDetector().check("m", 1e9, AT) is None


def test_a_direction_is_above_or_below() -> None:
    with pytest.raises(ValueError, match="sideways"):
        ThresholdAnomalyDetector().set_threshold("m", 1.0, direction="sideways")  # type: ignore[arg-type]


def test_a_steady_climb_is_told_as_the_change_over_the_window() -> None:
    (found,) = feed(TrendAnomalyDetector(window_size=50), [100 + 0.5 * k for k in range(60)])
    assert "increased by 21.8%" in found.description  # 24.5 over 49 steps, mean 112.25
    assert found.timestamp == AT + timedelta(minutes=49)


def test_noise_without_a_trend_is_not_a_trend() -> None:
    rng = np.random.default_rng(0)
    assert feed(TrendAnomalyDetector(), rng.normal(10, 3, 400).tolist()) == []


def test_a_composite_asks_all_and_remembers_by_event_time() -> None:
    composite = CompositeAnomalyDetector()
    limits = ThresholdAnomalyDetector()
    limits.set_threshold("m", warning=20.0)
    composite.add_detector(limits)
    composite.add_detector(StatisticalAnomalyDetector())
    for k, value in enumerate([*around(10, 30), 50.0, *around(10, 3)]):
        composite.check("m", value, AT + timedelta(hours=k))
    assert {a.detector for a in composite.get_recent_anomalies(hours=24)} == {"threshold", "statistical"}
    assert composite.get_recent_anomalies(hours=1) == []
    assert CompositeAnomalyDetector().get_recent_anomalies() == []
