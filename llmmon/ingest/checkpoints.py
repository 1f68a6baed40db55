"""How far each log has been read, and where that log is now: renamed, copied, truncated, compressed or replaced.

A file is identified by device and inode as long as its content is still the one that was read (by a checksum of its
beginning and of the bytes just before the checkpoint), else by that content alone.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any, Final

import msgspec

from llmmon.errors import reason_of
from llmmon.ingest.sources import content_size, open_source, without_copies
from llmmon.ingest.spans import Source, blocks

PRINT_BYTES: Final = 1024  # of a fingerprint


def checksum(source: Source, size: int) -> int:
    """The checksum of the first bytes of the content; raises `OSError`."""
    return zlib.crc32(beginning(source, size))


def checksum_before(source: Source, offset: int) -> int | None:
    """Checksum of the bytes before an offset of the content; None where it does not reach so far."""
    size = min(offset, PRINT_BYTES)
    if not source.packing:
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
    if not source.packing:
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
    """What has passed of a stream: its length, its beginning, and its end from some way before the last newline."""

    def __init__(self) -> None:
        self.size = 0
        self.first = b""
        self.last = b""
        self.ended = False  # cleanly
        self._line = 0  # where the last line starts

    def add(self, block: bytes) -> None:
        """Add the next bytes."""
        self.size += len(block)
        self.first = (self.first + block[:PRINT_BYTES])[:PRINT_BYTES]
        newline = block.rfind(b"\n") + 1
        if newline:
            self._line = self.size - len(block) + newline
        joined = self.last + block
        self.last = joined[max(0, len(joined) - (self.size - self._line) - PRINT_BYTES) :]

    @property
    def offset(self) -> int:
        """The offset up to which it counts as read: all of it, or the whole lines of what was cut off."""
        return self.size if self.ended else self._line

    @property
    def print(self) -> bytes:
        """The fingerprint of the bytes before the offset."""
        return self.last[: self.offset - self.size or None][-PRINT_BYTES:]


_COPY_BYTES: Final = 64 << 10  # what a copy must share at its beginning
_MOST_KIN: Final = 64  # files of a folder that are looked into, newest first
_SETTLED_NS: Final = 2_000_000_000  # a folder that changed longer ago than this has no change hidden in the same tick
_ROTATED: Final = re.compile(r"[.\-_]\d[\w.\-]*")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far one log file has been read; offsets are bytes of its content, decompressed.

    `offset` is just behind a newline, or at the end of what is only read whole; the head may reach beyond it.
    `origin` is the path at which it was found first, `size` and `mtime_ns` are those of the file as stored, `lines`
    and `counted` what the accounting had of a log that is read again from its beginning (`whole`).
    """

    path: str
    device: int
    inode: int
    offset: int
    head_bytes: int
    head_crc: int
    tail_crc: int
    size: int
    mtime_ns: int
    origin: str
    plain: bool = True  # neither compressed nor whole
    whole: bool = False
    lines: int = 0
    counted: tuple[int, ...] = ()
    searched_ns: int = 0  # the change of its folder up to which it was looked for in vain

    @property
    def pending(self) -> int:
        """Bytes of a last line without a newline."""
        return self.size - self.offset if self.plain else 0

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode, the latter 0 where another file has it now."""
        return self.device, self.inode


def to_json(value: Any) -> bytes:
    """JSON of values with paths in them, also of paths that are not UTF-8."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode("ascii")


def from_json(data: bytes | str, kind: type[Any]) -> Any:
    """The value that `to_json` gave; raises `msgspec.ValidationError`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(data), kind)


class LogFile(msgspec.Struct, frozen=True):
    """A log as it lies on the disk now."""

    source: Source
    device: int
    inode: int
    mtime_ns: int
    origin: str

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode, which stay the same when it is renamed."""
        return self.device, self.inode


class Part(msgspec.Struct, frozen=True):
    """A log with something to read, and the checkpoint that it continues."""

    file: LogFile
    known: Checkpoint | None = None

    @property
    def start(self) -> int:
        """Byte of the content from which it is new."""
        return self.known.offset if self.known is not None else 0


class Located(msgspec.Struct):
    """What has become of the logs: what to read, checkpoints that stay as they are, streams, what cannot be read."""

    parts: list[Part] = msgspec.field(default_factory=list)
    kept: list[Checkpoint] = msgspec.field(default_factory=list)
    vanished: list[Checkpoint] = msgspec.field(default_factory=list)
    streams: list[Source] = msgspec.field(default_factory=list)
    failed: list[tuple[str, str]] = msgspec.field(default_factory=list)


