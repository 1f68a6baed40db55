"""Bare metric samples: rare things are found in units, seasons and shapes that were never told."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import detect_in_samples
from llmmon.anomaly.detectors.cycles import BLOCK, Surprise, period_of
from llmmon.anomaly.detectors.novelty import Ranks
from llmmon.anomaly.series import samples
from llmmon.metrics.columns import FloatArray
from llmmon.text.times import to_us
from tests.support.synth import START_US

STEP_US = 300_000_000
SIZE = 2000


def daily(seed: int = 0, size: int = SIZE) -> FloatArray:
    """A day of 288 samples, with noise."""
    rng = np.random.default_rng(seed)
    return 50 + 10 * np.sin(2 * np.pi * np.arange(size) / 288) + rng.normal(0, 1, size)


def wandering(seed: int = 0) -> FloatArray:
    return np.cumsum(np.random.default_rng(seed).normal(0, 1, SIZE)) + 100


def bursty(seed: int = 0) -> FloatArray:
    return np.exp(np.random.default_rng(seed).normal(3, 0.6, SIZE))


def beats(seed: int = 0) -> FloatArray:
    """A cycle of 60 samples with two humps, each a little another height."""
    rng = np.random.default_rng(seed)
    place = np.arange(SIZE) % 60
    height = np.repeat(1 + rng.normal(0, 0.03, SIZE // 60 + 1), 60)[:SIZE]
    humps = np.exp(-0.5 * ((place - 15) / 3.0) ** 2) - 0.4 * np.exp(-0.5 * ((place - 35) / 6.0) ** 2)
    return height * humps + rng.normal(0, 0.02, SIZE)


def scores(values: FloatArray) -> FloatArray:
    stamps = START_US + STEP_US * np.arange(len(values))
    return detect_in_samples(samples("m", stamps, values)).score[:, 0]


def found(values: FloatArray) -> list[int]:
    stamps = START_US + STEP_US * np.arange(len(values))
    every = anomalies(detect_in_samples(samples("m", stamps, values)))
    return [int(np.searchsorted(stamps, to_us(a.timestamp))) for a in every]


@pytest.mark.parametrize("make", [daily, wandering, bursty, beats])
def test_an_ordinary_series_is_nearly_silent(make: object) -> None:
    assert sum(len(found(make(seed))) for seed in (1, 2)) <= 2  # type: ignore[operator]


@pytest.mark.parametrize("make", [daily, wandering, bursty, beats])
def test_a_score_is_as_rare_in_every_series(make: object) -> None:
    known = np.concatenate([scores(make(seed))[SIZE // 4 :] for seed in (3, 4, 5)])  # type: ignore[operator]
    assert 0.001 < np.mean(known > 0.99) < 0.04
    assert 0.05 < np.mean(known > 0.9) < 0.2


def test_a_spike_at_night_below_the_height_of_noon_is_found() -> None:
    values = daily()
    values[1512 : 1512 + 3] += 12  # at the lowest hour: 52, where noon has 60
    assert any(1512 <= at < 1520 for at in found(values))


def test_a_cycle_turned_upside_down_ranks_first() -> None:
    values = beats()
    values[1500:1560] = 2 * values[1500:1560].mean() - values[1500:1560]
    assert 1490 <= int(np.nanargmax(scores(values))) <= 1640


def test_a_sensor_that_stands_still_is_found() -> None:
    values = daily()
    values[1400:1460] = values[1400]
    assert any(1400 <= at < 1470 for at in found(values))


def test_an_incident_is_told_once() -> None:
    values = daily()
    values[1400:1450] += 60
    assert len([at for at in found(values) if 1400 <= at < 1500]) == 1


def test_missing_samples_do_not_shift_the_cycle() -> None:
    rng = np.random.default_rng(1)
    values = 50 + 10 * np.sin(2 * np.pi * np.arange(3000) / 288) + rng.normal(0, 0.3, 3000)
    kept = np.ones(3000, np.bool_)
    kept[2000:2100] = False
    series = samples("m", (START_US + STEP_US * np.arange(3000))[kept], values[kept])
    assert anomalies(detect_in_samples(series)) == []


def test_the_cycle_of_a_series_is_found_or_not_there() -> None:
    assert period_of(daily(size=1024)) == pytest.approx(288, abs=12)
    assert period_of(beats()[:512]) == pytest.approx(60, abs=2)
    assert period_of(np.random.default_rng(0).normal(size=1000)) is None
    assert period_of(np.ones(100)) is None


def test_surprise_of_a_settled_feature_is_exponential() -> None:
    surprise, rng = Surprise(), np.random.default_rng(0)
    nats = np.array([surprise.nats(value) for value in rng.normal(size=12_000)])
    highest = nats.reshape(-1, BLOCK).max(axis=1)[100:]
    assert 0.8 < highest.mean() < 1.2
    assert np.mean(highest > 3) == pytest.approx(np.exp(-3), abs=0.03)


def test_ranks_give_the_share_of_the_past() -> None:
    ranks, rng = Ranks(), np.random.default_rng(0)
    known = np.array([ranks.add(nats) for nats in rng.exponential(2.0, 5_000).tolist()])[1000:]
    assert np.mean(known > 0.9) == pytest.approx(0.1, abs=0.02)
