"""Following logs: what is appended is read once, whatever rotation does to the files meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.formats.mapping import CALL_KEY, parse_override
from llmmon.formats.values import keys
from llmmon.ingest.checkpoints import Checkpoint
from llmmon.ingest.follow import NewCalls, Seen, read_known, read_new
from llmmon.ingest.query import Query
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns, concat
from llmmon.metrics.filters import parse

FIELDS = frozenset({"model", "latency_ms", "request_id"})
WALL_US = 1_790_000_000_000_000


def line(number: int, **more: Any) -> str:
    call = {"timestamp": 1_780_000_000 + number, "request_id": f"r{number}", "model": "m", "latency_ms": 5.0, **more}
    return json.dumps(call) + "\n"


def lines(numbers: Iterable[int]) -> str:
    return "".join(map(line, numbers))


def numbers_of(growth: NewCalls) -> list[int]:
    """The numbers of the calls that came, in their order."""
    found: list[int] = []
    for columns in growth.results:
        assert isinstance(columns, Columns)
        if columns.size:
            ids = columns.names["request_id"]
            found += [int(ids.values[code][1:]) for code in ids.codes]
    return found


class Reader:
    """Reads what is new, time after time; checkpoints go through their stored form."""

    def __init__(self, *logs: str | Path, **query: Any) -> None:
        self.query = Query(logs=tuple(map(str, logs)), wall_us=WALL_US, **query)
        self.checkpoints: tuple[Checkpoint, ...] = ()
        self.last: NewCalls | None = None

    def read(self, since_us: int | None = None) -> list[int]:
        self.last = growth = read_new(self.query, FIELDS, ColumnsFold, self.checkpoints, since_us)
        stored = msgspec.json.encode(growth.checkpoints)
        self.checkpoints = msgspec.json.decode(stored, type=tuple[Checkpoint, ...])
        return numbers_of(growth)

    @property
    def growth(self) -> NewCalls:
        assert self.last is not None
        return self.last


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(path: Path, numbers: Iterable[int]) -> None:
    with path.open("a") as file:
        file.write(lines(numbers))


def compress(path: Path, into: Path | None = None) -> None:
    """As gzip does: a new file, then the old one is removed."""
    into = into or path.with_name(path.name + ".gz")
    packed = zstandard.compress if into.suffix == ".zst" else gzip.compress
    into.write_bytes(packed(path.read_bytes()))
    path.unlink()


def copytruncate(path: Path) -> None:
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)


def test_the_first_time_all_is_read_and_then_what_was_appended(log: Path) -> None:
    append(log, range(5))
    reader = Reader(log)
    assert reader.read() == [0, 1, 2, 3, 4]
    assert reader.read() == []
    append(log, range(5, 8))
    assert reader.read() == [5, 6, 7]
    assert (reader.growth.source.lines, reader.growth.source.requests) == (3, 3)


def test_an_absent_log_is_no_failure_and_is_read_when_it_appears(log: Path) -> None:
    reader = Reader(log, log.parent / "*.jsonl")
    assert reader.read() == []
    assert reader.growth.failed == ()
    append(log, [1])
    assert reader.read() == [1]


def test_an_empty_log_is_no_failure(log: Path) -> None:
    log.touch()
    reader = Reader(log)
    assert reader.read() == []
    assert reader.growth.failed == ()
    append(log, [1])
    assert reader.read() == [1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_log_is_a_failure(log: Path) -> None:
    append(log, [1])
    log.chmod(0)
    reader = Reader(log)
    assert reader.read() == []
    assert [why for _, why in reader.growth.failed] == ["permission denied"]


def test_a_half_written_line_waits(log: Path) -> None:
    reader = Reader(log)
    log.write_text(line(1) + line(2)[:20])
    assert reader.read() == [1]
    assert reader.growth.pending == 20
    assert reader.growth.source.rejected == 0
    assert reader.read() == []
    assert reader.growth.pending == 20
    with log.open("a") as file:
        file.write(line(2)[20:])
    assert reader.read() == [2]
    assert reader.growth.pending == 0


def test_lines_that_cannot_be_read_are_counted_once(log: Path) -> None:
    reader = Reader(log)
    log.write_text(line(1) + "garbage\n")
    reader.read()
    assert (reader.growth.source.rejected, reader.growth.source.lines) == (1, 2)
    append(log, [2])
    reader.read()
    assert (reader.growth.source.rejected, reader.growth.source.lines) == (0, 1)


@pytest.mark.parametrize("pattern", ["app.log", "app.log*", "."])
class TestRotation:
    """Each with a name, a glob and a folder."""

    def test_a_renamed_log_is_read_to_its_end_and_then_the_new_one(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, [1, 2])
        assert reader.read() == [1, 2]
        append(log, [3])
        log.rename(log.with_name("app.log.1"))
        append(log, [4])
        assert reader.read() == [3, 4]
        append(log.with_name("app.log.1"), [5])  # by a writer that still has it open
        append(log, [6])
        assert sorted(reader.read()) == [5, 6]
        assert reader.read() == []

    def test_a_log_that_was_compressed_after_the_rotation(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, [1, 2])
        reader.read()
        append(log, [3])
        log.rename(log.with_name("app.log.1"))
        compress(log.with_name("app.log.1"))
        append(log, [4])
        assert reader.read() == [3, 4]
        log.with_name("app.log.1.gz").rename(log.with_name("app.log.2.gz"))
        log.rename(log.with_name("app.log.1"))
        assert reader.read() == []

    def test_a_log_that_was_all_read_and_then_compressed(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, range(50))
        reader.read()
        compress(log, log.with_name("app.log.1.zst"))
        append(log, [60])
        assert reader.read() == [60]
        assert reader.read() == []

    def test_copytruncate(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, range(30))
        reader.read()
        append(log, [30, 31])
        copytruncate(log)
        append(log, [32])
        assert reader.read() == [30, 31, 32]
        assert reader.read() == []

    def test_copytruncate_where_the_new_log_is_already_longer(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, range(3))
        reader.read()
        append(log, [3])
        copytruncate(log)
        append(log, range(4, 20))
        assert reader.read() == list(range(3, 20))

    def test_a_copy_that_is_not_truncated_yet(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, range(30))
        reader.read()
        append(log, [30])
        shutil.copyfile(log, log.with_name("app.log.1"))
        append(log, [31])  # is lost to the copy, but not to the reader
        assert reader.read() == [30, 31]
        os.truncate(log, 0)
        append(log, [32])
        assert reader.read() == [32]

    def test_two_rotations_between_two_readings(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, [1, 2])
        reader.read()
        append(log, [3])
        log.rename(log.with_name("app.log.2"))
        append(log, [4])
        log.rename(log.with_name("app.log.1"))
        append(log, [5])
        assert sorted(reader.read()) == [3, 4, 5]
        assert reader.read() == []

    def test_a_shorter_log_in_its_place(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, range(40))
        reader.read()
        other = log.with_name("other.tmp")
        append(other, [70, 71])
        other.replace(log)
        assert reader.read() == [70, 71]

    def test_a_log_that_is_replaced_by_its_longer_self(self, log: Path, pattern: str) -> None:
        reader = Reader(log.parent / pattern)
        append(log, range(40))
        reader.read()
        other = log.with_name("other.tmp")
        append(other, range(42))
        other.replace(log)
        assert reader.read() == [40, 41]


def test_an_inode_that_is_given_to_another_file(log: Path) -> None:
    reader = Reader(log.parent / "*.log")
    append(log, range(10))
    reader.read()
    with log.open("r+") as file:  # the same inode, as a file system would give it to a new file
        file.truncate()
        file.write(lines(range(100, 150)))
    log.rename(log.with_name("new.log"))
    assert reader.read() == list(range(100, 150))
    assert reader.read() == []


def test_a_folder_that_grows_files(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for day in range(3):
        append(tmp_path / f"day-{day}.jsonl", [day * 10, day * 10 + 1])
        assert reader.read() == [day * 10, day * 10 + 1]


def test_a_log_that_vanishes_for_a_while(log: Path) -> None:
    reader = Reader(log)
    append(log, [1])
    reader.read()
    away = log.parent / "elsewhere"
    away.mkdir()
    log.rename(away / "app.log")
    assert reader.read() == []
    assert reader.read() == []
    (away / "app.log").rename(log)
    append(log, [2])
    assert reader.read() == [2]


def test_an_unrelated_file_beside_the_log_is_not_read(log: Path) -> None:
    reader = Reader(log)
    append(log, [1])
    append(log.with_name("app-other.log"), [50])
    reader.read()
    log.rename(log.with_name("app.log.1"))
    append(log.with_name("apple.log.1"), [51])
    append(log.with_name("app.log.notes"), [52])
    append(log, [2])
    assert reader.read() == [2]


def test_logs_that_are_no_longer_asked_for_are_left(tmp_path: Path) -> None:
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    append(one, [1])
    first = Reader(one)
    first.read()
    append(one, [2])
    append(other, [3])
    second = Reader(other)
    second.checkpoints = first.checkpoints
    assert second.read() == [3]


def test_a_log_that_is_compressed_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl.gz"
    path.write_bytes(gzip.compress(lines([1, 2]).encode()))
    reader = Reader(path)
    assert reader.read() == [1, 2]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(gzip.compress(lines([3]).encode()))
    assert reader.read() == [3]


def test_a_compressed_log_that_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl.gz"
    whole = gzip.compress(lines(range(20_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    reader = Reader(path)
    os.utime(path, (WALL_US / 1e6, WALL_US / 1e6))
    first = reader.read()
    assert reader.growth.failed == ()
    path.write_bytes(whole)
    assert first + reader.read() == list(range(20_000))


def test_csv_is_followed_with_its_column_names(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.write_text("timestamp,request_id,model,latency_ms\n2026-01-01T00:00:00Z,r1,m,5\n")
    reader = Reader(path)
    assert reader.read() == [1]
    with path.open("a") as file:
        file.write("2026-01-01T00:00:01Z,r2,m,5\n")
    assert reader.read() == [2]
    assert reader.growth.source.rejected == 0


def test_csv_whose_cells_go_over_lines_is_followed_record_by_record(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"

    def rows(numbers: Iterable[int]) -> str:
        return "".join(f'r{number},{1_780_000_000 + number},m,5,"a\nb, ""c"""\n' for number in numbers)

    def more(text: str) -> None:
        with log.open("a") as file:
            file.write(text)

    log.write_text("request_id,timestamp,model,latency_ms,prompt\nr0,1780000000,m,5,plain\n")
    reader = Reader(log)
    assert reader.read() == [0]
    more(rows([1, 2]))
    assert reader.read() == [1, 2]
    more(rows([3]) + rows([4])[:-4])
    assert reader.read() == [3]
    more(rows([4])[-4:] + rows([5]))
    assert reader.read() == [4, 5]
    assert reader.read() == []


