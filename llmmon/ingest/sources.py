"""Where logs come from: paths, globs, folders, URLs and stdin -> the sources to read, each once."""

from __future__ import annotations

import glob
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from llmmon.errors import reason_of
from llmmon.ingest import remote
from llmmon.ingest.packings import MAGIC_BYTES, packing_of
from llmmon.ingest.spans import Source, blocks, head, stored_bytes
from llmmon.text.patterns import lazy

_LOG_ENDINGS: Final = (".jsonl", ".ndjson", ".json", ".log", ".csv", ".tsv", ".parquet", ".jsonl.out")
_OWN_FILES: Final = frozenset({"labels.toml", "llmmon.toml"})


class Found(msgspec.Struct, frozen=True):
    """The logs that were named, with what was passed over (path -> why) and what could not be read."""

    sources: tuple[Source, ...]
    ignored: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


class Expanded(msgspec.Struct, frozen=True):
    """The paths behind names, whether they exist or not, and what matches nothing (path -> why)."""

    paths: tuple[str, ...]
    ignored: tuple[str, ...]
    unmatched: tuple[tuple[str, str], ...]


def expand(names: Sequence[str]) -> Expanded:
    """The paths of logs behind paths, globs, folders and "-"."""
    paths: list[str] = []
    ignored: list[str] = []
    unmatched: list[tuple[str, str]] = []
    for name in names:
        _expand(name, paths, ignored, unmatched)
    return Expanded(tuple(paths), tuple(ignored), tuple(unmatched))


def names_a_log(name: str) -> bool:
    """Whether a name can be that of a log: what is there, a glob, a URL, a path, or named as logs are."""
    return (
        name == "-"
        or os.path.lexists(name)
        or remote.is_url(name)
        or any(sign in name for sign in "*?[/")
        or is_log(name)
    )


def find(names: Sequence[str]) -> Found:
    """The logs behind paths, globs, folders and "-"; a log that is reached twice is taken once."""
    named = expand(names)
    unreadable = list(named.unmatched)
    sources: list[Source] = []
    repeated: list[str] = []
    seen: dict[Any, str] = {}
    for path in named.paths:
        try:
            source = open_source(path)
            key = _identity(source)
        except OSError as error:
            unreadable.append((path, reason_of(error)))
            continue
        if key in seen:
            repeated.append(path)
        else:
            seen[key] = path
            sources.append(source)
    kept, copies = without_copies(sources)
    return Found(kept, named.ignored, (*repeated, *copies), tuple(unreadable))


def _expand(name: str, paths: list[str], ignored: list[str], unreadable: list[tuple[str, str]]) -> None:
    if name == "-":
        paths.append(name)
    elif remote.is_url(name):
        _expand_url(name, paths, ignored, unreadable)
    elif os.path.isdir(name):
        for folder, below, files in os.walk(name, onerror=lambda error: unreadable.append(_closed(error))):
            below.sort()
            for file in sorted(files):
                path = os.path.join(folder, file)
                if file not in _OWN_FILES:
                    (paths if is_log(file) and not _is_special(path) else ignored).append(path)
    elif any(sign in name for sign in "*?[") and not os.path.lexists(name):
        closed: list[tuple[str, str]] = []
        found = _matching(name, closed)
        unreadable += closed
        if not found and not closed:
            unreadable.append((name, "nothing matches"))
        for path in found:
            if os.path.isdir(path):
                _expand(path, paths, ignored, unreadable)
            else:
                (ignored if _is_special(path) else paths).append(path)
    else:
        paths.append(name)


