"""Laws that every detector of the table keeps, and the default monitor with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.anomaly.detectors import DETECTORS, Detector, DetectorResults
from llmmon.anomaly.detectors.detector import moment
from llmmon.anomaly.detectors.threshold import ThresholdAnomalyDetector
from llmmon.anomaly.series import Series, samples
from tests.support.synth import START_US, noise

NAMES = sorted(DETECTORS)
UNIT_FREE = ("statistical", "trend", "novelty", "shift", "composite")
MATRICES = ("value", "low", "high", "score", "z", "alarm", "onset")


def made(name: str) -> Detector:
    detector = DETECTORS[name]()
    if isinstance(detector, ThresholdAnomalyDetector):
        detector.set_threshold("queue_depth", 14.0, 20.0)
    return detector


def assert_same(one: DetectorResults, other: DetectorResults) -> None:
    for name in MATRICES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def with_spike(at: int = 300, height: float = 40.0) -> Series:
    series = noise(1)
    values = series.value.copy()
    values[at] += height
    return samples(series.metric, series.starts, values)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [0, 1, 60, 299, 301])
def test_a_verdict_depends_on_nothing_after_its_value(name: str, k: int) -> None:
    series = with_spike()
    whole, part = made(name).detect(series), made(name).detect(series[:k])
    for matrix in MATRICES:
        np.testing.assert_array_equal(getattr(whole, matrix)[:k], getattr(part, matrix), err_msg=matrix)


@pytest.mark.parametrize("name", NAMES)
def test_streaming_speaks_when_an_incident_of_the_batch_begins(name: str) -> None:
    series = with_spike()
    results, detector = made(name).detect(series), made(name)
    opened = results.alarm & ~np.vstack([np.zeros((1, results.alarm.shape[1]), bool), results.alarm[:-1]])
    spoken = [
        detector.add_value(series.metric, value, moment(stamp)) is not None
        for value, stamp in zip(series.value.tolist(), series.starts.tolist(), strict=True)
    ]
    # growing more severe within an incident speaks once more
    assert not np.any(opened.any(axis=1) & ~np.array(spoken))
    assert not np.any(np.array(spoken) & ~results.alarm.any(axis=1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 7.0, -3e9, 1e-12])
def test_a_constant_series_is_never_an_anomaly(name: str, level: float) -> None:
    series = samples("x", START_US + np.arange(300) * 1_000_000, np.full(300, level))
    results = made(name).detect(series)
    assert not results.alarm.any()
    assert not np.nanmax(np.append(results.score, 0.0)) > 0.0


@pytest.mark.parametrize("name", UNIT_FREE)
@pytest.mark.parametrize("factor", [1024.0, 2.0**-20])
def test_units_do_not_matter(name: str, factor: float) -> None:
    series = with_spike()
    scaled = samples(series.metric, series.starts, series.value * factor)
    one, other = made(name).detect(series), made(name).detect(scaled)
    np.testing.assert_allclose(one.score, other.score, rtol=1e-6)
    np.testing.assert_array_equal(one.alarm, other.alarm)


@pytest.mark.parametrize("name", ["statistical", "threshold", "novelty", "composite"])
def test_a_planted_spike_ranks_first(name: str) -> None:
    scores = np.nan_to_num(made(name).detect(with_spike()).score, nan=-1.0).max(axis=1)
    # lasting shifts are judged by blocks of ten
    assert 300 <= scores.argmax() <= (309 if name == "composite" else 300)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_point_and_an_empty_series_are_not_judged(name: str) -> None:
    for size in (0, 1):
        results = made(name).detect(noise(size=size)[:size])
        assert results.score.shape[0] == size
        assert not results.alarm.any()


@pytest.mark.parametrize("name", NAMES)
@given(
    values=st.lists(st.floats(width=64), max_size=150),
    stamps=st.lists(st.integers(0, 2**40), min_size=150, max_size=150),
)
@settings(max_examples=25, deadline=None)
def test_nothing_that_a_log_may_hold_raises(name: str, values: list[float], stamps: list[int]) -> None:
    detector = made(name)
    for value, stamp in zip(values, stamps, strict=False):  # out of order, gaps, NaN, infinities, huge
        found = detector.add_value("queue_depth", value, moment(stamp))
        assert found is None or math.isfinite(found.value)
    results = made(name).detect(samples("queue_depth", stamps[: len(values)], values))
    known = results.score[np.isfinite(results.score)]
    assert np.all((known >= 0) & (known <= 1))
