"""The terminal as a screen: drawn in place, keys read one by one, and left as it was found however it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, Self

_ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the alternate screen, no cursor
_LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h\x1b[H", "\x1b[J\x1b[?2026l"  # one update, drawn at once by terminals that know it
_TERMINATED: Final = 128 + signal.SIGTERM


class LiveScreen:
    """A context in which the terminal on stdout is ours; SIGTERM and SIGHUP end it as an exit, Ctrl-Z suspends it."""

    def __init__(self) -> None:
        self._keys = -1
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._drawn: tuple[Any, ...] = ()  # size and lines

    def __enter__(self) -> Self:
        # keys come from the terminal even where stdin is something else
        self._keys = os.open("/dev/tty", os.O_RDONLY | os.O_NONBLOCK) if not sys.stdin.isatty() else os.dup(0)
        self._handlers = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGHUP)}
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._suspend)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._keys)

    def _take(self) -> None:
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        self._drawn = ()
        self._write(_ENTER)

    def _give_back(self) -> None:
        self._write(_LEAVE)
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSAFLUSH, self._before)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here until it is continued
        signal.signal(signal.SIGTSTP, self._suspend)
        self._take()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Show lines from the top, in one write."""
        if (self.size, *lines) != self._drawn:
            self._drawn = (self.size, *lines)
            self._write(_BEGIN + "\x1b[K\r\n".join(lines) + "\x1b[K" + _END)

    def keys(self, timeout_s: float) -> str:
        """The keys that were pressed, after at most `timeout_s`."""
        if not select.select([self._keys], [], [], max(0.0, timeout_s))[0]:
            return ""
        try:
            pressed = os.read(self._keys, 64)
        except BlockingIOError:
            return ""
        if not pressed:
            raise SystemExit(0)  # the terminal is gone
        return pressed.decode("utf-8", "replace")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            data = text.encode("utf-8", "replace")
            while data:
                data = data[os.write(sys.stdout.fileno(), data) :]


def _ended(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(_TERMINATED if number == signal.SIGTERM else 128 + number)
