"""`--rejects`: the lines that could not be read, as they were, in the order of the logs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from llmmon.files import appearing, cannot_write

Kept = tuple[tuple[int, int], ...]  # where a span's rejected lines were put: first byte and end of each piece
_AT_ONCE: Final = 1 << 20


class RejectsFile:
    """All workers add to one file without a name, which is then put in order; the result appears whole or not at all.

    Raises `InputError` where the file cannot be written, the first time before anything is read.
    """

    def __init__(self, path: Path) -> None:
        import tempfile  # most runs keep no rejects

        self._path = path
        self._waiting = bytearray()
        self._pieces: list[tuple[int, int]] = []  # of this process's present span
        self._order: list[tuple[int, int]] = []
        with self._writing():
            self._all: BinaryIO = tempfile.TemporaryFile(dir=path.parent, buffering=0)  # noqa: SIM115 - until discarded

    def start(self) -> int:
        """Begin a span."""
        self._waiting.clear()
        self._pieces = []
        return 0

    def add(self, line: bytes) -> None:
        """Keep a line, which may lack its newline."""
        self._waiting += line if line.endswith(b"\n") else line + b"\n"
        if len(self._waiting) > _AT_ONCE:
            self._put()

    def kept(self, _start: int) -> Kept:
        """What was kept of the span."""
        self._put()
        return tuple(self._pieces)

    def _put(self) -> None:
        """Write what waits, behind what this and the other workers have written."""
        if not self._waiting:
            return
        with self._writing():
            fcntl.lockf(self._all, fcntl.LOCK_EX)
            try:
                start = self._all.seek(0, os.SEEK_END)
                left = memoryview(bytes(self._waiting))
                while left:
                    left = left[self._all.write(left) :]
            finally:
                fcntl.lockf(self._all, fcntl.LOCK_UN)
        self._pieces.append((start, start + len(self._waiting)))
        self._waiting.clear()

    def collect(self, spans: Iterable[Kept]) -> None:
        """Take what was kept of spans, in the order given, behind what was collected before."""
        self._order += [piece for span in spans for piece in span]

    def finish(self) -> None:
        """Make the file appear, in the order of the logs."""
        with self._writing(), appearing(self._path, mode=0o600) as out:
            for start, end in self._order:
                for at in range(start, end, _AT_ONCE):
                    out.write(os.pread(self._all.fileno(), min(_AT_ONCE, end - at), at))

    def discard(self) -> None:
        """Drop what was kept."""
        self._all.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path, error) from None


@contextmanager
def keep_rejects(path: Path | None) -> Iterator[RejectsFile | None]:
    """The file to keep rejected lines in, None without a path; it appears when all went well."""
    if path is None:
        yield None
        return
    rejects = RejectsFile(path)
    try:
        yield rejects
        rejects.finish()
    finally:
        rejects.discard()
