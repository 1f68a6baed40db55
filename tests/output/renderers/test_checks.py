"""`-f junit` and `-f sarif`: what a CI system shows of `--fail-on` and `rules check`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import Run

CALLS = [
    {"model": "m", "latency_ms": n, "status": "ok" if n else "error", "timestamp": "2026-03-02T10:00:00Z"}
    for n in range(4)
]
GATES = ("--fail-on", "error_rate>0.1", "--fail-on", "latency_p95_ms>1000")


@pytest.fixture
def log(write: Callable[..., Path]) -> str:
    return write("a.jsonl", CALLS).name


def test_each_condition_is_a_test(run: Run, log: str) -> None:
    found = run("summarize", log, *GATES, "-f", "junit")
    assert found.code == 1
    suite = ET.fromstring(found.stdout).find("testsuite")  # noqa: S314 - our own text
    assert suite is not None
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("llmmon summarize", "2", "1")
    failing, passing = suite.findall("testcase")
    failure = failing.find("failure")
    assert failing.get("name") == "error_rate>0.1"
    assert failure is not None
    assert failure.get("message") == "error_rate is 25 %"
    assert passing.find("failure") is None


def test_each_failed_condition_is_a_finding(run: Run, log: str) -> None:
    found = run("summarize", log, *GATES, "-f", "sarif")
    assert found.code == 1
    (made,) = json.loads(found.stdout)["runs"]
    (result,) = made["results"]
    assert made["tool"]["driver"]["name"] == "llmmon"
    assert result["ruleId"] == made["tool"]["driver"]["rules"][0]["id"] == "llmmon/summarize"
    assert result["message"]["text"] == "error_rate>0.1: error_rate is 25 %"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a.jsonl"


def test_the_ending_of_a_file_picks_the_format(run: Run, log: str, tmp_path: Path) -> None:
    assert run("summarize", log, *GATES, "-o", "found.sarif").code == 1
    assert run("summarize", log, *GATES, "-o", "found.xml").code == 1
    assert json.loads((tmp_path / "found.sarif").read_text())["version"] == "2.1.0"
    assert (tmp_path / "found.xml").read_text().startswith("<?xml")


RULE_WITH_A_TEST = """
[[rules]]
name = "slow"
metric = "latency_p95_ms"
threshold = 5000

[[tests]]
name = "slow answers alert"
[[tests.series]]
metric = "latency_ms"
values = "800x9 9000x20"
[[tests.expect]]
at = "25m"
alerts = [{ rule = "slow", state = "STATE" }]
"""


@pytest.mark.parametrize(
    "args",
    [
        ("score", "sample_logs/prompts.jsonl", "--fail-on", "overall_avg<2", "--fail-on", "flag=secret"),
        ("compare", "sample_logs/", "--at", "2026-03-06", "--fail-on", "any worse"),
        ("cost", "sample_logs/", "--fail-on", "certain_share<2"),
        ("anomalies", "sample_logs/", "--fail-on", "severity>=high"),
        ("rules", "check", "--config", "sample_logs/llmmon.toml"),
        ("rules", "test", "passing.toml"),
        ("rules", "test", "failing.toml"),
    ],
)
def test_every_command_that_can_fail_has_both(run: Run, tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "sample_logs").symlink_to(
        next(p for p in Path(__file__).parents if (p / "pyproject.toml").is_file()) / "sample_logs"
    )
    for name, state in (("passing", "firing"), ("failing", "pending")):
        (tmp_path / f"{name}.toml").write_text(RULE_WITH_A_TEST.replace("STATE", state))
    junit, sarif = run(*args, "-f", "junit"), run(*args, "-f", "sarif")
    assert junit.code == sarif.code in (0, 1), junit.stderr
    suites = ET.fromstring(junit.stdout)  # noqa: S314 - our own text
    failures = suites.findall(".//failure")
    assert len(suites.findall(".//testcase")) >= 1
    assert len(failures) == len(json.loads(sarif.stdout)["runs"][0]["results"])
    assert bool(failures) == (junit.code == 1)


@pytest.mark.parametrize("form", ["junit", "sarif"])
def test_without_a_condition_the_way_to_give_one_is_said(run: Run, log: str, form: str) -> None:
    found = run("summarize", log, "-f", form)
    assert found.code == 2
    assert "--fail-on" in found.stderr


def test_hostile_text_is_harmless(run: Run, log: str) -> None:
    found = run("score", log, "--fail-on", 'flag=<a b="\x1b">&', "-f", "junit")
    assert found.code in (2, 3)
