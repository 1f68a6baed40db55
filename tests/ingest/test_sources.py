"""Where logs come from: paths, globs, folders, links, copies, compressed and broken files."""

from __future__ import annotations

import glob
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import zstandard

from llmmon.ingest import sources
from llmmon.ingest.sources import find, is_log
from llmmon.ingest.spans import Source, Stream, head, spans_of
from tests.conftest import Run
from tests.support.columns_factory import scanned

LINE = b'{"model": "m", "latency_ms": 5}\n'


@pytest.mark.parametrize(
    "name",
    [
        *("a.jsonl", "a.ndjson", "a.json", "a.log", "a.csv", "A.JSONL", "a.jsonl.1", "a.log.12", "a.jsonl.gz"),
        *("a.jsonl.zst", "a.jsonl.3.gz", "a.log.2026", "x.y.jsonl"),
    ],
)
def test_a_log_is_known_by_its_name(name: str) -> None:
    assert is_log(name)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.md", "a.gz", "jsonl", "a.jsonl.bak", "a.jsonl.tmp", "a.toml"])
def test_other_files_are_none(name: str) -> None:
    assert not is_log(name)


def test_a_folder_is_searched_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/c.jsonl", "a.jsonl", "b/a.jsonl", "z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINE + name.encode())
    found = find([str(tmp_path)])
    assert [s.path.removeprefix(f"{tmp_path}/") for s in found.sources] == ["a.jsonl", "b/a.jsonl", "b/c.jsonl"]
    assert (str(tmp_path / "z.txt"),) == found.ignored


def test_a_named_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "calls.txt").write_bytes(LINE)
    assert len(find([str(tmp_path / "calls.txt")]).sources) == 1


def test_a_link_to_a_log_that_was_named_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    os.link(tmp_path / "a.jsonl", tmp_path / "c.jsonl")
    found = find([str(tmp_path)])
    assert len(found.sources) == 1
    assert len(found.repeated) == 2


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_a_copy_is_read_once_however_it_is_packed(tmp_path: Path, pack: object) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE * 100)
    (tmp_path / "a.jsonl.1").write_bytes(pack(LINE * 100))  # type: ignore[operator]
    assert len(find([str(tmp_path)]).sources) == 1


def test_files_of_the_same_size_are_no_copies(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)
    (tmp_path / "b.jsonl").write_bytes(LINE.replace(b"m", b"n"))
    assert len(find([str(tmp_path)]).sources) == 2


def test_many_files_of_one_size_are_opened_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        (tmp_path / f"{number:03}.jsonl").write_bytes(LINE.replace(b"m", b"%03d" % number))
    (tmp_path / "again.jsonl").write_bytes(LINE.replace(b"m", b"007"))
    opened: list[str] = []
    monkeypatch.setattr(sources, "head", lambda source: opened.append(source.path) or head(source))
    assert len(find([str(tmp_path)]).sources) == 200
    assert len(opened) == 201


def test_two_empty_files_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).touch()
    assert len(find([str(tmp_path)]).sources) == 2


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].jsonl").write_bytes(LINE)
    assert len(find([str(tmp_path / "a[1].jsonl")]).sources) == 1


def test_what_is_not_there_is_unreadable(tmp_path: Path) -> None:
    found = find([str(tmp_path / "no.jsonl"), str(tmp_path / "*.jsonl")])
    assert found.sources == ()
    assert {why for _, why in found.unreadable} == {"no such file or directory", "nothing matches"}


