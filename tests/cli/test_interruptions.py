"""What happens to a run that is interrupted: a closed pipe, Ctrl-C, a killed worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmmon.errors import EXIT_INPUT, EXIT_INTERRUPTED
from llmmon.ingest import parallel
from tests.conftest import Run, clean_environment, llmmon_command

LINE = json.dumps({"model": "m", "timestamp": "2026-03-02T08:00:00Z", "latency_ms": 5, "user": "x" * 60}) + "\n"


@pytest.fixture(scope="module")
def big_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log big enough to be shared out among processes."""
    path = tmp_path_factory.mktemp("big") / "a.jsonl"
    with path.open("w") as file:
        file.writelines(LINE * 10_000 for _ in range(40))
    return path


def started(folder: Path, *args: str, **how: Any) -> subprocess.Popen[bytes]:
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **how}
    return subprocess.Popen(llmmon_command(*args), cwd=folder, env=clean_environment(folder), **how)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, as Linux tells."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def wait_for(what: Callable[[], Sequence[int]], count: int = 1) -> Sequence[int]:
    """Ask until there are as many answers, for ten seconds."""
    for _ in range(2000):
        if len(found := what()) >= count:
            return found
        time.sleep(0.005)
    raise AssertionError("nothing came")


def test_a_reader_that_leaves_early_ends_the_run_quietly(tmp_path: Path, big_log: Path) -> None:
    run = started(tmp_path, "requests", str(big_log), "--limit", "50000", "-f", "jsonl", "-q")
    assert run.stdout is not None
    assert run.stderr is not None
    first = run.stdout.readline()
    run.stdout.close()
    assert json.loads(first)["model"] == "m"
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait(30) == 0


def test_help_into_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = started(tmp_path, "summarize", "--help", stdout=writing)
    os.close(writing)
    _, talk = run.communicate(timeout=30)
    assert b"Traceback" not in talk


SAMPLES = Path(__file__).parents[2] / "sample_logs"
LOGS, RULES = str(SAMPLES), str(SAMPLES / "llmmon.toml")
COMMANDS = [
    ("--help",),
    ("--version",),
    ("summarize", LOGS),
    ("requests", LOGS, "--limit", "0", "-f", "jsonl"),
    ("anomalies", LOGS, "-f", "csv"),
    ("cost", LOGS),
    ("report", LOGS),
    ("score", str(SAMPLES / "prompts.jsonl"), "-f", "jsonl"),
    ("check", LOGS, "--now", "log"),
    ("export", LOGS, "--to", "csv"),
    ("export", LOGS, "--to", "prometheus"),
    ("inspect", LOGS),
    ("watch", LOGS, "--count", "2", "--interval", "0.2"),
    ("simulate", "made", "--days", "1", "--force"),
    ("init", "made.toml", "--force"),
    ("alerts", "list", "--state", "state.db"),
    ("rules", "check", "--config", RULES),
    ("rules", "backtest", LOGS, "--config", RULES),
    ("notify", "list", "--config", RULES),
    ("serve", "--dry-run", "--config", RULES, "--state", "state.db"),
]
_CODES = {("rules", "check"): 1}  # it has a finding: a rule that the samples never meet


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:1] + command[-1:]))
def test_no_command_minds_that_nobody_reads(command: tuple[str, ...], tmp_path: Path) -> None:
    """Once with the reader gone (`| true`), once without any standard output (`>&-`)."""
    reading, writing = os.pipe()
    os.close(reading)
    gone = started(tmp_path, *command, stdout=writing)
    os.close(writing)
    closed = started(tmp_path, *command, stdout=None, preexec_fn=lambda: os.close(1))
    for run in (gone, closed):
        _, talk = run.communicate(timeout=60)
        assert run.returncode == _CODES.get(command[:2], 0), talk
        assert not any(word in talk for word in (b"Traceback", b"Exception ignored", b"internal error")), talk


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")


@needs_proc
def test_an_interrupt_ends_all_processes_with_130_and_no_traceback(tmp_path: Path, big_log: Path) -> None:
    run = started(tmp_path, "summarize", str(big_log), "--jobs", "3", start_new_session=True)
    workers = wait_for(lambda: children_of(run.pid))
    os.killpg(run.pid, signal.SIGINT)
    out, talk = run.communicate(timeout=30)
    assert run.returncode == EXIT_INTERRUPTED, talk
    assert (out, talk) == (b"", b"")
    assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []


