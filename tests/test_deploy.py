"""deploy/ and the pre-commit hooks: what they run exists, and does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.conftest import Run, clean_environment

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
DEPLOY = ROOT / "deploy"
CALLS = '{"model": "m", "latency_ms": 5, "status": "error", "timestamp": "2026-03-02T10:00:00Z"}\n'


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(("condition", "code"), [("error_rate>0.5", 1), ("error_rate>1", 0)])
def test_the_action_fails_where_a_condition_holds(tmp_path: Path, condition: str, code: int) -> None:
    action = loaded(DEPLOY / "github-action" / "action.yml")
    step = action["runs"]["steps"][-1]
    program = tmp_path / "llmmon" / "bin" / "llmmon"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m llmmon "$@"\n')
    program.chmod(0o755)
    (tmp_path / "a.jsonl").write_text(CALLS)
    given = {"command": "summarize", "logs": "a.jsonl", "fail-on": f"{condition}\nlatency_p95_ms>9", "junit": "c.xml"}
    names = {key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", r"\1", value) for key, value in step["env"].items()}
    assert set(names.values()) == action["inputs"].keys()
    environment = clean_environment(tmp_path, {key: given.get(name, "") for key, name in names.items()})
    environment |= {"RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step["run"]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "request" in (tmp_path / "summary.md").read_text() or "calls" in (tmp_path / "summary.md").read_text()
    suites = ET.parse(tmp_path / "c.xml")  # noqa: S314 - our own text
    assert len(suites.findall(".//testcase")) == 2
    assert len(suites.findall(".//failure")) == code


@pytest.mark.parametrize("hook", loaded(ROOT / ".pre-commit-hooks.yaml"), ids=lambda hook: hook["id"])
def test_a_hook_runs_on_a_configuration(run: Run, tmp_path: Path, hook: dict[str, str]) -> None:
    assert re.search(hook["files"], "some/llmmon.toml")
    assert run("init").code == 0
    (tmp_path / "llmmon.toml").write_text(
        (tmp_path / "llmmon.toml").read_text()
        + '\n[[rules]]\nname = "a"\nmetric = "latency_ms"\nthreshold = 5000\nwindow = "15m"\n'
        + '\n[[tests]]\nname = "t"\nseries = [{ metric = "latency_ms", values = "1x60" }]\n'
        + 'expect = [{ at = "30m", alerts = [] }]\n'
    )
    program, *words = hook["entry"].split()
    assert program == "llmmon"
    done = run(*words, "llmmon.toml")
    assert done.code in (0, 1), done.stderr


def test_the_image_runs_the_service_as_nobody_in_particular(run: Run) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    *_, final = text.split("\nFROM ")
    words = [line.split()[0] for line in final.splitlines() if line and line[0].isupper()]
    assert words.index("USER") < words.index("ENTRYPOINT") < words.index("CMD")
    assert "HEALTHCHECK" in words
    (command,) = re.findall(r"^CMD (\[.*\])$", final, re.MULTILINE)
    environment = {"LLMMON_TOKEN": "a-long-token-for-the-test", "XDG_STATE_HOME": "."}
    shown = run(*json.loads(command), "--dry-run", env=environment)
    assert shown.code == 0, shown.stderr
    assert "0.0.0.0:8080" in shown.stdout
    for source in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


def test_the_image_is_built_from_all_that_the_wheel_is_made_of() -> None:
    made = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = made["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], made["project"]["readme"], "pyproject.toml", "LICENSE"}
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert needed <= {name for names in copied for name in names.split()}


def test_compose_scrapes_the_service_with_its_token() -> None:
    made = loaded(DEPLOY / "compose.yml")
    (scrape,) = yaml.safe_load(made["configs"]["prometheus"]["content"])["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["llmmon:8080"]}]
    assert scrape["authorization"] == {"credentials": "${LLMMON_TOKEN}"}
    assert all(port.startswith("127.0.0.1:") for service in made["services"].values() for port in service["ports"])
    assert (DEPLOY / made["services"]["llmmon"]["build"]["context"] / "deploy" / "Dockerfile").resolve().is_file()


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        (None, 0, "skipped: pip-audit or its data cannot be reached"),
        ("", 0, "skipped: pip-audit or its data cannot be reached"),
        ([{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}], 1, "a 1: X-1, fixed in 2"),
        ([{"name": "a", "skip_reason": "unknown"}], 0, "not audited, since pip-audit has no data: a\n0 packages"),
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 packages audited"),
    ],
)
def test_an_audit_fails_for_vulnerabilities_and_never_for_the_network(
    tmp_path: Path, report: Any, code: int, said: str
) -> None:
    file = tmp_path / "audit.json"
    if report is not None:
        file.write_text(json.dumps({"dependencies": report}) if report else "")
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audited.py"), str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stdout) == (code, True)


def test_every_dependency_is_listed_with_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        one for extra, names in project["optional-dependencies"].items() if extra not in {"dev", "all"} for one in names
    ]
    wanted = {re.split(r"[\[<>=]", one)[0] for one in [*project["dependencies"], *extras]}
    _, _, section = (ROOT / "docs" / "architecture.md").read_text().partition("## Dependencies and licences")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    listed = {name.strip() for row in rows for cell in row.split("|")[1:3] for name in cell.split(",")}
    assert wanted <= listed
    assert all(row.split("|")[3].strip() for row in rows)
