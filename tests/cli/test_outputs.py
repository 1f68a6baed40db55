"""No option destroys a file that is not its own: inputs, configurations, and files of another kind."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from llmmon.errors import EXIT_INPUT, EXIT_USAGE
from tests.conftest import Run

CALLS = "".join(json.dumps({"timestamp": 1767225600 + n, "model": "m", "latency_ms": 5}) + "\n" for n in range(3))
CONFIG = 'logs = ["app.jsonl"]\nstate = "s.db"\n[notify.a]\ntype = "command"\ncommand = ["true"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration and the log that it names."""
    (tmp_path / "app.jsonl").write_text(CALLS)
    (tmp_path / "llmmon.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "victim"),
    [
        (("summarize", "--rejects", "app.jsonl"), "app.jsonl"),
        (("summarize", "app.jsonl", "-o", "app.jsonl"), "app.jsonl"),
        (("summarize", ".", "-o", "./app.jsonl"), "app.jsonl"),
        (("summarize", "*.jsonl", "-o", "link.jsonl"), "app.jsonl"),
        (("export", "app.jsonl", "-o", "app.jsonl"), "app.jsonl"),
        (("inspect", "app.jsonl", "-o", "app.jsonl"), "app.jsonl"),
        (("summarize", "-o", "llmmon.toml"), "llmmon.toml"),
        (("rules", "suggest", "--write", "llmmon.toml"), "llmmon.toml"),
        (("rules", "suggest", "--write", "other.toml"), "other.toml"),
        (("check", "--state", "app.jsonl"), "app.jsonl"),
        (("check", "--state", "llmmon.toml"), "llmmon.toml"),
        (("init", "other.toml"), "other.toml"),
        (("simulate", "days", "--days", "1"), "days/2026-03-02.jsonl"),
        (("simulate", "days", "--days", "1", "--start", "2026-03-05"), "days/labels.toml"),
        (("report", "-o", "page.csv"), "page.csv"),
        (("summarize", "-o", "app.db"), "app.db"),
        (("export", "-o", "data.csv"), "data.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_file_that_is_not_the_outputs_own_is_refused_and_untouched(
    command: tuple[str, ...], victim: str, run: Run, place: Path
) -> None:
    (place / "link.jsonl").symlink_to("app.jsonl")
    (place / "days").mkdir()
    others = {
        "other.toml": "# mine\n",
        "days/2026-03-02.jsonl": "mine\n",
        "days/labels.toml": "mine\n",
        "app.db": "SQLite format 3\0mine",
        "page.csv": "<!doctype html>mine",
        "data.csv": '{"mine": 1}',
    }
    for name, text in others.items():
        (place / name).write_text(text)
    before = (place / victim).read_bytes()
    done = run(*command)
    assert done.code == EXIT_USAGE, done.stderr
    assert Path(victim).name in done.stderr or "link.jsonl" in done.stderr
    assert (place / victim).read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ("export", "app.jsonl", "--where", "latency_ms>1", "-o", "app.jsonl", "--force"),
        ("rules", "suggest", "--write", "other.toml", "--force"),
        ("simulate", "days", "--days", "1", "--force"),
        ("summarize", "-o", "page.csv", "--force"),
    ],
    ids=" ".join,
)
def test_force_replaces_it(command: tuple[str, ...], run: Run, place: Path) -> None:
    (place / "other.toml").write_text("# mine\n")
    (place / "page.csv").write_text("<!doctype html>")
    (place / "days").mkdir()
    (place / "days/labels.toml").write_text("mine\n")
    assert run(*command).code == 0


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.md", "a.txt", "a.html"])
def test_an_earlier_output_is_replaced(name: str, run: Run, place: Path) -> None:
    command = ("report" if name.endswith("html") else "summarize", "-o", name)
    assert run(*command).code == 0
    assert run(*command).code == 0, place


@pytest.mark.parametrize(
    "command", [("alerts", "list"), ("check",), ("check", "--dry-run"), ("report", "-o", "r.html")]
)
@pytest.mark.parametrize("content", ["text\n", "SQLite format 3\0CREATE TABLE theirs (a)"])
def test_a_file_that_is_no_state_is_never_taken_for_one(
    content: str, command: tuple[str, ...], run: Run, place: Path
) -> None:
    (place / "s.db").write_text(content)
    done = run(*command)
    assert done.code == EXIT_INPUT
    assert "s.db is not a state file of llmmon" in done.stderr
    assert (place / "s.db").read_text() == content
    assert not list(place.glob("s.db.corrupt*"))


