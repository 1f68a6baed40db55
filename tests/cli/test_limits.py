"""Data is whole: `--limit` cuts tables on the screen, and other output only where it is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmmon.cli import COMMANDS
from tests.conftest import Run
from tests.support import agent_logs
from tests.support.doc_pages import click_commands

GROUPS = 30
# command -> arguments, the list of its data that is limited
LIMITED = {
    "summarize": (("a.jsonl", "--by", "user"), "groups"),
    "requests": (("a.jsonl",), "requests"),
    "sessions": (("a.jsonl",), "sessions"),
    "cache": (("agents",), "sessions"),
    "tools": (("agents",), "groups"),
    "sql": (("select 1 as a from range(30)", "a.jsonl"), "rows"),
}
CUTS_ONLY_ITS_TABLE = {"score"}


@pytest.fixture(autouse=True)
def logs(write: Callable[..., Path], tmp_path: Path) -> None:
    write("a.jsonl", [_call(number) for number in range(GROUPS)])
    agent_logs.write(tmp_path / "agents", "claude_code", agent_logs.sessions(14, turns=(5, 40), words=2000))


def _call(number: int) -> dict[str, object]:
    return {
        "timestamp": f"2026-03-02T08:{number:02}:00Z",
        "model": "gpt-4o",
        "user": f"user-{number}",
        "session": f"session-{number}",
        "prompt_tokens": 5000,
        "cached_tokens": 2000,
        "completion_tokens": 10,
        "latency_ms": 500,
        "status": "ok",
    }


def test_the_table_of_this_test_names_every_command_with_a_limit() -> None:
    commands = {name: command for name, command in click_commands().items() if name in COMMANDS}
    with_limit = {name for name, command in commands.items() if any("--limit" in p.opts for p in command.params)}
    assert with_limit == LIMITED.keys() | CUTS_ONLY_ITS_TABLE


@pytest.mark.parametrize("command", LIMITED)
def test_json_is_whole_unless_a_limit_is_asked_for(run: Run, command: str) -> None:
    args, key = LIMITED[command]
    whole = run(command, *args, "-f", "json").json["data"]
    assert whole[f"more_{key}"] == 0
    assert len(whole[key]) == GROUPS or "agents" in args
    cut = run(command, *args, "-f", "json", "--limit", "1")
    assert (len(cut.json["data"][key]), cut.json["data"][f"more_{key}"]) == (1, len(whole[key]) - 1)
    assert f"{len(whole[key]) - 1:,} more" in cut.stderr


@pytest.mark.parametrize("command", LIMITED)
def test_rows_and_files_are_whole_unless_a_limit_is_asked_for(run: Run, command: str, tmp_path: Path) -> None:
    args, _ = LIMITED[command]
    rows = [json.loads(line) for line in run(command, *args, "-f", "jsonl").stdout.splitlines()]
    assert rows
    assert len(run(command, *args, "-f", "csv").stdout.splitlines()) == 1 + len(rows)
    assert "--limit" not in run(command, *args, "-f", "markdown").stdout
    assert run(command, *args, "-o", "out.txt").code == 0
    assert "--limit" not in (tmp_path / "out.txt").read_text()
    assert len(run(command, *args, "-f", "jsonl", "--limit", "1").stdout.splitlines()) == 1


@pytest.mark.parametrize("command", ["cache", "requests", "sessions", "summarize"])
def test_tables_on_the_screen_are_cut_and_say_so(run: Run, command: str) -> None:
    args, _ = LIMITED[command]
    assert "more (--limit 0 shows all)" in run(command, *args).stdout
    assert "--limit" not in run(command, *args, "--limit", "0").stdout
