"""README says what the product does: its tables are generated, its examples are run, every command has its place."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path

import pytest

from llmmon.alerting.notifiers import NOTIFIERS
from llmmon.config import parse
from tests.readme import README, _click_commands, rewritten


def test_generated_parts_and_examples_are_as_they_are_now(request: pytest.FixtureRequest) -> None:
    text = README.read_text(encoding="utf-8")
    now = rewritten(text)
    if request.config.getoption("--rewrite-readme"):
        README.write_text(now, encoding="utf-8")
        return
    difference = "\n".join(difflib.unified_diff(text.splitlines(), now.splitlines(), "README", "now", lineterm=""))
    assert not difference, f"run pytest tests/test_docs.py --rewrite-readme\n{difference}"


def test_every_command_has_a_section_and_an_example_that_is_run() -> None:
    text = README.read_text(encoding="utf-8")
    for name in _click_commands():
        assert f"### `llmmon {name}`" in text
        assert re.search(rf"```console\n\$ llmmon {name}\b", text), f"no example of {name}"


def test_every_command_says_in_its_help_what_it_does_and_gives_an_example() -> None:
    for name, command in _click_commands().items():
        first, *_ = command.help.split("\n")
        assert first.endswith("."), name
        assert f"Example: llmmon {name}" in command.help, name


def test_both_setup_lines_are_in_readme_as_ci_runs_them() -> None:
    text = README.read_text(encoding="utf-8")
    assert "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/llmmon summarize sample_logs/" in text
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest -q" in text


def test_the_program_in_readme_runs() -> None:
    program = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    printed: list[object] = []
    exec(program[1], {"print": printed.append})  # noqa: S102 - our own README
    assert [830.0, 0.9] == printed


def test_every_configuration_in_readme_is_one_that_is_taken() -> None:
    examples = re.findall(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 7
    for example in examples:
        parse(tomllib.loads(example), Path("/etc/llmmon/llmmon.toml"))


def test_every_type_of_channel_has_an_example() -> None:
    text = README.read_text(encoding="utf-8")
    assert [kind for kind in NOTIFIERS if f'type = "{kind}"' not in text] == []
