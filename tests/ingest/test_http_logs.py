"""Logs of HTTP servers, with ranges and without, and bodies that do not end."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmmon.ingest import http_logs
from tests.conftest import Run

LINE = json.dumps({"timestamp": "2026-03-02T10:00:00Z", "model": "m", "latency_ms": 5}).encode() + b"\n"
LOG = LINE * 3000


class Handler(BaseHTTPRequestHandler):
    """`/ranges/`: ranges are given; `/whole/`: they are not; `/endless/`: the body never ends; `/403`: a status."""

    def do_GET(self) -> None:
        _, kind, *_ = self.path.split("/")
        body = gzip.compress(LOG) if self.path.endswith(".gz") else b"" if "empty" in self.path else LOG
        if kind.isdigit():
            self.send_error(int(kind))
        elif kind == "ranges" and (asked := self.headers.get("Range")):
            start, end = (int(one) for one in asked.removeprefix("bytes=").split("-"))
            part = body[start : end + 1]
            self.send_response(206 if part else 416)
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
            self._send(part)
        elif kind == "endless":
            self.send_response(200)
            self._send(LINE, itertools.repeat(LINE))
        else:
            self.send_response(200)
            self.send_header("Last-Modified", "Mon, 02 Mar 2026 10:00:00 GMT")
            self._send(body)

    def _send(self, body: bytes, more: Iterable[bytes] = ()) -> None:
        self.end_headers()
        try:
            for piece in itertools.chain([body], more):
                self.wfile.write(piece)
        except OSError:
            pass  # the reader has gone

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
    for body in http_logs._bodies.values():
        body.file.close()
    http_logs._bodies.clear()


@pytest.mark.parametrize("path", ["ranges/a.jsonl", "whole/a.jsonl", "ranges/a.jsonl.gz", "whole/a.jsonl.gz"])
def test_a_log_is_the_same_with_ranges_and_without(server: str, path: str, run: Run) -> None:
    done = run("summarize", f"{server}/{path}", "-f", "json")
    assert done.json["data"]["totals"]["request_count"] == 3000


@pytest.mark.parametrize("kind", ["ranges", "whole"])
def test_an_empty_log_has_no_bytes(server: str, kind: str) -> None:
    assert http_logs.size_of(f"{server}/{kind}/empty.jsonl") == 0


def test_a_body_that_does_not_end_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_logs, "_MOST_BODY_BYTES", 2 << 20)
    with pytest.raises(OSError, match="larger than 2 MiB, and its server gives no ranges"):
        http_logs.size_of(f"{server}/endless/a.jsonl")


def test_a_body_that_hardly_comes_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_logs, "_SILENCE_S", 0.0001)
    monkeypatch.setattr(http_logs, "_LEAST_A_SECOND", 1 << 50)
    with pytest.raises(OSError, match=r"it comes too slowly|timed out"):
        http_logs.size_of(f"{server}/endless/a.jsonl")


def test_a_version_is_fetched_once(server: str) -> None:
    url = f"{server}/whole/once.jsonl"
    assert http_logs.size_of(url) == len(LOG)
    body = http_logs._bodies[url]
    assert http_logs.size_of(url) == len(LOG)
    assert http_logs._bodies[url] is body
    assert http_logs.read_range(url, 5, 25) == LOG[5:25]


@pytest.mark.parametrize(
    ("path", "said"),
    [("403/a.jsonl", "permission denied"), ("404/a.jsonl", "no such file"), ("500/a.jsonl", "the server answered 500")],
)
def test_what_a_server_refuses_is_said(server: str, path: str, said: str, run: Run) -> None:
    done = run("summarize", f"{server}/{path}")
    assert (done.code, f"{server}/{path}: {said}" in done.stderr) == (3, True)


def test_a_server_that_is_not_there_is_said(run: Run) -> None:
    done = run("summarize", "http://127.0.0.1:1/a.jsonl")
    assert (done.code, "nothing listens there" in done.stderr) == (3, True)
