"""The bytes of a span: lines in chunks, or anything in pieces, of plain logs on this machine or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from llmmon import remote
from llmmon.formats.accounting import LONGEST_LINE, LongLine
from llmmon.source_bytes import CHUNK_BYTES, Source, Span

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
