"""How the bytes of a log are stored: compressed, in another encoding than UTF-8, or not as a log at all."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, Final, Protocol, cast

MAGIC_BYTES: Final = 64  # as many tell the packing
_PACKED_BYTES: Final = 1 << 10  # of zstd at a time, which may become 32 MB
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
}
_MARKS: Final = {  # byte order marks, longest first
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


class _Peekable(Protocol):
    def peek(self, size: int = 0, /) -> bytes: ...


def packing_of(beginning: bytes) -> str:
    """ "gzip", "zstd", "parquet", "utf-16-le" and the like for content that must be unpacked, "" for all other."""
    for magic, name in _COMPRESSED.items() if beginning[:1] != b"{" else ():
        if beginning.startswith(magic) and (name != "bz2" or beginning[4:10] in _BZ2_BLOCKS):
            return name
    return _encoding_of(beginning)


_BZ2_BLOCKS: Final = (b"1AY&SY", b"\x17rE8P\x90")  # the second is that of an empty file


def _encoding_of(beginning: bytes) -> str:
    """The encoding by its mark or, without one, by where the zero bytes stand; "" for UTF-8 and its like."""
    if beginning[:1] not in _FIRST_OF_MARKS and b"\0" not in beginning[:16]:
        return ""
    for mark, encoding in _MARKS.items():
        if beginning.startswith(mark):
            return encoding
    start = beginning[: min(len(beginning), 16) & ~3]
    if len(start) < 4:
        return ""
    filled = tuple(all(start[at::4]) for at in range(4))
    empty = tuple(not any(start[at::4]) for at in range(4))
    for encoding, places in _ZEROS.items():
        if all(empty[at] if zero else filled[at] for at, zero in enumerate(places)):
            return encoding
    return ""


_FIRST_OF_MARKS: Final = frozenset(mark[:1] for mark in _MARKS)
_ZEROS: Final = {  # of four bytes of ASCII, which are zero
    "utf-32-le": (0, 1, 1, 1),
    "utf-32-be": (1, 1, 1, 0),
    "utf-16-le": (0, 1, 0, 1),
    "utf-16-be": (1, 0, 1, 0),
}


def unpacked(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    """The content of an open file as UTF-8, about `size` bytes at a time.

    Raises `OSError` where it is damaged or no log (`name` is how it was named), `EOFError` where it is cut off.
    """
    packing = packing_of(cast(_Peekable, file).peek(MAGIC_BYTES)[:MAGIC_BYTES])
    content = _decompressed(file, packing, size)
    first = next(content, b"")
    if kind := _foreign(first):
        raise OSError(kind.format(name=name))
    encoding = _encoding_of(first)
    whole = _chained(first, content)
    return _transcoded(whole, encoding) if encoding else whole


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from rest


def _decompressed(file: BinaryIO, packing: str, size: int) -> Iterator[bytes]:
    if packing == "zstd":
        return _of_zstd(file, size)
    if packing in ("parquet", "arrow"):
        from llmmon.ingest.parquet import json_lines  # an extra

        return json_lines(file, packing, size)
    if packing == "gzip":
        return _read_packed(gzip.GzipFile(fileobj=file), size)
    if packing == "bz2":
        import bz2  # rare

        return _read_packed(bz2.BZ2File(file), size)
    if packing == "xz":
        import lzma

        return _read_packed(lzma.LZMAFile(file), size)
    return _read(file, size)


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    while block := file.read(size):
        yield block


def _read_packed(file: Any, size: int) -> Iterator[bytes]:
    """The content in blocks of `size`; what comes before damage or a missing end is given before that is raised."""
    taken = bytearray()
    try:
        while block := file.read1(size):
            taken += block
            if len(taken) >= size:
                yield bytes(taken)
                taken.clear()
    except (OSError, EOFError, zlib.error) as error:
        if taken:
            yield bytes(taken)
        raise error if isinstance(error, EOFError) else OSError(f"damaged: {error}") from None
    except Exception as error:
        if type(error).__name__ != "LZMAError":
            raise
        if taken:
            yield bytes(taken)
        raise OSError(f"damaged: {error}") from None
    if taken:
        yield bytes(taken)


def _of_zstd(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The frames of a file one after another."""
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    while raw := file.read(_PACKED_BYTES):
        while raw:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                data = frame.decompress(raw)
            except zstandard.ZstdError as error:
                raise OSError(f"damaged: {error}") from None
            yield from (data[at : at + size] for at in range(0, len(data), size))
            raw = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("compressed file ended before its end")


