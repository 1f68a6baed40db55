"""Who is let in, and how much: the application itself, without a process around it."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmmon.ingest.query import Query
from llmmon.live.server.app import application
from llmmon.live.server.journal import Journal
from llmmon.live.server.service import Service
from llmmon.live.server.settings import Limits, ServePlan, Token
from tests.conftest import Run, clean_environment, llmmon_command

CALL = {"model": "m", "latency_ms": 1.0}
Ask = Callable[[httpx.AsyncClient, Service], Awaitable[Any]]


class SlowJournal(Journal):
    """Writes when it is told to."""

    gate = threading.Event()

    def append(self, pieces: Any) -> None:
        self.gate.wait(10)
        super().append(pieces)


def asked(folder: Path, ask: Ask, journal: type[Journal] = Journal, **plan: Any) -> Any:
    """What a client of a service gets; without a process."""

    async def run() -> Any:
        query = Query(logs=(), wall_us=0)
        with journal(folder / "log.jsonl") as log:
            chosen = ServePlan(query=query, state=folder / "state.db", journal=log.path, **plan)
            service = Service(chosen, log, lambda _: None)
            async with service.running():
                transport = httpx.ASGITransport(application(service))
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                    return await ask(client, service)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Bearer hunter22", 401),
        ("hunter2", 401),
        ("Basic hunter2", 401),
        ("Bearer hunter2", 200),
        ("bearer  hunter2", 200),
        ("Basic " + base64.b64encode(b"anyone:hunter2").decode(), 200),
        ("Basic " + base64.b64encode(b"hunter2").decode(), 401),
    ],
)
def test_a_token_is_asked_for(tmp_path: Path, given: str, status: int) -> None:
    async def ask(client: httpx.AsyncClient, service: Service) -> list[int]:
        headers = {"authorization": given} if given else {}
        one = await client.get("/v1/metrics/summary", headers=headers)
        return [one.status_code, (await client.get("/health")).status_code, (await client.get("/ready")).status_code]

    assert asked(tmp_path, ask, tokens=(Token.of("hunter2"),)) == [status, 200, 200]


@pytest.mark.parametrize(
    ("token", "statuses"),
    [("reads", [200, 403, 403, 403]), ("writes", [403, 200, 200, 403]), ("rules", [200, 200, 200, 200])],
)
def test_a_token_allows_what_its_scope_says(tmp_path: Path, token: str, statuses: list[int]) -> None:
    async def ask(client: httpx.AsyncClient, service: Service) -> list[httpx.Response]:
        client.headers["authorization"] = f"Bearer {token}"
        return [
            await client.get("/v1/metrics/summary"),
            await client.post("/v1/requests", json=CALL),
            await client.post("/v1/traces", json={}),
            await client.post("/v1/silences", json={"matchers": {"rule": "High Latency"}}),
        ]

    tokens = (Token.of("reads", ["read"]), Token.of("writes", ["write"]), Token.of("rules"))
    replies = asked(tmp_path, ask, tokens=tokens)
    assert [reply.status_code for reply in replies] == statuses
    refused = [reply for reply in replies if reply.status_code == 403]
    assert all("insufficient_scope" in reply.headers["www-authenticate"] for reply in refused)
    assert all(token not in reply.text for reply in replies)


def test_tokens_come_from_options_files_of_several_lines_and_the_environment(tmp_path: Path, run: Run) -> None:
    (tmp_path / "two").write_text("old\nnew\n\n")
    shown = run("serve", "--dry-run", "--token", "write=file:two", "--token", "env:T", env={"T": "x\n"})
    assert "one of 3 tokens required (admin; write)" in shown.stdout
    shown = run("serve", "--dry-run", env={"LLMMON_READ_TOKEN": "a\n", "LLMMON_WRITE_TOKEN": "b"})
    assert "one of 2 tokens required (read; write)" in shown.stdout
    (tmp_path / "llmmon.toml").write_text('[[serve.tokens]]\ntoken = "file:two"\nscopes = ["read", "write"]\n')
    assert "one of 2 tokens required (read, write)" in run("serve", "--dry-run").stdout
    for wrong in ("sudo=env:T", "=env:T", "read=hunter2", "env:"):
        refused = run("serve", "--dry-run", "--token", wrong, env={"T": "x"})
        assert (refused.code, "hunter2" in refused.stderr) == (2, False)
    (tmp_path / "llmmon.toml").write_text('[[serve.tokens]]\ntoken = "hunter2"\nscopes = ["reads"]\n')
    refused = run("serve", "--dry-run")
    assert (refused.code, "hunter2" in refused.stderr, "reads" in refused.stderr) == (4, False, True)


def test_too_much_at_once_is_429_and_nothing_of_it_is_recorded(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, service: Service) -> list[httpx.Response]:
        posts = [asyncio.create_task(client.post("/v1/requests", json=CALL)) for _ in range(50)]
        await asyncio.sleep(0.3)
        assert service.writer.queued_bytes <= 500
        SlowJournal.gate.set()
        return list(await asyncio.gather(*posts))

    SlowJournal.gate.clear()
    replies = asked(tmp_path, ask, SlowJournal, limits=Limits(queued=500))
    accepted = [reply for reply in replies if reply.status_code == 200]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert len(accepted) + len(refused) == 50
    assert accepted
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == len(accepted)


def test_nothing_is_counted_twice_or_lost_when_the_log_is_turned(tmp_path: Path) -> None:
    class Short(Journal):
        def __init__(self, path: Path) -> None:
            super().__init__(path, turn_bytes=1000)

    async def ask(client: httpx.AsyncClient, service: Service) -> list[int]:
        counts = []
        for start in range(0, 60, 6):
            calls = [{**CALL, "request_id": f"r{start + n}"} for n in range(6)]
            assert (await client.post("/v1/requests", json=calls)).status_code == 200
            if start % 12 == 0:
                counts.append((await client.get("/v1/metrics/summary")).json()["request_count"])
        text = (await client.get("/metrics")).text
        assert 'llm_requests_total{model="m",status="ok"} 60' in text
        return counts

    assert asked(tmp_path, ask, Short) == [6, 18, 30, 42, 54]
    assert len(list(tmp_path.glob("log.jsonl*"))) > 3


def test_a_log_that_cannot_be_written_is_503_and_shows_as_not_ready(tmp_path: Path) -> None:
    class Broken(Journal):
        def append(self, _: Any) -> None:
            raise OSError(28, "No space left on device")

    async def ask(client: httpx.AsyncClient, service: Service) -> list[httpx.Response]:
        return [await client.post("/v1/requests", json=CALL), await client.get("/ready")]

    posted, ready = asked(tmp_path, ask, Broken)
    assert (posted.status_code, ready.status_code) == (503, 503)
    assert "no space left" in posted.json()["error"]
    assert ready.json()["ready"] is False


def test_texts_are_kept_where_that_is_asked(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, service: Service) -> Any:
        return (await client.post("/v1/requests", json={**CALL, "prompt": "hello", "output": "you"})).json()

    assert asked(tmp_path, ask, keep_text=True)["texts_dropped"] == 0
    assert '"output":"you"' in (tmp_path / "log.jsonl").read_text()


def test_elsewhere_a_token_is_needed_and_never_on_the_command_line(run: Run) -> None:
    open_to_all = run("serve", "--host", "0.0.0.0")  # noqa: S104 - what must not be
    assert (open_to_all.code, "--token" in open_to_all.stderr) == (2, True)
    shown = run("serve", "--token", "hunter2")
    assert (shown.code, "hunter2" in shown.stderr) == (2, False)
    assert run("serve", "--host", "0.0.0.0", "--token", "env:T", "--dry-run", env={"T": "x"}).code == 0  # noqa: S104
    assert run("serve", "--token", "env:NOT_SET").code == 4


def test_a_missing_extra_is_named_with_its_install_line(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')\n")
    environment = clean_environment(tmp_path, {"PYTHONPATH": str(tmp_path)})
    missing = subprocess.run(
        llmmon_command("serve"), env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert "pip install 'llmmon[serve]'" in missing.stderr
