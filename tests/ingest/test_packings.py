"""Logs that are compressed or not in UTF-8, and files that are no logs."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from llmmon.ingest.packings import packing_of, unpacked
from llmmon.ingest.sources import find, is_log, open_source
from llmmon.ingest.spans import Stream, head
from tests.conftest import Run

ROW = '{"timestamp": "2026-03-14T09:17:00Z", "model": "m", "prompt_tokens": 100, "user": "Zoë 数"}\n'
LINES = ROW * 3
ENCODED = {
    "utf-16-le": LINES.encode("utf-16-le"),
    "utf-16-be": LINES.encode("utf-16-be"),
    "utf-32-le": LINES.encode("utf-32-le"),
    "utf-32-be": LINES.encode("utf-32-be"),
}
MARKS = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
COMPRESSED = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def content_of(path: Path) -> str:
    return b"".join(Stream(open_source(str(path))).pieces()).decode("utf-8-sig")


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("encoding", sorted(ENCODED))
def test_an_encoding_is_told_with_and_without_its_mark(tmp_path: Path, encoding: str, marked: bool) -> None:
    (tmp_path / "a.jsonl").write_bytes(MARKS[encoding] * marked + ENCODED[encoding])
    source = open_source(str(tmp_path / "a.jsonl"))
    assert (source.packing, source.splittable) == (encoding, False)
    assert content_of(tmp_path / "a.jsonl") == LINES
    assert head(source).decode("utf-8-sig") == LINES


@pytest.mark.parametrize("size", range(1, 9))
def test_characters_may_be_cut_anywhere(size: int) -> None:
    data = codecs.BOM_UTF16_LE + "😀é\n".encode("utf-16-le") * 5
    pieces = list(unpacked(io.BufferedReader(io.BytesIO(data)), 16 + size, "a"))  # type: ignore[arg-type,type-var]
    assert b"".join(pieces).decode("utf-8-sig") == "😀é\n" * 5


@pytest.mark.parametrize("data", [b"", b"{", b'{"a"', b"\xef\xbb\xbf{}", "é".encode(), b"BZh9 x", LINES.encode()])
def test_plain_content_is_not_packed(data: bytes) -> None:
    assert packing_of(data) == ""


@pytest.mark.parametrize("packing", sorted(COMPRESSED))
def test_compressed_logs_are_told_by_their_content_and_may_have_several_parts(tmp_path: Path, packing: str) -> None:
    (tmp_path / "calls").write_bytes(COMPRESSED[packing](ROW.encode()) + COMPRESSED[packing](LINES.encode()))
    assert open_source(str(tmp_path / "calls")).packing == packing
    assert content_of(tmp_path / "calls") == ROW + LINES


@pytest.mark.parametrize("packing", sorted(COMPRESSED))
def test_an_encoding_inside_a_compressed_log(tmp_path: Path, packing: str) -> None:
    (tmp_path / "calls").write_bytes(COMPRESSED[packing](codecs.BOM_UTF16_LE + ENCODED["utf-16-le"]))
    assert content_of(tmp_path / "calls") == LINES


@pytest.mark.parametrize("packing", sorted(COMPRESSED))
def test_a_compressed_log_that_is_cut_off_gives_its_lines_and_says_so(run: Run, packing: str, tmp_path: Path) -> None:
    whole = COMPRESSED[packing]("".join(ROW.replace("100", str(n)) for n in range(60_000)).encode())
    (tmp_path / "a.jsonl").write_bytes(whole[: -len(whole) // 3])
    done = run("summarize", "a.jsonl", "-f", "json", "--no-cache")
    assert "a.jsonl: " in done.stderr
    assert "Traceback" not in done.stderr
    if packing != "bz2":  # of which a whole block is needed
        assert 0 < json.loads(done.stdout)["data"]["totals"]["request_count"] < 60_000


@pytest.mark.parametrize("packing", ["gzip", "xz"])  # the others are one block, of which nothing is left
def test_what_comes_before_a_missing_end_is_read(run: Run, tmp_path: Path, packing: str) -> None:
    rows = "".join(ROW.replace("100", str(number * 7919 % 1000)) for number in range(500))
    packed = COMPRESSED[packing](rows.encode())
    (tmp_path / "a.jsonl").write_bytes(packed[: len(packed) * 2 // 3])
    for command in ("summarize", "inspect"):
        done = run(command, "a.jsonl", "-f", "json")
        assert 100 < done.json["source"]["requests"] < 500
        assert "a.jsonl: compressed file ended before" in done.stderr


def test_what_comes_before_damage_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(LINES.encode())[:-8] + bytes(8))
    for command in ("summarize", "inspect"):
        done = run(command, "a.jsonl", "-f", "json")
        assert 3 == done.json["source"]["requests"]
        assert "a.jsonl: damaged: CRC check failed" in done.stderr


@pytest.mark.parametrize("name", ["a.jsonl.bz2", "a.log.1.xz", "a.log-20260314", "a.log-20260314.gz", "a.tsv"])
def test_rotated_and_compressed_logs_are_known_by_their_names(name: str) -> None:
    assert is_log(name)


def test_a_copy_in_another_packing_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(LINES.encode())
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(LINES.encode()))
    assert len(find([str(tmp_path)]).sources) == 1


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jsonl", LINES)
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.jsonl")
        info.size = len(ROW.encode())
        archive.addfile(info, io.BytesIO(ROW.encode()))
    return out.getvalue()


FOREIGN = {
    "an SQLite database": b"SQLite format 3\x00\x10\x00",
    "a Python pickle": pickle.dumps([ROW]),
    "a zip archive": _zip(),
    "a tar archive": _tar(),
    "a PDF": b"%PDF-1.7\n",
    "an image": b"\x89PNG\r\n\x1a\n\x00",
    "an HTML page": b"<!DOCTYPE html><html>",
    "an Avro file": b"Obj\x01\x04",
    "a DuckDB database": b"\0" * 8 + b"DUCK\x40",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_a_file_that_is_no_log_is_named(run: Run, tmp_path: Path, kind: str, packed: bool) -> None:
    (tmp_path / "calls.log").write_bytes(gzip.compress(FOREIGN[kind]) if packed else FOREIGN[kind])
    done = run("summarize", "calls.log")
    assert done.code == 3
    assert f"calls.log: {kind}" in done.stderr


def test_what_to_do_about_avro_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.avro").write_bytes(b"Obj\x01" + bytes(60))
    said = run("summarize", "p.avro").stderr
    assert "duckdb -c \"COPY (FROM read_avro('p.avro')) TO 'calls.jsonl'\"" in said
