"""Every error that llmmon raises on purpose, each with its exit code and the next step.

LlmmonError
├── UsageError       2   an option, field or extra that does not exist
├── InputError       3   a log that cannot be read, or holds no usable row
├── ConfigError      4   a configuration that cannot be used
└── DeliveryError    5   a notification that could not be delivered (queued)
"""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0
EXIT_FOUND: Final = 1  # a --fail-on condition was met
EXIT_USAGE: Final = 2
EXIT_INPUT: Final = 3
EXIT_CONFIG: Final = 4
EXIT_DELIVERY: Final = 5
EXIT_BUSY: Final = 75  # another run holds the state; try again (EX_TEMPFAIL of sysexits.h)
EXIT_INTERRUPTED: Final = 130

# Several may apply to one run: the first of these is the exit code.
EXIT_PRECEDENCE: Final = (EXIT_CONFIG, EXIT_USAGE, EXIT_INPUT, EXIT_DELIVERY, EXIT_FOUND, EXIT_OK)


class LlmmonError(Exception):
    """An error to show as one message; `hint` is the next step."""

    exit_code: ClassVar[int] = EXIT_USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LlmmonError):
    """The command line asks for something that does not exist."""

    exit_code = EXIT_USAGE


NO_LOGS: Final = "no_logs"  # an `InputError.code`: there is no log to read
NO_CALLS: Final = "no_calls"  # the logs can be read and hold no call


class InputError(LlmmonError):
    """A log cannot be read, or no log has a usable row; `code` names the case for programs that need it."""

    exit_code = EXIT_INPUT

    def __init__(self, message: str, *, hint: str | None = None, code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ConfigError(LlmmonError):
    """The configuration cannot be used."""

    exit_code = EXIT_CONFIG


class DeliveryError(LlmmonError):
    """A message could not be delivered; `retryable` is whether trying again may help."""

    exit_code = EXIT_DELIVERY

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


def missing_extra(extra: str, needed_for: str) -> UsageError:
    """The error for an optional dependency that is not installed, with the line that installs it."""
    return UsageError(f"{needed_for} needs the extra '{extra}'", hint=f"pip install 'llmmon[{extra}]'")


def first_exit_code(codes: set[int]) -> int:
    """The exit code of a run to which several apply."""
    return next(code for code in EXIT_PRECEDENCE if code in codes or code == EXIT_OK)


def reason_of(error: BaseException) -> str:
    """Why something failed, in the words of the system and without a path: `permission denied`."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
