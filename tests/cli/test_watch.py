"""`llmmon watch` on a real terminal: what is fed is shown, keys work, and the terminal is left as it was."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from llmmon.alerting.alert import Alert
from llmmon.alerting.rules import AlertSeverity
from llmmon.alerting.state import StateFile
from tests.conftest import Run, clean_environment, llmmon_command

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PATIENCE_S: Final = 20


def call(number: int, ago_s: float = 0.0, **more: Any) -> str:
    stamp = datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat()
    return json.dumps({"timestamp": stamp, "request_id": f"r{number}", "model": "gpt-4o", "latency_ms": 100.0, **more})


def feed(log: Path, numbers: Iterable[int], ago_s: float = 0.0, **more: Any) -> None:
    with log.open("a") as file:
        file.writelines(call(number, ago_s, **more) + "\n" for number in numbers)


class Terminal:
    """llmmon in a terminal of its own."""

    def __init__(self, folder: Path, *args: str, columns: int = 80, lines: int = 24) -> None:
        self.output = ""
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(slave)

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            llmmon_command("watch", *args, "--interval", "0.2s"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**clean_environment(folder), "TERM": "xterm-256color"},
            preexec_fn=own_terminal,  # noqa: PLW1509 - no threads here
        )
        self.slave = slave

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def _read(self, timeout_s: float) -> None:
        while select.select([self.master], [], [], timeout_s)[0]:
            with contextlib.suppress(OSError):
                if data := os.read(self.master, 65536):
                    self.output += data.decode("utf-8", "replace")
                    timeout_s = 0
                    continue
            return

    @property
    def screen(self) -> str:
        """The last frame that is complete, without its codes."""
        frames = self.output.split("\x1b[?2026h")[1:]
        whole = [one.split("\x1b[?2026l")[0] for one in frames if "\x1b[?2026l" in one]
        return _CODES.sub("", whole[-1]).replace("\r", "") if whole else ""

    def wait_for(self, pattern: str) -> str:
        """The screen once something stands on it."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self._read(0.05)
            if re.search(pattern, self.screen):
                return self.screen
        raise AssertionError(f"{pattern!r} never came:\n{self.screen}\n---\n{self.output[-500:]!r}")

    def end(self) -> int:
        """The exit code, once it has ended."""
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < until:
            self._read(0.05)
        self._read(0.05)
        return self.process.wait(1)

    def is_restored(self) -> bool:
        """Whether the main screen, the cursor and the modes are back."""
        last = self.output.rfind
        return last(LEAVE) > last(ENTER) and last("\x1b[?25h") > last("\x1b[?25l") and self._modes() == self.modes[:4]

    def _modes(self) -> list[Any]:
        return termios.tcgetattr(self.slave)[:4]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.jsonl"


def test_what_is_fed_is_shown_through_a_rotation_until_q_is_pressed(log: Path, terminals: list[Terminal]) -> None:
    feed(log, range(5))
    terminals.append(terminal := Terminal(log.parent, "app.jsonl"))
    assert "gpt-4o" in terminal.wait_for(r"requests 5 \(")
    feed(log, range(5, 8), error_type="timeout", success=False)
    log.rename(log.with_name("app.jsonl.1"))
    feed(log, range(8, 10), user="ann")
    screen = terminal.wait_for(r"requests 10 \(")
    assert "errors 3 (30.0 %)" in screen
    assert "timeout 3 (100.0 %)" in screen
    assert "10 lines read" in screen
    terminal.press("g")
    assert "ann" in terminal.wait_for("by user")
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.is_restored()


def test_keys_change_window_sorting_and_pause(log: Path, terminals: list[Terminal]) -> None:
    feed(log, range(4), ago_s=400)
    feed(log, [9])
    terminals.append(terminal := Terminal(log.parent, "app.jsonl", "--window", "5m"))
    terminal.wait_for(r"requests 1 \(")
    terminal.press("+")
    assert "last 15m" in terminal.wait_for(r"requests 5 \(")
    terminal.press("-")
    terminal.wait_for(r"requests 1 \(")
    terminal.press("p")
    terminal.wait_for("PAUSED")
    feed(log, [10])
    time.sleep(0.6)
    terminal.press("?")
    assert "requests 1 (" in terminal.wait_for("this help")
    terminal.press("?p")
    terminal.wait_for(r"requests 2 \(")
    terminal.press("q")
    assert terminal.end() == 0


