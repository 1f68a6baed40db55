"""The process of a run: standard streams that are there, and signals that end it in order and without a word."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any, Final, NoReturn

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_AGAIN_S: Final = 0.001
_received: list[int] = []


def prepare() -> None:
    """Make the process fit for a run; signals that whoever started it wants ignored stay so."""
    _received.clear()
    _open_streams()
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _ended)
    sys.unraisablehook = _unraisable


def ended_by_signal() -> int | None:
    """The exit code where a signal has ended the run, None where none came."""
    return 128 + _received[0] if _received else None


def finish() -> None:
    """From here on a signal ends the process as it would any other: there is nothing left to be put in order."""
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) == _ended:
            signal.signal(number, signal.SIG_DFL)


def _open_streams() -> None:
    """Standard streams that are closed lead nowhere, so that no file that is opened takes their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the first number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _ended(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _unraisable(found: Any) -> None:
    """A signal that came while an object was let go of would be lost here: it comes once more, a moment later."""
    if isinstance(found.exc_value, KeyboardInterrupt | SystemExit) and _received:
        signal.signal(signal.SIGALRM, lambda *_: _ended(_received[0], None))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
    elif "LLMMON_DEBUG" in os.environ:
        sys.__unraisablehook__(found)
