"""Slow drift: ramps are found since the right day, and seasons, steps, incidents and noise are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from llmmon.anomaly.drift import Drift, drift_of, drifts
from llmmon.anomaly.series import Series, level, panel, proportions
from llmmon.metrics.columns import FloatArray
from llmmon.text.times import DAY_US, HOUR_US
from tests.conftest import Run

MONDAY_US = 1_772_409_600_000_000  # 2026-03-02
DAYS = 35


def hours(days: int = DAYS) -> FloatArray:
    return np.arange(24.0 * days)


def calls(days: int = DAYS) -> FloatArray:
    """Calls an hour: quiet nights, half of them at weekends."""
    hour = hours(days)
    weekend = hour // 24 % 7 >= 5
    found: FloatArray = np.round((60 + 100 * np.sin(hour % 24 / 24 * np.pi)) * np.where(weekend, 0.5, 1.0))
    return found


def latency(factor: FloatArray | float = 1.0, seed: int = 1, days: int = DAYS, noise: float = 0.02) -> Series:
    """Latency with a daily and a weekly season; days differ by `noise`."""
    rng = np.random.default_rng(seed)
    hour, count = hours(days), calls(days)
    mean = 7.0 + 0.1 * np.sin(hour % 24 / 24 * 6.28) + np.where(hour // 24 % 7 >= 5, 0.08, 0.0)
    mean = mean + rng.normal(0, noise, days)[(hour // 24).astype(int)] + rng.normal(0, 0.6, len(hour)) / np.sqrt(count)
    starts = MONDAY_US + hour.astype(np.int64) * HOUR_US
    spread = np.full(len(hour), 0.36)
    return level("latency_ms", starts, HOUR_US, (count, mean + np.log(factor), spread))


def growing(share: float, from_day: int, days: int = DAYS) -> FloatArray:
    found: FloatArray = (1 + share) ** np.maximum(hours(days) / 24 - from_day, 0.0)
    return found


def found(series: Series) -> Drift:
    drift = drift_of(series)
    assert drift is not None
    return drift


@pytest.mark.parametrize("share", [0.02, 0.03, 0.05, -0.02])
def test_a_drift_is_found_with_its_beginning_speed_and_size(share: float) -> None:
    drift = found(latency(growing(share, 20)))
    assert (drift.since_us - MONDAY_US) / DAY_US == pytest.approx(20, abs=6)
    assert drift.per_day == pytest.approx(share, rel=0.4)
    assert drift.change == pytest.approx((1 + share) ** 14.5 - 1, rel=0.3)
    assert drift.now / drift.usual - 1 == pytest.approx(drift.change)


def test_a_drift_that_began_with_the_log_is_found() -> None:
    assert found(latency(growing(0.01, 0))).change == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_seasons_and_noise_are_no_drift(seed: int) -> None:
    assert drift_of(latency(seed=seed)) is None


def test_a_step_is_a_new_level_and_no_drift() -> None:
    assert drift_of(latency(np.where(hours() >= 24 * 20, 1.4, 1.0))) is None


def test_an_incident_of_hours_is_no_drift() -> None:
    factor = np.ones(24 * DAYS)
    factor[24 * 33 + 9 : 24 * 33 + 13] = 5.0
    factor[24 * 34 + 9 : 24 * 34 + 14] = 8.0
    assert drift_of(latency(factor)) is None


def test_few_days_or_few_calls_are_not_judged() -> None:
    assert drift_of(latency(growing(0.1, 2, 8), days=8)) is None
    series = latency(growing(0.05, 20))
    assert (
        drift_of(level("latency_ms", series.starts, HOUR_US, (series.count * 0, np.log(series.value), series.count)))
        is None
    )


def test_days_without_calls_are_passed_over() -> None:
    series = latency(growing(0.02, 15))
    count = series.count.copy()
    count[24 * 10 : 24 * 12] = 0
    left = level("latency_ms", series.starts, HOUR_US, (count, np.log(series.value), np.full(len(count), 0.36)))
    drift = found(left)
    assert drift.days[10] is None
    assert drift.days[9] is not None


def test_a_rate_of_errors_that_grows_is_found_and_a_burst_is_not() -> None:
    rng = np.random.default_rng(3)
    count, starts = calls() * 3, MONDAY_US + hours().astype(np.int64) * HOUR_US
    rate = 0.005 + 0.0015 * np.maximum(hours() / 24 - 15, 0)
    drift = found(proportions("error_rate", starts, HOUR_US, rng.binomial(count.astype(int), rate), count))
    assert drift.usual == pytest.approx(0.005, abs=0.002)
    assert drift.now == pytest.approx(0.035, abs=0.01)
    burst = rng.binomial(count.astype(int), np.where((hours() >= 24 * 34 + 9) & (hours() < 24 * 34 + 12), 0.5, 0.005))
    assert drift_of(proportions("error_rate", starts, HOUR_US, burst, count)) is None


def test_what_follows_from_a_drift_goes_with_it() -> None:
    one = latency(growing(0.02, 15))
    mean, spread = np.log(one.value), np.full(len(one), 0.36)
    tokens = level("completion_tokens", one.starts, HOUR_US, (one.count, mean - 2, spread))
    group = level("latency_ms", one.starts, HOUR_US, (one.count, mean, spread), (("model", "m"),))
    (drift,) = drifts(panel([one, tokens, group]))
    assert drift.metric == "completion_tokens"
    assert {metric for metric, _, _ in drift.also} == {"latency_ms"}


def log(folder: Path, share: float) -> str:
    rng = np.random.default_rng(5)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    lines = []
    for day in range(28):
        for minute in np.sort(rng.uniform(0, 1440, 150)).tolist():
            factor = (1 + share) ** max(0.0, day + minute / 1440 - 12)
            call = {
                "timestamp": (start + timedelta(days=day, minutes=minute)).isoformat(),
                "model": "gpt-4o",
                "latency_ms": round(float(np.exp(rng.normal(7.0, 0.3))) * factor, 3),
            }
            lines.append(json.dumps(call))
    path = folder / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_anomalies_shows_a_drift_as_an_incident_in_every_later_window(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path, 0.03)
    for window in ((), ("--window", "1d")):
        data = run("anomalies", path, *window, "-f", "json").json["data"]
        (drift,) = [one for one in data["incidents"] if one["kind"] == "drift"]
        assert (drift["status"], drift["end"], drift["metric_name"]) == ("drifting", None, "latency_ms")
        assert drift["change_per_day"] == pytest.approx(0.03, abs=0.012)
    shown = run("anomalies", path, "--window", "1d", env={"COLUMNS": "80"}).stdout
    assert "drifting, +" in shown
    assert "a day" in shown
    assert run("anomalies", path, "--explain", drift["id"][:7], "-f", "json").json["data"]["incidents"] == [drift]
    assert run("anomalies", path, "--fail-on", "drifts>0").code == 1


def test_a_quiet_log_has_no_drift(run: Run, tmp_path: Path) -> None:
    data = run("anomalies", log(tmp_path, 0.0), "-f", "json").json["data"]
    assert [one for one in data["incidents"] if one["kind"] == "drift"] == []