@pytest.mark.parametrize("state", ["", "."])
def test_a_folder_is_no_state_file(state: str, run: Run, place: Path) -> None:
    done = run("check", "--state", state)
    assert done.code == EXIT_INPUT
    assert "internal error" not in done.stderr
    assert (place / "app.jsonl").read_text() == CALLS


def corrupt(state: Path) -> bytes:
    """Damage a state file behind the names of its tables."""
    content = state.read_bytes()
    state.write_bytes(damaged := content[:4096] + b"\xff" * (len(content) - 4096))
    return damaged


@pytest.mark.parametrize("command", [("alerts", "list"), ("check", "--dry-run"), ("report", "-o", "r.html")])
def test_a_command_that_only_looks_leaves_a_corrupt_state_where_it_is(
    command: tuple[str, ...], run: Run, place: Path
) -> None:
    assert run("check").code == 0
    damaged = corrupt(place / "s.db")
    done = run(*command)
    assert done.code == EXIT_INPUT
    assert "is corrupt" in done.stderr
    assert (place / "s.db").read_bytes() == damaged


def test_check_says_that_it_put_a_corrupt_state_aside_even_if_it_is_quiet(run: Run, place: Path) -> None:
    assert run("check").code == 0
    corrupt(place / "s.db")
    assert "renamed to s.db.corrupt-" in run("check", "-q").stderr


def test_the_mode_of_a_file_that_is_there_is_kept_and_new_files_with_texts_are_private(
    run: Run, place: Path, write: Callable[..., Path]
) -> None:
    write("texts.jsonl", [{"model": "m", "prompt": "a", "output": "b"}, "{broken"])
    (place / "kept.jsonl").touch(0o640)
    (place / "kept.jsonl").chmod(0o640)
    assert run("export", "texts.jsonl", "--keep-text", "-o", "kept.jsonl").code == 0
    assert run("export", "texts.jsonl", "--keep-text", "-o", "new.jsonl", "--rejects", "bad.txt").code == 0
    assert run("requests", "texts.jsonl", "--show-text", "-o", "shown.json").code == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes["kept.jsonl"] == 0o640
    assert {modes["new.jsonl"], modes["bad.txt"], modes["shown.json"]} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make links of others")
def test_a_link_that_another_user_put_into_a_shared_folder_is_not_followed(run: Run, place: Path) -> None:
    (place / "mine").write_text("<!doctype html>")
    (place / "shared").mkdir()
    (place / "shared").chmod(0o1777)
    (place / "shared/r.html").symlink_to(place / "mine")
    os.lchown(place / "shared/r.html", 12345, 12345)
    assert run("report", "-o", "shared/r.html").code == EXIT_INPUT
    assert (place / "mine").read_text() == "<!doctype html>"


@pytest.mark.parametrize("folder", [b"here", b"caf\xe9"])
def test_names_that_are_not_utf8_are_read_everywhere(folder: bytes, run: Run, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(folder)
    (place / "logs").mkdir(parents=True)
    for name in (b"caf\xe9.jsonl", b"b.jsonl"):
        (place / "logs" / os.fsdecode(name)).write_text(CALLS + "{broken\n")
    rule = '[[rules]]\nname = "r"\nmetric = "request_count"\ncondition = "gt"\nthreshold = 1\n'
    (place / "llmmon.toml").write_text(f'logs = ["logs"]\n{rule}')
    for command in (
        ("summarize", "-f", "json"),
        ("check",),
        ("check", "-f", "json"),
        ("export", "--cumulative", "--to", "prometheus"),
        ("export", "--cumulative", "--to", "prometheus"),
        ("alerts", "list"),
        ("report", "-o", str(tmp_path / "r.html")),
        ("inspect", "-f", "json"),
        ("requests", "-f", "csv"),
    ):
        done = run(*command, "--config", str(place / "llmmon.toml"))
        assert done.code == 0, (command, done.stderr)
        assert "internal error" not in done.stderr
