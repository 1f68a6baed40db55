"""Sending: what is tried again and when, what is given up, and what an error may say."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest

from llmmon.errors import DeliveryError, UsageError
from llmmon.http_client import LARGEST_REPLY, Client, RefusedError, Reply, Request, Retries, check_url, retry_after_s
from tests.support.judge_server import Answer, Behaviour, judge_server

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
    with pytest.raises(DeliveryError, match="connect error") as caught:
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
