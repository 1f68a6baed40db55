"""The cache of columns: what it gives is what reading gives, whatever happened to the log or to the cache meanwhile."""

from __future__ import annotations

import gzip
import os
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmmon.formats.canonical import Interners
from llmmon.ingest import cache as caching
from llmmon.ingest import scan
from llmmon.ingest.cache import ColumnCache, cache_folder, pack, unpack
from llmmon.ingest.report import SourceReport
from llmmon.ingest.scan import Scanned
from llmmon.metrics.columns import Columns, concat, in_log_order
from llmmon.metrics.record import TEXTS
from tests.conftest import Run
from tests.support.columns_factory import ALL_FIELDS, as_rows, columns_of, files, jsonl, logs, scanned

FIELDS = ALL_FIELDS - {"error_message", *TEXTS}
SPAN = 600  # bytes


def kept(folder: Path, **how: Any) -> ColumnCache:
    return ColumnCache(folder / "cache", least_bytes=0, **how)


def seen(found: Scanned[Columns]) -> tuple[list[dict[str, Any]], dict[str, Any], Any]:
    """All that a command can make of a reading."""
    report = {name: getattr(found.report, name) for name in SourceReport.__struct_fields__}
    return as_rows(in_log_order(concat(found.results))), report, found.tally


def read(path: Path, cache: ColumnCache | None = None, **how: Any) -> Any:
    return seen(scanned([path], **{"fields": FIELDS, "span_bytes": SPAN, "cache": cache, **how}))


class Edit:
    """What may happen to a log between two runs."""

    @staticmethod
    def of(data: st.DataObject, content: bytes) -> bytes:
        at = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["keep", "append", "cut", "replace", "insert", "swap", "byte"])):
            case "append":
                return content + data.draw(files(most=9))
            case "cut":
                return content[:at]
            case "replace":
                return data.draw(files(most=9))
            case "insert":
                return content[:at] + data.draw(files(most=3)) + content[at:]
            case "swap":  # the same size
                lines = content.splitlines(keepends=True)
                return b"".join(reversed(lines))
            case "byte":
                return content[:at] + bytes([data.draw(st.integers(32, 126))]) + content[at + 1 :]
        return content


@given(files(most=40), st.data())
@settings(max_examples=25)
def test_a_cached_reading_is_an_uncached_one_whatever_happened_to_the_log(content: bytes, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "a.jsonl"
        for _ in range(4):
            path.write_bytes(content)
            jobs = data.draw(st.sampled_from([1, 2]))
            how = {
                "jobs": jobs,
                "least_to_share": 0,
                "fields": data.draw(st.sampled_from([FIELDS, {"model", "user", "timestamp"}])),
            }
            how["fields"] = frozenset(how["fields"])
            assert read(path, kept(folder), **how) == read(path, **how)
            content = Edit.of(data, content)


def lines(count: int = 60) -> bytes:
    return jsonl([{"model": f"m{i % 3}", "latency_ms": i, "timestamp": 1_772_438_400 + i} for i in range(count)])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines())
    return path


class Counted:
    """The spans that were parsed."""

    def __init__(self) -> None:
        self.starts: list[int] = []


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    parse = scan.SpanWorker._parsed

    def counting(worker: Any, span: Any, cache: Any) -> Any:
        counted.starts.append(span.start)
        return parse(worker, span, cache)

    monkeypatch.setattr(scan.SpanWorker, "_parsed", counting)
    return counted


def parsed_by(parsed: Counted, log: Path, cache: ColumnCache, **how: Any) -> list[int]:
    parsed.starts.clear()
    read(log, cache, **how)
    return parsed.starts


def test_a_second_reading_parses_nothing(log: Path, parsed: Counted) -> None:
    assert len(parsed_by(parsed, log, kept(log.parent))) > 3
    assert parsed_by(parsed, log, kept(log.parent)) == []