def locate(paths: Sequence[str], names: Sequence[str], checkpoints: Sequence[Checkpoint], wall_ns: int) -> Located:
    """Match the files at `paths`, which `names` (paths, globs, folders) stand for, with the checkpoints."""
    return _Search(names, checkpoints, wall_ns).run(paths)


class _Search:
    def __init__(self, names: Sequence[str], checkpoints: Sequence[Checkpoint], wall_ns: int) -> None:
        self._names = names
        self._checkpoints = checkpoints
        self._lost = {_key(c): c for c in checkpoints}  # not found yet
        self._by_identity = {c.identity: c for c in checkpoints if c.inode}
        self._wall_ns = wall_ns
        self._seen: set[tuple[int, int]] = set()
        self._found = Located()

    def run(self, paths: Sequence[str]) -> Located:
        found = self._found
        new = [file for path in paths if (file := self._take(path)) is not None]
        moved = [c for c in self._lost.values() if _covers(self._names, c.origin)]
        for known in moved:
            new += self._at_its_path(known)
        for folder in {os.path.dirname(c.path) for c in moved if _key(c) in self._lost}:
            new = [file for file in new if not self._by_content(file)]
            self._search_folder(folder, new)
        new = [file for file in new if not self._by_content(file) and not self._is_copy(file)]
        single, _ = without_copies([file.source for file in new])
        kept = {source.path for source in single}
        found.parts += [Part(file) for file in new if file.source.path in kept]
        found.vanished = [
            msgspec.structs.replace(c, inode=0) if c.identity in self._seen else c
            for c in self._lost.values()
            if c.offset or c.identity not in self._seen
        ]
        return found

    def _take(self, path: str, origin: str = "") -> LogFile | None:
        """Continue the log at a path, by its identity; the file, if that is of no checkpoint."""
        if path == "-":
            self._found.streams.append(open_source(path))
            return None
        if "://" in path:
            self._found.failed.append((path, "only logs on this machine can be followed"))
            return None
        try:
            return self._examine(path, origin or os.path.abspath(path))
        except FileNotFoundError:
            return None
        except (OSError, EOFError, zlib.error) as error:
            self._found.failed.append((path, reason_of(error)))
            return None

    def _examine(self, path: str, origin: str) -> LogFile | None:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            if not stat.S_ISDIR(status.st_mode):
                self._found.streams.append(open_source(path))
            return None
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return None
        known = self._by_identity.get(identity)
        if known is not None and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
            self._keep(known, path)
            return None
        if known is not None and not known.offset:  # nothing was read: this may be another
            origin = known.origin
        file = LogFile(open_source(path), *identity, status.st_mtime_ns, origin)
        self._seen.add(identity)
        if known is None or not _continues(file, known):
            return file
        self._continue(file, known)
        return None

    def _keep(self, known: Checkpoint, path: str) -> None:
        self._seen.add(known.identity)
        del self._lost[_key(known)]
        self._found.kept.append(msgspec.structs.replace(known, path=os.path.abspath(path), searched_ns=0))

    def _continue(self, file: LogFile, known: Checkpoint) -> None:
        self._found.parts.append(Part(msgspec.structs.replace(file, origin=known.origin), self._lost.pop(_key(known))))

    def _at_its_path(self, known: Checkpoint) -> list[LogFile]:
        """A rotated log that the names do not cover, where it was last."""
        try:
            status = os.stat(known.path)
        except OSError:
            return []
        if (status.st_dev, status.st_ino) != known.identity or known.identity in self._seen:
            return []
        return [file] if (file := self._take(known.path, known.origin)) is not None else []

    def _by_content(self, file: LogFile) -> bool:
        """Continue a lost log in a file that has its content; of several the one that was read furthest."""
        for known in sorted(self._lost.values(), key=lambda c: -c.offset):
            if _continues(file, known) or _is_cut_copy(file, known):
                self._continue(file, known)
                return True
        return False

    def _search_folder(self, folder: str, new: list[LogFile]) -> None:
        """Look for lost logs among the other files of a folder, unless nothing has changed there."""
        lost = [c for c in self._lost.values() if os.path.dirname(c.path) == folder and _covers(self._names, c.origin)]
        try:
            changed_ns = os.stat(folder).st_mtime_ns
            if all(known.searched_ns == changed_ns for known in lost):
                return
            entries = [entry for entry in os.scandir(folder) if entry.is_file()]
        except OSError:
            return
        renamed = [self._take(entry.path) for entry in entries if entry.inode() in {known.inode for known in lost}]
        new += [file for file in renamed if file is not None]  # an inode may have been given to another file
        self._search_kin(entries, lost, new)
        if self._wall_ns - changed_ns > _SETTLED_NS:
            for known in [c for c in lost if _key(c) in self._lost]:
                self._lost[_key(known)] = msgspec.structs.replace(known, searched_ns=changed_ns)

    def _search_kin(self, entries: list[os.DirEntry[str]], lost: list[Checkpoint], new: list[LogFile]) -> None:
        """Among files of similar names: lost content, and logs that were begun and rotated since."""
        for origin in {known.origin for known in lost}:
            since_ns = max(known.mtime_ns for known in self._checkpoints if known.origin == origin)
            was_rotated = all(known.path != origin for known in self._checkpoints if known not in lost)
            for entry in _kin(entries, os.path.basename(origin)):
                if (entry.stat().st_dev, entry.inode()) in self._seen or not os.access(entry.path, os.R_OK):
                    continue
                file = self._take(entry.path, origin)
                if file is None or self._by_content(file):
                    continue
                rotated = _ROTATED.fullmatch(entry.name.removeprefix(os.path.basename(origin)))
                if rotated and was_rotated and file.mtime_ns > since_ns:
                    new.append(file)

    def _is_copy(self, file: LogFile) -> bool:
        """Whether a file is the beginning of a log that is being followed, such as a copy before the truncation."""
        size, start = content_size(file.source), beginning(file.source, _COPY_BYTES)
        if not start:
            return False
        read = [(c.path, c.head_bytes, c.head_crc) for c in self._found.kept]
        read += [(p.file.source.path, p.known.head_bytes, p.known.head_crc) for p in self._found.parts if p.known]
        for path, head_bytes, head_crc in read:
            if head_bytes and len(start) >= head_bytes and zlib.crc32(start[:head_bytes]) == head_crc:
                other = open_source(path)
                if beginning(other, len(start)) == start and size is not None and _shares_end(file.source, other, size):
                    return True
        return False


