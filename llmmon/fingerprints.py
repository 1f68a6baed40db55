"""What a log's content is told by: its first bytes, and those before an offset; decompressed."""

from __future__ import annotations

import zlib
from typing import Final

from llmmon.source_bytes import Source, blocks

PRINT_BYTES: Final = 1024  # of a fingerprint


def checksum(source: Source, size: int) -> int:
    """Of the first bytes of the content; raises `OSError`."""
    return zlib.crc32(beginning(source, size))


def checksum_before(source: Source, offset: int) -> int | None:
    """Checksum of the bytes before an offset of the content; None where it does not reach so far."""
    size = min(offset, PRINT_BYTES)
    if not source.compression:
        return zlib.crc32(stretch(source.path, offset - size, offset))
    trace = Trace()
    try:
        for block in blocks(source):
            trace.add(block[: offset - trace.size])
            if trace.size >= offset:
                return zlib.crc32(trace.last[-size:]) if size else 0
    except (EOFError, zlib.error):
        pass
    return None


def beginning(source: Source, size: int) -> bytes:
    """The first bytes of the content, as many as there are; raises `OSError`."""
    if not source.compression:
        return stretch(source.path, 0, size)
    taken = bytearray()
    try:
        for block in blocks(source):
            taken += block
            if len(taken) >= size:
                break
    except (EOFError, zlib.error):
        pass  # it is being written
    return bytes(taken[:size])


def stretch(path: str, start: int, end: int) -> bytes:
    """The bytes of a plain file from `start` to `end`, fewer where it is shorter; raises `OSError`."""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(end - start)


class Trace:
    """What passed of a content: how much, its beginning, and its end from some way before the last newline."""

    def __init__(self) -> None:
        self.size = 0
        self.first = b""
        self.last = b""
        self.ended = False  # cleanly
        self._line = 0  # where the last line starts

    def add(self, block: bytes) -> None:
        """Take note of the next bytes."""
        self.size += len(block)
        self.first = (self.first + block[:PRINT_BYTES])[:PRINT_BYTES]
        newline = block.rfind(b"\n") + 1
        if newline:
            self._line = self.size - len(block) + newline
        joined = self.last + block
        self.last = joined[max(0, len(joined) - (self.size - self._line) - PRINT_BYTES) :]

    @property
    def offset(self) -> int:
        """Up to where it can be taken as read: all of it, or the whole lines of what was cut off."""
        return self.size if self.ended else self._line

    @property
    def print(self) -> bytes:
        """The bytes before the offset."""
        return self.last[: self.offset - self.size or None][-PRINT_BYTES:]
