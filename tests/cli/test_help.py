"""Help: commands in named groups, options by what they are about, and where to start."""

from __future__ import annotations

import re
import shlex

import pytest

from llmmon.cli import COMMANDS, GROUPS
from tests.conftest import Run
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


@pytest.mark.parametrize("command", ["summarize", "anomalies", "cost"])
def test_options_are_shown_by_what_they_are_about(run: Run, command: str) -> None:
    text = run(command, "--help").stdout
    places = [text.index(f"\n{title}:\n") for title in ("Arguments", "Options", "Time", "What is read", "Output")]
    assert places == sorted(places)


@pytest.mark.parametrize("command", ["summarize", "requests", "anomalies", "compare", "cost"])
def test_the_example_in_a_help_text_runs(run: Run, command: str) -> None:
    (example,) = re.findall(r"Example: llmmon (.*)", click_commands()[command].help)
    args = [text.replace("sample_logs/", f"{ROOT}/sample_logs/") for text in shlex.split(example)]
    assert run(*args).code == 0