def _covers(names: Sequence[str], path: str) -> bool:
    """Whether a path, which may be gone, is one of those that names stand for."""
    return any(
        path == full or fnmatch(path, full) or (path.startswith(full.rstrip("/") + "/"))
        for full in map(os.path.abspath, names)
    )


def _kin(entries: Sequence[os.DirEntry[str]], base: str) -> Iterator[os.DirEntry[str]]:
    """Files whose names begin as a log's does, newest first."""
    begins = re.compile(re.escape(base.split(".")[0]) + r"[.\-_\d]")
    found = [e for e in entries if e.name != base and begins.match(e.name)]
    yield from sorted(found, key=lambda e: -e.stat().st_mtime_ns)[:_MOST_KIN]


def _shares_end(one: Source, other: Source, size: int) -> bool:
    """Whether the bytes before `size` are the same, as far as that is known without decompressing."""
    if one.packing or other.packing:
        theirs = content_size(other)
        return theirs is not None and size <= theirs
    start = max(0, size - PRINT_BYTES)
    return size <= other.size and stretch(one.path, start, size) == stretch(other.path, start, size)


def _continues(file: LogFile, known: Checkpoint) -> bool:
    """Whether a file begins with the content that was read."""
    source = file.source
    if not known.offset or not known.head_bytes:
        return False
    if not source.packing and source.size < max(known.head_bytes, 0 if known.whole else known.offset):
        return False
    if checksum(source, known.head_bytes) != known.head_crc:
        return False
    if known.whole:
        return True
    if source.packing and content_size(source) == known.offset % (1 << 32):
        return True
    return checksum_before(source, known.offset) == known.tail_crc


def _is_cut_copy(file: LogFile, known: Checkpoint) -> bool:
    """A copy that ends before the checkpoint: what was read later was written while it was made."""
    path = os.path.abspath(file.source.path)
    return (
        path not in (known.path, known.origin)
        and known.head_bytes == PRINT_BYTES
        and not file.source.packing
        and PRINT_BYTES <= file.source.size < known.offset
        and checksum(file.source, PRINT_BYTES) == known.head_crc
    )


def _key(known: Checkpoint) -> tuple[int, int, int, int]:
    return *known.identity, known.head_crc, known.offset
