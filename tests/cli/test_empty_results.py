"""Where nothing is left to show, every command says what the log has and what to try."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run

INPUT = Path(__file__).parents[1] / "cases" / "inputs" / "day.jsonl"
COMMANDS = (
    *(
        "summarize",
        "requests",
        "cost",
        "cost --every month",
        "cost --forecast month",
        "cost --waste",
        "cache",
        "limits",
    ),
    *("sessions", "tools", "score", "export --to csv", "export --to prometheus", "report -o page.html"),
    *("summarize -f json", "requests -f csv", "summarize -f markdown"),
)


@pytest.fixture
def day(tmp_path: Path) -> str:
    (tmp_path / "day.jsonl").write_bytes(INPUT.read_bytes())
    return "day.jsonl"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_time_range_without_calls_says_where_the_log_ends(run: Run, day: str, command: str) -> None:
    ran = run(*command.split(), day, "--since", "2027-01-01")
    said = ran.stdout + ran.stderr
    assert "no calls in the time range; the log has 6 calls from 2026-03-02 08:00 to 2026-03-02 12:00 UTC" in said
    assert "--since 2026-03-02" in said


@pytest.mark.parametrize("command", ["summarize", "anomalies", "compare --at 2026-03-02T10:00", "cost", "sessions"])
def test_a_filter_that_keeps_nothing_says_so(run: Run, day: str, command: str) -> None:
    ran = run(*command.split(), day, "--where", "model=nosuch")
    said = ran.stdout + ran.stderr
    assert "2026-03-02 08:00 to 2026-03-02 12:00 UTC" in said
    assert "--where" in said or command.startswith("compare")


def test_data_keep_their_form(run: Run, day: str) -> None:
    ran = run("summarize", day, "--since", "2027-01-01", "-f", "json")
    assert ran.json["data"]["totals"]["request_count"] == 0


def test_check_says_when_the_last_event_was(run: Run, day: str, tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text('logs = ["day.jsonl"]\nstate = "s.db"\n')
    assert "ago, 2026-03-02 12:00 UTC" in run("check").stderr