def test_an_array_that_is_written_anew_gives_its_new_elements(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    calls = [json.loads(line(number)) for number in range(6)]
    path.write_text(json.dumps(calls[:3]))
    reader = Reader(path)
    assert reader.read() == [0, 1, 2]
    assert reader.read() == []
    path.write_text(json.dumps(calls))
    assert reader.read() == [3, 4, 5]
    assert (reader.growth.source.lines, reader.growth.source.requests) == (3, 3)


def test_an_array_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    text = "[\n" + ",\n".join(line(number).strip() for number in range(3)) + "\n]\n"
    path.write_text(text[: text.index('"r1"')])
    reader = Reader(path)
    assert reader.read() == [0]
    assert reader.growth.source.rejected == 0
    path.write_text(text)
    assert reader.read() == [1, 2]


def test_calls_that_a_log_repeats_come_once(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    path.write_text(line(1, completion_tokens=1) + line(1, completion_tokens=5) + line(2))
    reader = Reader(path, dedup=True)
    assert reader.read() == [1, 2]
    assert reader.growth.source.duplicates == 1


def test_calls_are_filtered_and_priced_as_elsewhere(log: Path) -> None:
    log.write_text(line(1, model="gpt-4o", cost_usd=0.5) + line(2))
    reader = Reader(log, where=parse("model=gpt*"))
    assert reader.read() == [1]
    assert reader.growth.source.filtered == 1


def test_the_first_reading_of_a_long_log_may_begin_late(log: Path) -> None:
    append(log, range(40_000))
    reader = Reader(log)
    found = reader.read(since_us=(1_780_000_000 + 39_000) * 1_000_000)
    assert found[-1] == 39_999
    assert 1_000 <= len(found) < 10_000


def test_the_dialect_is_that_of_the_beginning(log: Path) -> None:
    log.write_text('{"when": "2026-01-01T00:00:00Z", "engine": "m", "ms": 5, "req": "r1"}\n')
    maps = ("latency_ms=ms", "model=engine", "request_id=req", "timestamp=when")
    reader = Reader(log, overrides=tuple(map(parse_override, maps)))
    assert reader.read() == [1]
    with log.open("a") as file:
        file.write('{"when": "2026-01-01T00:00:01Z", "engine": "m", "ms": 6, "req": "r2"}\n')
    assert reader.read() == [2]
    assert concat(reader.growth.results).number("latency_ms").tolist() == [6000.0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 30)),
        st.tuples(st.just("half"), st.integers(1, 30)),
        *(st.tuples(st.just(kind), st.just(0)) for kind in ("rename", "copytruncate", "gz", "zst", "read")),
    ),
    max_size=25,
)


