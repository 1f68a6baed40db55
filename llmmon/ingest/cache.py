"""A cache of parsed columns, one file for each span of a big log; the files may be deleted at any time.

A span is a pure function of its bytes, of the plan and of this program; the folder's name holds the latter two. The
bytes are unchanged while the file is the one that was read (device, inode, size, both times) and had been left alone
for two seconds then; otherwise a span counts only if its checksum is that of the bytes there now.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon import __version__
from llmmon.files import appearing
from llmmon.formats.accounting import Accounting
from llmmon.formats.detection import ReadPlan
from llmmon.ingest.spans import Source
from llmmon.metrics.columns import MISSING_CODE, Columns, FloatArray, IntArray, Interner, Names

_LARGEST: Final = 2**32 - 1  # stands for missing among small whole numbers
_TIME, _POSITION = "timestamp", "positions"


class PackedColumn(msgspec.Struct, frozen=True, array_like=True):
    """One column: `form` is the layout of its bytes, `values` are the names that its codes stand for."""

    name: str
    kind: str  # "time", "number", "name" or "position"
    form: str  # a numpy type, "count" (numbers from `start` on), or "gaps" (u4 whose largest is missing)
    size: int  # bytes
    start: int = 0
    values: list[str] = []


class PackedBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block of calls: the columns follow each other in its bytes; `samples` are the metric samples in it."""

    rows: int
    columns: list[PackedColumn]
    samples: list[dict[str, Any]]

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return sum(column.size for column in self.columns)


def pack(columns: Columns, samples: list[dict[str, Any]]) -> tuple[PackedBlock, list[NDArray[Any]]]:
    """A block's description and the arrays whose bytes make it up, in order."""
    parts = [_whole(_TIME, "time", columns.timestamp)]
    parts += [_number(name, column) for name, column in columns.numbers.items()]
    parts += [_names(name, column) for name, column in columns.names.items()]
    if columns.positions is not None:
        parts.append(_positions(columns.positions))
    return PackedBlock(columns.size, [column for column, _ in parts], samples), [data for _, data in parts]


def _whole(name: str, kind: str, data: NDArray[Any]) -> tuple[PackedColumn, NDArray[Any]]:
    return PackedColumn(name, kind, data.dtype.str, data.nbytes), np.ascontiguousarray(data)


def _number(name: str, column: FloatArray) -> tuple[PackedColumn, NDArray[Any]]:
    """Pack small whole numbers in four bytes each if all are such; others as they are."""
    with np.errstate(invalid="ignore"):
        small = column.astype(np.uint32)
    missing = np.isnan(column)
    fits = (small == column) & (small < _LARGEST)
    if np.signbit(column[~missing]).any() or not (fits | missing).all():
        return _whole(name, "number", column)
    if not missing.any():
        return _whole(name, "number", small)
    small[missing] = _LARGEST
    return PackedColumn(name, "number", "gaps", small.nbytes), small


def _names(name: str, column: Names) -> tuple[PackedColumn, NDArray[Any]]:
    """Pack names as codes from 1 on, 0 for missing, in as few bytes as the names that occur need."""
    present, places = np.unique(column.codes, return_inverse=True)
    values = [column.values[code] for code in present.tolist() if code != MISSING_CODE]
    codes = places.ravel() + (0 if len(values) < len(present) else 1)
    data = codes.astype(np.min_scalar_type(len(values)))
    return PackedColumn(name, "name", data.dtype.str, data.nbytes, values=values), data


def _positions(positions: IntArray) -> tuple[PackedColumn, NDArray[Any]]:
    first = int(positions[0]) if len(positions) else 0
    if np.array_equal(positions, np.arange(first, first + len(positions))):
        return PackedColumn(_POSITION, "position", "count", 0, start=first), np.empty(0, np.uint8)
    return _whole(_POSITION, "position", positions)


