"""Rules run beside `llmmon check` on one state: an alert is raised once, told once, and moved from either side."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.server_process import Served, served

CONFIG = """
logs = ["app.jsonl"]
state = "state.db"
late = "0s"

[[rules]]
name = "slow"
metric = "latency_p95_ms"
window = "5m"
condition = "gt"
threshold = 1000
severity = "error"
min_count = 1

[notify.file]
type = "command"
command = ["sh", "-c", 'printf "%s\\n" "$(cat)" >> told.jsonl']
"""


def slow_calls(folder: Path) -> None:
    start = datetime.now(UTC) - timedelta(minutes=20)
    rows = [
        {"timestamp": (start + timedelta(seconds=10 * n)).isoformat(), "model": "m", "latency_ms": 5000}
        for n in range(120)
    ]
    (folder / "app.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def wait_for_alert(server: Served) -> dict[str, object]:
    """The alert that the state holds, once the service has also finished the evaluation that raised it."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = server.get("/v1/alerts")
        if found and "llmmon_alerts_firing 1" in server.client.get("/metrics").text:
            return dict(found[0])
        time.sleep(0.05)
    raise AssertionError("no alert")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    (tmp_path / "llmmon.toml").write_text(CONFIG)
    slow_calls(tmp_path)
    return tmp_path


def test_an_alert_is_raised_once_beside_check_and_moved_over_http(slow: Path, run: Run) -> None:
    with served(slow, "--every", "0.2s") as server:
        alert = wait_for_alert(server)
        assert alert.keys() == {
            *("alert_id", "title", "severity", "metric", "value", "timestamp", "acknowledged", "resolved"),
        }
        assert (alert["title"], alert["metric"], alert["value"]) == ("slow", "latency_p95_ms", 5000.0)
        for _ in range(3):
            assert run("check", "--state", "state.db").code == 1
        assert server.get("/v1/dashboard")["active_alerts"] == 1
        reply = server.post("/v1/metrics", {"name": "latency_p95_ms", "value": 1})
        assert reply.json()["alerts"] == 1
        assert server.client.post(f"/v1/alerts/{alert['alert_id']}/acknowledge").json() == {"acknowledged": True}
        assert server.get("/v1/alerts")[0]["acknowledged"] is True
        assert server.client.post(f"/v1/alerts/{alert['alert_id']}/resolve").json() == {"resolved": True}
        assert server.get("/v1/alerts") == []
        every = server.get("/v1/alerts", active_only="false")
        assert [one["resolved"] for one in every] == [True]
        assert run("check", "--state", "state.db").code == 0
    told = [json.loads(line) for line in (slow / "told.jsonl").read_text().splitlines() if line.strip()]
    assert [one["alerts"][0]["event"] for one in told] == ["trigger", "acknowledge", "resolve"]


def test_samples_raise_alerts_as_calls_do(tmp_path: Path) -> None:
    start = datetime.now(UTC) - timedelta(minutes=20)
    stamps = [start + timedelta(seconds=10 * n) for n in range(120)]
    rows = [
        {"name": "llm_latency_ms", "value": 9000 + n, "type": "latency", "timestamp": at.isoformat(), "tags": {}}
        for n, at in enumerate(stamps)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with served(tmp_path, "--every", "0.2s", "samples.jsonl") as server:
        assert wait_for_alert(server)["title"] == "High Latency"
        summary = server.get("/v1/metrics/summary")
        assert (summary["latency_avg_ms"], summary["request_count"]) == (9059.5, 0)
        now = stamps[-1].timestamp()
        assert (
            server.post("/v1/metrics", {"name": "llm_latency_ms", "value": 1, "timestamp": now}).json()["alerts"] == 1
        )


def test_a_rule_that_was_posted_is_evaluated_by_check_too(slow: Path, run: Run) -> None:
    with served(slow, "--every", "0.2s") as server:
        wait_for_alert(server)
        rule = {"name": "many", "metric_name": "request_count", "condition": "gt", "threshold": 1, "severity": "info"}
        assert server.post("/v1/rules", rule).json() == {"added": True}
    later = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    checked = run("check", "--state", "state.db", "--now", later, "-f", "json").json["data"]["alerts"]
    assert {alert["rule"]: alert["state"] for alert in checked} == {"slow": "firing", "many": "firing"}
