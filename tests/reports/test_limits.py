"""`limits`: sliding windows beside brute force, a simulated limiter beside real rejections, limits that logs name."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.errors import InputError
from llmmon.ingest.query import Query
from llmmon.reports.limits import LimitsReport, report_limits
from llmmon.reports.rate_windows import in_flight, limits_said, rejections, sliding, trend

NOW = 1_785_000_000_000_000
START = datetime(2026, 6, 1, tzinfo=UTC)


def limits(path: Path, by: tuple[str, ...] = ("model",), **allowed: float) -> LimitsReport:
    return report_limits(Query(logs=(str(path),), wall_us=NOW), by=by, given=allowed)[0]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(seconds: float, tokens: int = 100, **more: Any) -> dict[str, Any]:
    at = (START + timedelta(seconds=seconds)).isoformat()
    return {"timestamp": at, "model": "gpt-4.1", "prompt_tokens": tokens, "completion_tokens": 0, "status": "ok",
            "latency_ms": 1000, **more}  # fmt: skip


CALLS = st.lists(st.tuples(st.integers(0, 300_000_000), st.integers(0, 1000)), min_size=1, max_size=60)


@given(CALLS, st.sampled_from([10_000_000, 60_000_000]))
def test_a_sliding_sum_is_that_of_brute_force(calls: list[tuple[int, int]], width: int) -> None:
    calls.sort()
    times, values = np.array([t for t, _ in calls]), np.array([float(v) for _, v in calls])
    brute = [sum(v for u, v in calls if t - width < u <= t) for t, _ in calls]
    assert sliding(times, values, width).tolist() == brute


@given(CALLS, st.integers(1, 4000))
def test_a_limiter_admits_no_more_than_its_limit(calls: list[tuple[int, int]], limit: int) -> None:
    calls.sort()
    times, values = np.array([t for t, _ in calls]), np.array([float(v) for _, v in calls])
    rejected = rejections(times, values, limit)
    kept = ~rejected
    if kept.any():
        assert sliding(times[kept], values[kept], 60_000_000).max() <= limit
    admitted: list[tuple[int, float]] = []
    for at, (time, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
        used = sum(v for t, v in admitted if t > time - 60_000_000)
        assert rejected[at] == (used + value > limit)
        if not rejected[at]:
            admitted.append((time, value))


def through_limiter(rows: list[dict[str, Any]], limit: float, size: Callable[[dict[str, Any]], float]) -> None:
    """Mark what a vendor's limiter turns away, call after call."""
    admitted: list[tuple[datetime, float]] = []
    for row in rows:
        at = datetime.fromisoformat(row["timestamp"])
        admitted = [(t, v) for t, v in admitted if t > at - timedelta(seconds=60)]
        if sum(v for _, v in admitted) + size(row) > limit:
            row |= {"status": "error", "status_code": 429, "error_type": "rate_limit_error"}
        else:
            admitted.append((at, size(row)))


def bursts(count: int, tokens: Callable[[random.Random], int]) -> list[dict[str, Any]]:
    rnd = random.Random(4)  # noqa: S311 - made-up calls, no secrets
    seconds, rows = 0.0, []
    for at in range(count):
        seconds += rnd.expovariate(2.0 if at // 300 % 2 else 0.3)
        rows.append(call(seconds, tokens(rnd)))
    return rows


@pytest.mark.parametrize(
    ("what", "limit", "size"),
    [
        ("requests", 60.0, lambda _: 1.0),
        ("tokens", 40_000.0, lambda row: float(row["prompt_tokens"])),
    ],
)
def test_a_simulated_limiter_and_real_rejections_agree(
    what: str, limit: float, size: Callable[[dict[str, Any]], float], tmp_path: Path
) -> None:
    rows = bursts(3000, lambda rnd: rnd.randint(100, 1500))
    through_limiter(rows, limit, size)
    planted = sum("status_code" in row for row in rows)
    assert planted > 50
    path = lines(tmp_path / "a.jsonl", rows)
    report = limits(path, **{what: limit})
    (row,) = (row for row in report.limits if row.what == what)
    assert report.scopes[0].rejected == planted
    assert row.rejected_at_limit == planted, "rejected calls say how much they asked for, so both agree exactly"
    assert row.peak <= limit
    found = [row for row in limits(path).limits if row.limit_from == "rejections"]
    assert [row.what for row in found] == [what]
    assert found[0].limit == pytest.approx(limit, rel=0.05)


def test_limits_that_headers_name(tmp_path: Path) -> None:
    headers = {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "30000"}
    report = limits(lines(tmp_path / "a.jsonl", [call(at, headers=headers) for at in range(5)]))
    assert {row.what: (row.limit, row.limit_from) for row in report.limits} == {
        "requests": (500.0, "headers"),
        "tokens": (30_000.0, "headers"),
    }


def test_limits_that_errors_name() -> None:
    openai = "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 1713."
    anthropic = "This request would exceed your organization's rate limit of 40,000 input tokens per minute."
    assert limits_said([openai, anthropic]) == {"tokens": 30_000.0, "input_tokens": 40_000.0}
    assert limits_said(["overloaded"]) == {}


def test_anthropic_counts_input_without_cache_reads_and_output_apart(tmp_path: Path) -> None:
    rows = [
        call(at, 1000, model="claude-sonnet-4-5", cached_tokens=900, completion_tokens=7, provider="anthropic")
        for at in range(4)
    ]
    report = limits(lines(tmp_path / "a.jsonl", rows))
    assert {row.what: row.peak for row in report.limits} == {"requests": 4, "input_tokens": 400, "output_tokens": 28}


def test_calls_at_the_same_time() -> None:
    starts, lengths = np.array([0, 10, 20, 100]), np.array([30.0, 30.0, 5.0, 50.0])
    mean, most, _ = in_flight(starts, lengths)
    assert most == 3
    assert mean == pytest.approx((30 + 30 + 5 + 50) / 150)


def test_who_uses_it_up(tmp_path: Path) -> None:
    rows = [call(at * 30, 10, user="ada") for at in range(60)]
    rows += [call(900 + at, 500, user="bob") for at in range(20)]
    report = limits(lines(tmp_path / "a.jsonl", rows), tokens=11_000)
    top = max((user for user in report.users if user.what == "tokens"), key=lambda user: user.share)
    assert (top.field, top.name) == ("user", "bob")
    assert top.share > 0.99
    assert "user bob used" in report.findings[0].text


def test_when_the_trend_reaches_the_limit(tmp_path: Path) -> None:
    rows = []
    for day in range(22):
        rows += [call(day * 86_400 + 3600 + at, 100 + 5 * day) for at in range(20)]
    (row,) = (row for row in limits(lines(tmp_path / "a.jsonl", rows), tokens=6000).limits if row.what == "tokens")
    # peaks of 2,000 + 100 a day: 6,000 is reached 40 days after the first
    assert row.reached_us is not None
    reached = datetime.fromtimestamp(row.reached_us / 1e6, UTC)
    assert abs((reached - (START + timedelta(days=40))).total_seconds()) < 2.5 * 86_400
    assert trend(np.arange(20), np.full(20, 5.0)) is None


def test_calls_without_a_time_count_nowhere(tmp_path: Path) -> None:
    bare = {"model": "gpt-4.1", "prompt_tokens": 1, "completion_tokens": 1}
    assert limits(lines(tmp_path / "a.jsonl", [call(0), bare])).undated == 1
    with pytest.raises(InputError, match="has a time"):
        limits(lines(tmp_path / "b.jsonl", [bare]))