def unpack(block: PackedBlock, data: Any, interners: Mapping[str, Interner], fields: frozenset[str]) -> Columns:
    """Unpack the calls of a block (its bytes in `data`), with those of its columns that are in `fields`."""
    numbers: dict[str, FloatArray] = {}
    names: dict[str, Names] = {}
    timestamp: IntArray = np.empty(0, np.int64)
    positions: IntArray | None = None
    at = 0
    for column in block.columns:
        piece = data[at : at + column.size]
        at += column.size
        if column.kind == "time":
            timestamp = np.frombuffer(piece, column.form)
        elif column.kind == "position":
            positions = _counted(column, piece, block.rows)
        elif column.name not in fields:
            continue
        elif column.kind == "number":
            numbers[column.name] = _as_number(column, piece)
        else:
            names[column.name] = _as_names(column, piece, interners[column.name])
    return Columns(block.rows, timestamp, numbers, names, positions=positions)


def _counted(column: PackedColumn, data: Any, rows: int) -> IntArray:
    if column.form == "count":
        return np.arange(column.start, column.start + rows)
    found: IntArray = np.frombuffer(data, column.form)
    return found


def _as_number(column: PackedColumn, data: Any) -> FloatArray:
    if column.form != "gaps":
        return np.frombuffer(data, column.form).astype(np.float64)
    small = np.frombuffer(data, "<u4")
    numbers = small.astype(np.float64)
    numbers[small == _LARGEST] = np.nan
    return numbers


def _as_names(column: PackedColumn, data: Any, interner: Interner) -> Names:
    table = np.array([MISSING_CODE, *(interner[value] for value in column.values)], np.int32)
    return Names(table.take(np.frombuffer(data, column.form)), interner.values_seen)


FORMAT: Final = 2  # of the files; another one reads none of them
LEAST_BYTES: Final = 8 << 20  # smaller logs are read faster than they are looked up
_SETTLED_NS: Final = 2_000_000_000
_TO_COLUMNS: Final = 8  # bytes of a log for one of its columns
_INDEX: Final = "index"
_UNFIT: Final = (ValueError, OverflowError, TypeError, OSError)  # what a span that cannot be kept raises


class Identity(msgspec.Struct, frozen=True):
    """What distinguishes a file from others, and from itself before a change."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: str) -> Identity:
        """The identity of the file at a path; raises `OSError`."""
        at = Path(path).stat()
        return cls(at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)


class Seal(msgspec.Struct, frozen=True):
    """The bytes of a span's lines: their start, their number and their checksum."""

    start: int
    length: int = 0
    crc: int = 0

    def over(self, chunk: Any) -> Seal:
        """This seal extended by the next bytes."""
        return Seal(self.start, self.length + len(chunk), zlib.crc32(chunk, self.crc))


class _Index(msgspec.Struct, frozen=True):
    """The index of a folder: what it holds, of which state of which file; written last."""

    identity: Identity
    seen_ns: int
    fields: list[str]
    seals: dict[int, Seal]


class _Contents(msgspec.Struct, frozen=True):
    """The table of contents at the end of a span's file."""

    format: int
    seal: Seal
    accounting: Accounting
    blocks: list[PackedBlock]
    crc: int


class StoredSpan(msgspec.Struct, frozen=True):
    """A cached span; `folder` is where."""

    folder: str
    seal: Seal
    accounting: Accounting
    packed: list[PackedBlock]
    data: memoryview

    def blocks(
        self, interners: Mapping[str, Interner], fields: frozenset[str]
    ) -> Iterator[tuple[Columns, list[dict[str, Any]]]]:
        """The calls and samples of each block."""
        at = 0
        for block in self.packed:
            yield unpack(block, self.data[at : at + block.size], interners, fields), block.samples
            at += block.size


