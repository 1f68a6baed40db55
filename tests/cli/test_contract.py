"""The JSON contract: keys are only ever added, missing is null, times are UTC with Z."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

INPUTS = Path(__file__).parents[1] / "cases" / "inputs"
ENVELOPE = {"schema_version", "command", "source", "data"}
SOURCE = {
    *("files", "bytes_read", "lines", "blank", "used", "skipped", "rejected", "requests", "samples", "duplicates"),
    *("outside", "filtered", "undated", "dialects", "first_rejects", "start", "end", "timezone", "now"),
    "warnings",
}
STATISTICS = {
    *("request_count", "error_count", "error_rate", "requests_per_minute"),
    *("latency_avg_ms", "latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "latency_max_ms"),
    *("ttft_avg_ms", "ttft_p50_ms", "ttft_p95_ms", "output_tokens_per_second_p50"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "tokens_total"),
    *("cost_total_usd", "cost_logged_usd", "cost_calculated_usd", "cost_per_request_usd", "unpriced_requests"),
    *("quality_avg", "truncated_count"),
}
SUMMARY = {"window", "quantiles", "totals", "groups", "series", "errors", "finish_reasons"}
REQUEST = {
    *("request_id", "timestamp", "model", "provider", "user", "session", "feature", "status", "error_type"),
    *("status_code", "finish_reason", "latency_ms", "time_to_first_token_ms", "prompt_tokens", "completion_tokens"),
    *("total_tokens", "cached_tokens", "cost_usd", "quality_score", "error_message", "file", "line"),
}
INSPECTED = {"file", "dialects", "mapping", "coverage", "rejected"}


@pytest.fixture
def day(tmp_path: Path) -> str:
    (tmp_path / "day.jsonl").write_bytes((INPUTS / "day.jsonl").read_bytes())
    return "day.jsonl"


@pytest.mark.parametrize("command", ["summarize", "requests", "inspect"])
def test_every_command_has_the_same_envelope(run: Run, day: str, command: str) -> None:
    found = run(command, day, "-f", "json").json
    assert found.keys() >= ENVELOPE
    assert (1, command) == (found["schema_version"], found["command"])
    assert found["source"].keys() >= SOURCE


def test_a_summary_has_its_keys(run: Run, day: str) -> None:
    data = run("summarize", day, "--every", "1h", "--by", "model", "-f", "json").json["data"]
    assert data.keys() >= SUMMARY
    assert {"start", "end", "minutes"} <= data["window"].keys()
    assert data["totals"].keys() >= STATISTICS
    assert all(STATISTICS | {"key"} <= group.keys() for group in data["groups"])
    assert all(STATISTICS | {"start", "end", "key"} <= bucket.keys() for bucket in data["series"])
    assert all({"error_type", "count", "share"} <= error.keys() for error in data["errors"])
    assert data["quantiles"] == "exact"


def test_requests_have_their_keys(run: Run, day: str) -> None:
    data = run("requests", day, "-f", "json").json["data"]
    assert data["found"] == 6
    assert all(row.keys() >= REQUEST for row in data["requests"])


def test_an_inspection_has_its_keys(run: Run, day: str) -> None:
    data = run("inspect", day, "-f", "json").json["data"]
    assert all(file.keys() >= INSPECTED for file in data["files"])


def test_rejects_have_their_keys(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", ["nonsense", {"model": "m"}])
    (reject,) = run("summarize", "a.jsonl", "-f", "json").json["source"]["first_rejects"]
    assert reject == {"file": "a.jsonl", "line": 1, "byte": 0, "reason": "not JSON"}


@pytest.mark.parametrize("command", ["summarize", "requests"])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_the_rows_of_jsonl_and_csv_have_the_same_fields(run: Run, day: str, command: str, form: str) -> None:
    text = run(command, day, "-f", form, "-q").stdout
    wanted = STATISTICS if command == "summarize" else REQUEST
    if form == "jsonl":
        assert all(wanted <= json.loads(line).keys() for line in text.splitlines())
    else:
        assert wanted <= set(text.splitlines()[0].split(","))


def test_a_window_has_a_row_a_bucket(run: Run, day: str) -> None:
    text = run("summarize", day, "--every", "1h", "-f", "jsonl", "-q").stdout
    assert len(text.splitlines()) == 5
    assert all({"start", "end", *STATISTICS} <= json.loads(line).keys() for line in text.splitlines())


def test_what_the_log_does_not_have_is_null_and_never_0(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", [{"model": "m"}])
    totals = run("summarize", "a.jsonl", "-f", "json").json["data"]["totals"]
    known = {name for name, value in totals.items() if value is not None}
    assert {"request_count"} <= known <= {"request_count", "error_count", "error_rate", "unpriced_requests"}


def test_the_two_costs_add_up_to_the_total(run: Run, write: Callable[..., Path]) -> None:
    tokens = {"prompt_tokens": 1000, "completion_tokens": 1000}
    write("a.jsonl", [{"model": "gpt-4o", **tokens, "cost_usd": 0.5}, {"model": "gpt-4o", **tokens}])
    totals = run("summarize", "a.jsonl", "-f", "json").json["data"]["totals"]
    assert totals["cost_logged_usd"] == 0.5
    assert totals["cost_calculated_usd"] > 0
    assert totals["cost_total_usd"] == pytest.approx(totals["cost_logged_usd"] + totals["cost_calculated_usd"])


def test_nothing_known_of_costs_is_null(run: Run, day: str) -> None:
    totals = run("summarize", day, "-f", "json", "--cost", "none").json["data"]["totals"]
    assert [name for name, value in totals.items() if "cost" in name and value is not None] == []


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def test_times_are_utc_with_z_whatever_the_zone_of_display(run: Run, day: str) -> None:
    found = run("summarize", day, "--every", "1d", "--tz", "Asia/Tokyo", "-f", "json").json
    stamps = [text for text in texts(found) if re.match(r"\d{4}-\d\d-\d\dT", text)]
    assert found["source"]["timezone"] == "Asia/Tokyo"
    assert len(stamps) >= 7
    assert all(stamp.endswith("Z") for stamp in stamps)
    assert found["data"]["series"][0]["start"] == "2026-03-01T15:00:00Z"


def test_whole_numbers_are_written_without_a_point(run: Run, day: str) -> None:
    totals = run("summarize", day, "-f", "json").json["data"]["totals"]
    for name in ("request_count", "error_count", "prompt_tokens", "tokens_total", "unpriced_requests"):
        assert isinstance(totals[name], int), name


def test_errors_and_finish_reasons_are_shares(run: Run, day: str) -> None:
    data = run("summarize", day, "-f", "json").json["data"]
    assert pytest.approx(sum(error["share"] for error in data["errors"])) == 1
    assert data["totals"]["error_count"] == sum(error["count"] for error in data["errors"])


def test_what_is_written_to_a_file_is_what_stdout_would_have_had(run: Run, day: str, tmp_path: Path) -> None:
    shown = run("summarize", day, "-f", "json")
    written = run("summarize", day, "-o", "out.json")
    assert written.stdout == ""
    assert shown.stdout == (tmp_path / "out.json").read_text()


@pytest.mark.parametrize("ending", ["json", "jsonl", "ndjson", "csv", "md", "txt"])
def test_a_file_is_read_back_as_its_ending_says(run: Run, day: str, tmp_path: Path, ending: str) -> None:
    assert run("summarize", day, "-o", f"out.{ending}").code == 0
    assert (tmp_path / f"out.{ending}").read_text()


def test_the_requests_as_jsonl_are_a_log_again(run: Run, day: str) -> None:
    first = run("requests", day, "--limit", "0", "-o", "again.jsonl")
    assert first.code == 0
    before = run("summarize", day, "-f", "json").json["data"]["totals"]
    assert before == run("summarize", "again.jsonl", "-f", "json").json["data"]["totals"]