@needs_proc
def test_an_interrupt_of_the_first_process_alone_ends_the_others(tmp_path: Path, big_log: Path) -> None:
    run = started(tmp_path, "summarize", str(big_log), "--jobs", "3", "--rejects", "bad.txt")
    workers = wait_for(lambda: children_of(run.pid))
    run.send_signal(signal.SIGINT)
    _, talk = run.communicate(timeout=30)
    assert run.returncode == EXIT_INTERRUPTED
    assert talk == b""
    assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []
    assert list(tmp_path.iterdir()) == []


@needs_proc
def test_a_worker_that_is_killed_is_an_error_that_says_what_to_try(tmp_path: Path, big_log: Path) -> None:
    run = started(tmp_path, "summarize", str(big_log), "--jobs", "2")
    (worker, *_) = wait_for(lambda: children_of(run.pid))
    os.kill(worker, signal.SIGKILL)
    out, talk = run.communicate(timeout=30)
    assert run.returncode == EXIT_INPUT
    assert out == b""
    assert talk.decode() == "llmmon: a worker process was killed (signal 9)\n  try: if memory is short: --jobs 1\n"


def doubled(tasks: Iterator[int]) -> list[int]:
    return [2 * task for task in tasks]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_every_task_is_done_once_whoever_does_it(jobs: int) -> None:
    done = [number for part in parallel.run(doubled, range(20_000), jobs) for number in part]
    assert [2 * number for number in range(20_000)] == sorted(done)


def test_there_are_never_more_workers_than_tasks() -> None:
    assert len(parallel.run(doubled, [1, 2], 8)) == 2


def test_an_error_in_a_worker_is_raised_here() -> None:
    first = os.getpid()

    def fail(tasks: Iterator[int]) -> int:
        for _ in tasks:
            if os.getpid() != first:
                raise KeyError("in a worker")
            time.sleep(0.05)
        return 0

    with pytest.raises(KeyError, match="in a worker"):
        parallel.run(fail, range(50), 2)


@needs_proc
def test_an_error_here_leaves_no_worker_behind() -> None:
    first, others = os.getpid(), set(children_of(os.getpid()))

    def fail(tasks: Iterator[int]) -> int:
        for _ in tasks:
            if os.getpid() == first:
                raise KeyError("here")
            time.sleep(60)
        return 0

    before = time.monotonic()
    with pytest.raises(KeyError, match="here"):
        parallel.run(fail, range(50), 3)
    assert time.monotonic() - before < 30
    assert set() == set(children_of(first)) - others


def test_results_of_any_size_come_back() -> None:
    def much(tasks: Iterator[int]) -> bytes:
        return b"x" * 3_000_000 * len(list(tasks))

    assert sum(map(len, parallel.run(much, range(6), 3))) == 6 * 3_000_000


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_all_processes_in_order_and_without_a_word(
    number: signal.Signals, tmp_path: Path, big_log: Path
) -> None:
    run = started(tmp_path, "summarize", str(big_log), "--jobs", "3", "--rejects", "bad.txt", "-o", "out.json")
    workers = wait_for(lambda: children_of(run.pid))
    run.send_signal(number)
    out, talk = run.communicate(timeout=30)
    assert (run.returncode, out, talk) == (128 + number, b"", b"")
    assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []
    assert [path.name for path in tmp_path.iterdir() if path.name != ".cache"] == []


@needs_proc
def test_workers_do_not_outlive_a_run_that_was_killed(tmp_path: Path, big_log: Path) -> None:
    run = started(tmp_path, "summarize", str(big_log), "--jobs", "3", "--rejects", "bad.txt")
    workers = wait_for(lambda: children_of(run.pid), 2)
    run.kill()
    run.communicate(timeout=30)
    until = time.monotonic() + 5
    while left := [worker for worker in workers if Path(f"/proc/{worker}").exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_that_is_ended_says_so_on_its_one_line(tmp_path: Path, big_log: Path) -> None:
    run = started(tmp_path, "check", str(big_log), "--nagios", "--now", "2026-03-02T08:05:00Z")
    time.sleep(0.4)
    run.send_signal(signal.SIGTERM)
    out, talk = run.communicate(timeout=30)
    if run.returncode not in (0, 1, 2):  # it was not done yet
        assert (out, run.returncode) == (b"LLMMON UNKNOWN - interrupted before it finished\n", 3), talk


def test_a_disk_that_is_full_is_said_plainly(run: Run, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "a.jsonl").write_text(LINE)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            llmmon_command("summarize", "a.jsonl"),
            cwd=tmp_path,
            env=clean_environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == EXIT_INPUT
    assert re.search(rb"cannot write .*no space left", done.stderr)