class SourceCache:
    """The cache of one log for one plan: opened before the log is read, sealed afterwards."""

    def __init__(self, root: Path, source: Source, plan: ReadPlan, span_bytes: int) -> None:
        self.fields = plan.fields
        self._identity = Identity.of(source.path)
        self._seen_ns = time.time_ns()
        stem = f"{_digest(self._identity.device, self._identity.inode)}-{_plan_digest(plan, span_bytes)}"
        self._own = root / f"{stem}-{_digest(*sorted(plan.fields))}"
        self._indexes = dict(self._known(root, stem))

    def _known(self, root: Path, stem: str) -> Iterator[tuple[str, _Index]]:
        """The folders with at least the fields that are needed, this plan's own first."""
        others = [path for path in sorted(root.glob(f"{stem}-*")) if path != self._own]
        for folder in (self._own, *others):
            index = _read_index(folder)
            if index is not None and _covers(set(index.fields), self.fields):
                yield str(folder), index

    def trusts(self, span: StoredSpan, number: int) -> bool:
        """Whether the span's bytes cannot have changed since they were cached."""
        index = self._indexes[span.folder]
        settled = index.seen_ns - index.identity.ctime_ns > _SETTLED_NS
        return settled and index.identity == self._identity and index.seals.get(number) == span.seal

    def stored(self, start: int) -> StoredSpan | None:
        """The cached span that starts at an offset; None if there is none or it is damaged."""
        for folder in self._indexes:
            if (span := _read_span(folder, start)) is not None:
                return span
        return None

    def recorder(self, start: int) -> Recorder:
        """A recorder for the span that starts at an offset."""
        return Recorder(self._own, start)

    def seal(self, seals: Mapping[tuple[str, int], Seal]) -> None:
        """Remember the spans (folder, start) that are good as the file was when this was opened."""
        for folder in {folder for folder, _ in seals}:
            known = self._indexes.get(folder)
            found = {start: seal for (at, start), seal in seals.items() if at == folder}
            if known is not None and known.identity == self._identity:
                found = {**known.seals, **found}
            fields = sorted(self.fields) if known is None else known.fields
            content = msgspec.msgpack.encode(_Index(self._identity, self._seen_ns, fields, found))
            with contextlib.suppress(OSError):
                _write_whole(Path(folder) / _INDEX, [content])


def _covers(kept: set[str], wanted: frozenset[str]) -> bool:
    """Whether the cache holds all that is wanted; times are there only where they were asked for."""
    return kept == wanted or ("timestamp" in wanted and wanted <= kept)


class Recorder:
    """Writes one span; nothing is there before all of it is, and a failure to write is no error."""

    def __init__(self, folder: Path, start: int) -> None:
        self.folder = str(folder)
        self._path = folder / f"{start:x}"
        self._blocks: list[PackedBlock] = []
        self._parts: list[Any] = []
        self._unfit = False

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """The next block, with the columns that are to be kept."""
        block, parts = pack(columns, samples)
        self._blocks.append(block)
        self._parts += [part.data.cast("B") for part in parts if part.nbytes]

    def finish(self, seal: Seal, accounting: Accounting) -> bool:
        """Close the file; returns whether the span is now cached."""
        crc = 0
        for part in self._parts:
            crc = zlib.crc32(part, crc)
        try:
            end = msgspec.msgpack.encode(_Contents(FORMAT, seal, accounting, self._blocks, crc))
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_whole(self._path, [*self._parts, end, len(end).to_bytes(8, "little")])
        except _UNFIT:
            return False
        return True


def _write_whole(path: Path, parts: Sequence[Any]) -> None:
    """Write a file for its owner only, whole or not at all; raises `OSError`."""
    with appearing(path, mode=0o600) as file:
        file.writelines(parts)


def _read_index(folder: Path) -> _Index | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        found = msgspec.msgpack.decode((folder / _INDEX).read_bytes(), type=_Index)
        os.utime(folder / _INDEX)  # what is used last goes last
        return found
    return None


