"""Runs that are killed at random moments leave nothing behind, and the next one is as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FIGURES, clean_environment, llmmon_command
from tests.fuzz.kills import JOBS

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


def test_what_is_killed_at_any_moment_leaves_nothing_behind(tmp_path: Path) -> None:
    count = 3 * len(JOBS)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.fuzz.kills", "--count", str(count), "--seed", "1"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=clean_environment(tmp_path),
    )
    assert done.stderr == ""
    *bad, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert bad == []
    assert summary["runs"] == count
    FIGURES["kills survived"] += summary["killed"]


def caught(pid: int) -> bool:
    """Whether a process has a handler for SIGINT."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def wait_until(what: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if what():
            return
        time.sleep(0.0005)
    raise AssertionError("never came")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_an_interrupt_while_the_program_is_loaded_is_quiet(share: float, tmp_path: Path) -> None:
    run = subprocess.Popen(
        llmmon_command("summarize", "--help"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(tmp_path),
    )
    wait_until(lambda: caught(run.pid))  # Python's own, as it starts
    wait_until(lambda: not caught(run.pid))
    time.sleep(0.15 * share)
    run.send_signal(signal.SIGINT)
    _, talk = run.communicate(timeout=60)
    assert run.returncode in {0, 130, -signal.SIGINT}
    assert talk == b""
    FIGURES["kills survived"] += run.returncode != 0
