"""Rules run beside `llmmon check` on one state: an alert is raised and notified once, and moved from either side."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
    """The alert that the state holds: from that moment on, every endpoint knows it."""
    return dict(waited(lambda: server.get("/v1/alerts"))[0])


def waited(look: Callable[[], Any]) -> Any:
    """What is seen as soon as anything is."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("nothing was seen in two minutes")


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


def test_an_alert_counts_while_its_message_is_still_being_sent(slow: Path) -> None:
    """A receiver that takes its time holds back no figure: what fires is read from the state."""
    hanging = CONFIG.replace("printf", "until [ -e received ]; do sleep 0.1; done; printf")
    (slow / "llmmon.toml").write_text(hanging)
    with served(slow, "--every", "0.2s") as server:
        wait_for_alert(server)
        assert server.post("/v1/metrics", {"name": "latency_p95_ms", "value": 1}).json()["alerts"] == 1
        assert "llmmon_alerts_firing 1" in server.client.get("/metrics").text
        (slow / "received").touch()


def test_silences_are_made_listed_and_ended_over_http(slow: Path, run: Run) -> None:
    with served(slow, "--every", "0.2s") as server:
        wait_for_alert(server)
        made = server.post(
            "/v1/silences", {"matchers": {"rule": "sl*"}, "duration": "3h", "why": "deploy", "by": "ada"}
        )
        assert made.status_code == 200, made.text
        silence, covers = made.json()["silence"], made.json()["covers"]
        assert (silence["matchers"], silence["why"], silence["by"], covers) == ({"rule": "sl*"}, "deploy", "ada", 1)
        assert server.get("/v1/silences") == [silence]
        shown = run("alerts", "list", "-f", "json", "--state", "state.db").json["data"]["silences"]
        assert [one["silence_id"] for one in shown] == [silence["silence_id"]]
        assert server.client.delete(f"/v1/silences/{silence['silence_id']}").json() == {"deleted": True}
        assert server.get("/v1/silences") == []
        assert server.client.delete(f"/v1/silences/{silence['silence_id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"matchers": {"rul": "slow"}}, 422, "rule"),
        ({"matchers": {"rule": "slwo"}}, 422, "slow"),
        ({"matchers": {"rule": "slow"}, "duration": "0s"}, 422, "over before"),
        ({"matchers": {"rule": "slow"}, "duration": "soon"}, 422, "soon"),
        ({"matchers": {}}, 422, "matchers"),
        ({"matchers": {"rule": "slow"}, "until": "2099"}, 422, "until"),
        (b"{", 400, "JSON"),
    ],
)
def test_a_silence_that_can_match_nothing_is_refused(silenced: Served, body: Any, status: int, said: str) -> None:
    reply = silenced.post("/v1/silences", body)
    assert reply.status_code == status
    assert said in reply.text
    assert silenced.get("/v1/silences") == []


@pytest.fixture(scope="module")
def silenced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("silences")
    (folder / "llmmon.toml").write_text(CONFIG)
    slow_calls(folder)
    with served(folder, "--every", "1h") as server:
        yield server


def test_who_acknowledged_and_why_is_in_the_history(slow: Path, run: Run) -> None:
    with served(slow, "--every", "0.2s") as server:
        alert = wait_for_alert(server)
        who = {"why": "looking", "by": "ada"}
        reply = server.client.post(f"/v1/alerts/{alert['alert_id']}/acknowledge", params=who)
        assert reply.json() == {"acknowledged": True}
        accepted = server.client.post(f"/v1/alerts/{alert['alert_id']}/accept")
        assert (accepted.status_code, "of no incident" in accepted.text) == (404, True)
    shown = run("alerts", "history", "--state", "state.db").stdout
    assert "ada" in shown
    assert "looking" in shown


def test_a_hangup_reloads_the_rules_and_a_faulty_configuration_keeps_the_old(slow: Path) -> None:
    with served(slow, "--every", "0.2s") as server:
        wait_for_alert(server)
        file = slow / "llmmon.toml"
        file.write_text(CONFIG.replace('condition = "gt"', 'condition = "over"'))
        server.process.send_signal(signal.SIGHUP)
        said = waited(lambda: [line for line in server.said if "was not reloaded" in line])[0]
        assert "over" in said
        assert [rule["name"] for rule in server.get("/v1/rules")] == ["slow"]
        file.write_text(CONFIG.replace('"slow"', '"sluggish"') + "\n[serve]\nport = 1\n")
        server.process.send_signal(signal.SIGHUP)
        waited(lambda: [line for line in server.said if "configuration reloaded: 1 rule, 1 channel" in line])
        assert any("serve changed" in line and "restart" in line for line in server.said)
        assert [rule["name"] for rule in server.get("/v1/rules")] == ["sluggish"]
        waited(lambda: [one["title"] for one in server.get("/v1/alerts")] == ["sluggish"])


def test_posted_calls_are_evaluated_as_soon_as_their_minute_ends(tmp_path: Path) -> None:
    """`late` is for logs that are followed: what is posted has arrived."""
    text = CONFIG.replace('late = "0s"', 'late = "1h"').replace('logs = ["app.jsonl"]', "")
    (tmp_path / "llmmon.toml").write_text(text)
    with served(tmp_path) as server:
        before = datetime.now(UTC) - timedelta(minutes=1)
        server.post("/v1/requests", [{"timestamp": before.isoformat(), "model": "m", "latency_ms": 5000}])
        assert wait_for_alert(server)["title"] == "slow"
