"""However a log is cut up, shared out, compressed or searched, what is read of it is the same."""

from __future__ import annotations

import gzip
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmmon.formats.accounting import Accounting
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reader import SpanReader
from llmmon.ingest import spans, time_range
from llmmon.ingest.report import SourceReport
from llmmon.ingest.scan import Scanned
from llmmon.ingest.selection import Selection
from llmmon.ingest.sources import find
from llmmon.ingest.spans import head
from llmmon.ingest.time_range import TimeRange, TimeRequest
from llmmon.metrics.columns import concat, in_log_order
from llmmon.metrics.filters import parse
from tests.support.columns_factory import ALL_FIELDS, MINUTE_US, START_US, as_rows, files, iso, jsonl, logs, scanned

counted = ("lines", "blank", "used", "skipped", "rejected")


def rows_of(found: Scanned[Any]) -> list[dict[str, Any]]:
    """All calls in the order of the log, whichever worker read them."""
    return as_rows(in_log_order(concat(found.results)))


def report_of(found: Scanned[Any]) -> dict[str, Any]:
    """The accounting, without the names of temporary files."""
    report = {name: getattr(found.report, name) for name in SourceReport.__struct_fields__ if name != "files"}
    return {**report, "rejects": [(r.line, r.byte, r.reason) for r in found.report.rejects]}


def in_chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    """The bytes in pieces of whole lines, about as long as asked for, the sizes taken in turn."""
    lines = data.splitlines(keepends=True) if data else []
    chunks, turn = [], 0
    while lines:
        size = sizes[turn % len(sizes)]
        chunks.append(b"".join(lines[:size]))
        lines, turn = lines[size:], turn + 1
    return chunks


def fed(data: bytes, chunks: list[bytes]) -> tuple[list[dict[str, Any]], Accounting]:
    reader = SpanReader(plan_for(data, Wanted(ALL_FIELDS, ("team",))), Interners())
    blocks = [reader.feed(chunk) for chunk in chunks]
    found = [block.columns for block in (*blocks, reader.flush()) if block is not None]
    return as_rows(in_log_order(concat(found))), reader.accounting


@given(files(), st.lists(st.integers(1, 7), min_size=1, max_size=3))
@settings(max_examples=60)
@example(data=b'{"model": "m"}\n\n{"model": "n"', sizes=[1])
def test_any_chunking_gives_the_same_calls_and_accounting(data: bytes, sizes: list[int]) -> None:
    data = data.replace(b"\r", b"").replace(b"\x0b", b"").replace(b"\x0c", b"")
    assert fed(data, [data] if data else []) == fed(data, in_chunks(data, sizes))