def _read_span(folder: str, start: int) -> StoredSpan | None:
    try:
        content = memoryview(Path(folder, f"{start:x}").read_bytes())
        size = int.from_bytes(content[-8:], "little")
        data, end = content[: -8 - size], content[-8 - size : -8]
        found = msgspec.msgpack.decode(end, type=_Contents)
    except (OSError, msgspec.MsgspecError):
        return None
    if found.format != FORMAT or found.crc != zlib.crc32(data) or sum(b.size for b in found.blocks) != len(data):
        return None
    return StoredSpan(folder, found.seal, found.accounting, found.blocks, data)


def _digest(*parts: object) -> str:
    from hashlib import sha256  # loads a library, and small logs are not kept

    return sha256("\0".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()[:16]


def _plan_digest(plan: ReadPlan, span_bytes: int) -> str:
    """The digest of all that decides how bytes are read, except the fields: the plan, the spans, this program."""
    bare = msgspec.structs.replace(plan, fields=frozenset())
    return _digest(__version__, FORMAT, span_bytes, _program(), msgspec.json.encode(bare, order="deterministic"))


def _program() -> str:
    """Sizes and times of the modules that read, so that a working copy is a program of its own."""
    files = sorted(Path(__file__).parent.parent.glob("formats/**/*.py"))
    return " ".join(f"{found.st_size}.{found.st_mtime_ns}" for found in (file.stat() for file in files))


def cache_folder(environment: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/llmmon/columns`, by default below `~/.cache`; what else is cached lies beside it."""
    named = environment.get("XDG_CACHE_HOME", "")
    home = Path(environment.get("HOME", "~")).expanduser()
    return (Path(named) if named.startswith("/") else home / ".cache") / "llmmon" / "columns"


class ColumnCache(msgspec.Struct, frozen=True):
    """The folder of all logs' columns; beyond `most_bytes`, those that were used longest ago are deleted."""

    root: Path
    most_bytes: int = 2 << 30
    least_bytes: int = LEAST_BYTES  # of a log that is kept

    def of(self, source: Source, plan: ReadPlan, span_bytes: int) -> SourceCache | None:
        """The cache of a log; None where the log is not to be cached, or cannot be."""
        if source.path == "-" or not self.least_bytes <= source.size <= _TO_COLUMNS * self._room():
            return None
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.root.lstat()
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                return None  # others could have put something there, or read it
            return SourceCache(self.root, source, plan, span_bytes)
        except OSError:
            return None

    def _room(self) -> int:
        """How many bytes all columns together may take: at most a tenth of the free space."""
        try:
            base = next((path for path in (self.root, *self.root.parents) if path.exists()), self.root)
            disk = os.statvfs(base)
        except OSError:
            return 0
        return min(self.most_bytes, disk.f_bavail * disk.f_frsize // 10)

    @property
    def bytes_used(self) -> int:
        """How many bytes the columns of all logs take."""
        with contextlib.suppress(OSError):
            return sum(_size(path) for path in self.root.iterdir() if path.is_dir())
        return 0

    def clear(self) -> None:
        """Delete the columns of all logs; what else is cached stays."""
        with contextlib.suppress(OSError):
            for path in self.root.iterdir():
                if path.is_dir():
                    _delete(path)

    def shrink(self) -> None:
        """Delete what was used longest ago until the rest fits."""
        with contextlib.suppress(OSError):
            folders = sorted(((_used_ns(path), path) for path in self.root.iterdir() if path.is_dir()), reverse=True)
            left = self._room()
            for _, path in folders:
                left -= _size(path)
                if left < 0:
                    _delete(path)


def _used_ns(folder: Path) -> int:
    return next(path for path in (folder / _INDEX, folder) if path.exists()).stat().st_mtime_ns


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError), os.scandir(folder) as files:
        return sum(file.stat(follow_symlinks=False).st_size for file in files)
    return 0


def _delete(folder: Path) -> None:
    """Delete a folder, its index first: a folder without an index is never read."""
    with contextlib.suppress(OSError):
        (folder / _INDEX).unlink(missing_ok=True)
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()
