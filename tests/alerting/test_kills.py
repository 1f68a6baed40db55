"""`check` killed at every statement: no alert is lost, at most one message is told twice, under the same key."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conftest import FIGURES, Run, clean_environment
from tests.support.appending_log import Service, at


def test_a_kill_at_any_statement_loses_no_alert(run: Run, tmp_path: Path) -> None:
    (folder := tmp_path / "start").mkdir()
    service = Service(folder, lambda *args: run(*args, "--config", str(folder / "llmmon.toml")))
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    script = Path(__file__).parents[1] / "support" / "killed_checks.py"
    program = [sys.executable, "-P", str(script), str(folder), at(15)]
    done = subprocess.run(
        program, check=False, capture_output=True, text=True, timeout=300, env=clean_environment(tmp_path)
    )
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    assert ("", 0) == (done.stderr, done.returncode)
    assert [signal.SIGKILL] * (len(tries) - 1) + [0] == [one["ended"] for one in tries]
    assert len(tries) > 25  # statements of a run
    for one in tries:
        assert [0, 0] == one["again"]
        told = Counter(tuple(alert) for alert in one["told"])
        assert 1 == len(told), one  # one alert, one episode, one kind of message
        assert 1 <= next(iter(told.values())) <= 2, one
    repeated = sum(len(one["told"]) == 2 for one in tries)
    FIGURES["kills survived"] += len(tries) - 1
    assert repeated <= 2  # only between a message's delivery and its mark
