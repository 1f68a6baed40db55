"""Logs that are read twice: what comes only once is kept in between, readable by the user alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from llmmon.errors import InputError, reason_of
from llmmon.files import OPEN_FILES
from llmmon.ingest.packings import MAGIC_BYTES, packing_of, unpacked
from llmmon.ingest.query import Query, Read
from llmmon.ingest.scan import Scanned, place


class Rereadable(msgspec.Struct, frozen=True):
    """A query that can be read again and again; `names` maps the kept files to the names that were given."""

    query: Query
    names: Mapping[str, str]

    def named(self, found: Read) -> Read:
        """What was read, under the names that were given."""
        source = found.source
        files = tuple(map(self._name, source.files))
        rejects = tuple(msgspec.structs.replace(r, file=self._name(r.file)) for r in source.rejects)
        failed = tuple((self._name(path), why) for path, why in source.failed)
        report = msgspec.structs.replace(source, files=files, rejects=rejects, failed=failed)
        scanned = msgspec.structs.replace(found.scanned, report=report)
        return msgspec.structs.replace(found, source=report, scanned=scanned)

    def _name(self, path: str) -> str:
        return self.names.get(path, path)


@contextlib.contextmanager
def rereadable(query: Query, times: int = 2) -> Iterator[Rereadable]:
    """The query with each pipe among its logs copied to a temporary file (mode 0600) for as long as this lasts.

    Its progress counts `times` readings; no rejects are written, so that the caller chooses which reading does.
    """
    with contextlib.ExitStack() as stack:
        kept = {name: _kept(name, stack) for name in dict.fromkeys(query.logs) if comes_once(name)}
        names = {path: name for name, path in kept.items()}
        progress = query.progress
        again = Rereadable(
            msgspec.structs.replace(
                query,
                logs=tuple(kept.get(name, name) for name in query.logs),
                progress=None if progress is None else lambda done, total: progress(done, times * total),
                rejects=None,
                say=lambda text: query.say(_renamed(text, names)),
            ),
            names,
        )
        try:
            yield again
        except InputError as error:
            raise InputError(_renamed(str(error), names), hint=error.hint) from None


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """A message under the names that were given."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def comes_once(name: str) -> bool:
    """Whether a log is a pipe, whose content is gone once it is read."""
    if name == "-":
        return True
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _kept(name: str, stack: contextlib.ExitStack) -> str:
    """The path of a copy that goes with this process, even where it is killed; raises `InputError`."""
    try:
        nameless = Path(OPEN_FILES).exists()
        make = tempfile.TemporaryFile if nameless else tempfile.NamedTemporaryFile
        copy = stack.enter_context(make(prefix="llmmon-"))
        with _opened(name) as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
    except OSError as error:
        why = reason_of(error)
        raise InputError(f"{name}: cannot be kept to read it twice: {why}", hint="name files, or set TMPDIR") from None
    return f"{OPEN_FILES}/{copy.fileno()}" if nameless else str(copy.name)


def _opened(name: str) -> BinaryIO:
    return os.fdopen(os.dup(0), "rb") if name == "-" else Path(name).open("rb")


def lines_at(scanned: Scanned[Any], positions: Iterable[int]) -> dict[int, bytes]:
    """The lines of calls by their positions, read once more; those of pipes and other machines are left out."""
    wanted: dict[str, dict[int, int]] = {}
    for position in positions:
        path, line = place(position, scanned)
        if line is not None and Path(path).is_file():
            wanted.setdefault(path, {})[line] = position
    found: dict[int, bytes] = {}
    for path, lines in wanted.items():
        last = max(lines)
        with contextlib.suppress(OSError, EOFError, InputError):
            for number, text in enumerate(_lines(path), 1):
                if number in lines:
                    found[lines[number]] = text
                if number >= last:
                    break
    return found


def _lines(path: str) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        packed = packing_of(file.peek(MAGIC_BYTES)[:MAGIC_BYTES])
        if not packed:
            yield from file
            return
        rest = b""
        for block in unpacked(file, 1 << 20, path):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        yield rest
