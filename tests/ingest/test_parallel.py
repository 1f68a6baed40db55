"""Single pieces of work in processes of their own."""

from __future__ import annotations

import os
import threading
import time
from functools import partial

import pytest

from llmmon.errors import NO_CALLS, InputError
from llmmon.ingest.parallel import Child, WorkerDiedError, fork, spawn


def about_itself(text: str, *, times: int = 1) -> tuple[str, int, int]:
    return text * times, os.getpid(), os.nice(0)


def no_call() -> None:
    raise InputError("no LLM call found", hint="look elsewhere", code=NO_CALLS)


def one_that_dies() -> None:
    raise WorkerDiedError.of(9)


def prints_too() -> str:
    os.write(1, b"not the answer")
    return "the answer"


def test_a_spawned_child_is_another_process_of_low_priority() -> None:
    child = spawn(partial(about_itself, times=2), "ab")
    try:
        text, pid, nice = child.result()
    finally:
        child.end()
    assert (text, pid != os.getpid(), nice > os.nice(0)) == ("abab", True, True)


def test_what_a_spawned_child_prints_is_no_part_of_its_answer() -> None:
    child = spawn(prints_too)
    try:
        assert child.result() == "the answer"
    finally:
        child.end()


@pytest.mark.parametrize("start", [spawn, fork])
def test_what_a_child_raises_comes_with_its_code_and_hint(start: type[Child[None]]) -> None:
    child = start(no_call)
    try:
        with pytest.raises(InputError, match="no LLM call") as raised:
            child.result()
    finally:
        child.end()
    assert (raised.value.code, raised.value.hint) == (NO_CALLS, "look elsewhere")


def test_an_error_about_a_grandchild_comes_through() -> None:
    child = spawn(one_that_dies)
    try:
        with pytest.raises(WorkerDiedError, match=r"killed \(signal 9\)"):
            child.result()
    finally:
        child.end()


@pytest.mark.parametrize("start", [spawn, fork])
def test_a_child_can_be_killed_while_another_thread_waits_for_it(start: type[Child[None]]) -> None:
    child = start(partial(time.sleep, 60))
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            child.result()
        except InputError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not child.is_done
    child.kill()
    waiting.join(10)
    child.end()
    child.end()
    assert [type(error) for error in raised] == [WorkerDiedError]


def test_a_child_in_the_background_is_done_once_its_value_is_there() -> None:
    receive, send = os.pipe()
    child = fork(lambda: os.read(receive, 1), background=True)
    try:
        assert not child.is_done
        os.write(send, b"x")
        until = time.monotonic() + 10
        while not child.is_done and time.monotonic() < until:
            time.sleep(0.01)
        assert child.is_done
        assert child.result() == b"x"
    finally:
        child.end()
        os.close(receive)
        os.close(send)
