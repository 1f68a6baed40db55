"""What is written appears whole or not at all: on a full disk, through links, into devices."""

from __future__ import annotations

import errno
import resource
import stat
import subprocess
from pathlib import Path

import pytest

from llmmon import files
from llmmon.errors import EXIT_INPUT
from llmmon.files import appearing, cannot_write
from tests.conftest import Run, clean_environment, llmmon_command

SAMPLES = Path(__file__).parents[1] / "sample_logs"
LOGS, TEXTS, RULES = str(SAMPLES), str(SAMPLES / "prompts.jsonl"), str(SAMPLES / "llmmon.toml")
OLD = "as it was"
ROOM = 300  # bytes that a file may have


@pytest.fixture(params=["without a name", "with a name"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that has files without names, and as on others."""
    if request.param == "with a name":
        monkeypatch.setattr(files, "OPEN_FILES", "/nowhere")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("way")
def test_a_file_is_there_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(OLD)
    with appearing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == OLD
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@pytest.mark.usefixtures("way")
def test_what_goes_wrong_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(OLD)
    with pytest.raises(ZeroDivisionError), appearing(path) as file:
        file.write(b"%d" % (1 / 0))
    assert path.read_text() == OLD
    assert names(tmp_path) == ["a"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_its_mode_is_the_one_asked_for(mode: int, tmp_path: Path) -> None:
    with appearing(tmp_path / "a", mode=mode, durable=True) as file:
        file.write(b"new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    with appearing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_device_is_written_and_stays_one(run: Run) -> None:
    done = run("summarize", TEXTS, "-o", "/dev/null")
    assert done.code == 0
    assert Path("/dev/null").is_char_device()


def test_standard_output_can_be_named_as_a_file(run: Run) -> None:
    assert run("summarize", TEXTS, "-f", "json", "-o", "/dev/stdout").json["command"] == "summarize"


def test_the_next_step_fits_the_reason() -> None:
    assert cannot_write(Path("x"), OSError(errno.ENOSPC, "No space left on device")).hint == (
        "free space there, or write elsewhere; what was there is untouched"
    )
    assert cannot_write(Path("x"), OSError(errno.ENOENT, "No such file or directory")).hint == "make its folder first"


WRITING = [
    ("summarize", LOGS, "-o", "out.json"),
    ("requests", LOGS, "--limit", "0", "-o", "out.jsonl"),
    ("anomalies", LOGS, "-o", "out.csv"),
    ("cost", LOGS, "-o", "out.md"),
    ("inspect", LOGS, "-o", "out.json"),
    ("score", TEXTS, "-o", "out.jsonl"),
    ("report", LOGS, "-o", "out.html"),
    ("report", "-", "-o", "out.html"),
    ("export", LOGS, "-o", "out.prom"),
    ("export", LOGS, "-o", "out.csv"),
    ("export", LOGS, "-o", "out.jsonl"),
    ("rules", "backtest", LOGS, "--config", RULES, "-o", "out.json"),
    ("summarize", "bad.jsonl", "--rejects", "out.txt"),
    ("simulate", "out", "--days", "1"),
    ("init", "out.toml"),
    ("check", LOGS, "--config", "own.toml"),
    ("export", LOGS, "--to", "prometheus", "--cumulative", "--state", "out.db"),
]


def without_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


@pytest.mark.parametrize("command", WRITING, ids=lambda command: f"{command[0]} {command[-1]}")
def test_a_full_disk_leaves_no_half_file(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"model": "m", "latency_ms": 1}\n' + "{cut\n" * 200)
    (tmp_path / "own.toml").write_text(
        'state = "out.db"\n[[rules]]\nname = "r"\nmetric = "error_rate"\nthreshold = 1\n'
    )
    before = tmp_path / command[-1]
    if command[-2] in {"-o", "--rejects"}:
        before.write_text(
            old := {".html": "<!doctype html>", **dict.fromkeys((".csv", ".md", ".prom", ".txt"), "a")}.get(
                before.suffix, "{}"
            )
        )
    with Path(TEXTS).open("rb") as stdin:
        done = subprocess.run(
            llmmon_command(*command),
            cwd=tmp_path,
            # Python itself does not notice a half-written .pyc (python/cpython#126606)
            env=clean_environment(tmp_path, {"PYTHONDONTWRITEBYTECODE": "1"}),
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=without_room,
        )
    assert done.returncode == EXIT_INPUT, done.stderr
    assert "\n  try: " in done.stderr
    assert "internal error" not in done.stderr
    state = {"out.db", "out.db.lock", "out.db.export.lock", "out.db-wal", "out.db-shm"}  # of sound transactions
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()} - state - {"bad.jsonl", "own.toml"}
    assert left == ({before.name} if before.is_file() and before.name not in state else set()) - {"own.toml"}
    if command[-2] in {"-o", "--rejects"}:
        assert before.read_text() == old
