"""`--where` over columns keeps exactly the calls that a reading of each row by hand keeps."""

from __future__ import annotations

import contextlib
from fnmatch import fnmatchcase
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.errors import UsageError
from llmmon.metrics.columns import Columns
from llmmon.metrics.filters import parse
from llmmon.metrics.record import FIELDS
from tests.support.columns_factory import calls, columns_of

Row = dict[str, Any]
NAMES = ("model", "user", "finish_reason", "error_type", "tag.team")
NUMBERS = ("latency_ms", "prompt_tokens", "completion_tokens", "cost_usd", "quality_score")
COMPARE = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}

patterns = st.sampled_from(["gpt-4o", "gpt*", "*", "?pt-4o", "ann", "red", "stop", "nothing", "tim*"])
name_tests = st.tuples(st.sampled_from(NAMES), st.sampled_from(["=", "!="]), patterns | st.just("null"))
number_tests = st.tuples(
    st.sampled_from(NUMBERS), st.sampled_from(sorted(COMPARE)), st.sampled_from([0, 0.5, 1, 100, 2500.5, 10**5])
)
null_tests = st.tuples(st.sampled_from(NUMBERS), st.sampled_from(["=", "!="]), st.just("null"))
flags = st.sampled_from([("error",), ("ok",), ("truncated",)])
conditions = st.recursive(
    name_tests | number_tests | null_tests | flags,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=6,
)


def text_of(condition: tuple[Any, ...]) -> str:
    """A condition as `--where` takes it."""
    match condition:
        case ("and" | "or" as word, left, right):
            return f"({text_of(left)}) {word} ({text_of(right)})"
        case ("not", inner):
            return f"not ({text_of(inner)})"
        case (name, sign, value):
            return f'{name}{sign}"{value}"' if " " in str(value) else f"{name}{sign}{value}"
        case (flag,):
            return str(flag)
    raise AssertionError(condition)


def holds(condition: tuple[Any, ...], row: Row) -> bool:
    """The same condition, read by hand for one row."""
    match condition:
        case ("and", left, right):
            return holds(left, row) and holds(right, row)
        case ("or", left, right):
            return holds(left, row) or holds(right, row)
        case ("not", inner):
            return not holds(inner, row)
        case (str(name), sign, value) if name in NAMES:
            found = row.get(name)
            same = found is None if value == "null" else found is not None and fnmatchcase(found, value)
            return same == (sign == "=")
        case (name, sign, "null"):
            return (row.get(name) is None) == (sign == "=")
        case (name, sign, value):
            return row.get(name) is not None and bool(COMPARE[sign](row[name], value))
        case ("error",):
            return row.get("status") == "error"
        case ("ok",):
            return row.get("status") in {"ok", "cancelled"}
        case ("truncated",):
            return row.get("finish_reason") == "length"
    raise AssertionError(condition)


def rows_of(columns: Columns) -> list[Row]:
    """The calls one by one, numbers in public units."""
    rows: list[Row] = [{} for _ in range(columns.size)]
    for name in NUMBERS:
        for row, value in zip(rows, (columns.number(name) / FIELDS[name].scale).tolist(), strict=True):
            row[name] = None if value != value else value
    for name in (*NAMES, "status"):
        for row, text in zip(rows, columns.name(name).texts(), strict=True):
            row[name] = text
    return rows


@given(st.lists(calls(), min_size=1, max_size=25), conditions)
@settings(max_examples=150)
def test_a_filter_keeps_what_a_reading_by_hand_keeps(logs: list[Row], condition: tuple[Any, ...]) -> None:
    columns = columns_of(logs)
    expected = [holds(condition, row) for row in rows_of(columns)]
    assert expected == parse(text_of(condition)).mask(columns).tolist()


@given(st.lists(calls(), min_size=1, max_size=25), conditions)
def test_a_filter_and_its_negation_share_the_calls_out(logs: list[Row], condition: tuple[Any, ...]) -> None:
    columns = columns_of(logs)
    kept, left = (parse(text).mask(columns) for text in (text_of(condition), f"not ({text_of(condition)})"))
    assert (kept ^ left).all()


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_text_is_a_filter_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert text == parse(text).text
