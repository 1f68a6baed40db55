"""What all tests share: the command line as a function, and the option that rewrites the golden cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("llmmon", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmmon")


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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("summarize", "a.jsonl")` in `tmp_path`: exit code, stdout and stderr of the real command line."""

    def started(*args: str, stdin: str | bytes | None = None, env: Mapping[str, str] | None = None) -> Ran:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            llmmon_command(*args),
            cwd=tmp_path,
            env=clean_environment(tmp_path, env),
            capture_output=True,
            check=False,
            timeout=60,
            **({"stdin": subprocess.DEVNULL} if given is None else {"input": given}),  # type: ignore[call-overload]
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

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
    parser.addoption("--rewrite-readme", action="store_true", help="renew the generated parts of README")
