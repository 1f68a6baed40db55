"""The default monitor: what it finds, what it leaves alone, and that it never looks ahead."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import DetectorResults, Monitor, detect
from llmmon.anomaly.detectors.detector import Anomaly
from llmmon.anomaly.series import BucketValues, counts, level, levels, panel, proportions, totals
from llmmon.text.times import HOUR_US, to_us
from tests.support.synth import STEP_US, between, hour_us, service, starts_of, watched_service

MATRICES = ("value", "low", "high", "score", "z", "alarm", "onset")


def during(found: list[Anomaly], first: float, last: float) -> set[str]:
    """The metrics with an incident raised between two days."""
    low, high = hour_us(first), hour_us(last)
    return {a.metric_name for a in found if low <= to_us(a.timestamp) <= high}


def assert_same(one: DetectorResults, other: DetectorResults) -> None:
    for name in MATRICES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("k", [1, 12, 13, 1000, 2311])
def test_a_verdict_depends_on_nothing_after_its_bucket(k: int) -> None:
    whole = watched_service(days=9, latency=between(7.5, 7.7, 3.0), errors=between(8.2, 8.3, 20.0))
    all_of_it, part = detect(whole), detect(whole[:k])
    for name in MATRICES:
        np.testing.assert_array_equal(getattr(all_of_it, name)[:k], getattr(part, name), err_msg=name)


def test_feeding_bucket_by_bucket_gives_the_verdicts_of_the_batch() -> None:
    whole = watched_service(days=3, latency=between(2.5, 2.7, 3.0))
    batch, monitor = detect(whole), Monitor(whole)
    parts = [monitor.extend(whole[i : i + 1]) for i in range(len(whole))]
    for name in MATRICES:
        np.testing.assert_array_equal(
            getattr(batch, name), np.concatenate([getattr(part, name) for part in parts]), err_msg=name
        )


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_an_ordinary_fortnight_is_silent(seed: int) -> None:
    assert len(anomalies(detect(watched_service(seed, 14)))) <= 1


@pytest.mark.parametrize(
    ("effects", "metric"),
    [
        ({"latency": between(10.4, 10.55, 2.0)}, "latency_ms"),
        ({"errors": between(10.4, 10.41, 40.0)}, "error_rate"),
        ({"traffic": between(10.4, 10.45, 0.0)}, "requests"),
        ({"traffic": between(10.4, 10.45, 3.0)}, "requests"),
    ],
)
def test_a_planted_incident_is_found_while_it_lasts(effects: dict[str, object], metric: str) -> None:
    found = anomalies(detect(watched_service(2, 12, **effects)))
    assert metric in during(found, 10.35, 10.6)


@pytest.mark.parametrize("effects", [{"latency": between(10.4, 10.55, 2.0)}, {"errors": between(10.4, 10.55, 30.0)}])
def test_the_end_of_an_incident_is_near_the_end_of_what_was_planted(effects: dict[str, object]) -> None:
    metric = "latency_ms" if "latency" in effects else "error_rate"
    found = anomalies(detect(watched_service(2, 12, **effects)))
    mine = next(a for a in found if a.metric_name == metric and to_us(a.timestamp) > hour_us(10.35))
    assert mine.end is not None
    assert abs(to_us(mine.end) - (hour_us(0) + 10.55 * 24 * HOUR_US)) <= 6 * STEP_US


def test_an_incident_names_its_onset_its_range_and_its_group() -> None:
    group = (("model", "slow-1"),)
    both = panel([*service(1, 10), *service(2, 10, group=group, latency=between(9.5, 9.7, 3.0))])
    mine = next(a for a in anomalies(detect(both)) if a.group == group and a.metric_name == "latency_ms")
    assert mine.start is not None
    assert abs(to_us(mine.start) - hour_us(9.5)) <= 2 * STEP_US
    assert mine.expected_range[1] < mine.value
    assert "slow-1 answers took" in mine.description
    assert mine.severity in {"high", "critical"}


def test_a_lasting_level_becomes_the_usual_one() -> None:
    found = anomalies(detect(watched_service(2, 14, latency=between(8.5, 99.0, 2.0))))
    assert "latency_ms" in during(found, 8.5, 9.0)
    assert "latency_ms" not in during(found, 10.0, 14.0)


def test_a_gap_in_the_traffic_of_a_week_is_a_drop_and_not_an_error() -> None:
    found = anomalies(detect(watched_service(6, 12, traffic=between(9.3, 9.6, 0.0))))
    assert during(found, 9.2, 9.7) <= {"requests", "cost_usd"}
    assert "requests" in during(found, 9.2, 9.7)


def test_the_last_incomplete_bucket_is_not_judged() -> None:
    whole = watched_service(days=2)
    until = int(whole.starts[-1]) + STEP_US - 1
    assert len(detect(whole, until_us=until).starts) == len(whole) - 1


def test_too_little_history_is_said_and_not_judged() -> None:
    results = detect(watched_service(days=0.2))
    assert all(not row.judged and "too little history" in row.reason for row in results.monitored)
    assert np.isnan(results.score).all()


def test_an_empty_panel_has_no_verdicts() -> None:
    assert anomalies(detect(panel([]))) == []


def test_the_season_is_by_hour_of_the_week_from_three_weeks_on() -> None:
    def season(days: float) -> str:
        rows = detect(watched_service(days=days)).monitored
        return next(row.season for row in rows if row.metric_name == "latency_ms")

    assert season(20) == "hour of day"
    assert season(22) == "hour of week"


def test_all_errors_from_the_first_call_on_is_no_news() -> None:
    grid = starts_of(5)
    calls = np.full(len(grid), 20.0)
    results = detect(panel([proportions("error_rate", grid, STEP_US, calls, calls)]))
    assert not results.alarm.any()


def test_a_few_calls_of_which_all_fail_from_the_first_on_are_no_news() -> None:
    grid = starts_of(5)
    calls = np.where(np.arange(len(grid)) % 2 == 0, 3.0, 0.0)
    assert not detect(panel([proportions("error_rate", grid, STEP_US, calls, calls)])).alarm.any()


def test_the_first_days_of_a_busy_log_are_silent() -> None:
    rng = np.random.default_rng(0)
    grid = starts_of(5)
    size, calls = len(grid), 1000.0
    logs = rng.normal(-5.5, 0.7 / np.sqrt(calls), size)
    made = (np.full(size, calls), logs, np.full(size, 0.49))
    results = detect(
        panel([level(metric, grid, STEP_US, made) for metric in ("cost_per_request_usd", "prompt_tokens")])
    )
    assert not results.alarm.any()
    assert all(row.judged for row in results.monitored)


def test_calls_that_stray_are_not_taken_at_their_word() -> None:
    rng = np.random.default_rng(0)
    grid = starts_of(21)
    size = len(grid)
    table = BucketValues(np.arange(size + 1) * 3, np.sort(np.exp(0.3 * rng.standard_t(3, (size, 3))), axis=1).ravel())
    assert len(anomalies(detect(panel([levels("time_to_first_token_ms", grid, STEP_US, table)])))) <= 2


def test_one_dear_call_is_no_incident_of_a_total() -> None:
    grid = starts_of(10)
    size = len(grid)
    rng = np.random.default_rng(0)
    calls = rng.poisson(10.0, size).astype(np.float64)
    spent = 0.01 * calls
    spent[-50] += 20.0
    (last,) = detect(panel([totals("cost_usd", grid, STEP_US, spent, calls)])).alarm.T
    assert not last.any()


def test_a_constant_panel_is_silent() -> None:
    grid = starts_of(9)
    size = len(grid)
    table = BucketValues(np.arange(size + 1) * 4, np.full(size * 4, 250.0))
    steady = [levels("latency_ms", grid, STEP_US, table), counts("requests", grid, STEP_US, np.full(size, 4.0))]
    results = detect(panel(steady))
    assert not results.alarm.any()


def test_few_calls_weigh_little() -> None:
    grid = starts_of(8)
    calls = np.zeros(len(grid))
    calls[::12] = 1.0
    hits = np.zeros(len(grid))
    hits[-13] = 1.0  # one failure among some two hundred calls
    assert not detect(panel([proportions("error_rate", grid, STEP_US, hits, calls)])).alarm.any()


def test_less_sensitive_means_fewer_incidents() -> None:
    whole = watched_service(3, 12, latency=between(10.4, 10.6, 1.3))
    found = [len(anomalies(detect(whole, level))) for level in ("low", "medium", "high")]
    assert found == sorted(found)


def test_scores_mean_the_same_rarity_in_every_series() -> None:
    results = detect(watched_service(8, 21))
    for j in range(len(results.columns)):
        scores = results.score[len(results.score) // 2 :, j]
        scores = scores[np.isfinite(scores)]
        assert 0.001 < np.mean(scores > 0.99) < 0.05, results.columns[j]


def test_longer_buckets_are_judged_too() -> None:
    rng = np.random.default_rng(0)
    grid = np.arange(24 * 20, dtype=np.int64) * HOUR_US
    calls = np.full(len(grid), 200.0)
    hits = rng.binomial(200, 0.01, len(grid)).astype(np.float64)
    hits[-5:] = 60.0
    found = anomalies(detect(panel([proportions("error_rate", grid, HOUR_US, hits, calls)])))
    assert [a.metric_name for a in found] == ["error_rate"]
