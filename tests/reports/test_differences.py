"""Differences of statistics between two sets of calls: right figures, honest intervals, matched mixes."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.metrics.columns import FloatArray
from llmmon.reports.differences import Calls, Change, Measure, adjusted, difference, matching_weights

MEASURES = (Measure(), Measure(is_share=True), Measure(probability=0.5), Measure(probability=0.9))


def drawn(seed: int, calls: int = 400) -> tuple[FloatArray, Calls]:
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 40, calls)
    return np.exp(rng.normal(0, 0.6, calls)), Calls(rng.random(calls) < 0.5, users)


def found(values: FloatArray, calls: Calls, measure: Measure, weights: FloatArray | None = None) -> Change:
    change = difference(values, calls, measure, weights)
    assert change is not None
    return change


@given(st.integers(0, 10**6))
def test_both_sides_are_what_numpy_says(seed: int) -> None:
    values, calls = drawn(seed)
    mean, median = found(values, calls, Measure()), found(values, calls, Measure(probability=0.5))
    assert mean.before == pytest.approx(values[~calls.after].mean())
    assert mean.after == pytest.approx(values[calls.after].mean())
    assert median.after == pytest.approx(float(np.quantile(values[calls.after], 0.5)))


@given(st.integers(0, 10**6), st.sampled_from(MEASURES))
def test_the_p_value_and_the_interval_agree(seed: int, measure: Measure) -> None:
    values, calls = drawn(seed)
    values = (values > 2).astype(float) if measure.is_share else values
    change = found(values, calls, measure)
    assert change.low <= change.change <= change.high
    assert (change.p < 0.05) == (not change.low <= 0 <= change.high)


@given(st.integers(0, 10**6), st.sampled_from(MEASURES))
def test_before_and_after_are_alike(seed: int, measure: Measure) -> None:
    values, calls = drawn(seed)
    values = (values > 2).astype(float) if measure.is_share else values
    there, back = found(values, calls, measure), found(values, Calls(~calls.after, calls.clusters), measure)
    assert (there.change, there.low, there.high) == pytest.approx((-back.change, -back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_calls_of_few_users_are_less_sure_than_as_many_calls_of_many() -> None:
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(20), 50)
    values = np.exp(rng.normal(0, 0.2, 1000) + rng.normal(0, 0.5, 20)[users])
    after = users % 2 == 1
    of_users, of_calls = (found(values, Calls(after, codes), Measure()) for codes in (users, np.arange(1000)))
    assert of_users.high - of_users.low > 3 * (of_calls.high - of_calls.low)


def test_users_on_both_sides_are_compared_with_themselves() -> None:
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(20), 50)
    values = np.exp(rng.normal(0, 0.1, 1000) + rng.normal(0, 0.8, 20)[users])
    after = np.arange(1000) % 2 == 1
    change = found(values * np.where(after, 1.1, 1.0), Calls(after, users), Measure())
    assert change.share == pytest.approx(0.1, abs=0.03)
    assert change.p < 0.01


def test_stretches_of_time_that_differ_make_a_change_less_sure() -> None:
    rng = np.random.default_rng(3)
    blocks = np.repeat(np.arange(24), 200)
    values = np.exp(rng.normal(0, 0.3, 4800) + rng.normal(0, 0.5, 24)[blocks])
    calls = np.arange(4800)
    blind = found(values, Calls(blocks >= 12, calls), Measure())
    aware = found(values, Calls(blocks >= 12, calls, blocks, calls), Measure())
    assert aware.high - aware.low > 3 * (blind.high - blind.low)


@pytest.mark.parametrize("measure", MEASURES, ids=["mean", "share", "p50", "p90"])
def test_the_interval_holds_the_true_change_95_times_in_100(measure: Measure) -> None:
    rng = np.random.default_rng(4)
    rounds, inside = 300, 0
    normal = NormalDist(0.0, math.sqrt(0.4**2 + 0.3**2))
    for _ in range(rounds):
        users = rng.integers(0, 100, 1500)
        after = rng.random(1500) < 0.5
        values = np.exp(rng.normal(0, 0.4, 1500) + rng.normal(0, 0.3, 100)[users] + 0.1 * after)
        if measure.is_share:
            values = (values > 2.0).astype(float)
            low, high = (1 - normal.cdf(math.log(2.0) - shift) for shift in (0.0, 0.1))
            true = high - low
        elif measure.probability is None:
            true = math.exp(normal.variance / 2) * math.expm1(0.1)
        else:
            true = math.exp(normal.inv_cdf(measure.probability)) * math.expm1(0.1)
        change = found(values, Calls(after, users), measure)
        inside += change.low <= true <= change.high
    assert 0.92 <= inside / rounds <= 0.985  # 93 to 97 %, and what chance adds in 300 rounds


def test_a_quantile_with_hardly_any_value_beyond_it_is_not_compared() -> None:
    values, calls = drawn(5, 60)
    assert difference(values, calls, Measure(probability=0.99)) is None
    assert difference(values[:1], calls.take(np.arange(1)), Measure()) is None


def test_matching_takes_the_mix_out() -> None:
    rng = np.random.default_rng(6)
    after = rng.random(6000) < 0.5
    slow = rng.random(6000) < np.where(after, 0.7, 0.3)
    values = np.exp(rng.normal(0, 0.3, 6000) + 1.0 * slow)
    calls = Calls(after, np.arange(6000), margins=(slow.astype(np.int64),))
    matching = matching_weights(calls)
    whole, within = found(values, calls, Measure()), found(values, calls, Measure(), matching.weights)
    assert whole.p < 1e-6
    assert within.p > 0.05
    for side in (after, ~after):
        assert np.average(slow[side], weights=matching.weights[side]) == pytest.approx(0.5, abs=0.02)


def test_several_margins_are_matched_together() -> None:
    rng = np.random.default_rng(7)
    after = rng.random(5000) < 0.4
    margins = tuple(rng.binomial(3, np.where(after, p, 0.5)).astype(np.int64) for p in (0.3, 0.7))
    weights = matching_weights(Calls(after, np.arange(5000), margins=margins)).weights
    for margin in margins:
        before, later = (np.bincount(margin[side], weights[side]) for side in (~after, after))
        assert before / before.sum() == pytest.approx(later / later.sum(), abs=1e-4)


def test_what_only_one_side_has_is_left_out() -> None:
    after = np.array([False] * 50 + [True] * 50)
    kinds = np.array([0] * 25 + [1] * 25 + [1] * 30 + [2] * 20)
    matching = matching_weights(Calls(after, np.arange(100), margins=(kinds,)))
    assert (matching.weights > 0).tolist() == (kinds == 1).tolist()
    assert (matching.share_before, matching.share_after) == (0.5, 0.6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_no_smaller_and_keep_their_order(p_values: list[float]) -> None:
    results = adjusted(p_values)
    assert all(result >= p - 1e-9 for result, p in zip(results, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(results)[order]) >= -1e-9).all()
    assert max(results) <= 1.0
