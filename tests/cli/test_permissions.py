"""What may not be read or written is said, by its name, and stops nothing else; also where root runs the tests."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmmon.errors import EXIT_CONFIG, EXIT_INPUT, EXIT_OK
from tests.conftest import Ran, clean_environment, llmmon_command

SAMPLES = Path(__file__).parents[2] / "sample_logs"
_DROP, _OVERRIDE, _SEARCH = 24, 1, 2  # prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH)
RULE = '[[rules]]\nname = "r"\nmetric = "latency_ms"\nthreshold = 1\n'
NOW = ("--now", "2026-03-03T20:00:00Z")


def obey() -> None:
    """Take from root the right to read and write everything."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        if any(libc.prctl(_DROP, number, 0, 0, 0) for number in (_OVERRIDE, _SEARCH)):
            os._exit(77)


class Place:
    """A folder with two logs, in which commands run that permissions apply to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "logs").mkdir()
        for name, day in (("a", "02"), ("b", "03")):
            shutil.copy(SAMPLES / f"2026-03-{day}.jsonl", folder / "logs" / f"{name}.jsonl")

    def run(self, *args: str) -> Ran:
        done = subprocess.run(
            llmmon_command(*args),
            cwd=self.folder,
            env=clean_environment(self.folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=obey,
        )
        if done.returncode == 77:
            pytest.skip("this root cannot give up its rights")
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)
    for folder, below, _ in os.walk(tmp_path):
        for name in below:
            Path(folder, name).chmod(0o700)


READING = {
    "summarize": lambda ran: ran.json["data"]["totals"]["request_count"],
    "requests": lambda ran: ran.json["source"]["requests"],
    "cost": lambda ran: ran.json["source"]["requests"],
    "anomalies": lambda ran: ran.json["source"]["requests"],
    "inspect": lambda ran: ran.json["source"]["requests"],
}


@pytest.mark.parametrize("command", READING)
def test_an_unreadable_file_is_reported_and_the_rest_is_processed(command: str, place: Place) -> None:
    (place.folder / "logs" / "b.jsonl").chmod(0)
    done = place.run(command, "logs", "-f", "json")
    assert done.code == EXIT_INPUT
    assert "logs/b.jsonl: permission denied" in done.stderr
    calls: Callable[[Ran], int] = READING[command]
    assert calls(done) == 653


@pytest.mark.parametrize("command", [("export", "--to", "csv"), ("report", "-o", "r.html"), ("check", *NOW)])
def test_also_where_the_result_is_no_report_in_json(command: tuple[str, ...], place: Place) -> None:
    (place.folder / "logs" / "b.jsonl").chmod(0)
    done = place.run(command[0], "logs", *command[1:])
    assert done.code == EXIT_INPUT
    assert "logs/b.jsonl: permission denied" in done.stderr


@pytest.mark.parametrize("name", ["logs", "logs/**/*.jsonl", "logs/**"])
def test_a_folder_that_cannot_be_looked_into_is_reported(name: str, place: Place) -> None:
    (place.folder / "logs" / "sub").mkdir()
    (place.folder / "logs" / "sub").chmod(0)
    done = place.run("summarize", name, "-f", "json")
    assert done.code == EXIT_INPUT
    assert "logs/sub: permission denied" in done.stderr
    assert done.json["source"]["requests"] == 1347


@pytest.mark.parametrize("name", ["logs", "logs/*.jsonl", "logs/**/*.jsonl"])
def test_of_a_closed_folder_the_reason_is_said(name: str, place: Place) -> None:
    (place.folder / "logs").chmod(0)
    done = place.run("summarize", name)
    assert done.code == EXIT_INPUT
    assert "logs: permission denied" in done.stderr


@pytest.mark.parametrize("option", ["-o", "--rejects"])
def test_a_closed_output_folder_is_said(option: str, place: Place) -> None:
    (place.folder / "out").mkdir(mode=0o500)
    done = place.run("summarize", "logs", option, "out/x.json")
    assert done.code == EXIT_INPUT
    assert "llmmon: cannot write out/x.json: permission denied\n  try: " in done.stderr


@pytest.mark.parametrize("how", ["closed", "a file"])
def test_without_a_cache_folder_all_is_read(how: str, place: Place) -> None:
    (place.folder / "big.jsonl").write_bytes(b'{"model": "m", "latency_ms": 1}\n' * 300_000)
    if how == "closed":
        (place.folder / ".cache").mkdir(mode=0)
    else:
        (place.folder / ".cache").touch()
    done = place.run("summarize", "big.jsonl", "-f", "json")
    assert done.code == EXIT_OK
    assert done.json["data"]["totals"]["request_count"] == 300_000


@pytest.mark.parametrize(("folder", "file"), [(0o500, 0o600), (0o700, 0o400), (0o700, 0), (0, 0o600)])
def test_a_state_that_cannot_be_written_is_said(folder: int, file: int, place: Place) -> None:
    (place.folder / "llmmon.toml").write_text(f'logs = ["logs/*.jsonl"]\nstate = "state/s.db"\n{RULE}')
    assert place.run("check", *NOW).code == EXIT_OK
    (place.folder / "state" / "s.db").chmod(file)
    (place.folder / "state").chmod(folder)
    done = place.run("check", *NOW)
    assert done.code == EXIT_INPUT
    assert "llmmon: state file" in done.stderr
    assert "--state FILE" in done.stderr
    (place.folder / "state").chmod(0o700)
    for path in (place.folder / "state").iterdir():
        path.chmod(0o600)
    assert place.run("check", *NOW).code == EXIT_OK


def test_a_configuration_that_cannot_be_read_is_said(place: Place) -> None:
    (place.folder / "llmmon.toml").write_text(RULE)
    (place.folder / "llmmon.toml").chmod(0)
    done = place.run("summarize", "logs")
    assert done.code == EXIT_CONFIG
    assert "llmmon.toml: permission denied" in done.stderr


def test_a_closed_home_is_as_one_without_a_configuration(place: Place) -> None:
    (place.folder / ".config").mkdir(mode=0)
    assert place.run("summarize", "logs").code == EXIT_OK
