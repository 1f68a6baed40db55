"""Rates of flags: their intervals, how many are expected to be wrong, by group and time, and what CI asks of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.quality.rates import precision, wilson
from llmmon.quality.scorers.flags import DEFAULT_THRESHOLDS, FLAGS, assumed_thresholds
from llmmon.quality.scoring import quote, share_of

REFUSED = "I'm sorry, but I can't help with that request."
ANSWER = "A starter is a mix of flour and water in which wild yeast lives, and you feed it once a day."


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """40 answers of two models on two days; one of four by "b" is a refusal."""
    rows = [
        {
            "timestamp": f"2026-03-0{1 + i // 20}T10:{i:02}:00Z",
            "request_id": f"r{i}",
            "model": "ab"[i % 2],
            "prompt": "How do I keep a starter of flour and water alive?",
            "output": REFUSED if i % 8 == 1 else ANSWER,
        }
        for i in range(40)
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(run: Any, *args: object) -> dict[str, Any]:
    ran = run("score", *map(str, args), "-f", "json")
    assert ran.code == 0, ran.stderr
    data: dict[str, Any] = json.loads(ran.stdout)["data"]
    return data


def test_each_group_has_its_rates_with_an_interval(run: Any, log: Path) -> None:
    groups = {group["group"]["model"]: group for group in scored(run, log, "--by", "model")["groups"]}
    assert (groups["a"]["answers"], groups["b"]["answers"]) == (20, 20)
    refused = groups["b"]["flags"]["refusal"]
    assert (refused["flagged"], refused["rate"]) == (5, 0.25)
    assert 0.1 < refused["low"] < 0.25 < refused["high"] < 0.5
    assert groups["a"]["flags"]["refusal"]["flagged"] == 0


def test_periods_come_in_the_order_of_time(run: Any, log: Path) -> None:
    groups = scored(run, log, "--every", "1d")["groups"]
    assert [group["start"][:10] for group in groups] == ["2026-03-01", "2026-03-02"]
    assert sum(group["answers"] for group in groups) == 40


def test_a_rate_can_fail_a_build(run: Any, log: Path) -> None:
    assert run("score", str(log), "--fail-on", "refusal_rate>0.1").code == 1
    assert run("score", str(log), "--fail-on", "refusal_rate>0.2").code == 0
    assert run("score", str(log), "--fail-on", "refusals_rate>0.2").code == 2


def test_a_sample_is_the_same_at_every_run(run: Any, log: Path) -> None:
    one, two = (scored(run, log, "--sample", "60%")["summary"] for _ in range(2))
    assert one == two
    assert scored(run, log)["summary"]["scored"] == 40
    assert share_of("5%") == 0.05
    assert run("score", str(log), "--sample", "5").code == 2


def test_one_answer_is_shown_by_id_or_place(run: Any, log: Path) -> None:
    assert scored(run, log, "--show", "r1")["answer"]["flags"] == ["refusal"]
    assert scored(run, log, "--show", f"{log}:2")["answer"]["request_id"] == "r1"
    hidden, shown = (run("score", str(log), "--show", "r1", *more).stdout for more in ((), ("--show-text",)))
    assert REFUSED not in hidden
    assert REFUSED in shown
    missing = run("score", str(log), "--show", "r99")
    assert missing.code == 3
    assert "r99" in missing.stderr


def test_a_quote_hides_what_is_secret() -> None:
    text = "export KEY=sk-proj-abcdefgh and go on"
    assert quote(text, (11, 27)) == "export KEY=【sk-proj-abcdefgh】 and go on"
    assert quote(text, (11, 27), hidden=True) == "export KEY=【sk-p…】 and go on"


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_holds_the_share(count: int, more: int) -> None:
    low, high = wilson(count, count + more)
    share = count / (count + more) if count + more else 0.5
    assert 0.0 <= low <= share + 1e-6
    assert share - 1e-6 <= high <= 1.0


def test_flags_are_surer_where_the_defect_is_expected_or_seen() -> None:
    flag = FLAGS["off_topic"]
    assert precision(flag, 1, 100, 0.001) < precision(flag, 1, 100, 0.05)
    assert precision(flag, 30, 10_000) < precision(flag, 3_000, 10_000)


def test_a_rarer_defect_needs_a_stronger_sign() -> None:
    rare, usual, common = (assumed_thresholds(rate) for rate in (0.001, 0.01, 0.1))
    for name in usual:
        assert rare[name] > usual[name] > common[name]
        assert usual[name] == pytest.approx(DEFAULT_THRESHOLDS[name], abs=1e-6)