def test_a_grown_log_parses_its_tail_only(log: Path, parsed: Counted) -> None:
    spans = parsed_by(parsed, log, kept(log.parent)).copy()
    log.write_bytes(lines() + lines(2))
    assert min(parsed_by(parsed, log, kept(log.parent))) == spans[-1]


def test_an_edit_of_the_same_size_parses_its_span_only(log: Path, parsed: Counted) -> None:
    spans = parsed_by(parsed, log, kept(log.parent)).copy()
    log.write_bytes(lines().replace(b'"latency_ms": 31,', b'"latency_ms": 99,'))
    assert parsed_by(parsed, log, kept(log.parent)) == [max(s for s in spans if s <= lines().find(b'ms": 31,'))]


def test_a_renamed_log_is_known_again(log: Path, parsed: Counted) -> None:
    parsed_by(parsed, log, kept(log.parent))
    assert parsed_by(parsed, log.rename(log.with_suffix(".jsonl.1")), kept(log.parent)) == []


def test_fewer_fields_are_taken_from_what_is_kept_of_more(log: Path, parsed: Counted) -> None:
    parsed_by(parsed, log, kept(log.parent))
    assert parsed_by(parsed, log, kept(log.parent), fields=frozenset({"model", "timestamp"})) == []
    assert read(log, kept(log.parent), fields=frozenset({"model", "timestamp"})) == read(
        log, fields=frozenset({"model", "timestamp"})
    )