class Machine:
    """A log that is written and rotated; a half-written line is finished before anything else is done."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.written = 0
        self.rest = ""
        self._clock_ns = WALL_US * 1000

    def append(self, count: int) -> None:
        with self.log.open("a") as file:
            file.write(self.rest + lines(range(self.written, self.written + count)))
        self.written += count
        self.rest = ""
        self._touch(self.log)

    def half(self, size: int) -> None:
        with self.log.open("a") as file:
            file.write(self.rest + line(self.written)[:size])
        self.rest = line(self.written)[size:]
        self.written += 1
        self._touch(self.log)

    def rename(self, _: int) -> None:
        self._finish()
        if self.log.exists():
            self._shift()
            self.log.rename(self.log.with_name("app.log.1"))

    def copytruncate(self, _: int) -> None:
        self._finish()
        if self.log.exists():
            self._shift()
            copytruncate(self.log)
            self._touch(self.log.with_name("app.log.1"))
            self._touch(self.log)

    def gz(self, _: int, ending: str = ".gz") -> None:
        for number in range(1, 30):
            path = self.log.with_name(f"app.log.{number}")
            if path.exists():
                status = path.stat()
                packed = path.with_name(path.name + ending)
                compress(path, packed)
                os.utime(packed, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def zst(self, _: int) -> None:
        self.gz(0, ".zst")

    def _finish(self) -> None:
        if self.rest:
            self.append(0)

    def _shift(self) -> None:
        for number in range(30, 0, -1):
            for ending in ("", ".gz", ".zst"):
                path = self.log.with_name(f"app.log.{number}{ending}")
                if path.exists():
                    path.rename(path.with_name(f"app.log.{number + 1}{ending}"))

    def _touch(self, path: Path) -> None:
        """Every change has a time of its own, as changes have that are not microseconds apart."""
        self._clock_ns += 1_000_000_000
        os.utime(path, ns=(self._clock_ns, self._clock_ns))


@pytest.mark.parametrize("pattern", ["app.log", "app.log*", "."])
@settings(max_examples=40)
@given(steps=STEPS)
def test_each_line_is_delivered_exactly_once_whatever_happens(
    steps: list[tuple[str, int]], pattern: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    machine = Machine(folder / "app.log")
    reader = Reader(folder / pattern)
    machine.append(1)
    found = reader.read()
    for kind, amount in steps:
        act: Callable[[int], Any] = getattr(machine, kind, lambda _: found.extend(reader.read()))
        act(amount)
    machine.append(1)
    found += reader.read()
    found += reader.read()
    assert sorted(found) == list(range(machine.written))
    shutil.rmtree(folder)


SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize("name", ["claude_code.jsonl", "codex.jsonl", "azure_llm_trace.csv", "openai_chat.jsonl"])
def test_a_log_that_grows_line_by_line_gives_the_calls_that_it_gives_at_once(name: str, tmp_path: Path) -> None:
    whole = (SAMPLES / name).read_bytes().splitlines(keepends=True)
    asked = Query(logs=(str(SAMPLES / name),), wall_us=WALL_US)
    at_once = read_new(asked, FIELDS, ColumnsFold, ()).source
    log, seen, calls, lines_read = tmp_path / name, Seen(), 0, 0
    checkpoints: tuple[Checkpoint, ...] = ()
    for one in whole:
        with log.open("ab") as file:
            file.write(one)
        query = Query(logs=(str(log),), wall_us=WALL_US)
        growth = read_new(query, FIELDS, ColumnsFold, checkpoints, seen=seen)
        checkpoints = growth.checkpoints
        calls += growth.source.requests
        lines_read += growth.source.lines
        assert growth.source.requests == sum(columns.size for columns in growth.results)
    assert (calls, lines_read) == (at_once.requests, at_once.lines)


@pytest.mark.parametrize("name", ["claude_code.jsonl", "codex.jsonl", "azure_llm_trace.csv", "openai_chat.jsonl"])
def test_what_was_read_before_can_be_read_once_more(name: str, tmp_path: Path) -> None:
    log = tmp_path / name
    log.write_bytes((SAMPLES / name).read_bytes())
    query = Query(logs=(str(log),), wall_us=WALL_US)
    growth = read_new(query, FIELDS, ColumnsFold, ())
    again = read_known(query, FIELDS, ColumnsFold, growth.checkpoints, None)
    assert sum(columns.size for columns in again) == growth.source.requests
    if growth.checkpoints[0].plain:
        append(log, range(1000))
        again = read_known(query, FIELDS, ColumnsFold, growth.checkpoints, None)
        assert sum(columns.size for columns in again) == growth.source.requests
    log.unlink()
    assert read_known(query, FIELDS, ColumnsFold, growth.checkpoints, None) == []


def called(name: str) -> Columns:
    """One call of a dialect that may repeat it."""
    return Columns(size=1, timestamp=np.zeros(1, np.int64), numbers={CALL_KEY: keys([name])})


def test_what_was_seen_is_bounded() -> None:
    seen = Seen(most=2)
    for name in ("a", "b", "c"):
        assert seen.unseen(called(name)).size == 1
        assert seen.unseen(called(name)).size == 0
    assert seen.unseen(called("b")).size == 0
    assert seen.unseen(called("a")).size == 1
