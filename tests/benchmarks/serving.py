"""How much `llmmon serve` takes in: batches and single posts, from a client process on the same machine.

`python -m tests.benchmarks.serving [SECONDS]`. Every reply means: on the disk.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.server_process import Served, served

BATCH: Final = 100
CLIENTS: Final = 4
SINGLE_A_SECOND: Final = 200
LEAST_BATCHED: Final = 3000.0
MOST_P99_MS: Final = 50.0


def call(number: int) -> dict[str, Any]:
    """A call as an application would post it."""
    return {
        "request_id": f"req-{number:08d}",
        "model": ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5")[number % 3],
        "prompt_tokens": 400 + number % 700,
        "completion_tokens": 50 + number % 300,
        "latency_ms": 300.0 + number % 2000,
        "time_to_first_token_ms": 120.5,
        "success": number % 50 != 0,
        "user": f"user-{number % 200}",
        "feature": "chat",
        "tags": {"team": "north"},
    }


class Connection:
    """A kept connection that posts; a client that costs little, since it shares the processors with the server."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> None:
        """Post calls and wait until they are recorded."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"POST /v1/requests HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        length = next(line for line in rest.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        assert b" 200 " in status, status


def batched(url: str, seconds: float) -> dict[str, float]:
    """Calls a second in batches, one after the other from each of some connections."""
    body = json.dumps([call(number) for number in range(BATCH)]).encode()

    async def one(until: float) -> int:
        connection, posted = Connection(url), 0
        while time.perf_counter() < until:
            await connection.post(body)
            posted += BATCH
        return posted

    async def run() -> dict[str, float]:
        started = time.perf_counter()
        posted = sum(await asyncio.gather(*(one(started + seconds) for _ in range(CLIENTS))))
        return {"batched_a_second": posted / (time.perf_counter() - started)}

    return asyncio.run(run())


def single(url: str, seconds: float) -> dict[str, float]:
    """Times of single posts at a steady pace, each from the moment at which it was due."""
    bodies = [json.dumps(call(number)).encode() for number in range(500)]
    idle: list[Connection] = []

    async def one(number: int, due: float) -> float:
        connection = idle.pop() if idle else Connection(url)
        await connection.post(bodies[number % len(bodies)])
        idle.append(connection)
        return (time.perf_counter() - due) * 1000

    async def run() -> dict[str, float]:
        started = time.perf_counter()
        posts = []
        for number in range(int(seconds * SINGLE_A_SECOND)):
            due = started + number / SINGLE_A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            posts.append(asyncio.create_task(one(number, due)))
        taken = sorted(await asyncio.gather(*posts))
        found = {f"single_p{p}_ms": taken[min(len(taken) - 1, len(taken) * p // 100)] for p in (50, 99)}
        return {**found, "single_max_ms": taken[-1], "single_a_second": len(taken) / (time.perf_counter() - started)}

    return asyncio.run(run())


def apart(work: Callable[[str, float], dict[str, float]], url: str, seconds: float) -> dict[str, float]:
    """A measurement in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (url, seconds))


def fsync_ms(folder: Path) -> float:
    """What one write and sync costs here, the median of many."""
    taken = []
    with (folder / "probe").open("wb") as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 300)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken)[25]


def memory_mb(server: Served) -> float:
    """Resident memory of the server."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def main() -> int:
    """Print the table; 1 where a target was missed."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {"load_average": os.getloadavg()[0], "fsync_ms": fsync_ms(folder)}
        started = time.perf_counter()
        with served(folder) as server:
            found["start_s"] = time.perf_counter() - started
            found["start_mb"] = memory_mb(server)
            found |= apart(single, server.url, seconds)
            found |= apart(batched, server.url, seconds)
            started = time.perf_counter()
            counted = server.get("/v1/metrics/summary")["request_count"]
            found |= {"summary_ms": (time.perf_counter() - started) * 1000, "recorded": counted}
            found["end_mb"] = memory_mb(server)
            lines = sum(1 for _ in server.log.open())
    assert counted == lines, (counted, lines)
    for what, value in found.items():
        print(f"{what:<18}{value:>12,.1f}")
    return int(found["batched_a_second"] < LEAST_BATCHED or found["single_p99_ms"] > MOST_P99_MS)


if __name__ == "__main__":
    sys.exit(main())