@pytest.mark.parametrize("name", ["logs", "logs/*", "logs/**", "logs/**/*.jsonl", "logs/other/self/self/../**/*.jsonl"])
def test_links_that_lead_in_circles_are_no_trap(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(LINE)
    for link in ("self", "other", "third"):  # one alone would be followed forty times, several without end
        (tmp_path / "logs" / link).symlink_to(".")
    done = run("summarize", name, "-f", "json")
    assert done.code == 0
    assert done.json["data"]["totals"]["request_count"] == 1


@pytest.mark.parametrize(
    ("target", "why"), [("a.jsonl", "too many levels of symbolic links"), ("gone", "no such file")]
)
def test_a_link_to_nothing_or_to_itself_is_reported_beside_the_rest(
    run: Run, tmp_path: Path, target: str, why: str
) -> None:
    (tmp_path / "a.jsonl").symlink_to(target)
    (tmp_path / "b.jsonl").write_bytes(LINE)
    for name in (".", "*.jsonl"):
        done = run("summarize", name, "-f", "json")
        assert done.code == 3
        assert f"a.jsonl: {why}" in done.stderr
        assert done.json["data"]["totals"]["request_count"] == 1


def test_a_source_that_fails_while_it_is_read_is_reported_beside_the_rest(run: Run, tmp_path: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that opens and cannot be read")
    (tmp_path / "b.jsonl").write_bytes(LINE)
    done = run("summarize", "/proc/self/mem", "b.jsonl", "-f", "json")
    assert done.code == 3
    assert "/proc/self/mem: input/output error" in done.stderr
    assert done.json["data"]["totals"]["request_count"] == 1


@pytest.mark.parametrize("pattern", ["**/*.jsonl", "x/**", "**/y/*.log", "x/**/y/**/*", "x/**/nothing"])
def test_a_glob_matches_what_it_does_elsewhere(tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "a.jsonl",
        "x/b.jsonl",
        "x/y/c.log",
        "x/y/z/y/d.log",
        "x/.hidden/e.jsonl",
        "x/y/.f.jsonl",
        "w/y/g.log",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LINE + name.encode())
    monkeypatch.chdir(tmp_path)
    found = {path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()}  # noqa: PTH207
    assert found == {source.path for source in find([pattern]).sources}


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_file_that_is_cut_off_is_a_failure_and_what_came_before_counts(
    tmp_path: Path, pack: object, cut: float
) -> None:
    values = np.random.default_rng(1).integers(0, 10**9, 50_000)
    whole = pack(b"".join(b'{"model": "m", "latency_ms": %d}\n' % value for value in values))  # type: ignore[operator]
    (tmp_path / "a.jsonl").write_bytes(whole[: int(len(whole) * cut)])
    report = scanned([tmp_path / "a.jsonl"]).report
    assert len(report.failed) == 1
    assert 0 < report.used < 50_000


@pytest.mark.parametrize(
    "junk", [b"\x1f\x8b", b"\x1f\x8b\x08\x00junk", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfdjunkjunkjunk", b"\x00" * 5000]
)
def test_junk_is_an_input_error_and_stops_nothing_else(run: Run, tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "junk.jsonl").write_bytes(junk)
    (tmp_path / "good.jsonl").write_bytes(LINE)
    alone = run("summarize", "junk.jsonl")
    assert alone.code == 3
    assert "internal error" not in alone.stderr
    both = run("summarize", "junk.jsonl", "good.jsonl", "-f", "json")
    assert both.code in {0, 3}
    assert both.json["data"]["totals"]["request_count"] == 1


def test_frames_one_after_another_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "a.zst").write_bytes(zstandard.compress(LINE) + zstandard.compress(LINE * 2))
    (tmp_path / "a.gz").write_bytes(gzip.compress(LINE) + gzip.compress(LINE * 2))
    assert scanned([tmp_path / "a.zst"]).report.used == 3
    assert scanned([tmp_path / "a.gz"]).report.used == 3


def test_a_folder_of_a_name_without_reading_rights_is_unreadable(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    (tmp_path / "b.jsonl").write_bytes(LINE)
    assert run("summarize", "a.jsonl", "b.jsonl").code == 0


def test_a_pipe_with_a_name_is_read(run: Run, tmp_path: Path) -> None:
    import threading

    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(LINE * 3))
    writer.start()
    found = run("summarize", "pipe", "-f", "json")
    writer.join()
    assert found.json["data"]["totals"]["request_count"] == 3


@pytest.mark.parametrize("logs", [".", "*.jsonl", "**/*.jsonl"])
def test_a_pipe_that_nobody_named_is_passed_over(logs: str, run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "a.jsonl").write_bytes(LINE)
    for command in ("summarize", "check", "inspect"):
        assert run(command, logs).code == 0


def test_the_head_ends_with_a_whole_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE * 1000)
    beginning = head(Source(str(tmp_path / "a.jsonl"), len(LINE) * 1000), 1000)
    assert 1000 // len(LINE) * LINE == beginning


def test_a_stream_shows_its_beginning_and_still_gives_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LINE * 30_000)
    stream = Stream(Source(str(tmp_path / "a"), 0, seekable=False))
    assert stream.peek().startswith(LINE)
    assert b"".join(stream.chunks()) == LINE * 30_000


def test_spans_cover_a_file_without_gap_or_overlap() -> None:
    spans = spans_of(3, Source("a", 1005), 5, None, first=7, size=100)
    assert [(5 + 100 * n, 105 + 100 * n) for n in range(10)] == [(span.start, span.end) for span in spans]
    assert list(range(7, 17)) == [span.number for span in spans]


def test_a_file_that_was_cut_short_while_it_was_read_gives_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINE * 100)
    source = Source(str(path), len(LINE) * 200)
    from llmmon.ingest.spans import Span, SpanBytes

    assert b"".join(bytes(chunk) for chunk in SpanBytes().chunks(source, Span(0, 0, 0, None))) == LINE * 100