def test_more_fields_than_are_kept_are_parsed(log: Path, parsed: Counted) -> None:
    parsed_by(parsed, log, kept(log.parent), fields=frozenset({"model", "timestamp"}))
    assert parsed_by(parsed, log, kept(log.parent)) != []


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the logs be of some time ago."""
    now = time.time_ns()
    monkeypatch.setattr(caching.time, "time_ns", lambda: now + 10_000_000_000)


def test_the_bytes_of_a_log_that_was_left_alone_are_not_looked_at_again(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    first = read(log, kept(log.parent))
    monkeypatch.setattr(scan.SpanWorker, "_chunks", lambda *_: pytest.fail("read again"))
    assert read(log, kept(log.parent)) == first


def test_a_log_changed_under_the_same_size_and_time_of_change_is_noticed(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    read(log, kept(log.parent))
    before = log.stat()
    log.write_bytes(lines().replace(b'"latency_ms": 31,', b'"latency_ms": 99,'))
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(log, kept(log.parent)) == read(log)


def test_a_log_that_was_just_written_is_checked(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(log, kept(log.parent))
    looked: list[int] = []
    now = scan.SpanWorker._seal_now
    monkeypatch.setattr(scan.SpanWorker, "_seal_now", lambda w, s: (looked.append(s.start), now(w, s))[1])
    read(log, kept(log.parent))
    assert looked


@pytest.mark.parametrize("damage", [b"", b"x", b"\x00" * 5000])
def test_a_damaged_cache_is_as_none(log: Path, damage: bytes) -> None:
    expected = read(log, kept(log.parent))
    for path in (log.parent / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: len(damage)] + damage)
    assert read(log, kept(log.parent)) == expected


def test_a_flipped_bit_in_the_cache_is_noticed(log: Path) -> None:
    expected = read(log, kept(log.parent))
    for path in (log.parent / "cache").rglob("*"):
        if path.is_file() and path.name != "index":
            content = bytearray(path.read_bytes())
            content[10] ^= 1
            path.write_bytes(content)
    assert read(log, kept(log.parent)) == expected


def test_only_its_owner_can_read_the_cache(log: Path) -> None:
    read(log, kept(log.parent))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (log.parent / "cache").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE((log.parent / "cache").stat().st_mode) == 0o700


def test_a_cache_that_others_can_write_is_not_used(log: Path) -> None:
    (log.parent / "cache").mkdir()
    (log.parent / "cache").chmod(0o777)
    read(log, kept(log.parent))
    assert list((log.parent / "cache").iterdir()) == []


def test_neither_texts_nor_error_messages_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([{"model": "m", "prompt": "my secret", "output": "told", "error_message": "leaks it"}]) * 9)
    for fields in (FIELDS, FIELDS | {"prompt", "output"}, FIELDS | {"error_message"}):
        read(path, kept(tmp_path), fields=fields)
    content = b"".join(found.read_bytes() for found in (tmp_path / "cache").rglob("*") if found.is_file())
    assert content
    assert not any(text in content for text in (b"secret", b"told", b"leaks"))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jsonl" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(lines(200 + number))
        read(path, kept(tmp_path))
        time.sleep(0.01)
    folders = list((tmp_path / "cache").iterdir())
    size = sum(found.stat().st_size for found in folders[0].iterdir())
    read(paths[0], kept(tmp_path, most_bytes=int(2.5 * size)))  # the oldest, used again
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert (tmp_path / "cache").exists()


def test_a_log_too_big_for_the_cache_is_not_kept(log: Path) -> None:
    read(log, kept(log.parent, most_bytes=100))
    assert not (log.parent / "cache").exists()


def test_a_full_disk_is_no_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    expected = read(log)
    monkeypatch.setattr(caching, "_write_whole", full)
    assert read(log, kept(log.parent)) == expected


def test_a_compressed_log_is_kept_as_long_as_it_is_the_same(
    tmp_path: Path, parsed: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines()))
    parsed_by(parsed, path, kept(tmp_path))
    assert parsed_by(parsed, path, kept(tmp_path)) == []
    path.write_bytes(gzip.compress(lines(30)))
    assert read(path, kept(tmp_path)) == read(path)


def test_runs_at_once_do_each_other_no_harm(log: Path) -> None:
    expected = read(log)
    found: list[Any] = []

    def run() -> None:
        for _ in range(8):
            found.append(read(log, kept(log.parent)))
            for path in list((log.parent / "cache").rglob("*"))[:3]:
                if path.is_file():
                    path.unlink(missing_ok=True)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 24


@given(logs)
@example([{"model": "m", "latency_ms": -0.0, "cost_usd": 5e9, "prompt_tokens": 2**32 - 1}])
def test_packed_columns_are_the_same_again(rows: list[dict[str, Any]]) -> None:
    columns = columns_of(rows)
    block, parts = pack(columns, [])
    data = b"".join(part.tobytes() for part in parts)
    again = unpack(block, data, Interners(), frozenset({*columns.numbers, *columns.names}))
    assert as_rows(columns) == as_rows(again)
    assert [column.tobytes() for column in columns.numbers.values()] == [c.tobytes() for c in again.numbers.values()]


def test_the_folder_is_the_users(tmp_path: Path) -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/llmmon/columns")
    assert cache_folder({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/llmmon/columns")


def test_big_logs_are_kept_unless_it_is_not_wanted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "big.jsonl").write_bytes(lines(2000) * 75)
    assert (tmp_path / "big.jsonl").stat().st_size > caching.LEAST_BYTES
    assert run("summarize", "big.jsonl", "--no-cache", "-f", "json").code == 0
    assert not (tmp_path / ".cache").exists()
    first = run("summarize", "big.jsonl", "-f", "json")
    again = run("summarize", "big.jsonl", "-f", "json")
    assert (tmp_path / ".cache" / "llmmon" / "columns").is_dir()
    assert first.stdout == again.stdout


def test_verdicts_that_were_paid_for_are_not_deleted_to_make_room_for_columns(tmp_path: Path) -> None:
    folder = cache_folder({"XDG_CACHE_HOME": str(tmp_path)})
    kept, columns = folder.parent / "verdicts" / "one", folder / "a" / "b"
    for path in (kept, columns):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 100)
    ColumnCache(folder, most_bytes=0).shrink()
    assert (kept.exists(), columns.exists()) == (True, False)
