"""A request that is sent again counts once: at once, while the first is written, after a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from llmmon.live.server.delivered import DeliveredItems
from llmmon.live.server.settings import RefusedError
from tests.support.mounted_service import mounted

CALL = {"model": "gpt-4o", "latency_ms": 200.0, "prompt_tokens": 10, "completion_tokens": 5}
SAMPLE = {"name": "queue_length", "value": 3, "timestamp": "2026-01-01T00:00:00.5Z", "tags": {"b": "1", "a": 2}}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_calls_with_a_request_id_count_once_even_after_a_restart(tmp_path: Path) -> None:
    batch = [{**CALL, "request_id": f"r-{number}"} for number in range(3)]
    with mounted(tmp_path) as server:
        assert server.post("/v1/requests", batch).json() == {"recorded": True, "accepted": 3, "texts_dropped": 0}
        again = server.post("/v1/requests", [*batch, {**CALL, "request_id": "r-3"}]).json()
        assert (again["accepted"], again["duplicates"]) == (1, 3)
    with mounted(tmp_path) as server:
        assert server.post("/v1/requests", batch).json()["duplicates"] == 3
        assert server.get("/v1/metrics/summary")["request_count"] == 4
        assert len(lines(server.log)) == 4


def test_attempts_that_share_a_request_id_are_calls_of_their_own(tmp_path: Path) -> None:
    with mounted(tmp_path) as server:
        for attempt in (1, 2):
            reply = server.post("/v1/requests", {**CALL, "request_id": "r", "attempt": attempt}).json()
            assert "duplicates" not in reply
        assert server.get("/v1/metrics/summary")["request_count"] == 2


def test_calls_without_an_identity_count_each_time_unless_the_request_has_a_key(tmp_path: Path) -> None:
    key = {"idempotency-key": "batch-7"}
    with mounted(tmp_path) as server:
        for _ in range(2):
            assert server.post("/v1/requests", CALL).json()["accepted"] == 1
        replies = [server.post("/v1/requests", [CALL, CALL], **key).json() for _ in range(3)]
        assert [(reply["accepted"], reply.get("duplicates", 0)) for reply in replies] == [(2, 0), (0, 2), (0, 2)]
        other = server.post("/v1/requests", [{**CALL, "model": "o3"}], **key).json()
        assert other["accepted"] == 1, "another body under the same key is not lost"
        assert server.get("/v1/metrics/summary")["request_count"] == 5


def test_samples_with_a_time_count_once_and_others_each_time(tmp_path: Path) -> None:
    undated = {"name": "queue_length", "value": 3}
    with mounted(tmp_path) as server:
        first = server.post("/v1/metrics", [SAMPLE, undated]).json()
        again = server.post("/v1/metrics", [SAMPLE, undated]).json()
        assert "duplicates" not in first
        assert again["duplicates"] == 1
        assert len(lines(server.log)) == 3
    with mounted(tmp_path) as server:
        reordered = {**SAMPLE, "tags": {"a": 2, "b": "1"}}
        assert server.post("/v1/metrics", reordered).json()["duplicates"] == 1
        assert "duplicates" not in server.post("/v1/metrics", {**SAMPLE, "value": 4}).json()


def test_what_was_not_written_is_recorded_when_it_comes_again(tmp_path: Path) -> None:
    call = {**CALL, "request_id": "r"}
    with mounted(tmp_path) as server:
        server.log.unlink()
        server.log.mkdir()  # nothing can be written there
        assert server.post("/v1/requests", call).status_code == 503
        server.log.rmdir()
        assert server.post("/v1/requests", call).json()["accepted"] == 1
        assert len(lines(server.log)) == 1


def test_a_twin_that_is_being_written_is_confirmed_or_refused_with_it() -> None:
    async def twins(fails: bool) -> str:
        memory = DeliveredItems()
        second = None

        async def follow() -> str:
            with memory.claim([b"a"]) as claim:
                assert claim.new == [False]
                await claim.settle_twins()
            return "confirmed"

        try:
            with memory.claim([b"a"]):
                second = asyncio.create_task(follow())
                await asyncio.sleep(0)
                assert not second.done()
                if fails:
                    raise RefusedError(503, "the disk is full")
        except RefusedError:
            assert b"a" not in memory.known
        assert second is not None
        try:
            return await second
        except RefusedError as error:
            return str(error)

    assert asyncio.run(twins(False)) == "confirmed"
    assert asyncio.run(twins(True)) == "the disk is full"


@pytest.mark.parametrize("most", [1, 10])
def test_what_is_remembered_is_bounded(most: int) -> None:
    memory = DeliveredItems(most)
    memory.settle(bytes([number]) for number in range(100))
    assert list(memory.known) == [bytes([number]) for number in range(100 - most, 100)]
