"""Health: what lives, what works, and figures of the service itself."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from llmmon import __version__
from llmmon.alerting.state import StateFile
from llmmon.live.server import service as service_module
from tests.support.mounted_service import Mounted, mounted

CALL = {"model": "gpt-4o", "latency_ms": 200.0, "prompt_tokens": 10, "completion_tokens": 5}


def exposed(server: Mounted, kind: str = "text/plain") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every series of /metrics; one that is there twice is a fault."""
    text = server.client.get("/metrics", headers={"accept": kind}).raise_for_status().text
    reader = read_prometheus if kind == "text/plain" else read_openmetrics
    listed = [one for family in reader(text) for one in family.samples]
    found = {(one.name, frozenset(one.labels.items())): one.value for one in listed}
    assert len(found) == len(listed)
    return found


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_the_service_counts_what_it_recorded_refused_and_had_before(tmp_path: Path, kind: str) -> None:
    with mounted(tmp_path) as server:
        server.post("/v1/requests", [{**CALL, "request_id": "r"}, CALL])
        server.post("/v1/requests", {**CALL, "request_id": "r"})
        server.post("/v1/requests", {"modle": "x"})
        server.post("/v1/metrics", {"name": "llmmon_queued_bytes", "value": 7})
        found = exposed(server, kind)
    assert found["llmmon_recorded_total", labelled(kind="requests")] == 2
    assert found["llmmon_duplicates_total", labelled(kind="requests")] == 1
    assert found["llmmon_refused_total", labelled(status="422")] == 1
    assert found["llmmon_recorded_total", labelled(kind="samples")] == 1
    assert found["llmmon_lines_read_total", labelled()] == 3
    assert found["llmmon_lines_rejected_total", labelled()] == 0
    assert found["llmmon_queued_bytes", labelled()] == 0
    assert found["sample_llmmon_queued_bytes", labelled()] == 7
    assert found["llmmon_notifications_queued", labelled()] == 0
    assert found["process_resident_memory_bytes", labelled()] > 1e6
    assert [dict(labels)["version"] for name, labels in found if name == "llmmon_build_info"] == [__version__]


def test_health_and_readiness_have_their_usual_names(tmp_path: Path) -> None:
    with mounted(tmp_path, token="hunter2") as server:  # noqa: S106 - made up
        for path in ("/health", "/healthz"):
            assert server.get(path) == {"status": "healthy"}
        for path in ("/ready", "/readyz"):
            assert server.get(path) == {"ready": True, "troubles": []}
        assert server.client.get("/metrics").status_code == 401


def test_a_log_that_cannot_be_written_is_alive_but_not_ready(tmp_path: Path) -> None:
    with mounted(tmp_path) as server:
        server.log.unlink()
        server.log.mkdir()
        assert server.post("/v1/requests", CALL).status_code == 503
        assert server.client.get("/healthz").status_code == 200
        unready = server.client.get("/readyz")
        assert (unready.status_code, unready.json()["ready"]) == (503, False)
        assert "cannot write" in unready.json()["troubles"][0]
        server.log.rmdir()
        assert server.post("/v1/requests", CALL).status_code == 200
        assert server.client.get("/readyz").status_code == 200
        assert exposed(server)["llmmon_ready", labelled()] == 1


def test_anomalies_of_samples_are_listed_also_after_a_restart(tmp_path: Path) -> None:
    now = time.time() - 600
    usual = [{"name": "queue_length", "value": 10 + n % 3, "timestamp": now + n} for n in range(60)]
    with mounted(tmp_path) as server:
        assert server.post("/v1/metrics", usual).json()["anomalies"] == 0
        assert server.get("/v1/anomalies") == []
        assert server.post("/v1/metrics", {"name": "queue_length", "value": 500}).json()["anomalies"] == 1
        first = server.get("/v1/anomalies")
    with mounted(tmp_path) as server:
        again = server.get("/v1/anomalies")
        assert server.post("/v1/metrics", {"name": "queue_length", "value": 11}).json()["anomalies"] == 0
    assert [(one["metric"], one["value"]) for one in first] == [("queue_length", 500)]
    assert first[0]["incident_id"] is None
    assert again == first


def test_a_state_that_another_process_holds_is_503_and_records_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "STATE_WAIT_S", 0.05)
    rule = {"name": "r", "metric_name": "latency_p95_ms", "condition": "gt", "threshold": 1, "severity": "warning"}
    silence = {"matchers": {"rule": "High Latency"}, "duration": "2h"}
    with mounted(tmp_path) as server:
        other = sqlite3.connect(tmp_path / "state.db", isolation_level=None, timeout=60)
        other.execute("BEGIN EXCLUSIVE")
        replies = [server.post("/v1/rules", rule), server.post("/v1/silences", silence)]
        assert server.post("/v1/requests", CALL).status_code == 200
        other.execute("ROLLBACK")
        other.close()
        assert server.post("/v1/silences", silence).status_code == 200
    for reply in replies:
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["error"].endswith("state.db: database is locked")


def test_an_internal_error_has_the_shape_of_all_errors_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: StateFile) -> None:
        raise RuntimeError("broken on purpose")

    with mounted(tmp_path) as server:
        monkeypatch.setattr(StateFile, "silences", broken)
        reply = TestClient(server.client.app, "http://127.0.0.1", raise_server_exceptions=False).get("/v1/silences")
    assert (reply.status_code, reply.json()) == (500, {"error": "internal error"})
    assert "internal error: GET /v1/silences: RuntimeError: broken on purpose" in caplog.text
