"""What all tests share: the command line as a function, and the option that rewrites the golden cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

FIGURES: Counter[str] = Counter()  # what the tests of a process have counted since the last one ended

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("repeatable"), derandomize=False, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@dataclass(frozen=True)
class Ran:
    """What a run of the command line gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.stdout)


Run = Callable[..., Ran]


def clean_environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The least that a program needs, so that no setting of this machine shows in a test."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONUTF8": "1", **(more or {})}


def llmmon_command(*args: str) -> list[str]:
    """The command line that starts llmmon as this Python would."""
    return [sys.executable, "-P", "-m", "llmmon", *args]


class CommandServer:
    """A process that runs command lines (see `command_server.py`)."""

    def __init__(self, home: Path) -> None:
        program = [sys.executable, "-P", str(Path(__file__).parent / "support" / "command_server.py")]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(home), text=True
        )

    def run(self, **job: Any) -> int:
        """The exit code of one run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    server = CommandServer(tmp_path_factory.mktemp("home"))
    yield server
    server.close()


@pytest.fixture
def run(commands: CommandServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run("summarize", "a.jsonl")` in `tmp_path`: exit code, stdout and stderr of the real command line."""
    talk = tmp_path_factory.mktemp("talk")

    def started(*args: str, stdin: str | bytes | None = None, env: Mapping[str, str] | None = None) -> Ran:
        paths = {name: str(talk / name) for name in ("stdin", "stdout", "stderr")}
        if stdin is None:
            paths["stdin"] = os.devnull
        else:
            (talk / "stdin").write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        code = commands.run(args=args, cwd=str(tmp_path), env=clean_environment(tmp_path, env), **paths)
        return Ran(code, (talk / "stdout").read_bytes().decode(), (talk / "stderr").read_bytes().decode())

    return started


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[Mapping[str, Any] | str]], Path]:
    """`write("a.jsonl", rows)` writes objects (or raw lines) as JSON lines into `tmp_path`."""

    def written(name: str, rows: Sequence[Mapping[str, Any] | str]) -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return written


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-cases", action="store_true", help="write what the golden cases give now into them")
    parser.addoption("--rewrite-docs", action="store_true", help="renew the generated parts of README and docs/")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Send what a test has counted along with its report, which may go to another process."""
    if call.when == "call" and FIGURES:
        item.user_properties.append(("figures", dict(FIGURES)))
        FIGURES.clear()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what all tests have counted."""
    total: Counter[str] = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", None) == "call":
            total.update(dict(report.user_properties).get("figures", {}))
    if total:
        terminalreporter.write_line(", ".join(f"{name}: {number:,}" for name, number in sorted(total.items())))