def _transcoded(content: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in content:
        if text := decoder.decode(block):
            yield text.encode("utf-8", "replace")
    with suppress(UnicodeDecodeError):
        if text := decoder.decode(b"", final=True):
            yield text.encode("utf-8", "replace")


_EXPORT: Final = "export it as JSON lines"
_UNPACK: Final = "unpack it first"
# what files begin with that are no logs -> what they are, and what to do
_FOREIGN: Final = {
    b"FEA1": f"a Feather file; {_EXPORT}",
    b"Obj\x01": f"an Avro file; {_EXPORT}: duckdb -c \"COPY (FROM read_avro('{{name}}')) TO 'calls.jsonl'\"",
    b"\x89HDF\r\n": f"an HDF5 file; {_EXPORT}",
    b"\x93NUMPY": f"a NumPy array; {_EXPORT}",
    b"SQLite format 3\x00": (
        "an SQLite database; export the table of calls: sqlite3 -json '{name}' 'SELECT * FROM TABLE' > calls.json"
    ),
    b"PK\x03\x04": f"a zip archive; {_UNPACK} (an .eval log of Inspect: inspect log convert --to json)",
    b"\xd0\xcf\x11\xe0": "an Office file; save it as CSV",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive; {_UNPACK}",
    b"Rar!\x1a": f"a rar archive; {_UNPACK}",
    b"\x04\x22\x4d\x18": f"lz4; {_UNPACK}: lz4 -d '{{name}}'",
    b"\xff\x06\x00\x00sNaPpY": f"snappy; {_UNPACK}",
    b"\x1f\x9d": f"compressed by compress; {_UNPACK}: zcat '{{name}}'",
    b"LPKSHHRH": "a journal of systemd; export it: journalctl --file '{name}' -o cat",
    b"ElfFile\x00": f"a Windows event log; {_EXPORT}",
    b"%PDF-": "a PDF, not a log",
    b"\x89PNG\r\n": "an image, not a log",
    b"\xff\xd8\xff": "an image, not a log",
    b"GIF8": "an image, not a log",
    b"\x7fELF": "a program, not a log",
    b"<!DOCTYPE": "an HTML page, not a log",
    b"<!doctype": "an HTML page, not a log",
    b"<html": "an HTML page, not a log",
    b"<?xml": f"XML; {_EXPORT}",
}
_PICKLE: Final = f"a Python pickle; {_EXPORT}, each record by json.dumps"
_WORKBOOK: Final = "an Excel workbook; save it as CSV"


def _foreign(beginning: bytes) -> str:
    """What a file is that is no log, with what to do about it; "" where it may be one."""
    if beginning[:1] == b"\x80" and beginning[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE
    if beginning[257:262] == b"ustar":
        return f"a tar archive; {_UNPACK}: tar xf '{{name}}'"
    if beginning[8:12] == b"DUCK":
        return f"a DuckDB database; {_EXPORT}: duckdb '{{name}}' -c \"COPY TABLE TO 'calls.jsonl'\""
    if beginning.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in beginning or b"xl/" in beginning):
        return _WORKBOOK
    if beginning[:1] in (b"{", b"["):
        return ""
    return next((said for magic, said in _FOREIGN.items() if beginning.startswith(magic)), "")


__all__ = ["MAGIC_BYTES", "packing_of", "unpacked"]
