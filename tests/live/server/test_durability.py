"""What was accepted is there: after a kill, after an orderly end, beside another writer, across renames."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llmmon.errors import UsageError
from llmmon.live.server.journal import Journal
from tests.conftest import Run
from tests.support.server_process import Served, served

CLIENTS = 4


def post_until_refused(url: str, worker: int, accepted: list[str]) -> None:
    """Post batches until the server is gone; the ids of those that it accepted are added."""
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        for batch in range(100_000):
            ids = [f"{os.getpid()}-{worker}-{url[-5:]}-{batch}-{item}" for item in range(5)]
            calls = [{"request_id": one, "model": "m", "latency_ms": 1} for one in ids]
            try:
                reply = client.post("/v1/requests", json=calls)
            except httpx.HTTPError:
                return
            if reply.status_code == 200:
                accepted += ids


@contextlib.contextmanager
def under_load(server: Served, accepted: list[str]) -> Iterator[Served]:
    """A server that has just accepted some, and is being sent more."""
    before = len(accepted)
    clients = [threading.Thread(target=post_until_refused, args=(server.url, w, accepted)) for w in range(CLIENTS)]
    for client in clients:
        client.start()
    while len(accepted) < before + 100:
        time.sleep(0.01)
    yield server
    for client in clients:
        client.join()


def test_an_accepted_record_survives_a_kill(tmp_path: Path) -> None:
    accepted: list[str] = []
    for _ in range(3):
        with under_load(Served(tmp_path), accepted) as server:
            time.sleep(random.random() / 20)  # noqa: S311 - at any moment
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
    lines = (tmp_path / "state.jsonl").read_text().splitlines()
    whole = [line for line in lines if line.endswith("}")]
    assert len(lines) - len(whole) <= 3  # a write that a kill cuts off was not accepted
    kept = [json.loads(line)["request_id"] for line in whole]
    assert set(accepted) <= set(kept)
    assert len(kept) == len(set(kept))


def test_at_sigterm_what_is_on_its_way_is_answered_and_kept(tmp_path: Path) -> None:
    accepted: list[str] = []
    with under_load(Served(tmp_path), accepted) as server:
        assert server.end() == 0
    kept = [json.loads(line)["request_id"] for line in (tmp_path / "state.jsonl").read_text().splitlines()]
    assert set(accepted) <= set(kept)
    assert [line for line in server.said if "error" in line] == []


def test_after_a_restart_the_figures_are_there_again_and_no_second_writer_may_start(tmp_path: Path, run: Run) -> None:
    with served(tmp_path) as server:
        server.post("/v1/requests", [{"model": "m", "latency_ms": 100}] * 7)
        second = run("serve", "--port", "0", "--state", "state.db")
        assert "written by another llmmon" in second.stderr
        assert second.code == 2
    with served(tmp_path) as server:
        assert server.get("/v1/metrics/summary")["request_count"] == 7
        port = server.url.rpartition(":")[2]
        taken = run("serve", "--port", port, "--state", "other.db")
        assert (taken.code, "address already in use" in taken.stderr) == (2, True)


def test_a_write_that_was_cut_off_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"model":"a"}\n{"mod')
    with Journal(path) as journal:
        journal.append([b'{"model":"b"}\n'])
    assert path.read_bytes() == b'{"model":"a"}\n{"mod\n{"model":"b"}\n'


def test_a_large_log_is_turned_and_the_old_one_kept(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "log.jsonl"
    lines = [b'{"model":"a","latency_ms":%d}\n' % number for number in range(10)]
    with Journal(path, turn_bytes=3 * len(lines[0])) as journal:
        for line in lines:
            journal.append([line])
    files = sorted(tmp_path.glob("log.jsonl*"))
    assert [file.stat().st_size // len(lines[0]) for file in files] == [1, 3, 3, 3]
    assert run("summarize", ".", "-f", "json").json["data"]["totals"]["request_count"] == 10


def test_a_full_disk_records_nothing_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) > 8:
            return real(handle, data[:8])
        raise OSError(28, "No space left on device")

    with Journal(path) as journal:
        journal.append([b'{"model":"a"}\n'])
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space left"):
                journal.append([b'{"model":"b"}\n'])
        journal.append([b'{"model":"c"}\n'])
    assert path.read_bytes() == b'{"model":"a"}\n{"model":"c"}\n'


@pytest.mark.parametrize("away", ["removed", "moved", "replaced", "folder removed"])
def test_a_log_that_others_take_away_is_begun_anew(tmp_path: Path, away: str) -> None:
    path = tmp_path / "logs" / "log.jsonl"
    with Journal(path) as journal:
        journal.append([b'{"model":"a"}\n'])
        match away:
            case "removed":
                path.unlink()
            case "moved":
                path.rename(tmp_path / "log.jsonl.1")
            case "replaced":
                path.unlink()
                path.write_bytes(b'{"model":"x"}')
            case _:
                shutil.rmtree(path.parent)
        journal.append([b'{"model":"b"}\n'])
        journal.append([b'{"model":"c"}\n'])
    assert path.read_bytes().endswith(b'\n{"model":"b"}\n{"model":"c"}\n' if away == "replaced" else b'"c"}\n')
    assert path.read_bytes().count(b"\n") == (3 if away == "replaced" else 2)


def test_a_log_that_is_removed_while_it_is_written_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    real = os.write

    def removing(handle: int, data: bytes) -> int:
        monkeypatch.undo()
        path.unlink()
        return real(handle, data)

    with Journal(path) as journal:
        monkeypatch.setattr(os, "write", removing)
        journal.append([b'{"model":"a"}\n'])
    assert path.read_bytes() == b'{"model":"a"}\n'


def test_a_turn_that_fails_once_keeps_the_old_log_and_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    real = os.open

    def none_left(name: object, *rest: int, **more: object) -> int:
        if name == path:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(name, *rest, **more)  # type: ignore[call-overload, no-any-return]

    with Journal(path, turn_bytes=10) as journal:
        journal.append([b'{"model":"a"}\n'])
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", none_left)
            journal.append([b'{"model":"b"}\n'])
        assert path.read_bytes().count(b"\n") == 2
        journal.append([b'{"model":"c"}\n'])
    assert path.read_bytes() == b'{"model":"c"}\n'
    assert len(list(tmp_path.glob("log.jsonl*"))) == 2


def test_one_journal_has_one_writer(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.jsonl"), pytest.raises(UsageError, match="another llmmon"):
        Journal(tmp_path / "log.jsonl")
