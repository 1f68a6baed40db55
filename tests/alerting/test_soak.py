"""A day of the soak, and that it sees what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import clean_environment
from tests.soak.days import Incident, Message, Soak, expected, received_faults

INCIDENT = Incident("a", 10, 20)
FIRED = "2026-01-01T00:11:00Z"


def faults(soak: Soak, *statuses: str) -> list[str]:
    """What the soak finds where each channel received these."""
    received = {
        (channel, "a", FIRED): [Message(channel, "a", 1, "trigger", status, FIRED) for status in statuses]
        for channel in ("desk", "pager")
    }
    return received_faults(soak, received, expected([INCIDENT]))


def test_each_incident_is_notified_once_and_its_end_once(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 1, 1)
    assert faults(soak, "firing", "resolved") == []
    assert faults(soak, "resolved") == []
    assert any("no end" in one for one in faults(soak, "firing"))
    assert any("no end" in one for one in faults(soak))
    assert any("after its end" in one for one in faults(soak, "resolved", "firing"))
    assert any("repeated" in one for one in faults(soak, "firing", "firing", "resolved"))


def test_a_day_of_outages_and_kills_loses_no_alert(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.soak", "--days", "1", "--minutes", "0", "--seed", "3"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        program, check=False, capture_output=True, text=True, timeout=600, cwd=root, env=clean_environment(tmp_path)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 faults" in done.stdout
