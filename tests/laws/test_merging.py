"""Aggregating is merging: whatever is put together first, the statistics are the same numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmmon.metrics.aggregates import EMPTY, Aggregates, GroupIndex, bin_values, merge
from llmmon.metrics.aggregation import Measures, aggregate
from llmmon.metrics.columns import Columns, concat
from llmmon.metrics.definitions import METRICS
from llmmon.metrics.grouping import Grouping
from tests.support.aggregates import contents_of
from tests.support.columns_factory import calls, columns_of, logs

MEASURES = Measures(tuple(METRICS), tuple(METRICS))
groupings = st.sampled_from(
    [
        Grouping(),
        Grouping(("model",)),
        Grouping(("model", "user")),
        Grouping(("tag.team",)),
        Grouping(("model",), 3_600_000_000),
        Grouping((), 86_400_000_000, "Europe/Berlin"),
    ]
)


def aggregates_of(columns: Columns, grouping: Grouping) -> Aggregates:
    return aggregate(columns, MEASURES, grouping)


@given(logs, logs, groupings)
def test_merging_is_commutative(one: list[dict], other: list[dict], grouping: Grouping) -> None:
    a, b = aggregates_of(columns_of(one), grouping), aggregates_of(columns_of(other), grouping)
    assert contents_of(merge([a, b])) == contents_of(merge([b, a]))


@given(logs, logs, logs, groupings)
def test_merging_is_associative(one: list[dict], two: list[dict], three: list[dict], grouping: Grouping) -> None:
    a, b, c = (aggregates_of(columns_of(rows), grouping) for rows in (one, two, three))
    assert contents_of(merge([merge([a, b]), c])) == contents_of(merge([a, merge([b, c])]))


@given(logs, groupings)
def test_the_empty_aggregates_change_nothing(rows: list[dict], grouping: Grouping) -> None:
    found = aggregates_of(columns_of(rows), grouping)
    assert contents_of(merge([EMPTY, found])) == contents_of(found) == contents_of(merge([found, EMPTY]))


@given(logs, st.lists(st.integers(0, 30), max_size=4), groupings)
def test_the_parts_merged_are_the_whole(rows: list[dict], cuts: list[int], grouping: Grouping) -> None:
    edges = [0, *sorted(cuts), max(len(rows), *cuts, 0)]
    parts = [aggregates_of(columns_of(rows[a:b]), grouping) for a, b in pairwise(edges)]
    assert contents_of(aggregates_of(columns_of(rows), grouping)) == contents_of(merge(parts))


@given(logs, logs, groupings)
def test_parts_of_one_index_merge_like_any_others(one: list[dict], other: list[dict], grouping: Grouping) -> None:
    index = GroupIndex()
    shared = [aggregate(columns_of(rows), MEASURES, grouping, index) for rows in (one, other)]
    apart = [aggregate(columns_of(rows), MEASURES, grouping) for rows in (one, other)]
    assert contents_of(merge(apart)) == contents_of(merge(shared))


@given(logs, logs)
def test_merging_alters_no_part(one: list[dict], other: list[dict]) -> None:
    parts = [aggregates_of(columns_of(rows), Grouping(("model",))) for rows in (one, other)]
    before = [contents_of(part) for part in parts]
    merge(parts)
    assert before == [contents_of(part) for part in parts]


@given(st.lists(st.lists(calls(), min_size=1, max_size=10), min_size=1, max_size=4))
def test_binning_before_or_after_merging_is_the_same(logs: list[list[dict]]) -> None:
    exact = [aggregates_of(columns_of(rows), Grouping(("model",))) for rows in logs]
    binned = [
        Aggregates(p.groups, p.sums, {name: bin_values(v) for name, v in p.values.items()}, p.first_us, p.last_us)
        for p in exact
    ]
    before, after = merge(binned), merge(exact)
    for name, values in after.values.items():
        want, got = bin_values(values), bin_values(before.values[name])
        assert [run.keys.tolist() for run in want.runs] == [run.keys.tolist() for run in got.runs]
        assert [run.counts.tolist() for run in want.runs] == [run.counts.tolist() for run in got.runs]


@given(logs)
def test_binning_twice_is_binning_once(rows: list[dict]) -> None:
    for values in aggregates_of(columns_of(rows), Grouping()).values.values():
        once = bin_values(values)
        twice = bin_values(once)
        assert [run.keys.tolist() for run in once.runs] == [run.keys.tolist() for run in twice.runs]


@given(logs, logs)
def test_columns_laid_end_to_end_hold_every_call(one: list[dict], other: list[dict]) -> None:
    a, b = columns_of(one), columns_of(other)
    both = concat([a, b])
    assert a.size + b.size == both.size
    assert np.concatenate([a.timestamp, b.timestamp]).tolist() == both.timestamp.tolist()
    assert [*a.name("model").texts(), *b.name("model").texts()] == both.name("model").texts()
