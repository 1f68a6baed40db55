"""Commands: a program that is run without a shell, with the alerts as JSON on its standard input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from llmmon.alerting.notifiers.channel import Notification, Notifier, Setting
from llmmon.alerting.notifiers.document import document
from llmmon.alerting.senders import Outgoing, Program
from llmmon.text.times import SECOND_US, duration_us

TIMEOUT: Final = "10s"


class CommandNotifier(Notifier):
    """Runs `argv`, a list; exit code 0 means delivered."""

    SETTINGS: ClassVar[Mapping[str, Setting]] = {
        "command": Setting("argv", required=True),
        "timeout": Setting("duration", default=TIMEOUT),
    }
    acknowledges: ClassVar[bool] = True

    def __init__(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> None:
        self.argv = tuple(argv)
        self.timeout_s = timeout_s

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a channel's settings."""
        return cls(settings["command"], timeout_s=duration_us(settings.get("timeout", TIMEOUT)) / SECOND_US)

    def messages(self, notifications: Sequence[Notification]) -> list[Outgoing]:
        """One run of the program for all."""
        if not notifications:
            return []
        program = Program(self.argv, document(notifications), self.timeout_s)
        return [Outgoing(program, tuple(range(len(notifications))))]
