"""Where logs come from: paths, globs, folders, compressed files and stdin -> files, spans, chunks of bytes."""

from __future__ import annotations

import glob
import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from llmmon.errors import InputError

CHUNK_BYTES: Final = 256 << 10  # fits the level-2 cache, which matters more than anything else here
SPAN_BYTES: Final = 8 << 20
HEAD_BYTES: Final = 256 << 10
LONGEST_LINE: Final = 256 << 20  # bytes; a longer line is rejected
_LOG_ENDINGS: Final = (".jsonl", ".ndjson", ".json", ".log", ".csv")
_OWN_FILES: Final = frozenset({"labels.toml", "llmmon.toml"})
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Source(msgspec.Struct, frozen=True):
    """One log: its path ("-" for stdin), its size in bytes as stored, and how it is compressed."""

    path: str
    size: int
    compression: str = ""  # "", "gzip", "zstd"
    seekable: bool = True

    @property
    def splittable(self) -> bool:
        """Whether it can be read from the middle."""
        return self.seekable and not self.compression


class Span(msgspec.Struct, frozen=True):
    """A piece of a source: the lines that start in [start, end); what one worker reads at a time."""

    source: int
    number: int
    start: int
    end: int | None  # None: to the end


class Found(msgspec.Struct, frozen=True):
    """The logs that were named, with what was passed over (path -> why) and what could not be read."""

    sources: tuple[Source, ...]
    ignored: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


def find(names: Sequence[str]) -> Found:
    """The logs behind paths, globs, folders and "-"; a log that is reached twice is taken once."""
    paths: list[str] = []
    ignored: list[str] = []
    unreadable: list[tuple[str, str]] = []
    for name in names:
        _expand(name, paths, ignored, unreadable)
    sources: list[Source] = []
    repeated: list[str] = []
    seen: dict[Any, str] = {}
    for path in paths:
        try:
            source = _open_source(path)
        except OSError as error:
            unreadable.append((path, _reason(error)))
            continue
        key = _identity(source)
        if key in seen:
            repeated.append(path)
        else:
            seen[key] = path
            sources.append(source)
    kept, copies = _without_copies(sources)
    return Found(kept, tuple(ignored), (*repeated, *copies), tuple(unreadable))


def _expand(name: str, paths: list[str], ignored: list[str], unreadable: list[tuple[str, str]]) -> None:
    if name == "-":
        paths.append(name)
    elif os.path.isdir(name):
        for folder, below, files in os.walk(name):
            below.sort()
            for file in sorted(files):
                path = os.path.join(folder, file)
                if file not in _OWN_FILES:
                    (paths if is_log(file) else ignored).append(path)
    elif any(sign in name for sign in "*?[") and not os.path.lexists(name):
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            unreadable.append((name, "nothing matches"))
        for path in found:
            if os.path.isdir(path):
                _expand(path, paths, ignored, unreadable)
            else:
                paths.append(path)
    else:
        paths.append(name)


def is_log(name: str) -> bool:
    """Whether a file in a folder is taken for a log: `.jsonl` and its like, rotated (`.1`) or compressed."""
    base = name.lower()
    for ending in (".gz", ".zst"):
        base = base.removesuffix(ending)
    stem, dot, last = base.rpartition(".")
    if dot and last.isdigit():
        base = stem
    return base.endswith(_LOG_ENDINGS)


def _open_source(path: str) -> Source:
    if path == "-":
        return Source("-", 0, seekable=False)
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    regular = stat.S_ISREG(status.st_mode)
    if not regular:
        return Source(path, 0, seekable=False)
    with open(path, "rb") as file:
        magic = file.read(4)
    compression = "gzip" if magic[:2] == _GZIP else "zstd" if magic == _ZSTD else ""
    return Source(path, status.st_size, compression)


def _identity(source: Source) -> Any:
    if source.path == "-":
        return "-"
    status = os.stat(source.path)
    return (status.st_dev, status.st_ino)


def _without_copies(sources: Sequence[Source]) -> tuple[tuple[Source, ...], list[str]]:
    """Leave out files with the content of an earlier one, such as `app.log.1` beside `app.log.1.gz`."""
    by_size: dict[int, list[Source]] = {}
    kept, copies = [], []
    for source in sources:
        size = _content_size(source)
        twins = by_size.setdefault(size, []) if size is not None else []
        if size and any(_same_content(source, twin) for twin in twins):
            copies.append(source.path)
        else:
            twins.append(source)
            kept.append(source)
    return tuple(kept), copies


def _content_size(source: Source) -> int | None:
    """Size when decompressed (modulo 2**32 as gzip has it), None where only reading would tell."""
    if not source.seekable:
        return None
    if source.compression == "gzip":
        with open(source.path, "rb") as file:
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
    if source.compression == "zstd":
        import zstandard

        with open(source.path, "rb") as file:
            size = zstandard.get_frame_parameters(file.read(18)).content_size
        return None if size in (0, zstandard.CONTENTSIZE_UNKNOWN) else size % (1 << 32)
    return source.size % (1 << 32)


