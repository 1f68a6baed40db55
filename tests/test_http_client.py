"""Sending: what is tried again and when, what is given up, and what an error may say."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmmon.errors import DeliveryError, UsageError
from llmmon.http_client import LARGEST_REPLY, Client, RefusedError, Reply, Request, Retries, check_url, retry_after_s
from tests.support.judge_server import Answer, Behaviour, judge_server
from tests.support.mail_server import Certificates

SECRET = "k-5e1f-not-to-be-told"
FAST = Retries(attempts=3, timeout_s=2.0, first_wait_s=0.01, longest_wait_s=5.0)


def send(url: str, retries: Retries = FAST, waits: list[float] | None = None) -> Reply:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async def run() -> Reply:
        async with Client(retries, sleep=sleep) as client:
            return await client.send(Request(url=url, body=b"{}", headers={"authorization": f"Bearer {SECRET}"}))

    return asyncio.run(run())


def after(*first: Answer, then: Answer) -> Behaviour:
    return lambda number, _: first[number] if number < len(first) else then


OK = Answer(body=b"fine")


def test_a_good_reply_comes_back_as_it_is() -> None:
    with judge_server(after(then=OK)) as server:
        assert b"fine" == send(server.url).body
        assert f"Bearer {SECRET}" == server.seen[0][1]["authorization"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with judge_server(after(Answer(status), Answer(status), then=OK)) as server:
        assert 200 == send(server.url).status
        assert 3 == len(server.seen)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
def test_what_will_not_pass_is_tried_once(status: int) -> None:
    with judge_server(after(then=Answer(status, headers=(("location", "/elsewhere"),)))) as server:
        with pytest.raises(RefusedError, match=str(status)) as caught:
            send(server.url)
        assert not caught.value.retryable
        assert 1 == len(server.seen)


def test_the_server_says_how_long_to_wait() -> None:
    waits: list[float] = []
    busy = Answer(429, headers=(("retry-after", "2"),))
    with judge_server(after(busy, then=OK)) as server:
        send(server.url, waits=waits)
    assert [2.0] == waits


def test_no_server_makes_us_wait_for_ever() -> None:
    waits: list[float] = []
    with judge_server(after(Answer(503, headers=(("retry-after", "86400"),)), then=OK)) as server:
        send(server.url, waits=waits)
    assert [FAST.longest_wait_s] == waits


def test_waits_grow_and_are_bounded() -> None:
    retries = Retries(first_wait_s=1, longest_wait_s=8)
    assert [1, 2, 4, 8, 8] == [retries.wait_s(tried, None, 1.0) for tried in range(1, 6)]
    assert 0.5 == retries.wait_s(1, None, 0.0)
    assert 8 == retries.wait_s(10_000, None, 1.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), (" 1.5 ", 1.5), (None, None), ("soon", None), ("-3", None), ("", None), ("nan", None), ("²", None)],
)
def test_retry_after_as_a_number(value: str | None, seconds: float | None) -> None:
    assert seconds == retry_after_s(value)


def test_retry_after_as_a_date() -> None:
    now = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    text = (now + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert 90 == retry_after_s(text, now)
    assert 0 == retry_after_s(text, now + timedelta(hours=1))


def test_a_server_that_hangs_is_left_after_the_time_limit() -> None:
    with judge_server(after(then=Answer(wait_s=3))) as server, pytest.raises(DeliveryError, match=r"within 0\.2 s"):
        send(server.url, Retries(attempts=2, timeout_s=0.2))


def test_a_reset_connection_is_tried_again() -> None:
    with judge_server(after(Answer(reset=True), then=OK)) as server:
        assert b"fine" == send(server.url).body


def test_nobody_there_is_an_error_that_may_pass() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DeliveryError, match="refused the connection: nothing listens there") as caught:
        send(f"http://127.0.0.1:{port}/{SECRET}")
    assert caught.value.retryable


def test_a_reply_without_end_is_not_believed() -> None:
    with judge_server(after(then=Answer(body=b"x" * (LARGEST_REPLY + 1)))) as server:
        with pytest.raises(DeliveryError, match="too large"):
            send(server.url)
        assert 1 == len(server.seen)


@pytest.mark.parametrize("status", [401, 500])
def test_no_error_tells_a_secret(status: int) -> None:
    with judge_server(after(then=Answer(status, body=SECRET.encode()))) as server:
        url = server.url.replace("http://", f"http://user:{SECRET}@") + f"/{SECRET}?key={SECRET}"
        with pytest.raises(DeliveryError) as caught:
            send(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_a_service_that_says_why_in_a_word_is_repeated() -> None:
    refused = pytest.raises(RefusedError, match=r"answered 404 \(no_service\)$")
    with judge_server(after(then=Answer(404, body=b"no_service\n"))) as server, refused:
        send(server.url)


@pytest.mark.parametrize("body", [b"T0KEN", b"the key abc is wrong", b"x" * 10_000, b"", b"\x1b[31m", b"word"])
def test_nothing_else_that_it_says_is_repeated(body: bytes) -> None:
    refused = pytest.raises(RefusedError, match=r"answered 404$")
    with judge_server(after(then=Answer(404, body=body))) as server, refused:
        send(server.url)


@pytest.mark.parametrize("url", ["", "api.example.com/v1", "file:///etc/passwd", "http://", "http://[", "http://a:b/"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url)


def fault(url: str, ca_file: str = "") -> str:
    async def run() -> None:
        async with Client(Retries(attempts=1, timeout_s=3.0), ca_file=ca_file) as client:
            await client.send(Request(url=url))

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(run())
    return str(caught.value)


def test_an_unknown_name_a_closed_port_and_a_strange_certificate_are_told_apart(tmp_path: Path) -> None:
    assert "its name is not known (DNS)" in fault("http://no-such-host.invalid/x")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert "refused the connection" in fault(f"http://127.0.0.1:{closed.getsockname()[1]}/x")
    certificates = Certificates(tmp_path)
    with tls_server(certificates) as port:
        assert "its certificate is not trusted" in fault(f"https://localhost:{port}/x")
    with judge_server(after(then=OK)) as server:
        assert "no TLS" in fault(server.url.replace("http:", "https:"))


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)

    async def run(port: int) -> Reply:
        async with Client(Retries(attempts=1, timeout_s=3.0), ca_file=certificates.ca_file) as client:
            return await client.send(Request(url=f"https://localhost:{port}/x"))

    with tls_server(certificates) as port:
        assert b"fine" == asyncio.run(run(port)).body
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(DeliveryError, match="holds no certificate"):
        asyncio.run(Client(ca_file=str(tmp_path / "empty.pem")).__aenter__())
    with pytest.raises(DeliveryError, match="no such file"):
        asyncio.run(Client(ca_file=str(tmp_path / "none.pem")).__aenter__())


@contextlib.contextmanager
def tls_server(certificates: Certificates) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fine")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = certificates.context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
