"""`llmmon anomalies` as a user meets it, on the sample logs and on small logs of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Run

SAMPLES = str(Path(__file__).parents[2] / "sample_logs")
START = datetime(2026, 3, 2, tzinfo=UTC)


def found(run: Run, *args: str) -> dict[str, object]:
    return run("anomalies", *args, "-f", "json", "--now", "log").json["data"]


@pytest.fixture
def sampled(tmp_path: Path) -> Path:
    """A metric sampled every five minutes for three days, with an hour far above anything before."""
    path = tmp_path / "metric.jsonl"
    rows = []
    for i in range(3 * 288):
        value = 20 + (i * 7919 % 13) / 10 + (60 if 700 <= i < 712 else 0)
        when = (START + timedelta(minutes=5 * i)).isoformat()
        rows.append({"name": "queue_depth", "value": value, "type": "latency", "timestamp": when, "tags": {"az": "a"}})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_incidents_of_the_sample_logs_are_found_in_their_metric_and_group(run: Run) -> None:
    anomalies = found(run, SAMPLES)["anomalies"]
    seen = {(a["metric_name"], a["group"].get("model"), a["start"][:10]) for a in anomalies}
    assert ("latency_ms", "gpt-4o", "2026-03-05") in seen
    assert ("error_rate", None, "2026-03-06") in seen
    assert ("truncated_rate", "claude-sonnet-4-5", "2026-03-08") in seen
    assert ("time_to_first_token_ms", "gpt-4o-mini", "2026-03-09") in seen
    assert any(metric.startswith(("cost", "prompt_tokens")) and day == "2026-03-10" for metric, _, day in seen)


def test_quiet_days_are_silent(run: Run) -> None:
    quiet = [f"{SAMPLES}/2026-03-0{day}.jsonl" for day in (2, 3, 4)]
    assert [] == found(run, *quiet)["anomalies"]


def test_a_window_reports_only_its_own_incidents_and_learns_from_all_before(run: Run) -> None:
    inside = found(run, SAMPLES, "--window", "1d")["anomalies"]
    everything = {a["id"] for a in found(run, SAMPLES)["anomalies"]}
    assert inside
    assert {a["id"] for a in inside} < everything
    assert all(a["end"] >= "2026-03-09T23:55" for a in inside)


def test_the_model_that_broke_is_named_among_the_contributors(run: Run) -> None:
    anomalies = found(run, SAMPLES)["anomalies"]
    overall = next(a for a in anomalies if a["metric_name"] == "time_to_first_token_ms" and not a["group"])
    assert ("model", "gpt-4o-mini") in {(part["field"], part["name"]) for part in overall["contributors"]}
    assert all("caused" not in part["text"] for a in anomalies for part in a["contributors"])


def test_the_tag_that_broke_is_named_and_a_tag_of_ids_is_not(run: Run, tmp_path: Path) -> None:
    rows = []
    for i in range(3000):
        slow = i > 2800 and i % 2
        tags = {"region": "eu" if i % 2 else "us", "trace": f"t{i}"}
        when = (START + timedelta(minutes=i)).isoformat()
        latency = (100 + i * 7919 % 53) * (5 if slow else 1)
        rows.append({"timestamp": when, "model": "m", "latency_ms": latency, "success": True, "tags": tags})
    (tmp_path / "tagged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    slower = next(a for a in found(run, "tagged.jsonl")["anomalies"] if a["metric_name"] == "latency_ms")
    assert ("tag.region", "eu") == (slower["contributors"][0]["field"], slower["contributors"][0]["name"])
    assert {"tag.region"} == {part["field"] for part in slower["contributors"]}


def test_excluded_time_is_neither_reported_nor_learned_from(run: Run) -> None:
    kept = found(run, SAMPLES, "--exclude", "2026-03-06T12:00/2026-03-06T15:00")["anomalies"]
    assert not [a for a in kept if a["start"].startswith("2026-03-06")]
    backwards = run("anomalies", SAMPLES, "--exclude", "2026-03-06T15:00/2026-03-06T12:00")
    assert (2, True) == (backwards.code, "ends before it begins" in backwards.stderr)


def test_an_incident_ends_when_what_was_planted_did(run: Run) -> None:
    slow = [a for a in found(run, SAMPLES)["anomalies"] if a["metric_name"] == "latency_ms"]
    assert {"2026-03-05T14:30:00Z", "2026-03-09T14:10:00Z"} == {a["end"] for a in slow}


def test_the_examples_of_a_contributor_are_its_most_telling_calls(run: Run, tmp_path: Path) -> None:
    rows = [
        {
            "request_id": f"r{i}",
            "timestamp": (START + timedelta(minutes=3 * i)).isoformat(),
            "model": "m" if i % 2 else "n",
            "latency_ms": (100 + i * 7919 % 40) * (20 if i > 1400 and i % 2 else 1),
        }
        for i in range(1440)
    ]
    (tmp_path / "slow.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = found(run, "slow.jsonl")["anomalies"]
    overall = next(a for a in every if a["metric_name"] == "latency_ms" and not a["group"])
    (part,) = [part for part in overall["contributors"] if part["field"] == "model"]
    assert "m" == part["name"]
    assert 3 == len(part["examples"])
    assert all(int(name[1:]) > 1400 and int(name[1:]) % 2 for name in part["examples"])


def test_what_could_not_be_judged_is_said_by_reason(run: Run) -> None:
    ran = run("anomalies", f"{SAMPLES}/2026-03-02.jsonl", "-f", "table")
    assert "needs 7 days (cost_usd, requests)" in " ".join(ran.stdout.split())


def test_explain_shows_an_incident_bucket_by_bucket(run: Run) -> None:
    first = found(run, SAMPLES)["anomalies"][0]
    data = found(run, SAMPLES, "--explain", first["id"][:7])
    rows = data["explained"]
    assert [first["id"]] == [a["id"] for a in data["anomalies"]]
    assert any(row["alarm"] for row in rows)
    assert {"start", "value", "low", "high", "z", "score", "alarm"} == set(rows[0])
    assert 2 == run("anomalies", SAMPLES, "--explain", "no-such-id").code


def test_scores_give_every_bucket_of_every_series(run: Run) -> None:
    ran = run("anomalies", SAMPLES, "--scores", "-f", "jsonl", "--metric", "latency_ms", "-q")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {"timestamp", "metric_name", "group", "value", "expected_range", "score"} == set(rows[0])
    assert {"latency_ms", "latency_p99_ms"} >= {row["metric_name"] for row in rows}
    assert all(row["score"] is None or 0 <= row["score"] <= 1 for row in rows)
    buckets = [row["timestamp"] for row in rows if not row["group"] and row["metric_name"] == "latency_ms"]
    assert len(buckets) == len(set(buckets)) > 2000
    assert None in {row["score"] for row in rows}


def test_hard_limits_and_single_detectors_replace_the_monitor(run: Run) -> None:
    limited = found(run, SAMPLES, "--threshold", "latency_p95_ms>25000")["anomalies"]
    assert {"threshold"} == {a["detector"] for a in limited}
    assert all(a["value"] > 25000 for a in limited)
    single = found(run, SAMPLES, "--method", "statistical", "--metric", "latency_ms")["anomalies"]
    assert {"statistical"} == {a["detector"] for a in single}
    assert 2 == run("anomalies", SAMPLES, "--method", "magic").code
    assert 2 == run("anomalies", SAMPLES, "--threshold", "latency").code


def test_metric_samples_are_watched_at_their_own_stamps(run: Run, sampled: Path) -> None:
    data = found(run, str(sampled))
    assert {"queue_depth"} == {row["metric_name"] for row in data["monitored"]}
    assert [{"az": "a"}] == [a["group"] for a in data["anomalies"]][:1]
    assert "2026-03-04T10" == data["anomalies"][0]["start"][:13]


def test_fail_on_severity_is_exit_1_and_nothing_found_is_0(run: Run) -> None:
    assert 1 == run("anomalies", SAMPLES, "--fail-on", "severity>=high").code
    assert 0 == run("anomalies", f"{SAMPLES}/2026-03-02.jsonl", "--fail-on", "severity>=low").code
    assert 2 == run("anomalies", SAMPLES, "--fail-on", "severity>=awful").code


@pytest.mark.parametrize("lines", [1, 5, 300])
def test_too_little_history_is_said_and_is_no_anomaly(run: Run, tmp_path: Path, lines: int) -> None:
    rows = [
        {"timestamp": (START + timedelta(minutes=i)).isoformat(), "model": "m", "latency_ms": 100 + i, "success": i % 2}
        for i in range(lines)
    ]
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = run("anomalies", "short.jsonl", "-f", "json")
    assert 0 == ran.code
    assert [] == ran.json["data"]["anomalies"]
    assert all(not row["judged"] and row["reason"] for row in ran.json["data"]["monitored"])
    assert "nothing could be judged" in ran.stderr


def test_a_log_without_times_can_not_be_judged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "undated.jsonl").write_text('{"model": "m", "latency_ms": 5}\n' * 20)
    ran = run("anomalies", "undated.jsonl")
    assert 0 == ran.code
    assert "nothing could be judged" in ran.stderr


def test_lines_out_of_order_give_the_same_report(run: Run, tmp_path: Path) -> None:
    lines = [line for file in sorted(Path(SAMPLES).glob("*.jsonl")) for line in file.read_text().splitlines()]
    (tmp_path / "backwards.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    assert found(run, SAMPLES)["anomalies"] == found(run, "backwards.jsonl")["anomalies"]


@pytest.fixture
def stepped(tmp_path: Path) -> Path:
    """A fortnight of two models, one of which takes 1.6 times as long from noon of the tenth day on."""
    random = np.random.default_rng(1)
    rows = []
    for i in range(14 * 720):
        when = START + timedelta(minutes=2 * i)
        slow = i % 2 and when >= START + timedelta(days=9, hours=12)
        latency = 900 * float(np.exp(random.normal(0, 0.4))) * (1.6 if slow else 1.0)
        model = "gpt-4o" if i % 2 else "gpt-4o-mini"
        rows.append({"timestamp": when.isoformat(), "model": model, "latency_ms": latency, "success": True})
    path = tmp_path / "step.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_level_that_stays_is_not_over_in_any_later_window_until_it_is_accepted(run: Run, stepped: Path) -> None:
    for window in ((), ("--window", "1d"), ("--window", "60")):
        (one,) = found(run, str(stepped), *window)["incidents"]
        assert (one["status"], one["end"], one["group"]) == ("new level", None, {"model": "gpt-4o"})
        assert "has stayed at the new level since 11 Mar" in one["description"]
    (stepped.parent / "llmmon.toml").write_text('logs = ["step.jsonl"]\nstate = "state.db"\n')
    assert 0 == run("alerts", "accept", one["id"][:8], "--config", str(stepped.parent / "llmmon.toml")).code
    (one,) = found(run, "--config", str(stepped.parent / "llmmon.toml"))["incidents"]
    assert (one["status"], one["end"] is None) == ("accepted", False)
    (stepped.parent / "other.toml").write_text('logs = ["step.jsonl"]\naccepted_before = 2026-03-14T00:00:00Z\n')
    assert [] == found(run, "--config", str(stepped.parent / "other.toml"), "--window", "1d")["incidents"]


def test_nothing_after_now_is_used(run: Run, stepped: Path) -> None:
    data = run("anomalies", str(stepped), "--now", "2026-03-11T20:00", "--window", "60", "-f", "json").json
    assert data["data"]["window"]["end"] == "2026-03-11T20:00:00Z"
    (one,) = data["data"]["incidents"]
    assert (one["status"], one["end"]) == ("open", None)
    assert one["calls"] <= 31 * 9


def test_every_series_is_part_of_an_incident(run: Run) -> None:
    data = found(run, SAMPLES)
    assert 5 == len(data["incidents"])
    by_id = {one["id"]: one for one in data["incidents"]}
    for row in data["anomalies"]:
        one = by_id[row["incident_id"]]
        assert (row["role"] == "lead") == (row["id"] == one["lead"])
        assert row["id"] in {one["lead"], *(symptom["id"] for symptom in one["symptoms"])}


def test_an_incident_has_its_cause_and_its_examples_with_file_and_line(run: Run) -> None:
    slow = next(one for one in found(run, SAMPLES)["incidents"] if one["start"].startswith("2026-03-05"))
    assert slow["description"] == (
        "gpt-4o answers took 2.7 times as long, 4.3 s → 11.5 s, 5 Mar 11:30-14:30 (3 h), 38 calls"
    )
    assert ("model", "gpt-4o", "found") == (slow["causes"][0]["field"], slow["causes"][0]["name"], slow["cause"])
    assert 3 == len(slow["examples"])
    for example in slow["examples"]:
        line = Path(example["file"]).read_text().splitlines()[example["line"] - 1]
        assert json.loads(line)["request_id"] == example["request_id"]
        assert json.loads(line)["model"] == "gpt-4o"
    assert all(0 <= cause["share"] <= 1 for one in found(run, SAMPLES)["incidents"] for cause in one["causes"])


def test_a_window_without_calls_says_so(run: Run) -> None:
    ran = run("anomalies", SAMPLES, "--since", "2027-01-01")
    assert (0, True) == (ran.code, ran.stdout.startswith("no calls since 2027-01-01 00:00 UTC"))
    assert "the log ends 2026-03-10" in ran.stdout
