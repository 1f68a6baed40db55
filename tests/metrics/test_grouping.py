"""Groups of `--by` and `--every`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.errors import UsageError
from llmmon.metrics.aggregates import GroupIndex
from llmmon.metrics.grouping import Grouping, is_groupable
from llmmon.metrics.record import FIELDS, FieldKind
from tests.support.columns_factory import columns_of, iso, logs

ROWS = [
    {"model": "a", "user": "x", "timestamp": iso(0), "latency_ms": 1},
    {"model": "b", "latency_ms": 2},
    {"model": "a", "user": "x", "timestamp": iso(90_000_000), "latency_ms": 3},
]


def groups_of(grouping: Grouping, rows: list[dict]) -> list[tuple]:
    """The group of each call that is left in."""
    index = GroupIndex()
    numbers, _ = grouping.rows(columns_of(rows), index)
    names = list(index)
    return [names[number] for number in numbers.tolist()]


def test_without_fields_there_is_one_group() -> None:
    assert groups_of(Grouping(), ROWS) == [(), (), ()]


def test_a_missing_field_is_a_group_of_its_own() -> None:
    assert groups_of(Grouping(("user",)), ROWS) == [("x",), (None,), ("x",)]


def test_several_fields_make_combinations() -> None:
    assert groups_of(Grouping(("model", "user")), ROWS) == [("a", "x"), ("b", None), ("a", "x")]


def test_calls_without_a_time_are_in_no_bucket() -> None:
    index = GroupIndex()
    _, kept = Grouping((), 60_000_000).rows(columns_of(ROWS), index)
    assert kept is not None
    assert kept.tolist() == [0, 2]
    assert list(index) == [(0,), (1,)]


@given(logs)
def test_groups_are_those_of_a_reading_by_hand(rows: list[dict]) -> None:
    expected = [(row.get("model"), row.get("user"), row["tags"].get("team")) for row in rows]
    assert expected == groups_of(Grouping(("model", "user", "tag.team")), rows)


@given(st.integers(1, 40))
def test_more_fields_than_codes_fit_into_a_word_still_make_groups(fields: int) -> None:
    names = tuple(f"tag.t{number}" for number in range(fields))
    rows = [{"model": "m", "tags": {f"t{n}": str(n * k % 7) for n in range(fields)}} for k in range(6)]
    columns = columns_of(rows, tuple(f"t{n}" for n in range(fields)))
    index = GroupIndex()
    numbers, _ = Grouping(names).rows(columns, index)
    found = [list(index)[number] for number in numbers.tolist()]
    assert [tuple(str(n * k % 7) for n in range(fields)) for k in range(6)] == found


@pytest.mark.parametrize("name", ["modle", "latency_ms", "timestamp", "output", ""])
def test_what_is_no_name_is_nothing_to_group_by(name: str) -> None:
    with pytest.raises(UsageError, match="--by: unknown field"):
        Grouping((name,))


def test_names_and_tags_can_be_grouped_by() -> None:
    assert is_groupable("tag.anything")
    assert {f.name for f in FIELDS.values() if f.kind is FieldKind.NAME} == {
        name for name in FIELDS if is_groupable(name)
    }


def test_weeks_begin_on_mondays() -> None:
    week = 7 * 86_400_000_000
    (bucket,) = {
        group[0] for group in groups_of(Grouping((), week), [{"model": "m", "timestamp": "2026-03-04T10:00:00Z"}])
    }
    start = np.datetime64(Grouping((), week).bucket_start(bucket), "us")
    assert str(start) == "2026-03-02T00:00:00.000000"
