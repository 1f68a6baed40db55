"""Forecasts: exact where the past is regular, honest where it is not, and right about how sure they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from llmmon.metrics.columns import FloatArray
from llmmon.pricing.forecast import crossing, expected, outlook
from tests.conftest import Run

WEEK = np.array([1.0, 1.1, 1.2, 1.1, 1.0, 0.4, 0.2])


def simulated(days: int, growth: float, noise: float, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    at = np.arange(days)
    made: FloatArray = 100 * np.exp(growth * at) * WEEK[at % 7] * np.exp(rng.normal(0, noise, days))
    return made


def test_a_regular_week_is_carried_on() -> None:
    history = np.tile(WEEK, 8) * 50
    assert expected(history, 0, 10) == pytest.approx(np.tile(WEEK, 2)[:10] * 50, rel=0.06, abs=2.5)
    assert expected(history, 0, 70).sum() == pytest.approx(10 * WEEK.sum() * 50, rel=0.01)


def test_growth_is_carried_on_and_noise_is_not() -> None:
    growing, flat = simulated(75, 0.015, 0.1, 1), simulated(75, 0, 0.1, 1)
    assert outlook(growing[:60], 0, 15).total == pytest.approx(growing[60:].sum(), rel=0.15)
    assert outlook(flat[:60], 0, 15).total == pytest.approx(flat[60:].sum(), rel=0.1)


def test_one_expensive_day_does_not_move_the_forecast_much() -> None:
    history = np.tile(WEEK, 6) * 50
    history[30] *= 40
    assert expected(history, 0, 14).sum() == pytest.approx(2 * WEEK.sum() * 50, rel=0.25)


def test_the_interval_holds_what_it_says_and_the_error_beats_the_pace() -> None:
    held, ours, pace, ahead = 0, [], [], 15
    cases = [(days, growth, seed) for days in (45, 75, 100) for growth in (0, 0.01, -0.01) for seed in range(12)]
    for days, growth, seed in cases:
        series = simulated(days + ahead, growth, 0.15, seed)
        found, actual = outlook(series[:days], 0, ahead), series[days:].sum()
        held += found.low <= actual <= found.high
        ours.append(abs(found.total / actual - 1))
        pace.append(abs(series[days - ahead : days].sum() / actual - 1))
    assert 0.75 <= held / len(cases) <= 0.93
    assert np.median(ours) < 0.8 * np.median(pace)


@pytest.mark.parametrize("days", [0, 1, 5, 13])
def test_a_short_history_has_no_interval(days: int) -> None:
    found = outlook(np.full(days, 10.0), 0, 5)
    assert np.isnan(found.low)
    assert found.total == pytest.approx(50.0 if days else 0.0)


def test_the_day_on_which_a_budget_is_spent() -> None:
    assert crossing(10.0, np.array([5.0, 5.0, 5.0]), 18.0) == 1
    assert crossing(10.0, np.array([5.0]), 18.0) is None


def daily_log(folder: Path, days: int) -> str:
    """One call of $1 a day from 1 September 2026 on."""
    start = datetime(2026, 9, 1, 12, tzinfo=UTC)
    rows = [
        {"timestamp": (start + timedelta(days=day)).isoformat(), "model": "m", "user": "ann", "cost_usd": 1.0}
        for day in range(days)
    ]
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_month_comes_to_what_its_days_cost(run: Run, tmp_path: Path) -> None:
    done = run("cost", daily_log(tmp_path, 70), "--forecast", "month", "--budget", "20", "--by", "user", "-f", "json")
    found = done.json["data"]["forecast"]
    assert found["start"] == "2026-11-01T00:00:00Z"
    assert found["total"]["spent_usd"] == 9.0
    assert found["total"]["expected_usd"] == pytest.approx(30, abs=0.6)
    assert found["budget_crossed"] == "2026-11-20T00:00:00Z"  # half of 9 November is still to come
    assert [row["key"] for row in found["groups"]] == [{"user": "ann"}]
    assert [row["start"][:7] for row in found["earlier"]] == ["2026-10"]
    assert found["earlier"][0]["error"] < 0.03


def test_a_log_without_times_cannot_be_forecast(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"model": "m", "cost_usd": 1}\n')
    done = run("cost", str(path), "--forecast", "week")
    assert done.code == 3
    assert "no call has a time" in done.stderr


def test_another_period_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    done = run("cost", daily_log(tmp_path, 3), "--forecast", "mnth")
    assert done.code == 2
    assert "did you mean 'month'" in done.stderr
