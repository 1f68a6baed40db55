"""The same calls give the same figures, whichever way they come in and however they are asked for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import Run

QUESTIONS = [
    [],
    ["--window", "60"],
    ["--window", "1d"],
    ["--since", "6h"],
    ["--since", "today"],
    ["--since", "yesterday", "--tz", "Asia/Tokyo"],
    ["--until", "3h"],
    ["--since", "2026-03-02T12:00:00Z", "--until", "2026-03-03T12:00:00Z"],
    ["--since", "12h", "--until", "2h"],
    ["--window", "60", "--now", "2026-03-03T12:00:00Z"],
    ["--since", "today", "--now", "2026-03-03T12:00:00Z"],
    ["--window", "60", "--now", "wall"],
    ["--where", "model=gpt-4o* and latency_ms>1000"],
    ["--where", "error", "--window", "6h"],
    ["--dedup"],
    ["--dedup", "--window", "6h", "--where", "not error"],
    ["--every", "6h", "--by", "model", "--tz", "America/New_York"],
    ["--cost", "calculated"],
]
SLOWEST = ["--sort", "latency_ms", "--limit", "50", "-f", "jsonl", "-q"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated days: as one file, packed, and as a folder of days."""
    from llmmon.anomaly.simulation import jsonl, simulate

    folder = tmp_path_factory.mktemp("logs")
    days = [jsonl(records) for records in simulate(3, 1_772_409_600, 3, 400, 1)[1]]
    whole = b"".join(days)
    repeated = whole + b"".join(whole.splitlines(keepends=True)[-5:])
    (folder / "days").mkdir()
    for number, day in enumerate([*days[:-1], repeated[len(days[0]) + len(days[1]) :]]):
        (folder / "days" / f"{number}.jsonl").write_bytes(day)
    (folder / "all.jsonl").write_bytes(repeated)
    (folder / "all.jsonl.gz").write_bytes(gzip.compress(repeated))
    (folder / "all.jsonl.zst").write_bytes(zstandard.compress(repeated))
    return folder


def asked(run: Run, source: str, question: list[str], stdin: bytes | None = None) -> dict[str, Any]:
    found = run("summarize", source, *question, "-f", "json", stdin=stdin)
    assert found.code == 0, found.stderr
    return dict(found.json["data"])


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_a_file_a_packed_file_a_folder_and_a_pipe_give_the_same_answer(
    run: Run, logs: Path, question: list[str]
) -> None:
    if question[-2:] == ["--now", "wall"]:
        question = ["--window", "60", "--now", "2030-01-01"]  # nothing in it, and no clock in the answer
    expected = asked(run, str(logs / "all.jsonl"), question)
    assert expected == asked(run, str(logs / "all.jsonl.gz"), question)
    assert expected == asked(run, str(logs / "all.jsonl.zst"), question)
    assert expected == asked(run, str(logs / "days"), question)
    assert expected == asked(run, "-", question, (logs / "all.jsonl").read_bytes())


@pytest.mark.parametrize("question", [["--window", "6h"], ["--dedup"], ["--where", "latency_ms>2000"]], ids=" ".join)
def test_the_calls_and_the_summary_count_the_same(run: Run, logs: Path, question: list[str]) -> None:
    totals = asked(run, str(logs / "all.jsonl"), question)["totals"]
    listed = run("requests", str(logs / "all.jsonl"), *question, "--limit", "0", "-f", "jsonl", "-q").stdout
    rows = [json.loads(line) for line in listed.splitlines()]
    assert totals["request_count"] == len(rows)
    assert totals["error_count"] == sum(row["status"] == "error" for row in rows)
    assert totals["tokens_total"] == sum(row["total_tokens"] or 0 for row in rows)
    assert totals["latency_max_ms"] == max(row["latency_ms"] for row in rows)


def test_every_call_is_found_at_its_place(run: Run, logs: Path) -> None:
    lines = (logs / "all.jsonl").read_text().splitlines()
    listed = run(
        "requests", str(logs / "all.jsonl"), "--sort", "latency_ms", "--limit", "50", "-f", "jsonl", "-q"
    ).stdout
    for row in map(json.loads, listed.splitlines()):
        assert row["request_id"] == json.loads(lines[row["line"] - 1])["request_id"]


def test_the_slowest_calls_come_first(run: Run, logs: Path) -> None:
    listed = run(
        "requests", str(logs / "all.jsonl"), "--sort", "latency_ms", "--limit", "50", "-f", "jsonl", "-q"
    ).stdout
    latencies = [json.loads(line)["latency_ms"] for line in listed.splitlines()]
    every = [json.loads(line)["latency_ms"] for line in (logs / "all.jsonl").read_text().splitlines()]
    assert sorted(every, reverse=True)[:50] == latencies


def test_the_days_add_up_to_the_whole(run: Run, logs: Path) -> None:
    whole = asked(run, str(logs / "all.jsonl"), ["--every", "1d"])
    assert [3] == [len(whole["series"])]
    for name in ("request_count", "error_count", "tokens_total", "truncated_count"):
        assert whole["totals"][name] == sum(day[name] for day in whole["series"])


def test_a_repeated_call_is_counted_once_where_that_is_asked(run: Run, logs: Path) -> None:
    once = run("summarize", str(logs / "all.jsonl"), "--dedup", "-f", "json").json
    twice = run("summarize", str(logs / "all.jsonl"), "-f", "json").json
    assert (5, 0) == (once["source"]["duplicates"], twice["source"]["duplicates"])
    assert 5 == twice["data"]["totals"]["request_count"] - once["data"]["totals"]["request_count"]


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_every_call_is_accounted_for(run: Run, logs: Path, question: list[str]) -> None:
    source = run("summarize", "-", *question, "-f", "json", stdin=(logs / "all.jsonl").read_bytes()).json["source"]
    lines = len((logs / "all.jsonl").read_text().splitlines())
    assert lines == source["lines"] == source["blank"] + source["used"] + source["skipped"] + source["rejected"]
    assert lines == source["requests"] + source["duplicates"] + source["outside"] + source["filtered"]


def test_the_age_of_the_log_is_said_first_and_only_where_it_matters(run: Run, logs: Path) -> None:
    path = str(logs / "days" / "1.jsonl")
    assert run("summarize", path, "--window", "60").stderr.startswith("last event ")
    assert run("summarize", path, "--since", "2h").stderr.startswith("last event ")
    for quiet in ([], ["--window", "60", "--now", "log"], ["--since", "2026-03-02"], ["--window", "60", "-q"]):
        assert "last event" not in run("summarize", path, *quiet).stderr
