"""`--rejects`: the lines that could not be read, as they were, in the order of the logs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from llmmon.errors import InputError


class Kept(NamedTuple):
    """Where a span's rejected lines were put: a worker's part, and the bytes of it."""

    part: str
    start: int
    end: int


class RejectsFile:
    """Written in parts, one a worker process, which are then put together; the file appears whole or not at all.

    Raises `InputError` where the file cannot be written, before anything is read.
    """

    def __init__(self, path: Path) -> None:
        import tempfile  # most runs keep no rejects

        self._path = path
        self._owner = os.getpid()
        self._open: dict[int, BinaryIO] = {}
        try:
            self._folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        except OSError as error:
            raise self._failed(error) from None
        self._whole = self._folder / "whole"

    def start(self) -> int:
        """Where the next line will be put in this process's part."""
        return self._part().tell()

    def add(self, line: bytes) -> None:
        """Keep a line, which may lack its newline."""
        self._part().write(line if line.endswith(b"\n") else line + b"\n")

    def kept(self, start: int) -> Kept:
        """What this process has kept since `start`."""
        part = self._part()
        part.flush()
        return Kept(str(os.getpid()), start, part.tell())

    def collect(self, pieces: Iterable[Kept]) -> None:
        """Put the pieces, in the order given, behind what was collected before; raises `InputError`."""
        try:
            with self._whole.open("ab") as out:
                for piece in pieces:
                    self._copy(piece, out)
        except OSError as error:
            raise self._failed(error) from None

    def finish(self) -> None:
        """Let the file appear; raises `InputError`."""
        try:
            self._whole.touch()
            self._whole.replace(self._path)
        except OSError as error:
            raise self._failed(error) from None

    def discard(self) -> None:
        """Remove the parts; in a worker, nothing."""
        if os.getpid() == self._owner:
            for part in self._open.values():
                part.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self) -> BinaryIO:
        process = os.getpid()
        if process not in self._open:
            self._open[process] = (self._folder / str(process)).open("wb")
        return self._open[process]

    def _copy(self, piece: Kept, out: BinaryIO) -> None:
        with (self._folder / piece.part).open("rb") as part:
            part.seek(piece.start)
            left = piece.end - piece.start
            while left and (block := part.read(min(left, 1 << 20))):
                out.write(block)
                left -= len(block)

    def _failed(self, error: OSError) -> InputError:
        return InputError(f"cannot write {self._path}: {(error.strerror or str(error)).lower()}")


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
