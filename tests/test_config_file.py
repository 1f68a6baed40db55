"""The configuration: found, checked as a whole, resolved."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from llmmon.alerting.rules import DEFAULT_RULES
from llmmon.cli.init import template
from llmmon.config import find, load, parse
from llmmon.errors import ConfigError

FULL = """
logs = ["logs/*.jsonl", "/var/log/llm"]
timezone = "Europe/Berlin"
naive_timezone = "Asia/Tokyo"
state = "state.db"
late = "5m"
[prices."my-model"]
input = 0.5
output = 1.5
[score.thresholds]
refusal = 0.4
"""


def test_everything_that_is_said_is_read(tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text(FULL)
    config = load(None, {}, tmp_path)
    assert tmp_path / "llmmon.toml" == config.path
    assert (str(tmp_path / "logs/*.jsonl"), "/var/log/llm") == config.logs
    assert (config.timezone, config.naive_timezone) == ("Europe/Berlin", "Asia/Tokyo")
    assert config.late_us == 300_000_000
    assert config.score_thresholds == {"refusal": 0.4}
    assert {"my-model"} == config.prices.keys()


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    config = load(None, {"HOME": str(tmp_path)}, tmp_path)
    assert (config.path, config.logs, config.timezone) == (None, (), "UTC")


def test_the_nearest_file_upwards_is_taken(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "llmmon.toml").touch()
    assert tmp_path / "llmmon.toml" == find(None, {}, below)
    (tmp_path / "a" / "llmmon.toml").touch()
    assert tmp_path / "a" / "llmmon.toml" == find(None, {}, below)


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "HOME"])
def test_the_users_own_file_is_taken_last(tmp_path: Path, variable: str) -> None:
    home = tmp_path / "home"
    folder = (home if variable == "XDG_CONFIG_HOME" else home / ".config") / "llmmon"
    folder.mkdir(parents=True)
    (folder / "llmmon.toml").touch()
    here = tmp_path / "here"
    here.mkdir()
    assert folder / "llmmon.toml" == find(None, {variable: str(home)}, here)


def test_a_chosen_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        find(str(tmp_path / "no.toml"), {}, tmp_path)


def test_the_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llmmon.toml").touch()
    owner = (tmp_path / "llmmon.toml").stat().st_uid
    if owner == 0:
        os.chown(tmp_path / "llmmon.toml", 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load(None, {}, tmp_path)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"lgos": []}, "lgos: unknown key, did you mean 'logs'?"),
        ({"logs": 3}, "logs: must be a list of paths"),
        ({"logs": ["a", 3]}, "logs: must be a list of paths"),
        ({"timezone": "Mars"}, "timezone: unknown time zone 'Mars'"),
        ({"timezone": 3}, "timezone: must be text"),
        ({"late": "soon"}, "late: 'soon' is not a duration"),
        ({"prices": 3}, "prices: must be a table"),
        ({"score": {"tresholds": {}}}, "score.tresholds: unknown key"),
        ({"score": {"thresholds": {"refusal": "high"}}}, "score.thresholds.refusal: must be a number"),
        ({"score": {"thresholds": {"refusal": True}}}, "score.thresholds.refusal: must be a number"),
    ],
)
def test_a_fault_is_named(table: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(table, Path("llmmon.toml"))
    assert fault in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match="3 errors"):
        parse({"logs": 3, "timezone": "Mars", "late": "soon"}, Path("llmmon.toml"))


def test_one_path_is_as_good_as_a_list_of_one() -> None:
    assert parse({"logs": "a.jsonl"}, Path("/x/llmmon.toml")).logs == ("/x/a.jsonl",)


def test_the_template_is_valid_and_has_the_two_default_rules(tmp_path: Path) -> None:
    config = parse(tomllib.loads(template()), tmp_path / "llmmon.toml")
    assert (str(tmp_path / "logs/*.jsonl"),) == config.logs
    assert config.timezone == "UTC"
    assert [(rule.name, rule.threshold) for rule in config.rules] == [
        (rule.name, rule.threshold) for rule in DEFAULT_RULES
    ]


def uncommented(line: str) -> str:
    body = line.removeprefix("# ")
    return body if line.startswith("# ") and (body.startswith("[") or " = " in body.split("#")[0]) else line


def test_the_template_is_valid_with_every_line_uncommented(tmp_path: Path) -> None:
    text = "\n".join(uncommented(line) for line in template().splitlines())
    config = parse(tomllib.loads(text), tmp_path / "llmmon.toml")
    assert {"my-model"} == config.prices.keys()
    assert {"oncall", "pager", "mail"} == {channel.name for channel in config.channels}
    assert 17 == len(config.rules)  # those of an objective and of a budget too
