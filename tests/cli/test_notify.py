"""`llmmon notify`: what is configured, and a test alert that really goes out and closes again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.judge_server import Answer, judge_server

SECRET = "T0-s3cret"


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], None]:
    return lambda text: (tmp_path / "llmmon.toml").write_text(text) and None


def pager(url: str) -> str:
    return f'[notify.pager]\ntype = "pagerduty"\nrouting_key = "env:KEY"\nurl = "{url}/{SECRET}"\n'


def test_a_test_alert_is_sent_and_closed(run: Run, configured: Callable[[str], None]) -> None:
    with judge_server(lambda _number, _body: Answer(202)) as server:
        configured(pager(server.url))
        ran = run("notify", "test", "pager", env={"KEY": SECRET})
        bodies = [body for _, _, body in server.seen]
    assert 0 == ran.code, ran.stderr
    assert ["trigger", "resolve"] == [body["event_action"] for body in bodies]
    assert 1 == len({body["dedup_key"] for body in bodies})
    assert "TEST" in bodies[0]["payload"]["summary"]
    host = server.url.removesuffix("/v1")
    first, last = ran.stdout.splitlines()
    assert first.startswith(f"pager (pagerduty): test alert sent to {host} in ")
    assert last.startswith(f"pager (pagerduty): resolution sent to {host} in ")
    assert SECRET not in ran.stdout + ran.stderr


def test_it_can_be_left_open(run: Run, configured: Callable[[str], None]) -> None:
    with judge_server(lambda _number, _body: Answer(202)) as server:
        configured(pager(server.url))
        assert 0 == run("notify", "test", "pager", "--no-resolve", env={"KEY": SECRET}).code
        assert ["trigger"] == [body["event_action"] for _, _, body in server.seen]


def test_a_failure_is_exit_5_with_its_reason(run: Run, configured: Callable[[str], None]) -> None:
    with judge_server(lambda _number, _body: Answer(403)) as server:
        configured(pager(server.url))
        ran = run("notify", "test", "pager", env={"KEY": SECRET})
    assert 5 == ran.code
    assert f"the test alert was not sent: {server.url.removesuffix('/v1')} answered 403" in ran.stderr
    assert "try: " in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr


def test_a_secret_that_is_not_set_is_a_fault_of_the_configuration(run: Run, configured: Callable[[str], None]) -> None:
    configured(pager("http://127.0.0.1:1"))
    ran = run("notify", "test", "pager")
    assert 4 == ran.code
    assert "notify.pager.routing_key: the environment variable KEY is not set" in ran.stderr


def test_a_dry_run_shows_the_message_and_sends_nothing(run: Run, configured: Callable[[str], None]) -> None:
    configured(pager("http://127.0.0.1:1"))
    ran = run("notify", "test", "pager", "--dry-run")
    assert 0 == ran.code
    assert ran.stdout.startswith("POST http://127.0.0.1:1\n{")
    assert SECRET not in ran.stdout


def test_a_program_beside_the_configuration_is_found_from_anywhere(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    program = folder / "page"
    program.write_text('#!/bin/sh\ncat > "$(dirname "$0")/seen"\n')
    program.chmod(0o755)
    (folder / "llmmon.toml").write_text('[notify.run]\ntype = "command"\ncommand = ["./page"]\n')
    ran = run("notify", "test", "run", "--config", "etc/llmmon.toml")
    assert 0 == ran.code, ran.stderr
    assert '"status":"resolved"' in (folder / "seen").read_text()
