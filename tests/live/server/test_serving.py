"""One real server, asked as an application, a scraper and a browser ask it."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.server_process import Served, served

CALL = {"model": "gpt-4o", "latency_ms": 200.0, "prompt_tokens": 10, "completion_tokens": 5}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


def recorded(server: Served) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def count(server: Served) -> int:
    return len(server.log.read_text().splitlines())


def test_before_anything_is_posted_figures_are_unknown_not_zero(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert server.get("/v1/metrics/summary") == {
            "latency_avg_ms": None,
            "latency_p95_ms": None,
            "latency_p99_ms": None,
            "tokens_total": None,
            "cost_total_usd": None,
            "error_count": 0,
            "request_count": 0,
            "quality_avg": None,
        }
        assert server.get("/v1/dashboard")["error_rate"] is None
        assert server.get("/v1/anomalies") == []


def test_what_is_posted_is_in_the_log_and_in_the_next_answer(server: Served) -> None:
    before = server.get("/v1/metrics/summary")["request_count"]
    reply = server.post("/v1/requests", {**CALL, "user": "ada", "tags": {"team": "north"}})
    assert (reply.status_code, reply.json()) == (200, {"recorded": True, "accepted": 1, "texts_dropped": 0})
    last = recorded(server)[-1]
    assert last.items() >= {**CALL, "user": "ada", "tags": {"team": "north"}}.items()
    assert str(last["timestamp"]).endswith("Z")
    after = server.get("/v1/metrics/summary")
    assert after["request_count"] == before + 1
    assert after["latency_p95_ms"] == 200.0
    assert after["cost_total_usd"] > 0


def test_texts_are_not_recorded(server: Served) -> None:
    reply = server.post(
        "/v1/requests", {**CALL, "prompt": "my secret", "output": "my secret", "context": ["my secret"]}
    )
    assert reply.json()["texts_dropped"] == 3
    assert "my secret" not in server.log.read_text()


def test_many_come_as_an_array_or_one_a_line_or_packed(server: Served) -> None:
    lines = b"\n".join(json.dumps(CALL).encode() for _ in range(3)) + b"\n"
    before = count(server)
    assert server.post("/v1/requests", [CALL, CALL]).json()["accepted"] == 2
    ndjson = {"content-type": "application/x-ndjson"}
    assert server.post("/v1/requests", lines, **ndjson).json()["accepted"] == 3
    packed = server.post("/v1/requests", gzip.compress(lines), **ndjson, **{"content-encoding": "gzip"})
    assert packed.json()["accepted"] == 3
    assert count(server) == before + 8


def test_all_members_of_a_gzip_body_are_recorded(server: Served) -> None:
    before = count(server)
    body = gzip.compress(json.dumps(CALL).encode() + b"\n") * 2
    packed = {"content-encoding": "gzip", "content-type": "application/x-ndjson"}
    assert server.client.post("/v1/requests", content=body, headers=packed).json()["accepted"] == 2
    assert count(server) == before + 2
    refused = server.client.post("/v1/requests", content=body + b"junk", headers=packed)
    assert refused.status_code == 400


def test_a_tag_holds_no_text(server: Served) -> None:
    sample = {"name": "llm_latency_ms", "value": 1}
    for tags in ({"prompt": "x" * 1001}, {f"t{n}": "x" * 900 for n in range(5)}):
        assert server.post("/v1/metrics", {**sample, "tags": tags}).status_code == 422


def test_a_health_check_may_ask_for_the_head_alone_and_under_any_name(server: Served) -> None:
    for path in ("/health", "/ready"):
        done = server.client.head(path, headers={"host": "llmmon.internal"})
        assert (done.status_code, done.content) == (200, b"")


def test_a_half_request_is_ended_and_makes_room(server: Served) -> None:
    address = httpx.URL(server.url)
    held = [socket.create_connection((address.host, address.port or 80)) for _ in range(850)]
    try:
        for one in held:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: x")
        assert server.get("/health") == {"status": "healthy"}
        held[0].settimeout(5)
        with contextlib.suppress(ConnectionError):
            assert held[0].recv(1) == b"", "the one that waited longest is closed"
    finally:
        for one in held:
            one.close()


@pytest.mark.parametrize("name", ["errors/min", "n" * 201, ""])
def test_a_rule_has_a_name_by_which_it_can_be_deleted(server: Served, name: str) -> None:
    rule = {"name": name, "metric_name": "error_rate", "threshold": 0.5}
    assert server.post("/v1/rules", rule).status_code == 422


def test_a_batch_with_a_bad_item_is_refused_whole_and_the_items_are_named(server: Served) -> None:
    before = count(server)
    batch = [CALL, {**CALL, "latency_ms": "slow"}, {"modle": "x"}, {"user": "ada"}, {**CALL, "timestamp": "soon"}]
    reply = server.post("/v1/requests", batch)
    assert reply.status_code == 422
    named = {one["item"]: (one.get("field"), one["error"]) for one in reply.json()["items"]}
    assert named[1][0] == "latency_ms"
    assert named[2] == ("modle", "unknown key, did you mean model?")
    assert named[4][0] == "timestamp"
    good = [CALL, {"user": "ada"}, {**CALL, "timestamp": 1e12}]
    named = {one["item"]: one["error"] for one in server.post("/v1/requests", good).json()["items"]}
    assert named == {
        1: "nothing of a call: give a model, tokens, latency_ms or quality_score",
        2: "lies more than an hour ahead",
    }
    assert count(server) == before


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b'{"model": "a"} {"model": "b"}', {}, 400),
        (b'{"model": "\xff"}', {}, 400),
        (b'{"latency_ms": NaN}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"prompt": ' + b"[" * 100_000, {}, 400),
        (b"[" + b" " * (9 << 20), {}, 413),
        (gzip.compress(b" " * (20 << 20)), {"content-encoding": "gzip"}, 413),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b'{"model": "a"}', mtime=0)[:-9], {"content-encoding": "gzip"}, 400),
        (b"{}", {"content-encoding": "br"}, 415),
        (b"model=a", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"[]", {}, 200),
        (b"3", {}, 422),
    ],
)
def test_bodies_that_cannot_be_taken_say_why(server: Served, body: bytes, headers: dict[str, str], status: int) -> None:
    before = count(server)
    reply = server.post("/v1/requests", body, **headers)
    assert reply.status_code == status, reply.text
    assert status == 200 or reply.json()["error"]
    assert count(server) == before


def test_samples_fill_the_figures_that_no_call_tells(server: Served) -> None:
    reply = server.post("/v1/metrics", {"name": "llm_quality_score", "value": 0.75, "tags": {"model": "gpt-4o"}})
    assert reply.json() == {"recorded": True, "anomalies": 0, "alerts": 0}
    assert server.get("/v1/metrics/summary")["quality_avg"] == 0.75
    assert recorded(server)[-1].items() >= {"name": "llm_quality_score", "value": 0.75, "type": "quality"}.items()


def test_a_sample_beyond_all_before_it_is_an_anomaly(server: Served) -> None:
    usual = [{"name": "queue_length", "value": 10 + n % 3} for n in range(60)]
    assert server.post("/v1/metrics", usual).json()["anomalies"] == 0
    assert server.post("/v1/metrics", {"name": "queue_length", "value": 500}).json()["anomalies"] > 0
    assert server.post("/v1/metrics", {"name": "llm_latency_ms", "value": 9000}).json()["anomalies"] == 1


def test_prometheus_gets_counters_and_openmetrics_where_it_asks(server: Served) -> None:
    server.post("/v1/requests", CALL)
    server.post("/v1/metrics", {"name": "queue_length", "value": 3.5, "tags": {"pool": "a"}})
    plain = server.client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'llm_requests_total{model="gpt-4o",status="ok"}' in plain.text
    assert 'queue_length{pool="a"} 3.5' in plain.text
    openmetrics = server.client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_rules_are_added_listed_and_taken_back(server: Served) -> None:
    rule = {"name": "Dear", "metric_name": "llm_cost_usd", "condition": "gt", "threshold": 5, "severity": "warning"}
    assert server.post("/v1/rules", rule).json() == {"added": True}
    assert server.post("/v1/rules", {**rule, "window": "10m"}).json() == {"added": True}
    rules = {one["name"]: one for one in server.get("/v1/rules")}
    assert rules["High Latency"]["added"] is False
    assert (rules["Dear"]["added"], rules["Dear"]["window_minutes"]) == (True, 10)
    assert server.client.delete("/v1/rules/Dear").json() == {"deleted": True}
    assert server.client.delete("/v1/rules/Dear").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"metric_name": "latncy_ms"}, 422, "metric_name"),
        ({"window": "30s"}, 422, "window"),
        ({"where": "model ="}, 422, "where"),
        ({"condition": "above"}, 422, None),
        ({"name": "High Latency"}, 409, None),
    ],
)
def test_rules_that_cannot_be_say_why(server: Served, change: dict[str, str], status: int, field: str | None) -> None:
    rule = {"name": "R", "metric_name": "latency_p95_ms", "condition": "gt", "threshold": 5, "severity": "warning"}
    reply = server.post("/v1/rules", {**rule, **change})
    assert reply.status_code == status
    assert field is None or reply.json()["items"][0]["field"] == field


def test_unknown_alerts_and_parameters_are_refused(server: Served) -> None:
    assert server.client.post("/v1/alerts/nosuch/acknowledge").status_code == 404
    assert server.client.post("/v1/alerts/nosuch/resolve").status_code == 404
    reply = server.client.get("/v1/metrics/summary", params={"window_minutes": 0})
    assert (reply.status_code, reply.json()["items"][0]["field"]) == (422, "window_minutes")
    assert server.client.get("/nowhere").json()["error"]


def test_it_says_whether_it_lives_and_works(server: Served) -> None:
    assert server.get("/health") == {"status": "healthy"}
    assert server.get("/ready") == {"ready": True, "troubles": []}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:80"},
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_sites_are_kept_out(server: Served, headers: dict[str, str]) -> None:
    before = count(server)
    assert server.post("/v1/requests", CALL, **headers).status_code == 403
    assert count(server) == before


def test_the_page_shows_the_calls_and_renews_itself(server: Served) -> None:
    server.post("/v1/requests", CALL)
    page = server.client.get("/")
    assert page.status_code == 200
    assert "refresh" not in page.headers  # a reload would lose what a reader has sorted and opened
    assert 'data-live="60"' in page.text
    assert re.search("as of [0-9-]{10} [0-9:]{8} UTC", page.text)
    assert page.headers["x-frame-options"] == "DENY"
    assert "gpt-4o" in page.text
