"""`llmmon sql` on the command line: which argument is the query, formats, stdin, and the prompt on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


class Terminal:
    """A program on a terminal: what is typed into it, what it shows."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a runner in the background ignores it
            os.chdir(folder)
            environment = {**clean_environment(folder), "TERM": "dumb", "COLUMNS": "80", "NO_COLOR": "1"}
            os.execve(arguments[0], arguments, environment)  # noqa: S606 - the product itself
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def shows(self, text: str, again: str = "") -> str:
        """What has been shown up to a text, which is waited for; `again` is typed until then."""
        until = time.monotonic() + 120
        while text not in self._shown:
            assert time.monotonic() < until, f"no {text!r} in {self._shown[-500:]!r}"
            if again:
                self.type(again)
                time.sleep(0.5)
            if select.select([self._terminal], [], [], 1)[0]:
                with contextlib.suppress(OSError):
                    self._shown += os.read(self._terminal, 65536).decode(errors="replace")
        shown, _, self._shown = self._shown.partition(text)
        return shown

    def ended(self) -> int:
        """The exit code."""
        until = time.monotonic() + 120
        while True:
            assert time.monotonic() < until, f"still runs: {self._shown[-500:]!r}"
            with contextlib.suppress(OSError):
                if select.select([self._terminal], [], [], 0.1)[0]:
                    os.read(self._terminal, 65536)
            done, status = os.waitpid(self._process, os.WNOHANG)
            if done:
                self._process = 0
                return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self._process:
            os.kill(self._process, 9)
            os.waitpid(self._process, 0)
        os.close(self._terminal)


@pytest.fixture
def prompt(log: str, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(llmmon_command("sql", log), tmp_path)
    yield terminal
    terminal.close()


def test_the_prompt_takes_statements_of_several_lines_until_it_is_left(prompt: Terminal, tmp_path: Path) -> None:
    prompt.shows("llmmon> ")
    prompt.type("select model, count(*) as calls\n")
    prompt.shows("   ...> ")
    prompt.type("from calls group by all order by all;\n")
    assert "a          2" in prompt.shows("llmmon> ")
    prompt.type("select modl from calls;\n")
    assert "did you mean 'model'?" in prompt.shows("llmmon> ")
    prompt.type("select 1 as\n")
    prompt.shows("   ...> ")
    prompt.type("\x03")
    prompt.shows("llmmon> ")
    prompt.type("select 41 + 1 as answer;\n")
    assert "42" in prompt.shows("llmmon> ")
    prompt.type("\x04")
    assert prompt.ended() == 0
    history = tmp_path / ".local" / "state" / "llmmon" / "sql_history"
    assert "select 41 + 1 as answer;" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_ends_a_statement_and_not_the_prompt(prompt: Terminal) -> None:
    prompt.shows("llmmon> ")
    prompt.type("select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3;\n")
    prompt.shows("= 3;")
    assert "interrupted" in prompt.shows("llmmon> ", again="\x03")
    prompt.type("quit\n")
    assert prompt.ended() == 0
