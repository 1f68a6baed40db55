"""Tables are cut on the screen only; conditions and tags of all commands are of one grammar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmmon.output.views import Column, Table
from tests.conftest import Run

CALLS = [
    {
        "timestamp": f"2026-03-{2 + n // 40:02}T08:{n % 40:02}:00Z",
        "model": "gpt-4o",
        "user": f"user-{n % 30:02}",
        "prompt_tokens": 100 + n,
        "completion_tokens": 10,
        "latency_ms": 900 + n,
        "time_to_first_token_ms": 9 + n,
        "error_type": "rate_limit" if n % 30 == 0 else None,
        "success": n % 30 != 0,
    }
    for n in range(120)
]


def test_a_screen_gets_the_first_rows_and_how_many_more_there_are() -> None:
    table = Table("t", (Column("a"),), (("1",), ("2",), ("3",)), note="all", most=2)
    assert table.on_screen().rows == (("1",), ("2",))
    assert table.on_screen().note == "and 1 more (all with -f markdown)\nall"
    assert Table("t", (Column("a"),), (("1",),), most=2).on_screen().note == ""


def test_markdown_has_every_row_that_the_screen_leaves_out(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", CALLS)
    args = ("cost", "a.jsonl", "--by", "user", "--forecast", "month")
    screen, page = run(*args).stdout, run(*args, "-f", "markdown").stdout
    assert screen.count("user-") == 20
    assert "and 10 more (all with -f markdown)" in screen
    assert page.count("user-") == 30
    assert "more" not in page


GROUPED = (
    "summarize",
    "cost",
    "cost --forecast month",
    "cost --waste",
    "limits",
    "compare --at 2026-03-03",
    "anomalies",
)


@pytest.mark.parametrize("command", GROUPED)
def test_a_tag_that_no_call_has_is_said(run: Run, write: Callable[..., Path], command: str) -> None:
    write("a.jsonl", CALLS)
    assert "no call has a tag 'planet'" in run(*command.split(), "a.jsonl", "--by", "tag.planet").stderr
    write("b.jsonl", [{**call, "tags": {"planet": f"p{n % 2}"}} for n, call in enumerate(CALLS)])
    assert "has a tag" not in run(*command.split(), "b.jsonl", "--by", "tag.planet").stderr


def test_a_condition_may_name_any_statistic(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", CALLS)
    ran = run("summarize", "a.jsonl", "--fail-on", "ttft_p90_ms>1s", "--fail-on", "truncated_rate>1%")
    assert (ran.code, "unknown" in ran.stderr) == (0, False)
    ran = run("summarize", "a.jsonl", "--fail-on", "ttft_p90_ms>1ms")
    assert ran.code == 1
    assert "--fail-on ttft_p90_ms>1ms: time_to_first_token_ms_p90" in ran.stderr or "is 1" in ran.stderr
