"""Programs that are run: what they read, and each way in which they fail."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from llmmon.alerting.senders import Program, run_program
from llmmon.errors import DeliveryError


def ran(*argv: str, stdin: bytes = b"{}", timeout_s: float = 5.0) -> None:
    asyncio.run(run_program(Program(argv, stdin, timeout_s)))


def test_it_reads_all_of_its_standard_input(tmp_path: Path) -> None:
    data = b"x" * 3_000_000
    ran("sh", "-c", 'cat > "$0"', str(tmp_path / "seen"), stdin=data)
    assert data == (tmp_path / "seen").read_bytes()


def test_no_shell_looks_at_the_arguments(tmp_path: Path) -> None:
    ran("touch", str(tmp_path / "$(id); x"))
    assert ["$(id); x"] == [path.name for path in tmp_path.iterdir()]


def test_one_that_reads_nothing_is_fine() -> None:
    ran("true", stdin=b"x" * 1_000_000)


def test_a_failure_gives_the_first_line_it_said() -> None:
    with pytest.raises(DeliveryError, match=r"^sh ended with exit code 3: no modem$") as caught:
        ran("sh", "-c", "echo no modem >&2; echo more >&2; exit 3", "s3cret")
    assert caught.value.retryable


def test_one_that_was_killed_says_by_which_signal() -> None:
    with pytest.raises(DeliveryError, match="was ended by signal 9"):
        ran("sh", "-c", "kill -9 $$")


@pytest.mark.parametrize("name", ["./no-such-program", "no-such-program-anywhere", "/etc/passwd"])
def test_one_that_cannot_be_run_is_no_use_trying_again(name: str) -> None:
    with pytest.raises(DeliveryError, match=r"no such file|permission denied") as caught:
        ran(name)
    assert not caught.value.retryable


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DeliveryError, match=r"did not finish within 0\.3 s"):
        ran("sh", "-c", '(sleep 1; touch "$0") & sleep 30', str(tmp_path / "alive"), timeout_s=0.3)
    assert time.monotonic() - started < 25
    time.sleep(1.0)
    assert not (tmp_path / "alive").exists()


def test_what_it_leaves_running_holds_nobody_up() -> None:
    started = time.monotonic()
    ran("sh", "-c", "sleep 20 & exit 0")
    assert time.monotonic() - started < 15
