"""One run of another program: what it is given on standard input, and how long it may take."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Final

import msgspec

from llmmon.errors import DeliveryError

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_SHOWN: Final = 200  # characters of what it says went wrong


class Program(msgspec.Struct, frozen=True):
    """A program with its arguments, run without a shell."""

    argv: tuple[str, ...]
    stdin: bytes
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """The program's file name; its arguments may hold secrets."""
        return self.argv[0].rpartition("/")[2]


async def run_program(program: Program) -> None:
    """Run it to its end; raises `DeliveryError` with the first line of its standard error where it fails."""
    import asyncio
    import tempfile

    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:  # files: no pipe can fill up or hang
        given.write(program.stdin)
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *program.argv, stdin=given, stdout=asyncio.subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except (OSError, ValueError) as error:
            why = (getattr(error, "strerror", None) or "cannot be run").lower()
            raise DeliveryError(f"{program.name}: {why}", retryable=False) from None
        try:
            async with asyncio.timeout(program.timeout_s):
                code = await process.wait()
        except TimeoutError:
            raise DeliveryError(f"{program.name} did not end within {program.timeout_s:g} s") from None
        finally:
            await _end(process)
        if code != 0:
            raise DeliveryError(f"{program.name} {_outcome(code)}{_first_line(said)}")


async def _end(process: Process) -> None:
    """Stop a program that still runs, with all that it started."""
    if process.returncode is None:
        import signal

        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _outcome(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _first_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read(4096).decode("utf-8", "replace").strip().splitlines()
    return f": {lines[0].strip()[:_SHOWN]}" if lines else ""
