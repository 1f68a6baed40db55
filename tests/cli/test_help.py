"""Help: commands in named groups, options by what they are about, and where to start."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from llmmon.cli import COMMANDS, GROUPS, help_parts
from tests.conftest import Run
from tests.support import agent_logs
from tests.support.doc_pages import ROOT, click_commands


def test_alone_it_shows_where_to_start_with_commands_that_exist(run: Run) -> None:
    ran = run()
    assert ran.code == 0
    named = re.findall(r"^  llmmon (\w+)", ran.stdout, re.MULTILINE)
    assert len(named) == 5
    assert set(named) <= set(COMMANDS)


def test_every_command_is_in_one_group_and_listed_whole(run: Run) -> None:
    text = run("--help", env={"COLUMNS": "80"}).stdout
    assert sorted(COMMANDS) == sorted(set(COMMANDS)) == sorted(click_commands())
    assert [title for title in GROUPS if f"\n{title}:\n" not in text] == []
    assert "..." not in text.partition("Look:")[2]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["alerts", "rules", "notify"])
def test_members_are_listed_whole(run: Run, command: str) -> None:
    text = run(command, "--help", env={"COLUMNS": "80"}).stdout
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["summarize", "anomalies", "cost"])
def test_options_are_shown_by_what_they_are_about(run: Run, command: str) -> None:
    text = run(command, "--help").stdout
    sections = ("Examples", "Arguments", "Options", "What is read", "Time", "Grouping", "Output")
    places = [text.index(f"\n{title}:\n") for title in sections]
    assert places == sorted(places)


def pages() -> dict[str, Any]:
    """Each command and each member of one, by what is typed."""
    found = click_commands()
    members = {
        f"{name} {inner}": it for name, one in found.items() for inner, it in getattr(one, "commands", {}).items()
    }
    return {**found, **members}


EXAMPLES = {name: help_parts(command.help)[1] for name, command in pages().items()}
# the examples of these name ids that are not there
IDS = (
    "alerts ack",
    "alerts resolve",
    "alerts accept",
    "alerts unsilence",
    "notify queue",
)
ENDLESS = {"watch sample_logs/": "--count 1", "serve --log requests.jsonl --port 8080": "--dry-run"}
CONFIG = """
logs = ["sample_logs/*.jsonl"]
state = "state.db"
[[rules]]
name = "High Latency"
metric = "latency_p95_ms"
condition = "gt"
threshold = 5000
[[rules]]
name = "High Error Rate"
metric = "error_rate"
condition = "gt"
threshold = 0.1
[[tests]]
name = "slow"
[[tests.series]]
metric = "latency_ms"
values = "9000x5"
[[tests.expect]]
at = "4m"
alerts = []
[notify.oncall]
type = "command"
command = ["true"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every fourth line of the sample logs, a configuration, and sessions of an agent."""
    place = tmp_path_factory.mktemp("folder")
    (place / "sample_logs").mkdir()
    for path in (ROOT / "sample_logs").glob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        (place / "sample_logs" / path.name).write_text("".join(lines[:: 1 if path.stem == "prompts" else 4]))
    (place / "llmmon.toml").write_text(CONFIG)
    (place / "monitoring").mkdir()
    agent_logs.write(place / ".claude" / "projects", "claude_code", agent_logs.sessions(2, turns=(5, 9), words=300))
    return place


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_command_has_examples_that_work_on_the_sample_logs(
    run: Run, name: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    examples = EXAMPLES[name]
    assert 1 + (" " not in name) <= len(examples) <= 4
    for example in examples:
        assert example.startswith(f"llmmon {name}"), example
        assert len(f"  {example}") <= 80
        typed = example.removeprefix("llmmon ")
        args = shlex.split(f"{typed} {ENDLESS.get(typed, '')}".replace("~/", f"{tmp_path}/"))
        ran = run(*args, *(["--force"] if typed == "init" else []))
        if name in IDS:
            assert ran.code in {0, 2}, example
            assert "no such option" not in ran.stderr.lower()
        else:
            assert ran.code in {0, 1}, (example, ran.stderr)
