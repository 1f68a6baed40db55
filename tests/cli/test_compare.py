"""`compare`: two logs, before and after, two values of a field; verdicts, gates, what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Run

START = datetime(2026, 3, 2, tzinfo=UTC)
SIDE = {"name", "calls", "start", "end"}
CHANGE = {"before", "after", "change", "low", "high", "change_share", "low_share", "high_share"} | {
    *("p", "p_adjusted", "detectable", "verdict")
}


def calls(seed: int, number: int, **how: Any) -> Iterator[dict[str, Any]]:
    """Calls of two models, the slow one with a share of `slow`; latency times `factor`; over `days`."""
    rng = np.random.default_rng(seed)
    for at in np.sort(rng.uniform(0, how.get("days", 4), number)).tolist():
        is_slow = rng.random() < how.get("slow", 0.4)
        latency = float(np.exp(rng.normal(7.5 if is_slow else 6.5, 0.4))) * how.get("factor", 1.0)
        yield {
            "timestamp": (START + timedelta(days=how.get("from_day", 0) + at)).isoformat(),
            "model": "slow-1" if is_slow else "fast-1",
            "user": f"u{rng.integers(0, 60)}",
            "latency_ms": round(latency, 3),
            "success": bool(rng.random() > how.get("errors", 0.02)),
            **how.get("more", {}),
        }


def write(path: Path, *parts: Iterator[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(call) + "\n" for part in parts for call in part))
    return str(path)


def metrics(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in data["metrics"]}


def test_a_slower_log_is_worse_and_the_same_log_is_not(run: Run, tmp_path: Path) -> None:
    before, slower, other = (
        write(tmp_path / f"{seed}.jsonl", calls(seed, 2500, factor=factor))
        for seed, factor in ((1, 1.0), (2, 1.3), (3, 1.0))
    )
    worse = metrics(run("compare", before, slower, "-f", "json").json["data"])["latency_p50_ms"]
    assert worse["verdict"] == "worse"
    assert 0.2 < worse["low_share"] < 0.3 < worse["high_share"] < 0.42
    same = run("compare", before, other, "-f", "json").json["data"]
    assert {row["verdict"] for row in same["metrics"]} <= {"no difference", "too little data"}


def test_a_mix_that_changes_is_no_difference_within(run: Run, tmp_path: Path) -> None:
    logs = [write(tmp_path / f"{n}.jsonl", calls(n, 4000, slow=slow)) for n, slow in ((1, 0.3), (2, 0.7))]
    row = metrics(run("compare", *logs, "-f", "json").json["data"])["latency_p50_ms"]
    assert (row["verdict"], row["within"]["verdict"]) == ("worse", "no difference")
    assert row["change"] == pytest.approx(row["mix"] + row["within"]["change"])
    shown = run("compare", *logs, env={"COLUMNS": "80"}).stdout
    assert "because the mix changed: no difference within" in shown
    assert "model slow-1" in shown


def test_before_and_after_a_time(run: Run, tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", calls(1, 3000), calls(2, 3000, from_day=4, errors=0.2))
    data = run("compare", log, "--at", "2026-03-06", "-f", "json").json["data"]
    assert data["split"] == {"by": "time", "field": None, "at": "2026-03-06T00:00:00Z"}
    assert (data["before"]["calls"], data["after"]["calls"]) == (3000, 3000)
    rows = metrics(data)
    assert rows["error_rate"]["verdict"] == "worse"
    assert rows["error_rate"]["within"]["verdict"] == "worse"
    assert rows["requests_per_minute"]["verdict"] in ("no difference", "too little data")
    assert {row["metric"] for row in data["groups"] if row["verdict"] == "worse"} == {"error_rate"}


def test_two_values_of_a_field_the_earlier_one_first(run: Run, tmp_path: Path) -> None:
    old, new = {"prompt_version": "b-old"}, {"prompt_version": "a-new"}
    log = write(tmp_path / "log.jsonl", calls(1, 800, more=old), calls(2, 800, from_day=4, more=new))
    data = run("compare", log, "--split", "prompt_version", "-f", "json").json["data"]
    assert [data[side]["name"] for side in ("before", "after")] == ["b-old", "a-new"]
    named = run("compare", log, "--split", "prompt_version=a-new,b-old", "-f", "json").json["data"]
    assert [named[side]["name"] for side in ("before", "after")] == ["a-new", "b-old"]


def test_of_many_values_the_two_with_most_calls_are_compared_and_versions_count_up(run: Run, tmp_path: Path) -> None:
    parts = [calls(n, size, more={"tags": {"v": f"v{n}"}}) for n, size in ((10, 300), (9, 400), (3, 50))]
    found = run("compare", write(tmp_path / "log.jsonl", *parts), "--split", "tag.v", "-f", "json")
    assert [found.json["data"][side]["name"] for side in ("before", "after")] == ["v9", "v10"]
    assert found.json["data"]["left_out"] == 50
    assert "tag.v has 3 values" in found.stderr


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("latency_p95_ms worse by 10%", 1),
        ("latency_p95_ms worse by 90%", 0),
        ("latency_p95_ms within worse", 1),
        ("latency_ms worse", 1),
        ("any worse", 1),
        ("any better", 0),
        ("latency_p50_ms higher by 100", 1),
        ("error_rate worse by 1pp", 0),
        ("latency_avg_ms different", 1),
        ("off_topic_rate worse", 0),
        ("latency_p95_ms>1ms", 1),
        ("p95>1h", 0),
        ("error_rate > 90%", 0),
        ("latency_avg_ms<=1h", 1),
        ("worse>0", 1),
        ("better>=1", 0),
        ("off_topic_rate>0", 0),
    ],
)
def test_conditions_fail_the_run(run: Run, tmp_path: Path, condition: str, code: int) -> None:
    logs = [write(tmp_path / f"{n}.jsonl", calls(n, 1500, factor=factor)) for n, factor in ((1, 1.0), (2, 1.3))]
    assert run("compare", *logs, "--fail-on", condition).code == code


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("latency", "is not a condition"),
        ("latncy_ms worse", "did you mean 'latency_ms'"),
        ("prompt_tokens worse", "neither better nor worse"),
        ("latency_max_ms worse", "extremes say nothing"),
        ("latncy_ms>2s", "did you mean 'latency_ms'"),
        ("latency_p95_ms>soon", "is not a number"),
    ],
)
def test_a_condition_that_cannot_be_read_is_an_error_before_anything_is_read(
    run: Run, condition: str, said: str
) -> None:
    found = run("compare", "a.jsonl", "b.jsonl", "--fail-on", condition)
    assert found.code == 2
    assert said in found.stderr


def test_flags_of_scored_logs_are_compared(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    logs = []
    for name, share in (("a", 0.02), ("b", 0.2)):
        signals = [{"off_topic": round(float(rng.random() < share), 1), "refusal": None} for _ in range(500)]
        rows = [
            {"request_id": f"{name}{n}", "model": "m", "quality_score": 0.9, "signals": one, "flags": []}
            for n, one in enumerate(signals)
        ]
        logs.append(write(tmp_path / f"{name}.jsonl", iter(rows)))
    found = run("compare", *logs, "-f", "json", "--fail-on", "off_topic_rate worse by 5pp")
    rows = metrics(found.json["data"])
    assert rows["off_topic_rate"]["verdict"] == "worse"
    assert "refusal_rate" not in rows
    assert found.code == 1


def test_few_calls_are_too_little_data_and_say_what_could_have_been_seen(run: Run, tmp_path: Path) -> None:
    logs = [write(tmp_path / f"{n}.jsonl", calls(n, 40)) for n in (1, 2)]
    rows = metrics(run("compare", *logs, "-f", "json").json["data"])
    assert rows["latency_p50_ms"]["verdict"] == "too little data"
    assert rows["latency_p50_ms"]["detectable"] > 0.25 * rows["latency_p50_ms"]["before"]
    assert rows["latency_p99_ms"] | {"unit": 0, "better": 0} == rows["latency_p99_ms"] | {
        **dict.fromkeys(CHANGE - {"verdict"}),
        "unit": 0,
        "better": 0,
        "within": None,
        "mix": None,
    }


def test_the_json_has_its_keys(run: Run, tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", calls(1, 400), calls(2, 400, from_day=4))
    data = run("compare", log, "--at", "2026-03-06", "-f", "json").json["data"]
    assert data.keys() >= {"split", "before", "after", "left_out", "units", "matched", "metrics", "groups", "mix"}
    assert data["before"].keys() == data["after"].keys() == SIDE
    for row in data["metrics"]:
        assert row.keys() >= {"metric", "unit", "better", "calls_before", "calls_after", "mix", "within", *CHANGE}
        assert row["within"] is None or row["within"].keys() == CHANGE
    assert all(row.keys() >= {"field", "value", "metric", "weight", *CHANGE} for row in data["groups"])
    rows = run("compare", log, "--at", "2026-03-06", "-f", "jsonl", "-q").stdout.splitlines()
    assert [json.loads(row)["metric"] for row in rows] == [row["metric"] for row in data["metrics"]]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "two logs are needed, not 1"),
        (("--at", "2030-01-01"), 3, "the log has calls from 2026-03-02"),
        (("--split", "prompt_version"), 2, "needs two values, the calls have none"),
        (("--split", "model=fast-1,slow-2"), 2, "did you mean 'slow-1'"),
        (("--split", "modle"), 2, "did you mean 'model'"),
        (("--split", "model", "--at", "2026-03-03"), 2, "give one of them"),
    ],
)
def test_what_cannot_be_divided_says_why(
    run: Run, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    found = run("compare", write(tmp_path / "log.jsonl", calls(1, 50)), *options)
    assert (found.code, said in found.stderr) == (code, True), found.stderr


def test_logs_without_times_or_users_are_compared(run: Run, tmp_path: Path) -> None:
    logs = []
    for n, factor in ((1, 1.0), (2, 1.5)):
        bare = ({"model": "m", "latency_ms": call["latency_ms"]} for call in calls(n, 500, factor=factor))
        logs.append(write(tmp_path / f"{n}.jsonl", bare))
    data = run("compare", *logs, "-f", "json").json["data"]
    assert data["units"] == {"of": "call", "count": 1000}
    assert metrics(data)["latency_p50_ms"]["verdict"] == "worse"
