"""Calls as columns: names by code, missing as missing, blocks laid end to end."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from llmmon.metrics.columns import EMPTY, MISSING_CODE, Columns, Interner, Names, concat, in_log_order, recode


def columns_of(models: list[str | None], interner: Interner | None = None, first: int = 0) -> Columns:
    interner = Interner() if interner is None else interner
    codes = np.array([interner[model] for model in models], np.int32)
    size = len(models)
    return Columns(
        size,
        np.arange(first, first + size, dtype=np.int64),
        {"latency_ms": np.arange(size, dtype=np.float64)},
        {"model": Names(codes, interner.values_seen)},
        positions=np.arange(first, first + size, dtype=np.int64),
    )


def test_every_distinct_name_has_one_code() -> None:
    interner = Interner()
    assert [interner[name] for name in ("a", "b", "a", None, "")] == [0, 1, 0, MISSING_CODE, MISSING_CODE]
    assert interner.values_seen == ["a", "b"]


@pytest.mark.parametrize("name", [1, 1.5, True, b"a", ("a",)])
def test_only_text_is_a_name(name: object) -> None:
    with pytest.raises(TypeError):
        Interner()[name]  # type: ignore[index]


def test_an_interner_goes_to_another_process() -> None:
    interner = Interner()
    assert interner["a"] == 0
    again = pickle.loads(pickle.dumps(interner))  # noqa: S301 - our own
    assert (again["a"], again["b"]) == (0, 1)


def test_a_field_that_no_call_has_reads_as_missing() -> None:
    calls = columns_of(["a", "b"])
    assert np.isnan(calls.number("cost_usd")).all()
    assert calls.name("user").texts() == [None, None]
    assert calls.text("prompt") == [None, None]


def test_a_number_in_its_public_unit() -> None:
    assert columns_of(["a", "b"]).public("latency_ms").tolist() == [0.0, 0.001]


def test_blocks_with_different_interners_are_laid_end_to_end() -> None:
    both = concat([columns_of(["a", "b"]), EMPTY, columns_of(["b", None, "c"], first=2)])
    assert both.name("model").texts() == ["a", "b", "b", None, "c"]
    assert both.name("model").values == ["a", "b", "c"]
    assert list(range(5)) == both.timestamp.tolist()


def test_blocks_of_one_interner_share_their_names() -> None:
    interner = Interner()
    both = concat([columns_of(["a"], interner), columns_of(["b"], interner)])
    assert both.name("model").values is interner.values_seen


def test_a_field_of_some_blocks_is_missing_in_the_others() -> None:
    one = columns_of(["a"]).with_numbers(cost_usd=np.array([5.0]))
    assert [None if v != v else v for v in concat([one, columns_of(["b"])]).number("cost_usd").tolist()] == [5.0, None]


def test_calls_are_taken_by_mask_or_by_place() -> None:
    calls = columns_of(["a", "b", "c"])
    assert calls.take(np.array([True, False, True])).name("model").texts() == ["a", "c"]
    assert calls.take(np.array([2, 0])).name("model").texts() == ["c", "a"]


def test_log_order_is_the_order_of_positions() -> None:
    calls = columns_of(["a", "b", "c"])
    shuffled = calls.take(np.array([2, 0, 1]))
    assert in_log_order(shuffled).name("model").texts() == ["a", "b", "c"]
    assert in_log_order(calls) is calls


def test_unused_names_can_be_forgotten() -> None:
    calls = columns_of(["a", None, "b", "c"]).take(np.array([1, 3, 3])).without_unused_names()
    assert calls.name("model").texts() == [None, "c", "c"]
    assert calls.name("model").values == ["c"]


def test_codes_move_to_another_interner() -> None:
    interner = Interner()
    assert interner["c"] == 0
    assert recode(columns_of(["a", None, "c"]).name("model"), interner).tolist() == [1, MISSING_CODE, 0]


def test_nothing_laid_end_to_end_is_nothing() -> None:
    assert 0 == concat([]).size == concat([EMPTY, EMPTY]).size


def test_an_interner_that_forgot_leaves_older_columns_alone() -> None:
    interner = Interner()
    before = columns_of(["a", "b"], interner)
    interner.forget()
    after = columns_of([None, "c"], interner)
    assert [before.name("model").texts(), after.name("model").texts()] == [["a", "b"], [None, "c"]]
    assert concat([before, after]).name("model").texts() == ["a", "b", None, "c"]
