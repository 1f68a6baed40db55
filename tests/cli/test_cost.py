"""`llmmon cost` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import Run

SAMPLES = str(Path(__file__).parents[2] / "sample_logs")


def write(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def call(**more: Any) -> dict[str, Any]:
    usual = {"timestamp": "2026-03-02T10:00:00Z", "model": "gpt-4o", "success": True, "latency_ms": 900}
    return {**usual, "prompt_tokens": 1000, "completion_tokens": 100, **more}


def test_logged_costs_are_taken_as_logged_and_checked_against_prices(run: Run) -> None:
    data = run("cost", SAMPLES, "-f", "json").json["data"]
    totals = data["totals"]
    assert totals["logged_usd"] > 0
    assert abs(totals["difference_usd"]) < 0.01
    assert data["certain_share"] > 0.99
    summary = run("summarize", SAMPLES, "-f", "json").json["data"]["totals"]
    assert summary["cost_total_usd"] == totals["cost_usd"]


def test_a_call_logged_too_dear_is_shown_with_its_cause(run: Run, tmp_path: Path) -> None:
    write(tmp_path, call(request_id="good", cost_usd=0.0035), call(request_id="bad", cost_usd=0.35))
    data = run("cost", "log.jsonl", "-f", "json").json["data"]
    assert ["bad"] == [row["request_id"] for row in data["disagreements"]]
    assert 1 == data["totals"]["disagreeing_calls"]
    assert data["certain_share"] < 0.5


def test_a_model_without_a_price_makes_the_total_partial(run: Run, tmp_path: Path) -> None:
    write(tmp_path, call(cost_usd=0.0035), call(model="our-own-model"))
    ran = run("cost", "log.jsonl", "-f", "json")
    assert "our-own-model" == ran.json["data"]["unpriced"][0]["model"]
    assert not ran.json["data"]["totals"]["complete"]
    assert "~$0.0035" in run("cost", "log.jsonl").stdout
    assert 1 == run("cost", "log.jsonl", "--fail-on", "unpriced_calls>0").code


def test_own_prices_count(run: Run, tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text('[prices."our-own-model"]\ninput = 1.0\noutput = 2.0\n')
    write(tmp_path, call(model="our-own-model"))
    assert 0.0012 == run("cost", "log.jsonl", "-f", "json").json["data"]["totals"]["calculated_usd"]


def test_repeated_calls_are_left_out_and_what_they_would_have_added_is_said(run: Run, tmp_path: Path) -> None:
    write(tmp_path, call(request_id="a", cost_usd=0.5), call(request_id="a", cost_usd=0.5))
    data = run("cost", "log.jsonl", "--dedup", "-f", "json").json["data"]
    assert {"calls": 1, "cost_usd": 0.5} == data["duplicates"]
    assert 0.5 == data["totals"]["cost_usd"]


def test_the_same_calls_elsewhere_come_with_a_range(run: Run) -> None:
    row = run("cost", SAMPLES, "--as", "gpt-4o-mini", "-f", "json").json["data"]["what_if"][0]
    assert row["low_usd"] <= row["cost_usd"] <= row["high_usd"] < row["actual_usd"]
    unknown = run("cost", SAMPLES, "--as", "no-such-model")
    assert 2 == unknown.code
    assert "no price is known" in unknown.stderr


def test_rows_are_groups_as_csv_and_jsonl(run: Run) -> None:
    rows = [json.loads(line) for line in run("cost", SAMPLES, "-f", "jsonl").stdout.splitlines()]
    assert {"gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "claude-haiku-4-5"} == {r["key"]["model"] for r in rows}
    assert run("cost", SAMPLES, "-f", "csv").stdout.startswith("key.model,calls,")