@given(files(most=40), st.integers(20, 2000), st.sampled_from([1, 2]))
@settings(max_examples=25)
def test_any_spans_in_any_number_of_processes_give_the_same(data: bytes, size: int, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(data)
        whole = scanned([path])
        cut = scanned([path], span_bytes=size, jobs=jobs, least_to_share=0)
        assert report_of(whole) == report_of(cut)
        assert rows_of(whole) == rows_of(cut)


@given(st.lists(files(most=8), min_size=1, max_size=4))
@settings(max_examples=15)
def test_two_processes_over_several_files_give_what_one_gives(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jsonl" for number in range(len(contents))]
        for number, (path, data) in enumerate(zip(paths, contents, strict=True)):
            path.write_bytes(data + b'\n{"model": "%d"}\n' % number)  # no two are copies of each other
        alone, together = scanned(paths), scanned(paths, jobs=2, least_to_share=0)
        assert report_of(alone) == report_of(together)
        assert rows_of(alone) == rows_of(together)


@given(files())
def test_a_compressed_log_reads_like_the_plain_one(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst")]
        for path, packed in zip(paths, (data, gzip.compress(data), zstandard.compress(data)), strict=True):
            path.write_bytes(packed)
        plain, *others = [scanned([path]) for path in paths]
        for other in others:
            assert rows_of(plain) == rows_of(other)
            assert {name: getattr(plain.report, name) for name in counted} == {
                name: getattr(other.report, name) for name in counted
            }
            assert plain.report.rejects == tuple(
                type(r)(str(paths[0]), r.line, r.byte, r.reason) for r in other.report.rejects
            )


wheres = st.sampled_from([None, "model=gpt*", "error", "latency_ms>1000 and not user=null", "tag.team=red"])


@given(files(), st.integers(0, 3 * 24 * 60), st.integers(1, 24 * 60), wheres)
@settings(max_examples=60)
def test_the_accounting_always_adds_up(data: bytes, start: int, minutes: int, where: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(data)
        begin = START_US + start * MINUTE_US
        chosen = Selection(begin, begin + minutes * MINUTE_US, parse(where) if where else None)
        report, everything = scanned([path], chosen).report, scanned([path]).report
    assert report.lines == data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    assert report.lines == report.blank + report.used + report.skipped + report.rejected
    assert everything.requests == report.requests + report.duplicates + report.outside + report.filtered
    assert len(data) == report.bytes_read


@given(files())
def test_the_first_rejects_say_where_they_are(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(data)
        lines = data.split(b"\n")
        for reject in scanned([path], span_bytes=64).report.rejects:
            assert reject.line is not None
            assert lines[reject.line - 1] == data[reject.byte :].split(b"\n")[0]


@given(files())
def test_the_rejects_file_holds_exactly_the_rejected_lines(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, bad = Path(folder) / "a.jsonl", Path(folder) / "bad.txt"
        path.write_bytes(data)
        report = scanned([path], rejects=bad, span_bytes=64, jobs=2, least_to_share=0).report
        kept = bad.read_bytes().split(b"\n")[:-1]
        assert report.rejected == len(kept)
        assert kept[:5] == [data[r.byte :].split(b"\n")[0] for r in report.rejects]
        assert [path.name, "bad.txt"] == sorted(found.name for found in Path(folder).iterdir())


def shuffler(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret depends on it


def spread_out(rng: random.Random, count: int, jitter_us: int) -> list[dict[str, Any]]:
    """A log of `count` calls a minute apart, each moved by up to `jitter_us`."""
    moves = [rng.randint(-jitter_us, jitter_us) if jitter_us else 0 for _ in range(count)]
    times = [START_US + number * MINUTE_US + move for number, move in enumerate(moves)]
    return [{"model": f"m{us % 3}", "timestamp": iso(us), "latency_ms": us % 977, "user": "u" * 20} for us in times]


def searched(path: Path, **asked: Any) -> tuple[list[dict[str, Any]], TimeRange, list[str]]:
    """The calls of a time range by bisection, the range, and what was said."""
    said: list[str] = []
    times = TimeRange(TimeRequest.parse(wall_us=START_US + 10**12, **asked), START_US + 10**12, "UTC", said.append)
    found = find([str(path)]).sources
    times.locate(found, [plan_for(head(source), Wanted(ALL_FIELDS)) for source in found])
    chosen = Selection(times.start_us, times.end_us)
    return rows_of(scanned([path], chosen, ranges=times.ranges)), times, said


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search small files as if they were big."""
    monkeypatch.setattr(time_range, "_PROBE_BYTES", 512)
    monkeypatch.setattr(time_range, "_TAIL_BYTES", 4096)
    monkeypatch.setattr(time_range, "_CLOSE_ENOUGH", 1024)


@given(
    st.integers(0, 2**32),
    st.sampled_from([0, MINUTE_US, 7 * MINUTE_US]),
    st.integers(1, 4000),
    st.integers(0, 2000),
)
@settings(max_examples=20)
def test_a_searched_window_holds_what_a_scanned_one_holds(
    small_steps_of_module: None, seed: int, jitter: int, window: int, ago: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(jsonl(spread_out(shuffler(seed), 3000, jitter)))
        now = iso(START_US + (3000 - ago) * MINUTE_US)
        found, times, said = searched(path, window=str(window), now=now)
        assert said == []
        assert rows_of(scanned([path], Selection(times.start_us, times.end_us))) == found


@pytest.fixture(scope="module")
def small_steps_of_module() -> Any:
    """Search small files as if they were big, in every example of a law."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_range, "_PROBE_BYTES", 512)
        patch.setattr(time_range, "_TAIL_BYTES", 4096)
        patch.setattr(time_range, "_CLOSE_ENOUGH", 1024)
        yield


def test_a_search_reads_only_a_part_of_the_file(small_steps: None, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(spread_out(shuffler(1), 3000, 0)))
    _, times, _ = searched(path, window="60")
    start, end = times.ranges[0]
    assert end is not None
    assert end - start < path.stat().st_size / 10


def test_the_end_of_a_searched_log_is_its_last_event(small_steps: None, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(spread_out(shuffler(2), 1000, 0)))
    _, times, _ = searched(path, window="60")
    assert times.now_us == START_US + 999 * MINUTE_US + 1


def test_a_log_that_is_not_in_order_is_read_whole_and_that_is_said(small_steps: None, tmp_path: Path) -> None:
    rows = spread_out(shuffler(3), 2000, 0)
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(rows[1000:] + rows[:1000]))
    found, times, said = searched(path, window="60", now=iso(START_US + 2000 * MINUTE_US))
    assert [f"{path}: not sorted by time, so the whole file is read"] == said
    assert times.ranges == ((0, None),)
    assert len(found) == 60


def test_lines_longer_than_a_chunk_are_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spans, "CHUNK_BYTES", 64)
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([{"model": "m" * size, "latency_ms": 1} for size in (1, 50, 64, 200, 1000, 3)]))
    assert [len(row["model"]) for row in rows_of(scanned([path]))] == [1, 50, 64, 200, 1000, 3]


@given(logs)
@settings(max_examples=20)
def test_a_log_read_twice_gives_twice_the_calls(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "a.jsonl", Path(folder) / "b.jsonl"
        one.write_bytes(jsonl(rows))
        other.write_bytes(jsonl(rows) + b"\n")  # not the same content
        assert 2 * len(rows) == scanned([one, other]).report.requests