def test_groups_are_filtered_opened_and_left_and_errors_fill_the_screen(log: Path, terminals: list[Terminal]) -> None:
    feed(log, range(5))
    feed(log, range(5, 7), model="claude-haiku", success=False, status_code=529, error_message="we are overloaded")
    terminals.append(terminal := Terminal(log.parent, "app.jsonl", columns=120, lines=40))
    assert re.search(r"529 \S+ +we are overloaded +app.jsonl:7", terminal.wait_for(r"requests 7 \("))
    terminal.press("/haiku\r")
    assert "gpt-4o" not in terminal.wait_for("filter: haiku   / changes it")
    terminal.press("\r")
    assert "claude-haiku" in terminal.wait_for(r"requests 2 \(").split("\n")[0]
    terminal.press("\x7f")
    terminal.wait_for(r"requests 7 \(")
    terminal.press("e")
    assert "requests/min" not in terminal.wait_for("Esc back")
    terminal.press("e\x7f")
    terminal.wait_for("g group")
    terminal.press("\x1b[B\x1b[B")
    terminal.wait_for("\n>claude-haiku")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_terminal_as_it_was(
    log: Path, terminals: list[Terminal], number: signal.Signals, code: int
) -> None:
    feed(log, range(3))
    terminals.append(terminal := Terminal(log.parent, "app.jsonl"))
    terminal.wait_for(r"requests 3 \(")
    terminal.process.send_signal(number)
    assert terminal.end() == code
    assert terminal.is_restored()
    assert "Traceback" not in terminal.output


def test_a_log_that_is_absent_appears_later(log: Path, terminals: list[Terminal]) -> None:
    terminals.append(terminal := Terminal(log.parent, "app.jsonl"))
    terminal.wait_for("no log yet")
    log.touch()
    terminal.wait_for("no calls yet")
    feed(log, range(2))
    terminal.wait_for(r"requests 2 \(")


def test_a_line_that_is_half_written_waits(log: Path, terminals: list[Terminal]) -> None:
    text = call(1)
    log.write_text(text[:30])
    terminals.append(terminal := Terminal(log.parent, "app.jsonl"))
    terminal.wait_for("30 bytes without a newline yet")
    with log.open("a") as file:
        file.write(text[30:] + "\n")
    assert "unreadable" not in terminal.wait_for("1 line read")


def test_another_size_of_the_terminal_is_used(log: Path, terminals: list[Terminal]) -> None:
    feed(log, range(3), completion_tokens=5, prompt_tokens=9)
    terminals.append(terminal := Terminal(log.parent, "app.jsonl"))
    assert "tokens out" not in terminal.wait_for(r"requests 3 \(")
    terminal.resize(160, 45)
    assert len(terminal.wait_for("tokens out").split("\n")) == 45


def test_open_alerts_of_check_are_shown(log: Path, terminals: list[Terminal]) -> None:
    feed(log, range(3))
    state = log.with_name("state.db")
    now_us = time.time_ns() // 1000
    alert = Alert("a1", "slow answers", "p95 is 9 s", AlertSeverity.CRITICAL, "latency_ms", 9.0, 5.0, fired_us=now_us)
    with StateFile(state) as file:
        file.save_alerts({}, {"a1": alert})
    terminals.append(terminal := Terminal(log.parent, "app.jsonl", "--state", "state.db"))
    assert "critical slow answers (firing for" in terminal.wait_for("alerts     critical")


def test_where_stdout_is_no_terminal_lines_are_printed(log: Path, run: Run) -> None:
    feed(log, range(6), error_type="timeout", success=False)
    done = run("watch", "app.jsonl", "--count", "2", "--interval", "0.1s")
    assert done.code == 0
    first, second = done.stdout.splitlines()
    assert "requests=6" in first
    assert "errors=100.0%" in first
    assert "new=0" in second
    assert "\x1b" not in done.stdout


def test_a_log_that_is_not_there_is_said(run: Run) -> None:
    done = run("watch", "nothing.jsonl", "--count", "1")
    assert done.code == 0
    assert "waiting for nothing.jsonl" in done.stderr


def test_as_json_lines(log: Path, run: Run) -> None:
    feed(log, range(6))
    done = run("watch", "app.jsonl", "--count", "1", "-f", "jsonl")
    row = json.loads(done.stdout)
    assert row["totals"]["request_count"] == 6
    assert row["groups"][0]["key"] == {"model": "gpt-4o"}


def test_a_reader_that_leaves_ends_it_quietly(log: Path) -> None:
    feed(log, range(3))
    command = llmmon_command("watch", "app.jsonl", "--interval", "0.1s")
    process = subprocess.Popen(
        command, cwd=log.parent, env=clean_environment(log.parent), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"requests=3" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_an_old_log_is_replayed_with_now_log(log: Path, run: Run) -> None:
    feed(log, range(7), ago_s=90 * 86400)
    done = run("watch", "app.jsonl", "--count", "1", "--now", "log", "-f", "jsonl")
    assert json.loads(done.stdout)["totals"]["request_count"] == 7
    wall = run("watch", "app.jsonl", "--count", "1", "-f", "jsonl")
    assert json.loads(wall.stdout)["totals"]["request_count"] == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "2h"],
        ["--window", "3d"],
        ["--sort", "nonsense"],
        ["--interval", "0s"],
        ["-f", "csv"],
        ["--by", "modle"],
        ["--rejects", "r.txt"],
    ],
)
def test_options_that_make_no_sense_are_told(log: Path, run: Run, options: list[str]) -> None:
    feed(log, range(2))
    done = run("watch", "app.jsonl", "--count", "1", *options)
    assert done.code == 2
    assert done.stderr.startswith("llmmon: ") or "Usage" in done.stderr


def test_a_stream_is_refused_with_another_way(run: Run) -> None:
    done = run("watch", "-", "--count", "1")
    assert done.code == 2
    assert "tee" in done.stderr
