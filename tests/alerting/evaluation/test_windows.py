"""Sums over windows of any groups, and rates over few calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.alerting.evaluation import windows
from llmmon.alerting.evaluation.windows import RunningSums, certain
from llmmon.alerting.rules import AlertRule
from llmmon.metrics.aggregates import Aggregates, Sums

Rows = dict[tuple[int, str], tuple[int, int]]
cells = st.dictionaries(
    st.tuples(st.integers(-5, 40), st.sampled_from("abc")),
    st.tuples(st.integers(0, 5), st.integers(-9, 9)),
    max_size=40,
)
spans = st.lists(st.tuples(st.integers(-10, 50), st.integers(0, 30)), min_size=1, max_size=8)


def sums_of(rows: Rows) -> Aggregates:
    counts, totals = (np.array([pair[i] for pair in rows.values()], np.int64) for i in (0, 1))
    return Aggregates(tuple(rows), {"cost_usd": Sums(counts, np.where(counts > 0, totals, 0))})


@pytest.mark.parametrize("most", [0, 1_000_000])
@given(rows=cells, pairs=spans, first=st.integers(-3, 3), length=st.integers(0, 45))
def test_a_window_is_the_sum_of_its_buckets(
    most: int, rows: Rows, pairs: list[tuple[int, int]], first: int, length: int
) -> None:
    kept = windows._MOST_CELLS
    try:
        windows._MOST_CELLS = most  # type: ignore[misc]  # by search, and by a table
        running = RunningSums(sums_of(rows), "cost_usd", [("a",), ("b",)], first, first + length)
    finally:
        windows._MOST_CELLS = kept  # type: ignore[misc]
    low = np.array([start for start, _ in pairs])
    high = low + np.array([width for _, width in pairs])
    for row, name in enumerate("ab"):
        for at, (start, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            inside = [
                (bucket, count, total)
                for (bucket, group), (count, total) in rows.items()
                if group == name and start <= bucket < end and first <= bucket < first + length and count
            ]
            assert sum(count for _, count, _ in inside) == running.counts(low, high)[row, at]
            assert sum(total for _, _, total in inside) == running.totals(low, high)[row, at]
            if inside:
                assert min(bucket for bucket, _, _ in inside) == running.begun(low, high)[row, at]


@pytest.mark.parametrize(
    ("condition", "threshold", "cases", "calls", "is_certain"),
    [
        ("gt", 0.1, 15, 15, True),
        ("gt", 0.1, 5, 5, True),
        ("gt", 0.1, 4, 4, False),  # too few calls to say anything
        ("gt", 0.1, 3, 15, False),  # 1.5 are expected
        ("gt", 0.1, 8, 15, True),
        ("gt", 0.5, 9, 10, False),  # a coin does that in 1 of 93 tries
        ("gt", 0.5, 15, 15, True),
        ("gt", 0.1, 19, 20, False),  # enough calls for the rule itself
        ("lt", 0.9, 0, 10, True),
        ("lt", 0.9, 8, 10, False),
    ],
)
def test_a_rate_over_few_calls_counts_where_it_cannot_be_chance(
    condition: str, threshold: float, cases: int, calls: int, is_certain: bool
) -> None:
    rule = AlertRule("r", "error_rate", condition, threshold)
    assert is_certain is bool(certain(rule, np.array([[cases / calls]]), np.array([[calls]]))[0, 0])
