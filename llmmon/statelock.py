"""One evaluation of a state at a time: a lock beside the state file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmmon.errors import InputError, LlmmonError

_WAIT_S: Final = 5.0


class BusyError(LlmmonError):
    """Another evaluation of the same state is running."""

    exit_code = 0


@contextlib.contextmanager
def sole_evaluator(path: Path, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold the lock beside a state file, so that one evaluation runs at a time; a killed holder lets go of it.

    Raises `BusyError` where another does not end within `wait_s` seconds, `InputError` where there can be no lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError(f"state file {path}: {why}", hint="--state FILE names another") from None
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    raise BusyError(f"another evaluation of {path} is running; it will do this one's work") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)
