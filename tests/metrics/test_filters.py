"""`--where`: what it understands, and how it says what it does not."""

from __future__ import annotations

import pytest

from llmmon.errors import UsageError
from llmmon.metrics.filters import all_of, parse
from tests.support.columns_factory import columns_of

CALLS = columns_of(
    [
        {"model": "gpt-4o", "latency_ms": 100, "user": "ann", "success": True, "tags": {"team": "red"}},
        {"model": "gpt-4o-mini", "latency_ms": 3000, "success": False, "error_type": "timeout"},
        {"model": "a b", "user": "null", "prompt_tokens": 5, "success": True},
    ]
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("model=gpt-4o", [0]),
        ("model=gpt*", [0, 1]),
        ("model!=gpt*", [2]),
        ("model='a b'", [2]),
        ('model="a b"', [2]),
        ("model=?pt-4o", [0]),
        ("MODEL=gpt-4o or error", [0, 1]),
        ("latency_ms>100", [1]),
        ("latency_ms >= 100", [0, 1]),
        ("latency_ms=null", [2]),
        ("latency_ms!=null", [0, 1]),
        ("user=null", [1]),
        ('user="null"', [2]),
        ("user!=null", [0, 2]),
        ("error", [1]),
        ("ok", [0, 2]),
        ("not error", [0, 2]),
        ("not not error", [1]),
        ("error or latency_ms<=100 and model=nothing", [1]),
        ("(error or latency_ms<=100) and model=gpt-4o", [0]),
        ("tag.team=red", [0]),
        ("tag.team=null", [1, 2]),
        ("tag.nothing=x", []),
        ("llm_latency_ms>100", [1]),
        ("error_type=time*", [1]),
        ("status=error", [1]),
        ("prompt_tokens=5", [2]),
    ],
)
def test_a_condition_keeps_its_calls(text: str, kept: list[int] | None) -> None:
    if kept is None:
        with pytest.raises(UsageError, match="unknown field"):
            parse(text)
    else:
        assert kept == [row for row, keep in enumerate(parse(text).mask(CALLS)) if keep]


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("modell=x", "unknown field 'modell', did you mean 'model'?", 0),
        ("error and modell=x", "unknown field 'modell'", 10),
        ("latency_ms>fast", "latency_ms is a number", 0),
        ("model>x", "model is a name: compare it with = or !=", None),
        ("latency_ms", "'latency_ms' needs a comparison", 0),
        ("latency_ms>", "something is missing here", 11),
        ("(error", "expected ')'", 6),
        ("error error", "expected 'and' or 'or'", 6),
        ("=x", "expected a field", 0),
        ("model==", "something is missing here", 7),
        ("model=(", "expected a value", 6),
        ("", "something is missing here", 0),
        ('model="open', "cannot read this", 6),
        ("(" * 200 + "error" + ")" * 200, "too many parentheses", None),
        ("not " * 200 + "error", "too many parentheses", None),
        ("__import__('os')", "unknown field", 0),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, message: str, column: int | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    said, _, pointer = str(caught.value).split("\n")
    assert message in said
    assert column is None or len("  ") + column == pointer.index("^")


def test_a_filter_says_which_fields_it_reads() -> None:
    assert {"model", "latency_ms", "status", "tag.team"} == parse(
        "model=x or latency_ms>1 or error or tag.team=x"
    ).fields


def test_several_filters_must_all_hold() -> None:
    both = all_of(("model=gpt*", "latency_ms>1000"))
    assert both is not None
    assert both.mask(CALLS).tolist() == [False, True, False]
    assert all_of(()) is None


def test_no_call_is_kept_of_none() -> None:
    assert parse("error or model=x or latency_ms>1").mask(columns_of([])).tolist() == []


@pytest.mark.parametrize("joint", [" or ", " and "])
def test_a_condition_may_be_long_but_not_without_end(joint: str) -> None:
    assert parse(joint.join(f"user=u{n}" for n in range(500))).fields == {"user"}
    for text in (joint.join(f"user=u{n}" for n in range(501)), "not " * 5000 + "error", "(" * 5000 + "error"):
        with pytest.raises(UsageError):
            parse(text)
