"""Work in a forked process beside this one, whose result is fetched when it is there."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")
_PIECE = 1 << 20


class Background(Generic[Result]):
    """A function that runs in a child process; what it returns must pickle, what it raises is dropped."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._taken = bytearray()
        self._pipe, into = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _run(work, into)
        os.close(into)
        os.set_blocking(self._pipe, False)

    def poll(self) -> tuple[Result] | tuple[()] | None:
        """The result once it is there, () if there will be none, None while the work goes on."""
        while select.select([self._pipe], [], [], 0)[0]:
            piece = os.read(self._pipe, _PIECE)
            if not piece:
                self.close()
                return _unpickled(bytes(self._taken))
            self._taken += piece
        return None

    def close(self) -> None:
        """End it, if it still runs."""
        if self._pid:
            os.close(self._pipe)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


def _run(work: Callable[[], object], into: int) -> None:
    """What the child does; it never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGWINCH, signal.SIGTSTP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
        os.nice(10)
        with os.fdopen(into, "wb") as out:
            pickle.dump(work(), out)
    finally:
        os._exit(0)


def _unpickled(data: bytes) -> tuple[Result] | tuple[()]:
    try:
        return (pickle.loads(data),)  # noqa: S301 - our own child wrote it
    except (EOFError, pickle.UnpicklingError):
        return ()
