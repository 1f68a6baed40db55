"""Digests: the moments of the values themselves, and the same however the calls are split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.anomaly.panel import TAIL, digested, moments
from llmmon.metrics.aggregates import Aggregates, Run, Values, known_keys, merge

calls = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**9)), min_size=1, max_size=60)


def aggregates_of(rows: list[tuple[int, int]], metric: str = "latency_ms") -> Aggregates:
    """Calls of four groups, all of which are there."""
    groups, values = (np.array(column) for column in zip(*rows, strict=True))
    keys = np.sort(known_keys(groups, values.astype(np.float64)))
    return Aggregates(groups=tuple((g,) for g in range(4)), values={metric: Values((Run(keys),))})


@given(calls)
def test_moments_are_those_of_the_logarithms_of_positive_values(rows: list[tuple[int, int]]) -> None:
    count, mean, variance = moments(digested(aggregates_of(rows)), "latency_ms")
    for group in range(4):
        logs = [np.log(value / 1000) for g, value in rows if g == group and value > 0]
        assert count[group] == len(logs)
        if logs:
            assert mean[group] == pytest.approx(np.mean(logs), abs=2e-4)
            assert variance[group] == pytest.approx(np.var(logs), abs=2e-3)


@given(calls, st.integers(0, 60))
def test_a_log_in_two_pieces_is_the_whole_log(rows: list[tuple[int, int]], cut: int) -> None:
    cut = min(cut, len(rows))
    pieces = [digested(aggregates_of(part)) for part in (rows[:cut], rows[cut:]) if part]
    whole, joined = digested(aggregates_of(rows)), digested(merge(pieces))
    for name, sums in whole.sums.items():
        np.testing.assert_array_equal(sums.count, joined.sums[name].count)
        np.testing.assert_array_equal(sums.total, joined.sums[name].total)
    assert len(whole.values[TAIL + "latency_ms"]) == len(joined.values[TAIL + "latency_ms"]) == len(rows)


@given(calls)
def test_a_bin_is_near_its_values(rows: list[tuple[int, int]]) -> None:
    (run,) = digested(aggregates_of([(0, value + 100) for _, value in rows])).values[TAIL + "latency_ms"].runs
    found = np.repeat(run.keys.astype(np.float64), run.counts)
    np.testing.assert_allclose(found, sorted(value + 100 for _, value in rows), rtol=0.04)


def test_equal_values_do_not_vary() -> None:
    _, _, variance = moments(digested(aggregates_of([(0, 123_457)] * 1000)), "latency_ms")
    assert variance[0] == 0.0


def test_scores_are_summed_as_they_are() -> None:
    rows = [(0, 500_000), (0, 0), (1, 1_000_000)]
    count, mean, _ = moments(digested(aggregates_of(rows, "quality_score")), "quality_score")
    assert count[:2].tolist() == [2, 1]
    np.testing.assert_allclose(mean[:2], [0.25, 1.0])


def test_only_the_tails_that_are_watched_are_kept() -> None:
    assert digested(aggregates_of([(0, 5)], "prompt_tokens")).values == {}


def test_many_runs_become_one() -> None:
    pieces = [digested(aggregates_of([(0, 1000), (0, 5000)])) for _ in range(20)]
    found = digested(merge(pieces)).values[TAIL + "latency_ms"]
    assert len(found.runs) == 1
    assert found.runs[0].counts is not None
    assert found.runs[0].counts.tolist() == [20, 20]