def _same_content(one: Source, other: Source) -> bool:
    try:
        return head(one) == head(other) and _checksum(one) == _checksum(other)
    except (OSError, EOFError, zlib.error):
        return False


def _checksum(source: Source) -> int:
    value = 0
    for chunk in _blocks(source, 0):
        value = zlib.crc32(chunk, value)
    return value


def head(source: Source, size: int = HEAD_BYTES) -> bytes:
    """The first whole lines of a source, decompressed; raises `OSError`. Not for stdin."""
    taken = bytearray()
    for block in _blocks(source, 0):
        taken += block
        if len(taken) >= size:
            cut = taken.rfind(b"\n", 0, size) + 1
            return bytes(taken[: cut or size])
    return bytes(taken)


def _blocks(source: Source, start: int) -> Iterator[bytes]:
    """Decompressed bytes as they come, from an offset (of plain files)."""
    with _opened(source) as file:
        if start:
            file.seek(start)
        while block := file.read(CHUNK_BYTES):
            yield block


def _opened(source: Source) -> BinaryIO:
    if source.path == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    if source.compression == "gzip":
        return gzip.open(source.path, "rb")  # type: ignore[return-value]
    if source.compression == "zstd":
        import zstandard

        raw = open(source.path, "rb")  # noqa: SIM115 - the reader closes it
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True)
    return open(source.path, "rb")


class Stream:
    """Whole lines of a source that can only be read once, forwards: stdin, or a compressed file."""

    def __init__(self, source: Source) -> None:
        self._blocks = _blocks(source, 0)
        self._pending = b""
        self._ended = False

    def peek(self) -> bytes:
        """The first whole lines, which the chunks will still contain."""
        while len(self._pending) < HEAD_BYTES and self._fill():
            pass
        cut = self._pending.rfind(b"\n") + 1
        return self._pending if self._ended or not cut else self._pending[:cut]

    def _fill(self) -> bool:
        block = next(self._blocks, b"")
        self._ended = not block
        self._pending += block
        return bool(block)

    def chunks(self) -> Iterator[bytes]:
        """Chunks of whole lines; the last line may lack its newline."""
        while not self._ended or self._pending:
            cut = self._pending.rfind(b"\n", 0, CHUNK_BYTES) + 1
            if not cut:
                cut = self._pending.find(b"\n") + 1
            if not cut and not self._ended and len(self._pending) <= LONGEST_LINE:
                self._fill()
                continue
            cut = cut or len(self._pending)
            yield self._pending[:cut]
            self._pending = self._pending[cut:]


def spans_of(number: int, source: Source, start: int = 0, end: int | None = None, first: int = 0) -> list[Span]:
    """The spans of a source (or of its bytes from `start` to `end`), numbered on from `first`."""
    if not source.splittable:
        return [Span(number, first, 0, None)]
    stop = source.size if end is None else min(end, source.size)
    edges = [*range(start, stop, SPAN_BYTES), stop]
    return [Span(number, first + i, a, b) for i, (a, b) in enumerate(pairwise(edges))]


class SpanBytes:
    """Chunks of whole lines of plain files, through one buffer that each chunk overwrites."""

    def __init__(self) -> None:
        self._buffer = bytearray(CHUNK_BYTES)
        self._view = memoryview(self._buffer)
        self._files: dict[str, int] = {}

    def chunks(self, source: Source, span: Span) -> Iterator[memoryview]:
        """The lines that start within the span; raises `OSError`."""
        fd = self._fd(source.path)
        end = source.size if span.end is None else span.end
        at = _line_start(fd, span.start)
        stop = _line_start(fd, end) if end < source.size else source.size
        while at < stop:
            read = self._read(fd, at, min(len(self._buffer), stop - at))
            if not read:
                return
            whole = read if at + read >= stop else self._buffer.rfind(b"\n", 0, read) + 1
            if not whole:
                self._grow()
                continue
            yield self._view[:whole]
            at += whole

    def _read(self, fd: int, at: int, size: int) -> int:
        return os.preadv(fd, [self._view[:size]], at)

    def _grow(self) -> None:
        """Make room for a line that is longer than the buffer."""
        if len(self._buffer) > LONGEST_LINE:
            raise InputError(f"a line is longer than {LONGEST_LINE >> 20} MB", hint="is this a log of JSON lines?")
        self._view.release()
        self._buffer = bytearray(2 * len(self._buffer))
        self._view = memoryview(self._buffer)

    def _fd(self, path: str) -> int:
        if path not in self._files:
            self.close()
            self._files[path] = os.open(path, os.O_RDONLY)
        return self._files[path]

    def close(self) -> None:
        """Close what is open."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()


def _line_start(fd: int, at: int) -> int:
    """The first offset at or after `at` where a line starts."""
    if at == 0:
        return 0
    at -= 1
    while block := os.pread(fd, 1 << 16, at):
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        at += len(block)
    return at


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def newest_change(sources: Sequence[Source]) -> float | None:
    """When the newest of the files was last written to, epoch seconds."""
    times = [Path(source.path).stat().st_mtime for source in sources if source.seekable]
    return max(times, default=None)