def _is_special(path: str) -> bool:
    """Whether it is a pipe, a socket or a device: reading one that nobody named could wait for ever."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False  # reading it says what is wrong


def _matching(pattern: str, closed: list[tuple[str, str]]) -> list[str]:
    """The paths that a glob matches, each once; folders that cannot be looked into are added to `closed`.

    `**` enters no linked folders: those may lead in circles.
    """
    parts = pattern.split("/")
    if "**" not in parts:
        found = glob.glob(pattern)
        return sorted(found) if found else _none_in(pattern, closed)
    at = parts.index("**")
    tops = glob.glob("/".join(parts[:at]) or "/") if at else ["."]
    rest = "/".join(parts[at + 1 :])
    matching: set[str] = set()
    for folder in (folder for top in tops for folder in _folders(top, closed)):
        inside = _matching(os.path.normpath(os.path.join(glob.escape(folder), rest or "*")), [])
        matching |= {path for path in inside if rest or not os.path.isdir(path)}
    return sorted(matching)


def _none_in(pattern: str, closed: list[tuple[str, str]]) -> list[str]:
    """Nothing matches a glob, maybe because its folder cannot be looked into."""
    folder = os.path.dirname(pattern) or "."
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        closed.append((folder, "permission denied"))
    return []


def _folders(top: str, closed: list[tuple[str, str]]) -> Iterator[str]:
    """A folder and all below it but the hidden and the linked ones."""
    for folder, below, _ in os.walk(top, onerror=lambda error: closed.append(_closed(error))):
        below[:] = [name for name in below if not name.startswith(".")]
        yield folder


def _closed(error: OSError) -> tuple[str, str]:
    return str(error.filename), reason_of(error)


def _expand_url(url: str, paths: list[str], ignored: list[str], unreadable: list[tuple[str, str]]) -> None:
    try:
        found = remote.expand(url)
    except OSError as error:
        unreadable.append((url, reason_of(error)))
        return
    if not found:
        unreadable.append((url, "nothing matches"))
    for path, in_folder in found:
        name = path.rpartition("/")[2]
        if not in_folder:
            paths.append(path)
        elif name not in _OWN_FILES:
            (paths if is_log(name) else ignored).append(path)


def is_log(name: str) -> bool:
    """Whether a file in a folder is taken for a log: `.jsonl` and its like, rotated (`.1`, `-2026`) or compressed."""
    base = name.lower()
    for ending in (".gz", ".zst", ".bz2", ".xz"):
        base = base.removesuffix(ending)
    return _ROTATED.sub("", base).endswith(_LOG_ENDINGS)


_ROTATED: Final = lazy(r"[.\-_]\d[\dt_.\-]*\Z")


def open_source(path: str) -> Source:
    """The log at a path, its packing known by its first bytes; raises `OSError`."""
    if path == "-":
        return Source("-", 0, seekable=False)
    if remote.is_url(path):
        return _with_packing(Source(path, remote.size_of(path)))
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    regular = stat.S_ISREG(status.st_mode)
    if not regular:
        return Source(path, 0, seekable=False)
    return _with_packing(Source(path, status.st_size))


def _with_packing(source: Source) -> Source:
    return Source(source.path, source.size, packing_of(stored_bytes(source, 0, MAGIC_BYTES)))


def _identity(source: Source) -> Any:
    if source.path == "-" or remote.is_url(source.path):
        return source.path
    status = os.stat(source.path)
    return (status.st_dev, status.st_ino)


def without_copies(sources: Sequence[Source]) -> tuple[tuple[Source, ...], list[str]]:
    """Leave out files with the content of an earlier one, such as `app.log.1` beside `app.log.1.gz`.

    Only files of one size are opened, each once, and only those of one size and beginning are read whole.
    """
    copies: set[int] = set()
    for same_size in _alike(range(len(sources)), lambda number: content_size(sources[number]) or None):
        for same_head in _alike(same_size, lambda number: _head_checksum(sources[number])):
            for same in _alike(same_head, lambda number: _checksum(sources[number])):
                copies.update(same[1:])
    kept = tuple(source for number, source in enumerate(sources) if number not in copies)
    return kept, [sources[number].path for number in sorted(copies)]


def _alike(numbers: Iterable[int], mark: Callable[[int], int | None]) -> list[list[int]]:
    """The numbers that share a mark with another one, by mark; None is no mark."""
    found: dict[int, list[int]] = {}
    for number in numbers:
        value = mark(number)
        if value is not None:
            found.setdefault(value, []).append(number)
    return [group for group in found.values() if len(group) > 1]


def content_size(source: Source) -> int | None:
    """Size when decompressed (modulo 2**32 as gzip has it), None where that takes reading all of it."""
    if not source.seekable:
        return None
    if not source.packing:
        return source.size % (1 << 32)
    if source.packing == "zstd":
        return _zstd_size(stored_bytes(source, 0, 18))
    if source.packing != "gzip":
        return None
    return int.from_bytes(stored_bytes(source, max(0, source.size - 4), source.size), "little")


def _zstd_size(beginning: bytes) -> int | None:
    import zstandard

    try:
        size = zstandard.get_frame_parameters(beginning).content_size
    except zstandard.ZstdError:
        return None
    return None if size in (0, zstandard.CONTENTSIZE_UNKNOWN) else size % (1 << 32)


def _head_checksum(source: Source) -> int | None:
    try:
        return zlib.crc32(head(source))
    except (OSError, EOFError, zlib.error):
        return None


def _checksum(source: Source) -> int | None:
    """Checksum of the content with its length in front, None where it cannot be read."""
    value = length = 0
    try:
        for chunk in blocks(source):
            value, length = zlib.crc32(chunk, value), length + len(chunk)
    except (OSError, EOFError, zlib.error):
        return None
    return length << 32 | value
