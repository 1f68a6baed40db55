"""Series: what a bucket says of its calls, and cutting without changing it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.anomaly.series import (
    BucketValues,
    Panel,
    SeriesKind,
    counts,
    levels,
    panel,
    proportions,
    samples,
    tables,
    totals,
)

STEP = 300_000_000
buckets = st.lists(st.lists(st.floats(1e-3, 1e6), max_size=12), min_size=1, max_size=8)


def table(rows: list[list[float]]) -> BucketValues:
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return BucketValues(offsets, np.array([v for row in rows for v in sorted(row)], np.float64))


@given(buckets)
def test_moments_are_those_of_each_bucket(rows: list[list[float]]) -> None:
    count, mean, variance = table(rows).moments(log=True)
    for k, row in enumerate(rows):
        assert count[k] == len(row)
        if row:
            np.testing.assert_allclose(mean[k], np.log(row).mean(), atol=1e-9)
            np.testing.assert_allclose(variance[k], np.log(row).var(), atol=1e-9)
        else:
            assert np.isnan(mean[k])


@given(buckets, st.floats(0, 1))
def test_a_quantile_is_a_value_that_enough_calls_do_not_exceed(rows: list[list[float]], q: float) -> None:
    found = table(rows).quantile(q)
    for k, row in enumerate(rows):
        if row:
            assert found[k] in row
            assert np.mean(np.array(row) <= found[k]) >= q - 1e-9
        else:
            assert np.isnan(found[k])


@given(buckets)
def test_a_weight_is_as_many_calls_of_that_value(rows: list[list[float]]) -> None:
    one = table(rows)
    twice = BucketValues(one.offsets, one.values, np.full(len(one.values), 2, np.int64))
    doubled = table([row * 2 for row in rows])
    for a, b in zip(twice.moments(log=False), doubled.moments(log=False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(twice.quantile(0.7), doubled.quantile(0.7))


@given(buckets, st.integers(0, 8))
def test_cutting_a_series_does_not_change_its_buckets(rows: list[list[float]], k: int) -> None:
    whole = levels("latency_ms", np.arange(len(rows)) * STEP, STEP, table(rows))
    np.testing.assert_array_equal(whole[:k].value, whole.value[:k])
    assert whole[:k].table is not None
    np.testing.assert_array_equal(whole[:k].table.moments(log=True)[1], whole.table.moments(log=True)[1][:k])


def test_zero_negative_and_infinite_values_have_no_logarithm_and_do_not_count() -> None:
    count, mean, _ = BucketValues(np.array([0, 4]), np.array([-1.0, 0.0, 7.0, np.inf])).moments(log=True)
    assert count.tolist() == [1.0]
    assert mean[0] == pytest.approx(np.log(7.0))


def test_a_share_of_no_calls_is_missing_not_zero() -> None:
    series = proportions("error_rate", [0, STEP], STEP, [0, 1], [0, 4])
    assert np.isnan(series.value[0])
    assert series.value[1] == 0.25


def test_samples_are_put_in_order_and_keep_their_own_stamps() -> None:
    series = samples("queue", [30, 10, 20], [3.0, 1.0, np.nan])
    assert series.kind is SeriesKind.SAMPLES
    assert series.starts.tolist() == series.ends.tolist() == [10, 20, 30]
    assert series.count.tolist() == [1.0, 0.0, 1.0]


def test_cells_of_many_groups_become_a_table_each() -> None:
    made = tables(table([[1.0], [2.0, 8.0], [], [5.0]]), 2)
    np.testing.assert_allclose(made[0].moments(log=True)[1], np.log([1.0, 4.0]))
    np.testing.assert_allclose(made[1].moments(log=True)[1], [np.nan, np.log(5.0)])


def test_a_panel_needs_one_grid_without_holes() -> None:
    one = counts("requests", [0, STEP], STEP, [1, 2])
    assert len(panel([one, totals("cost_usd", [0, STEP], STEP, [0.1, 0.2], [1, 2])])) == 2
    with pytest.raises(ValueError, match="another grid"):
        panel([one, counts("requests", [0, 2 * STEP], STEP, [1, 2])])
    with pytest.raises(ValueError, match="no holes"):
        panel([counts("requests", [0, 2 * STEP], STEP, [1, 2])])
    with pytest.raises(ValueError, match="one series at a time"):
        panel([samples("queue", [1], [1.0])])
    assert len(panel([])) == 0


def test_a_panel_is_cut_like_its_series() -> None:
    whole = panel([counts("requests", [0, STEP, 2 * STEP], STEP, [1, 2, 3])])
    part: Panel = whole[1:]
    assert part.starts.tolist() == [STEP, 2 * STEP]
    assert part.series[0].count.tolist() == [2.0, 3.0]


def test_a_series_is_cut_not_thinned() -> None:
    with pytest.raises(ValueError, match="stride"):
        counts("requests", [0, STEP], STEP, [1, 2])[::2]
