"""The bytes of a span: lines in chunks, or anything in pieces, of plain logs on this machine or elsewhere."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from llmmon.formats.accounting import LONGEST_LINE, LONGEST_UNPACKED, LongLine
from llmmon.ingest import remote
from llmmon.ingest.packings import unpacked

CHUNK_BYTES: Final = 256 << 10
SPAN_BYTES: Final = 16 << 20
HEAD_BYTES: Final = 256 << 10


class Source(msgspec.Struct, frozen=True):
    """One log: its path or URL ("-" for stdin), its size in bytes as stored, and how its content is packed."""

    path: str
    size: int
    packing: str = ""  # of `packings`: compressed, or not in UTF-8
    seekable: bool = True

    @property
    def splittable(self) -> bool:
        """Whether it can be read from the middle."""
        return self.seekable and not self.packing


class Span(msgspec.Struct, frozen=True):
    """A piece of a source: the lines that start in [start, end); what one worker reads at a time."""

    source: int
    number: int
    start: int
    end: int | None  # None: to the end


def head(source: Source, size: int = HEAD_BYTES) -> bytes:
    """The first whole lines of a source, unpacked; raises `OSError`. Not for stdin."""
    if (plain := _plain_head(source, size)) is not None:
        return plain
    taken = bytearray()
    try:
        for block in blocks(source):
            taken += block
            if len(taken) >= size:
                break
    except (EOFError, OSError):  # what can be read before a file is cut off or damaged shows what it is
        if not taken:
            raise
    if len(taken) < size:
        return bytes(taken)
    cut = taken.rfind(b"\n", 0, size) + 1
    return bytes(taken[: cut or size])


def _plain_head(source: Source, size: int) -> bytes | None:
    """The same of a file that is plain JSON at first sight, which most are; None for others."""
    if not source.splittable or remote.is_url(source.path):
        return None
    taken = _bytes_at(source.path, 0, size)
    if taken[:1] != b"{" or b"\0" in taken[:512]:
        return None
    return taken if len(taken) < size else taken[: taken.rfind(b"\n") + 1 or size]


def _bytes_at(path: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of a file, fewer where there are not so many; raises `OSError`."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, end - start, start)
    finally:
        os.close(file)


def samples_of(source: Source) -> list[bytes]:
    """Some whole lines from places all over a source that can be read from the middle; raises `OSError`.

    The places stay the same while a log grows, until it has doubled: what they hold decides how it is read.
    """
    if not source.splittable or source.size <= 2 * HEAD_BYTES:
        return []
    step = max(HEAD_BYTES, 1 << (source.size // _MOST_SAMPLES).bit_length())
    starts = range(step, source.size - _SAMPLE_BYTES, step * (_LESS_REMOTE if remote.is_url(source.path) else 1))
    found = (stored_bytes(source, start, start + _SAMPLE_BYTES) for start in starts)
    return [whole for block in found if (whole := _whole_lines(block))]


_SAMPLE_BYTES: Final = 24 << 10
_MOST_SAMPLES: Final = 16
_LESS_REMOTE: Final = 4  # each is a request of its own


def _whole_lines(block: bytes) -> bytes:
    """The lines that begin and end in a block."""
    return block[block.find(b"\n") + 1 : block.rfind(b"\n") + 1]


def blocks(source: Source) -> Iterator[bytes]:
    """The content as it comes, unpacked; raises `OSError`, or `EOFError` where a compressed file is cut off."""
    with _stored(source) as file:
        yield from unpacked(file, CHUNK_BYTES, source.path)


def _stored(source: Source) -> BinaryIO:
    """The bytes as they are stored, from the beginning."""
    if source.path == "-":
        return os.fdopen(os.dup(0), "rb")
    if remote.is_url(source.path):
        return io.BufferedReader(remote.RemoteFile(source.path, source.size), CHUNK_BYTES)
    return Path(source.path).open("rb")


def stored_bytes(source: Source, start: int, end: int) -> bytes:
    """The bytes [start, end) as they are stored, fewer where there are not so many; raises `OSError`."""
    if remote.is_url(source.path):
        return remote.read_range(source.path, start, min(end, source.size))
    return _bytes_at(source.path, start, end)


def whole_of(source: Source) -> bytes | None:
    """All of a plain file on this machine; None for others, and where it is not as long as it was, or unreadable."""
    if not source.splittable or remote.is_url(source.path):
        return None
    try:
        content = _bytes_at(source.path, 0, source.size)
    except OSError:
        return None
    return content if len(content) == source.size else None


class Stream:
    """Whole lines of a source that can only be read once, forwards: stdin, or a compressed file."""

    def __init__(self, source: Source) -> None:
        self._blocks = blocks(source)
        self._pending = b""
        self._ended = False
        self._damage: OSError | EOFError | None = None

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

    def pieces(self) -> Iterator[bytes]:
        """All bytes as they come, cut anywhere."""
        if self._pending:
            yield self._pending
        self._pending = b""
        yield from self._blocks

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes | LongLine]:
        """Chunks of whole lines, of about `size` bytes; the last line may lack its newline.

        What comes before damage is given before it is raised.
        """
        while not self._ended or self._pending:
            self._fill_up(size)
            cut = self._pending.rfind(b"\n", 0, size) + 1 or self._pending.find(b"\n") + 1
            if (cut or len(self._pending)) > LONGEST_LINE:
                yield self._passed_over(cut)
            elif not cut and not self._ended:
                self._fill_line()
            else:
                cut = cut or len(self._pending)
                yield self._pending[:cut]
                self._pending = self._pending[cut:]
        if self._damage is not None:
            raise self._damage

    def _fill_up(self, size: int) -> None:
        """Read on to so many bytes, or to where they end; of damaged ones, the whole lines before the damage count."""
        try:
            while len(self._pending) < size and self._fill():
                pass
        except (OSError, EOFError) as error:
            self._damage, self._ended = error, True
            self._pending = self._pending[: self._pending.rfind(b"\n") + 1]

    def _fill_line(self) -> None:
        """Read on to the next newline, or to where a line is too long."""
        parts, size = [self._pending], len(self._pending)
        while size <= LONGEST_LINE and not self._ended:
            block = next(self._blocks, b"")
            self._ended = not block
            parts.append(block)
            size += len(block)
            if b"\n" in block:
                break
        self._pending = b"".join(parts)

    def _passed_over(self, cut: int) -> LongLine:
        """Go to behind the next newline, which may be known."""
        size, self._pending = cut or len(self._pending), self._pending[cut or len(self._pending) :]
        while not cut and not self._ended:
            block = next(self._blocks, b"")
            self._ended = not block
            cut = block.find(b"\n") + 1
            size += cut or len(block)
            if size > LONGEST_UNPACKED:
                raise OSError(f"a line of more than {LONGEST_UNPACKED >> 30} GB: what follows is not read")
            self._pending = block[cut:] if cut else b""
        return LongLine(size)


def line_at(chunk: bytes | memoryview, offset: int) -> bytes:
    """The line of a chunk that starts at an offset, with its newline if it has one."""
    rest = bytes(chunk[offset : offset + (1 << 16)])
    if b"\n" not in rest:
        rest = bytes(chunk[offset:])
    return rest[: rest.find(b"\n") + 1 or None]


def spans_of(
    number: int, source: Source, start: int = 0, end: int | None = None, first: int = 0, size: int = SPAN_BYTES
) -> list[Span]:
    """The spans of a source (or of its bytes from `start` to `end`), numbered on from `first`."""
    if not source.splittable:
        return [Span(number, first, 0, None)]
    stop = source.size if end is None else min(end, source.size)
    edges = [*range(start, stop, size), stop]
    return [Span(number, first + i, a, b) for i, (a, b) in enumerate(pairwise(edges))]


_LINE_BYTES: Final = 64 << 10  # few lines are longer


class SpanBytes:
    """Chunks of whole lines of plain logs, through one buffer that each chunk overwrites."""

    def __init__(self) -> None:
        self._buffer = bytearray(CHUNK_BYTES)
        self._view = memoryview(self._buffer)
        self._files: dict[str, _Local | remote.Ranges] = {}
        self.offset = 0  # of the chunk that was given last
        self._no_start = (0, 0)  # no line starts from the first offset up to the second, where one does

    def chunks(self, source: Source, span: Span, size: int = CHUNK_BYTES) -> Iterator[memoryview | LongLine]:
        """The lines that start within the span, about `size` bytes at a time; raises `OSError`."""
        if len(self._buffer) != size:
            self._resize(size)
        file = self._file(source)
        end = source.size if span.end is None else span.end
        file.expect(end + _LINE_BYTES)
        at = self._line_start(file, span.start)
        stop = self._line_start(file, end) if end < source.size else source.size
        while at < stop:
            read = file.read_into(self._view[: min(len(self._buffer), stop - at)], at)
            if not read:
                return
            whole = read if at + read >= stop else self._buffer.rfind(b"\n", 0, read) + 1
            if not whole and len(self._buffer) < LONGEST_LINE:
                self._resize(2 * len(self._buffer))
                continue
            self.offset = at
            yield self._view[:whole] if whole else LongLine(self._line_start(file, at + read) - at)
            at = at + whole if whole else self._line_start(file, at + read)

    def pieces(self, source: Source) -> Iterator[memoryview]:
        """All bytes, cut anywhere; raises `OSError`."""
        file, at = self._file(source), 0
        file.expect(source.size)
        while at < source.size and (read := file.read_into(self._view[: source.size - at], at)):
            self.offset = at
            yield self._view[:read]
            at += read

    def _line_start(self, file: _Local | remote.Ranges, at: int) -> int:
        """As below; a line that is longer than many spans is searched once."""
        first, last = self._no_start
        if not first <= at <= last:
            last = _line_start(file, at)
            self._no_start = (at, last)
        return last

    def _resize(self, size: int) -> None:
        self._view.release()
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)

    def _file(self, source: Source) -> _Local | remote.Ranges:
        path = source.path
        if path not in self._files:
            self.close()
            self._no_start = (0, 0)
            self._files[path] = remote.Ranges(path, source.size) if remote.is_url(path) else _Local(path)
        return self._files[path]

    def close(self) -> None:
        """Close what is open."""
        files = getattr(self, "_files", {})  # an interrupt can come before there are any
        for file in files.values():
            file.close()
        files.clear()

    __del__ = close  # a process that reads again and again would run out of them


class _Local:
    """A file on this machine, read here and there."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def expect(self, end: int) -> None:
        """Nothing is read in advance."""

    def read_into(self, view: memoryview, at: int) -> int:
        """Fill a buffer from an offset; how many bytes there were."""
        return os.preadv(self._fd, [view], at)

    def read(self, size: int, at: int) -> bytes:
        """Bytes from an offset."""
        return os.pread(self._fd, size, at)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def _line_start(file: _Local | remote.Ranges, at: int) -> int:
    """The first offset at or after `at` where a line starts."""
    if at == 0:
        return 0
    at -= 1
    while block := file.read(_LINE_BYTES, at):
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        at += len(block)
    return at
