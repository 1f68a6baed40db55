"""Quantiles are those of numpy over the same values, exact or, past a bound, within one per cent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.metrics.aggregates import MAX_VALUE, Run, Values, bin_values, known_keys
from llmmon.metrics.aggregation import Measures, aggregate
from llmmon.metrics.columns import Columns
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.quantiles import quantiles

PS = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0)

micros = st.integers(0, MAX_VALUE) | st.integers(0, 10**7)
groups_of_values = st.lists(st.lists(micros, max_size=30), min_size=1, max_size=5)


def values_of(groups: list[list[int]], runs: int = 1, *, ordered: bool = True) -> Values:
    """The values of each group as runs, as several workers would give them."""
    places = np.array([number for number, group in enumerate(groups) for _ in group], np.int64)
    numbers = np.array([value for group in groups for value in group], np.float64)
    keys = known_keys(places, numbers)
    parts = [keys[start::runs] for start in range(runs)]
    return Values(tuple(Run(np.sort(part)) if ordered else Run(part[::-1], ordered=False) for part in parts))


@given(groups_of_values, st.integers(1, 4), st.booleans())
@settings(max_examples=100)
def test_quantiles_are_those_of_numpy(groups: list[list[int]], runs: int, ordered: bool) -> None:
    found = quantiles(values_of(groups, runs, ordered=ordered), len(groups), PS, pooled=True)
    pool = [value for group in groups for value in group]
    for row, values in zip(found, [*groups, pool], strict=True):
        if values:
            assert np.quantile(np.array(values, np.float64), PS) == pytest.approx(row, rel=1e-12)
        else:
            assert np.isnan(row).all()


@given(groups_of_values)
@settings(max_examples=100)
def test_binned_quantiles_are_within_one_per_cent(groups: list[list[int]]) -> None:
    exact = quantiles(values_of(groups), len(groups), PS, pooled=True)
    coarse = quantiles(bin_values(values_of(groups, 3)), len(groups), PS, pooled=True)
    assert exact == pytest.approx(coarse, rel=0.01, nan_ok=True)


@given(groups_of_values)
def test_binning_loses_no_value(groups: list[list[int]]) -> None:
    assert sum(map(len, groups)) == len(bin_values(values_of(groups, 2)))


@given(groups_of_values, st.booleans())
def test_binning_is_the_same_by_counting_and_by_sorting(groups: list[list[int]], again: bool) -> None:
    values = bin_values(values_of(groups, 2)) if again else values_of(groups, 2, ordered=False)
    (counted,) = bin_values(values).runs
    (by_sorting,) = bin_values(values, most_bins=-1).runs
    assert counted.keys.tolist() == by_sorting.keys.tolist() == sorted(set(counted.keys.tolist()))
    assert counted.counts is not None
    assert by_sorting.counts is not None
    assert counted.counts.tolist() == by_sorting.counts.tolist()


@given(st.lists(micros, min_size=1, max_size=200), st.integers(1, 6))
def test_repeated_values_count_as_often_as_they_occur(values: list[int], times: int) -> None:
    keys = np.sort(known_keys(np.zeros(len(values), np.int64), np.array(values, np.float64)))
    counted = Values((Run(keys, np.full(len(keys), times, np.int64)),))
    expected = np.quantile(np.repeat(np.array(values, np.float64), times), PS)
    assert expected == pytest.approx(quantiles(counted, 1, PS, pooled=False)[0], rel=1e-12)


def test_many_groups_give_the_same_as_few() -> None:
    rng = np.random.default_rng(1)
    groups = [rng.integers(0, 10**8, rng.integers(0, 4)).tolist() for _ in range(1500)]
    found = quantiles(values_of(groups, 3), len(groups), PS, pooled=True)
    for row, values in zip(found, groups, strict=False):
        assert values == [] or np.quantile(np.array(values, np.float64), PS) == pytest.approx(row, rel=1e-12)


def test_a_longest_value_is_kept_at_the_bound_and_nothing_is_negative() -> None:
    columns = Columns(2, np.zeros(2, np.int64), {"latency_ms": np.array([-5.0, 1e18])})
    values = aggregate(columns, Measures((), ("latency_ms",)), Grouping()).values["latency_ms"]
    assert [0.0, float(MAX_VALUE)] == quantiles(values, 1, (0.0, 1.0), pooled=False)[0].tolist()


@given(groups_of_values, st.integers(1, 3), st.booleans(), st.booleans(), st.sampled_from([1, 1 << 10, 1 << 20]))
@settings(max_examples=60)
def test_sorting_and_counting_in_bins_give_the_same(
    groups: list[list[int]], runs: int, counted: bool, pooled: bool, bins: int
) -> None:
    values = bin_values(values_of(groups, runs)) if counted else values_of(groups, runs)
    by_sorting, by_counting = (
        quantiles(values, len(groups), PS, pooled=pooled, few_groups=few, most_bins=bins, block=7)
        for few in (-1, 10**9)
    )
    assert by_sorting.tobytes() == by_counting.tobytes()
