"""The calls written by `export --to jsonl` and `--to csv` are the same calls when they are read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.errors import InputError
from llmmon.formats.detection import tags_in
from llmmon.formats.own_csv import cell_of, text_of
from llmmon.ingest.query import Query
from llmmon.output.export.rows import Wanted, export_records
from llmmon.reports.summary import summarize
from tests.support.log_samples import SAMPLES, lines, plan, read
from tests.support.log_samples import calls as calls_of

WALL_US = 1_790_000_000_000_000
WITH_CALLS = sorted(name for name in SAMPLES if read(SAMPLES[name].read_bytes())[0].size)


def query(path: Path, **more: Any) -> Query:
    return Query(logs=(str(path),), wall_us=WALL_US, **more)


def exported(path: Path, to: str, wanted: Wanted | None = None, **more: Any) -> bytes:
    pieces: list[bytes] = []
    export_records(query(path, **more), to, wanted or Wanted(), pieces.append)
    return b"".join(pieces)


def summary_of(path: Path) -> Any:
    report, _ = summarize(query(path), by=("model", "user", "feature", "provider", "status"), every_us=3_600_000_000)
    return msgspec.structs.replace(report, logs=())


@pytest.mark.parametrize("to", ["jsonl", "csv"])
@pytest.mark.parametrize("sample", WITH_CALLS)
def test_what_is_exported_has_the_same_summary(sample: str, to: str, tmp_path: Path) -> None:
    again = tmp_path / f"again.{to}"
    again.write_bytes(exported(SAMPLES[sample], to))
    assert summary_of(SAMPLES[sample]) == summary_of(again)


@pytest.mark.parametrize("sample", WITH_CALLS)
def test_exporting_twice_gives_the_same_bytes(sample: str, tmp_path: Path) -> None:
    keeping = Wanted(keep_text=True)
    first = exported(SAMPLES[sample], "jsonl", keeping)
    (tmp_path / "first.jsonl").write_bytes(first)
    assert first == exported(tmp_path / "first.jsonl", "jsonl", keeping)


@pytest.mark.parametrize("to", ["jsonl", "csv"])
def test_texts_are_written_only_where_they_are_asked_for(to: str) -> None:
    said = b"Where is my parcel?"
    assert said not in exported(SAMPLES["llmmon"], to)
    assert said in exported(SAMPLES["llmmon"], to, Wanted(keep_text=True))


def test_tags_of_every_kind_are_found_and_kept(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"model": "m", "latency_ms": 1, "region": "eu", "tags": {"team": "north"}, "items": [1]},
        {"model": "m", "latency_ms": 2, "metadata": {"plan": "pro", "user_id": "u1"}, "tags": ["a", "b"]},
    ]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    found = [orjson.loads(line) for line in exported(tmp_path / "a.jsonl", "jsonl").splitlines()]
    assert [row["tags"] for row in found] == [{"region": "eu", "team": "north"}, {"plan": "pro"}]
    assert found[1]["user"] == "u1"
    for to in ("jsonl", "csv"):
        (tmp_path / f"again.{to}").write_bytes(exported(tmp_path / "a.jsonl", to))
        for tag in ("region", "team", "plan"):
            assert by_tag(tmp_path / f"again.{to}", tag) == by_tag(tmp_path / "a.jsonl", tag)


def by_tag(path: Path, tag: str) -> list[Any]:
    report, _ = summarize(query(path), by=(f"tag.{tag}",))
    return [(group.key, group.statistics["request_count"]) for group in report.groups]


def test_a_tag_that_the_head_does_not_show_can_be_asked_for(tmp_path: Path) -> None:
    plain: list[Any] = [{"model": "m", "latency_ms": 1}] * 30_000  # samples of the middle and the end miss it, too
    tagged = {"model": "m", "latency_ms": 1, "tags": {"zone": "b"}}
    (tmp_path / "a.jsonl").write_bytes(lines(*plain[:1700], tagged, *plain))
    assert b"zone" not in exported(tmp_path / "a.jsonl", "jsonl")
    assert b'"tags":{"zone":"b"}' in exported(tmp_path / "a.jsonl", "jsonl", Wanted(tags=("zone",)))


def test_metric_samples_stand_in_json_lines_and_not_in_csv() -> None:
    path = SAMPLES["llmmon_metric"]
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == [
        orjson.loads(line) for line in exported(path, "jsonl").splitlines()
    ]
    assert len(exported(path, "csv").splitlines()) == 1


def test_costs_are_as_logged_unless_more_is_asked_for(tmp_path: Path) -> None:
    row = {"model": "gpt-4o", "timestamp": "2026-03-14T09:17:00Z", "prompt_tokens": 1000, "completion_tokens": 0}
    (tmp_path / "a.jsonl").write_bytes(lines(row, {**row, "cost_usd": 0.5}))

    def costs(wanted: Wanted, **more: Any) -> list[Any]:
        found = exported(tmp_path / "a.jsonl", "jsonl", wanted, **more).splitlines()
        return [orjson.loads(line).get("cost_usd") for line in found]

    assert costs(Wanted()) == [None, 0.5]
    assert costs(Wanted(fill_costs=True)) == [0.0025, 0.5]
    assert costs(Wanted(), cost="calculated") == [0.0025, 0.0025]
    assert costs(Wanted(), cost="none") == [None, None]


def test_a_failed_call_that_carries_nothing_else_is_still_a_call(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        lines({"error": {"message": "Rate limit reached", "type": "requests", "param": None, "code": None}})
    )
    content = exported(tmp_path / "a.jsonl", "jsonl")
    if content:
        assert read(content)[0].size == 1
        assert orjson.loads(content)["llmmon_call"] is True


HOSTILE = [
    "=1+1",
    "'=1",
    "''@x",
    "+a\nb\\nc",
    "\t=x",
    '"q",\r\n',
    "-1",
    "@cmd",
    "\\x1b \x1b[31m",
    "a\\",
    "é\u202e",
    "'",
]


@pytest.mark.parametrize("to", ["jsonl", "csv"])
def test_hostile_names_read_back_the_same(to: str, tmp_path: Path) -> None:
    rows = [
        {"model": text, "user": text, "latency_ms": 1, "error_message": text, "success": True, "tags": {"t": text}}
        for text in HOSTILE
    ]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    content = exported(tmp_path / "a.jsonl", to)
    again, _ = read(content, plan(content, tags=("t",)))
    whole = (tmp_path / "a.jsonl").read_bytes()
    assert calls_of(read(whole, plan(whole, tags=("t",)))[0]) == calls_of(again)
    assert not any(sign < 32 and sign != 10 for sign in content)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("'=+-@\\nrx01\n\r\t\x00\x9f ,;|\"", max_size=12))
def test_a_cell_reads_back_as_its_text_and_is_no_formula(text: str) -> None:
    cell = cell_of(text)
    assert text == text_of(cell)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert "\n" not in cell
    assert not re.search("[;|] *[=+@-]", cell)


def test_a_cell_of_another_csv_is_left_alone(tmp_path: Path) -> None:
    content = b"timestamp,model,latency_ms,note,path\n2026-03-14T09:17:00Z,'=m,5,x,C:\\new\n"
    found = calls_of(read(content, plan(content, tags=("path",)))[0])
    assert found[0]["model"] == "'=m"
    assert found[0]["tag.path"] == "C:\\new"


def test_nothing_is_written_where_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    pieces: list[bytes] = []
    with pytest.raises(InputError):
        export_records(query(tmp_path / "a.jsonl"), "csv", Wanted(), pieces.append)
    assert pieces == []


@given(st.binary(max_size=300))
def test_looking_for_tags_survives_any_bytes(content: bytes) -> None:
    tags_in(content)
