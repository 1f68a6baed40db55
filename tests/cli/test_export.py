"""`llmmon export` as cron, a textfile collector and an OpenTelemetry collector meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from tests.conftest import Run, clean_environment, llmmon_command
from tests.support.judge_server import Answer, judge_server

Write = Callable[..., Path]


def row(number: int = 0, **more: Any) -> dict[str, Any]:
    usual = {
        "request_id": f"r{number}",
        "timestamp": f"2026-03-14T09:{number % 60:02d}:00Z",
        "model": "m",
        "latency_ms": 100 + number,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_usd": 0.01,
        "success": True,
    }
    return {**usual, **more}


def requests_in(text: str) -> float:
    families = {family.name: family for family in read_prometheus(text)}
    return sum(sample.value for sample in families["llm_requests"].samples) if "llm_requests" in families else 0


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("a.prom", lambda text: list(read_prometheus(text))),
        ("a.om", lambda text: list(read_openmetrics(text))),
        ("a.json", lambda text: json_format.Parse(text, ExportMetricsServiceRequest()).resource_metrics),
        ("a.csv", lambda text: text.startswith("request_id,timestamp,")),
        ("a.jsonl", lambda text: [json.loads(line) for line in text.splitlines()]),
    ],
)
def test_the_ending_picks_the_format(name: str, reads: Callable[[str], Any], run: Run, write: Write) -> None:
    write("log.jsonl", [row()])
    ran = run("export", "log.jsonl", "-o", name)
    assert (ran.code, ran.stdout) == (0, "")
    assert reads((write("x", []).parent / name).read_text())


def test_the_file_is_replaced_whole_readable_and_without_leftovers(run: Run, write: Write, tmp_path: Path) -> None:
    write("log.jsonl", [row()])
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "llm.prom"
    target.write_text("old")
    before = target.stat().st_ino
    old = os.umask(0o077)
    try:
        assert run("export", "log.jsonl", "-o", "out/llm.prom").code == 0
    finally:
        os.umask(old)
    assert target.stat().st_ino != before
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["llm.prom"]


def test_a_log_that_cannot_be_read_leaves_the_file_as_it_was(run: Run, write: Write, tmp_path: Path) -> None:
    write("empty.jsonl", [])
    for name in ("kept.prom", "kept.csv"):
        (tmp_path / name).write_text("before\n")
        assert run("export", "empty.jsonl", "-o", name).code == 3
        assert (tmp_path / name).read_text() == "before\n"
    assert {path.name for path in tmp_path.iterdir()} == {"empty.jsonl", "kept.prom", "kept.csv"}


def test_cumulative_counters_go_on_through_appending_rotation_and_deletion(
    run: Run, write: Write, tmp_path: Path
) -> None:
    command = ("export", "log.jsonl", "--cumulative", "--state", "s.db", "-o", "a.prom", "-q")
    counted = []

    def export() -> None:
        ran = run(*command)
        assert ran.code == 0, ran.stderr
        counted.append(requests_in((tmp_path / "a.prom").read_text()))

    log = write("log.jsonl", [row(n) for n in range(3)])
    export()
    export()
    with log.open("a") as file:
        file.write(json.dumps(row(3)) + "\n" + json.dumps(row(4))[:20])  # the last line is still being written
    export()
    with log.open("a") as file:
        file.write(json.dumps(row(4))[20:] + "\n")
    log.rename(tmp_path / "log.jsonl.1")
    write("log.jsonl", [row(5)])
    export()
    (tmp_path / "log.jsonl.1").unlink()
    log.unlink()
    export()
    assert counted == [3, 3, 4, 6, 6]


def test_other_questions_have_counters_of_their_own(run: Run, write: Write) -> None:
    write("log.jsonl", [row(1), row(2, model="other")])
    common = ("export", "log.jsonl", "--to", "prometheus", "--cumulative", "--state", "s.db", "-q")
    assert requests_in(run(*common).stdout) == 2
    assert requests_in(run(*common, "--where", "model=m").stdout) == 1
    assert requests_in(run(*common).stdout) == 2


def test_metrics_are_sent_to_an_endpoint_with_the_headers_of_the_environment(run: Run, write: Write) -> None:
    write("log.jsonl", [row(1), row(2)])
    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=s%20ecret,X-Tenant=t"}
    with judge_server(lambda *_: Answer(body=b"{}")) as server:
        base = server.url.removesuffix("/v1")
        assert run("export", "log.jsonl", "--endpoint", base, env=environment).code == 0
        named = {**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": f"{base}/otel/"}
        assert run("export", "log.jsonl", "--endpoint", "env", env=named).code == 0
        assert run("export", "log.jsonl", "--to", "otlp", env=named).stdout
    assert [path for path, *_ in server.seen] == ["/v1/metrics", "/otel/v1/metrics"]
    for _, headers, body in server.seen:
        assert headers["x-api-key"] == "s ecret"
        assert headers["x-tenant"] == "t"
        assert headers["content-type"] == "application/json"
        assert json_format.ParseDict(body, ExportMetricsServiceRequest()).resource_metrics


def test_metrics_replace_their_group_at_a_pushgateway(run: Run, write: Write) -> None:
    write("log.jsonl", [row(1), row(2)])
    expected = run("export", "log.jsonl", "--to", "prometheus").stdout
    got: list[tuple[str, str, str, str]] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.append((self.command, self.path, self.headers["content-type"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert run("export", "log.jsonl", "--push", url).code == 0
        assert run("export", "log.jsonl", "--push", f"{url}/metrics/job/mine/instance/a").code == 0
        server.shutdown()
    assert [path for _, path, _, _ in got] == ["/metrics/job/llmmon", "/metrics/job/mine/instance/a"]
    assert {kind for _, _, kind, _ in got} == {"text/plain; version=0.0.4; charset=utf-8"}
    assert {body for *_, body in got} == {expected}


@pytest.mark.skipif(
    shutil.which("prometheus-pushgateway") is None,
    reason="a Pushgateway is not installed (Debian: prometheus-pushgateway)",
)
def test_a_real_pushgateway_takes_them(run: Run, write: Write, tmp_path: Path) -> None:
    write("log.jsonl", [row(1), row(2)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    gateway = subprocess.Popen(
        ["prometheus-pushgateway", f"--web.listen-address={address}"], stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        for _ in range(600):
            if run("export", "log.jsonl", "--push", f"http://{address}", "-q").code == 0:
                break
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as reply:
            text = reply.read().decode()
    finally:
        gateway.kill()
        gateway.wait()
    assert re.search(r'^llm_requests_total\{.*job="llmmon".*\} 2$', text, re.MULTILINE)


@pytest.mark.parametrize("more", [("-o", "a.prom"), ("--to", "csv"), ("--to", "otlp")])
def test_what_cannot_be_pushed_is_refused(run: Run, write: Write, more: tuple[str, ...]) -> None:
    write("log.jsonl", [row()])
    assert run("export", "log.jsonl", "--push", "http://127.0.0.1:9", *more).code == 2


def test_what_the_receiver_refuses_is_said(run: Run, write: Write) -> None:
    write("log.jsonl", [row()])
    partial = {"partialSuccess": {"rejectedDataPoints": "3", "errorMessage": "too old \u001b[31m"}}
    with judge_server(lambda *_: Answer(body=json.dumps(partial).encode())) as server:
        ran = run("export", "log.jsonl", "--endpoint", server.url)
    assert ran.code == 0
    assert "3 points were refused: too old \\x1b[31m" in ran.stderr


def test_a_receiver_that_says_no_is_exit_5_without_a_secret(run: Run, write: Write) -> None:
    write("log.jsonl", [row()])
    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20hunter2"}
    with judge_server(lambda *_: Answer(status=401)) as server:
        ran = run("export", "log.jsonl", "--endpoint", f"{server.url}/metrics?token=hunter2", env=environment)
    assert ran.code == 5
    assert "401" in ran.stderr
    assert "hunter2" not in ran.stderr


def test_a_reader_that_has_enough_ends_it_quietly(write: Write, tmp_path: Path) -> None:
    write("log.jsonl", [row(n) for n in range(20_000)])
    shell = f"({' '.join(llmmon_command('export', 'log.jsonl', '--to', 'jsonl'))}; echo $? >code) | head -n 1"
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["request_id"] == "r0"
    assert done.stderr == ""
    assert (tmp_path / "code").read_text() == "0\n"


def test_standard_input_is_exported_with_its_tags(run: Run) -> None:
    text = json.dumps(row(1, region="eu")) + "\n"
    ran = run("export", "-", "--to", "jsonl", stdin=text)
    assert json.loads(ran.stdout)["tags"] == {"region": "eu"}


def test_of_metric_samples_the_last_of_each_series_is_a_gauge(run: Run, write: Write) -> None:
    def sample(minute: int, value: float, **tags: str) -> dict[str, Any]:
        stamp = f"2026-03-14T09:{minute:02d}:00Z"
        return {"name": "queue", "value": value, "type": "gauge", "timestamp": stamp, "tags": tags}

    write("late.jsonl", [row(), sample(9, 3, host="a", request_id="r1"), sample(8, 1, host="b")])
    write("soon.jsonl", [sample(2, 7, host="a", request_id="r2"), sample(1, 8, host="a")])
    text = run("export", "late.jsonl", "soon.jsonl", "--to", "prometheus").stdout
    assert [line for line in text.splitlines() if line.startswith("queue")] == [
        'queue{host="a"} 3.0',
        'queue{host="b"} 1.0',
    ]


def test_two_runs_at_once_count_every_call_once(write: Write, tmp_path: Path) -> None:
    log = write("log.jsonl", [row(n) for n in range(50)])
    command = llmmon_command("export", log.name, "--cumulative", "--state", "s.db", "--to", "prometheus", "-q")
    how: dict[str, Any] = {"cwd": tmp_path, "env": clean_environment(tmp_path), "text": True, "stdout": subprocess.PIPE}
    started = [subprocess.Popen(command, **how) for _ in range(3)]
    assert [requests_in(process.communicate(timeout=60)[0]) for process in started] == [50, 50, 50]
