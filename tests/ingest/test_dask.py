"""`--engine dask://`: the same result from a cluster of real worker processes, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmmon.errors import EXIT_INPUT, EXIT_USAGE, InputError
from llmmon.formats.detection import Wanted
from llmmon.ingest import dask, sources
from llmmon.ingest.plans import open_plans
from llmmon.ingest.scan import ScanRequest, scan
from llmmon.ingest.selection import Selection
from llmmon.metrics.aggregation import ColumnsFold
from tests.conftest import Run, clean_environment, llmmon_command
from tests.support.planted_waste import planted

pytest.importorskip("distributed", reason="needs the extra 'dask'")
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_logs"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """HOST:PORT of a scheduler with two workers."""
    program = [sys.executable, "-P", str(ROOT / "tests" / "support" / "dask_cluster.py")]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet, text=True
    ) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        running.communicate(timeout=60)


@pytest.mark.parametrize(
    "command",
    [
        ("summarize", "--every", "1d", "-f", "json"),
        ("requests", "--where", "error", "--limit", "0", "-f", "jsonl"),
        ("anomalies", "-f", "json"),
        ("cost", "-f", "json"),
        ("score", "-f", "jsonl"),
        ("export", "--to", "jsonl"),
        ("inspect", "-f", "json"),
    ],
    ids=" ".join,
)
def test_a_cluster_gives_what_one_machine_gives(command: tuple[str, ...], run: Run, address: str) -> None:
    local = run(*command, str(SAMPLES))
    there = run(*command, str(SAMPLES), "--engine", f"dask://{address}")
    assert there == local
    assert there.code == 0


def test_what_only_this_process_can_read_is_read_here(run: Run, address: str, tmp_path: Path) -> None:
    (tmp_path / "relative.jsonl").write_text('{"model": "m", "latency_ms": 1}\n')
    stdin = (SAMPLES / "2026-03-02.jsonl").read_text()
    args = ("summarize", "relative.jsonl", "-", "-f", "json")
    there = run(*args, "--engine", f"dask://{address}", stdin=stdin)
    assert there == run(*args, stdin=stdin)
    assert there.json["data"]["totals"]["request_count"] == 654


def test_a_file_that_the_workers_do_not_see_is_unreadable(run: Run, address: str, tmp_path: Path) -> None:
    hidden = Path("/proc/self/cwd/here.jsonl")  # each process has its own
    (tmp_path / "here.jsonl").write_text('{"model": "m", "latency_ms": 1}\n')
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs /proc")
    done = run("summarize", str(hidden), str(SAMPLES), "-f", "json", "--engine", f"dask://{address}")
    assert done.code == EXIT_INPUT
    assert "here.jsonl: no such file" in done.stderr
    assert done.json["data"]["totals"]["request_count"] == 5365


def log_of(path: Path, count: int) -> Path:
    line = {"model": "m", "timestamp": "2026-03-02T08:00:00Z"}
    path.write_text("".join(json.dumps({**line, "latency_ms": n}) + "\n" for n in range(count)))
    return path


def test_a_worker_that_is_killed_does_not_change_the_result(address: str, tmp_path: Path) -> None:
    log = log_of(tmp_path / "a.jsonl", 40_000)
    killed = tmp_path / "killed"
    pid = os.getpid()

    def make_fold() -> Any:
        if os.getpid() != pid:  # in a worker: the first that sees the third batch dies of it, once
            try:
                with killed.open("x"):
                    time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return ColumnsFold()

    found, plans, _, _ = open_plans(sources.find([str(log)]).sources, Wanted(frozenset({"timestamp", "latency_ms"})))
    plan = ScanRequest(found, plans, ((0, None),), Selection(), span_bytes=64 << 10)
    local = scan(plan, ColumnsFold)
    heard: list[int] = []
    there = scan(
        ScanRequest(
            found,
            plans,
            ((0, None),),
            Selection(),
            span_bytes=64 << 10,
            engine=address,
            progress=lambda done, _: heard.append(done),
        ),
        make_fold,
    )
    assert killed.exists()
    assert len(there.results) > 4
    latencies = [value for part in there.results for value in part.number("latency_ms").tolist()]
    assert sorted(latencies) == latencies  # in the order of the log
    assert len(set(latencies)) == 40_000
    assert there.report == local.report
    assert sum(heard) == plan.size


def test_what_a_worker_raises_is_one_message(address: str) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(InputError, match=r"the Dask cluster at .* failed: ZeroDivisionError: by zero"):
        dask.run(address, fail, [1, 2], lambda _: None)


def test_a_cluster_that_goes_away_is_said(tmp_path: Path) -> None:
    program = [sys.executable, "-P", str(ROOT / "tests" / "support" / "dask_cluster.py")]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}

    def slow(_: Any) -> None:
        time.sleep(2)

    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=quiet,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        there = running.stdout.readline().strip()
        end = threading.Timer(1.0, os.killpg, (running.pid, signal.SIGKILL))
        end.start()
        before = time.monotonic()
        with pytest.raises(InputError, match=r"the Dask cluster at .* failed: "):
            dask.run(there, slow, range(40), lambda _: None)
        assert time.monotonic() - before < 30
        end.join()


def test_a_scheduler_that_does_not_answer_is_said_within_seconds(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        before = time.monotonic()
        done = run("summarize", str(SAMPLES), "--engine", f"dask://127.0.0.1:{port}")
        assert time.monotonic() - before < 15
    assert done.code == EXIT_INPUT
    assert done.stderr.startswith(f"llmmon: no Dask scheduler answers at 127.0.0.1:{port}\n")


@pytest.mark.parametrize("engine", ["spark://a:1", "dask://", "dask://host", "dask://u:p@host:1", "ray"])
def test_an_engine_that_does_not_exist_is_a_usage_error(engine: str, run: Run) -> None:
    done = run("summarize", str(SAMPLES), "--engine", engine)
    assert done.code == EXIT_USAGE
    assert "--engine dask://HOST:PORT" in done.stderr


def test_without_the_extra_the_line_that_installs_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError")
    done = subprocess.run(
        llmmon_command("summarize", str(SAMPLES), "--engine", "dask://127.0.0.1:1"),
        env=clean_environment(tmp_path, {"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == EXIT_USAGE
    assert "pip install 'llmmon[dask]'" in done.stderr


def test_waste_of_a_cluster_is_that_of_one_process(run: Run, tmp_path: Path, address: str) -> None:
    path = planted(sound=300, each=10).write(tmp_path)
    here, there = (
        run("cost", path, "--waste", "-f", "json", *engine).json["data"]["waste"]
        for engine in ([], ["--engine", f"dask://{address}"])
    )
    assert here["waste_calls"] > 0
    assert there == here
