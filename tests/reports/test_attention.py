"""What `summarize` says first: hours that stand out, told apart from noise, from sums alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import Run

Rows = list[dict[str, Any]]


def calls(seed: int, *, days: int = 4, an_hour: int = 30, bad: Mapping[str, Any] | None = None) -> Rows:
    """Quiet calls of two models; those from 12:00 to 14:00 on the third day may have a share of bad ones."""
    random = Random(seed)  # noqa: S311 - no secret
    rows: Rows = []
    for hour in range(days * 24):
        for n in range(an_hour):
            day, clock = divmod(hour, 24)
            row: dict[str, Any] = {
                "timestamp": f"2026-03-{day + 1:02d}T{clock:02d}:{n * 60 // an_hour:02d}:00Z",
                "model": random.choice(["gpt-4o", "gpt-4o-mini"]),
                "latency_ms": random.lognormvariate(7.5, 0.6),
                "prompt_tokens": int(random.lognormvariate(6.5, 0.7)),
                "completion_tokens": 100,
                "finish_reason": "stop",
                "status": "error" if random.random() < 0.01 else "ok",
            }
            if bad and day == 2 and 12 <= clock < 14 and row["model"] == bad.get("of", row["model"]):
                factor = bad.get("times", {})
                row |= {name: row[name] * times for name, times in factor.items()}
                row |= bad["set"] if random.random() < bad.get("share", 1.0) and "set" in bad else {}
            rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"set": {"status": "error"}, "share": 0.4}, "calls failed (usually"),
        ({"times": {"latency_ms": 4.0}, "of": "gpt-4o"}, "gpt-4o calls took"),
        ({"times": {"prompt_tokens": 9}, "of": "gpt-4o-mini"}, "gpt-4o-mini calls had"),
        ({"set": {"finish_reason": "length"}, "share": 0.5}, "calls were cut off (usually 0 %)"),
    ],
)
def test_what_stands_out_is_the_second_line_with_the_command_to_go_on(
    bad: Mapping[str, Any], said: str, run: Run, write: Callable[..., Path]
) -> None:
    write("a.jsonl", calls(1, bad=bad))
    line = " ".join(run("summarize", "a.jsonl").stdout.split("\n")[1:3])
    assert line.startswith("! ")
    assert said in line
    assert "3 Mar 12:00-14:00 (2 h)" in line
    assert "llmmon anomalies a.jsonl" in line
    (sign,) = run("summarize", "a.jsonl", "-f", "json").json["data"]["attention"]
    assert sign["start"] == "2026-03-03T12:00:00Z"
    assert sign["during"] > 2 * sign["usual"]


@pytest.mark.parametrize("seed", range(8))
def test_a_quiet_log_needs_no_attention(seed: int, run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", calls(seed, days=7, an_hour=12 + seed))
    assert run("summarize", "a.jsonl", "-f", "json").json["data"]["attention"] == []


def test_lines_that_cannot_be_read_need_attention(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", [*calls(1, days=1), "{", "nonsense"])
    assert "\n! 2 lines could not be read: llmmon inspect a.jsonl\n" in run("summarize", "a.jsonl").stdout


@pytest.mark.parametrize("rows", [[{"model": "m", "prompt_tokens": 1}], [{"latency_ms": 1, "model": None}]])
def test_calls_without_a_time_or_a_model_are_no_trouble(rows: Rows, run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", rows)
    assert run("summarize", "a.jsonl").stderr.count("internal error") == 0


@pytest.mark.parametrize(("every", "starts"), [("week", ["2026-02-23", "2026-03-02"]), ("month", ["2026-03-01"])])
def test_a_series_of_any_width_has_its_table(
    every: str, starts: list[str], run: Run, write: Callable[..., Path]
) -> None:
    write("a.jsonl", calls(1, an_hour=2))
    lines = run("summarize", "a.jsonl", "--every", every).stdout.split("\n")
    at = next(n for n, line in enumerate(lines) if line.startswith("every "))
    assert [line.split(" ")[0] for line in lines[at + 2 : at + 2 + len(starts)]] == starts
