"""`llmmon sql` on the command line: which argument is the query, formats, stdin, and what the prompt takes."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmmon.cli.sql import _inputs
from tests.conftest import Run, clean_environment, llmmon_command

CALLS = [{"model": model, "latency_ms": 5, "prompt_tokens": 3} for model in ("a", "a", "b")]
BY_MODEL = "select model, count(*) as calls from calls group by all order by all"


@pytest.fixture
def log(write: Callable[..., Path]) -> str:
    return write("day.jsonl", CALLS).name


def test_a_query_gives_a_table(run: Run, log: str) -> None:
    found = run("sql", BY_MODEL, log)
    assert (found.code, found.stderr) == (0, "3 lines of 1 file: 3 calls, 3 without a time\n")
    assert found.stdout == "2 rows\nmodel  calls\na          2\nb          1\n"


def test_the_query_may_come_after_the_logs(run: Run, log: str) -> None:
    assert run("sql", log, BY_MODEL, "-f", "csv").stdout == "model,calls\na,2\nb,1\n"


def test_a_query_in_json_has_the_envelope_of_every_command(run: Run, log: str) -> None:
    found = run("sql", BY_MODEL, log, "-f", "json").json
    assert (found["command"], found["source"]["requests"]) == ("sql", 3)
    assert found["data"]["columns"] == [{"name": "model", "type": "VARCHAR"}, {"name": "calls", "type": "BIGINT"}]
    assert found["data"]["rows"] == [{"model": "a", "calls": 2}, {"model": "b", "calls": 1}]


def test_all_rows_are_written_but_for_people(run: Run, log: str) -> None:
    sql = "select model from calls"
    assert run("sql", sql, log, "--limit", "1").stdout.endswith("and 2 more (--limit 0 shows all)\n")
    assert len(run("sql", sql, log, "-f", "jsonl").stdout.splitlines()) == 3
    assert len(run("sql", sql, log, "--limit", "1", "-f", "jsonl").stdout.splitlines()) == 1


def test_an_answer_without_rows_keeps_its_columns_in_a_table(run: Run, log: str) -> None:
    assert run("sql", "select model from calls where false", log).stdout == "0 rows\nmodel\n"


def test_statements_come_by_stdin(run: Run, log: str) -> None:
    found = run("sql", log, "-f", "csv", stdin=f"select 1;\n{BY_MODEL};\n")
    assert (found.code, found.stdout) == (0, "model,calls\na,2\nb,1\n")


def test_calls_come_by_stdin(run: Run, log: str, tmp_path: Path) -> None:
    found = run("sql", BY_MODEL, "-", "-f", "csv", stdin=(tmp_path / log).read_bytes())
    assert found.stdout == "model,calls\na,2\nb,1\n"


def test_hostile_text_is_harmless_in_a_table(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", [{"model": "\x1b[2Jm", "latency_ms": 1}])
    assert "\x1b" not in run("sql", "select model from calls", "a.jsonl").stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("select 1", "select 2", "day.jsonl"), 2, "two queries"),
        (("-", "-q"), 2, "so is the query"),
        (("day.jsonl",), 2, "no statement"),
        (("select model frm calls", "day.jsonl"), 2, "syntax error"),
        (("select * from 'day.jsonl'", "day.jsonl"), 2, "--allow-files"),
        ((BY_MODEL, "missing.jsonl"), 3, "missing.jsonl"),
    ],
)
def test_what_is_wrong_is_named(run: Run, log: str, args: tuple[str, ...], code: int, said: str) -> None:
    found = run("sql", *args)
    assert found.code == code
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_without_the_extra_the_line_that_installs_it_is_shown(run: Run, log: str, tmp_path: Path) -> None:
    (tmp_path / "none" / "duckdb.py").parent.mkdir()
    (tmp_path / "none" / "duckdb.py").write_text("raise ImportError\n")
    program = f"import sys; sys.path.insert(0, 'none'); sys.argv = ['llmmon', 'sql', 'select 1', {log!r}]"
    program += "; from llmmon.cli import main; main()"
    environment = clean_environment(tmp_path)
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "llmmon: llmmon sql needs the extra 'sql'\n  try: pip install 'llmmon[sql]'\n"


def test_the_prompt_takes_statements_of_several_lines_until_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[str | type[BaseException]] = ["", "select 1", "as a;", "half", KeyboardInterrupt, "help"]
    typed += ["select 2;", "quit"]

    def line(_prompt: str) -> str:
        given = typed.pop(0)
        if isinstance(given, str):
            return given
        raise given

    monkeypatch.setattr("builtins.input", line)
    assert list(_inputs()) == ["select 1\nas a;", "select 2;"]
    assert typed == []


def test_the_end_of_input_leaves_the_prompt_after_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["select 3"]
    monkeypatch.setattr("builtins.input", lambda _: typed.pop(0) if typed else _ends())
    assert list(_inputs()) == ["select 3"]


def _ends() -> str:
    raise EOFError


def test_ctrl_c_stops_a_query_and_not_the_prompt(log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a real terminal: a query that would take for ever is interrupted, the next one answers, Ctrl-D ends with 0."""
    monkeypatch.chdir(tmp_path)
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        environment = clean_environment(tmp_path, {"TERM": "dumb", "COLUMNS": "80"})
        os.execve(sys.executable, llmmon_command("sql", log), environment)  # noqa: S606 - takes this process's place
    shown, alive = "", True

    def wait(text: str) -> None:
        nonlocal shown
        until = time.monotonic() + 120
        while text not in shown:
            assert time.monotonic() < until, f"{text!r} did not come: {shown[-500:]!r}"
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 1 << 16).decode(errors="replace")
        shown = shown.partition(text)[2]

    try:
        wait("llmmon> ")
        os.write(terminal, b"select count(*) from range(10000000) a, range(10000000) b where a.range % 7 = 3;\n")
        wait("= 3;")
        time.sleep(0.5)
        os.write(terminal, b"\x03")
        wait("llmmon> ")
        os.write(terminal, b"select 41 + 1 as answer;\n")
        wait("42")
        wait("llmmon> ")
        os.write(terminal, b"\x04")
        with contextlib.suppress(OSError):  # the terminal is gone when the process is
            while os.read(terminal, 1 << 16):
                pass
        alive = False
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        if alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)
