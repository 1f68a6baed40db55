"""Kinds of lines that first appear in the middle or at the end of a log are read as if its head had held them."""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmmon.ingest.follow import read_new
from llmmon.ingest.query import Query
from llmmon.metrics.aggregation import ColumnsFold
from tests.conftest import Run

START = datetime(2026, 3, 14, tzinfo=UTC)
Line = dict[str, Any]


def stamp(number: int) -> str:
    return (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")


def web(number: int) -> Line:
    more = {"path": f"/orders/{number}", "status": 200, "remote": "10.0.0.7", "agent": "Mozilla/5.0 (X11; Linux)"}
    return {"ts": stamp(number), "event": "http_request", "duration": 3 + number % 80, **more}


def call(number: int, unit: str = "ms") -> Line:
    """40 tokens a second."""
    tokens = 40 + number % 200
    took = tokens * 25 if unit == "ms" else tokens / 40
    usage = {"prompt_tokens": 100, "completion_tokens": tokens}
    return {"ts": stamp(number), "event": "llm_call", "model": "gpt-4o", **usage, "duration": took}


def nested(number: int) -> Line:
    one = call(number, "s")
    inner = {"llm_model": "gpt-4o", "tokens_in": 100, "tokens_out": one["completion_tokens"]}
    return {"time": one["ts"], "msg": "chat done", "ctx": {**inner, "duration": one["duration"]}}


def renamed(number: int) -> Line:
    one = call(number, "s")
    usage = {"input_tokens": 100, "output_tokens": one["completion_tokens"]}
    return {"ts": one["ts"], "event": "chat", "model": "gpt-4o", **usage, "duration": one["duration"]}


def log(path: Path, lines: Iterator[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def late() -> Iterator[Line]:
    yield from (web(number) for number in range(6000))
    for number in range(6000, 7500):
        yield web(number)
        if number % 5 == 0:
            yield call(number)


def rare() -> Iterator[Line]:
    """Twenty calls between the places where samples are taken."""
    for number in range(7000):
        yield web(number)
        if number == 2600:
            yield from (call(number) for _ in range(20))


def second_half(other: Callable[[int], Line]) -> Callable[[], Iterator[Line]]:
    def lines() -> Iterator[Line]:
        for number in range(6000):
            yield web(number)
            if number % 3 == 0:
                yield call(number) if number < 3000 else other(number)

    return lines


KINDS: dict[str, tuple[Callable[[], Iterator[Line]], int]] = {
    "calls that begin after thousands of web requests": (late, 300),
    "a few calls in the middle": (rare, 20),
    "calls under other keys in the second half": (second_half(nested), 2000),
    "another unit under the same key in the second half": (second_half(lambda number: call(number, "s")), 2000),
    "another unit in calls of other keys": (second_half(renamed), 2000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_line_is_read_right_wherever_it_first_appears(run: Run, tmp_path: Path, kind: str) -> None:
    lines, count = KINDS[kind]
    path = log(tmp_path / "app.jsonl", lines())
    found = run("summarize", str(path), "-f", "json").json["data"]["totals"]
    assert found["request_count"] == count
    assert found["output_tokens_per_second_p50"] == pytest.approx(40)
    assert 1000 <= found["latency_p50_ms"] < 6000


def test_a_log_that_changes_its_unit_says_so(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path / "app.jsonl", KINDS["another unit under the same key in the second half"][0]())
    (warning,) = run("summarize", str(path), "-f", "json").json["source"]["warnings"]
    assert "duration is in ms on some lines and in s on others" in warning


def test_compressed_logs_are_read_the_same(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path / "app.jsonl", rare())
    (tmp_path / "app.jsonl.bz2").write_bytes(bz2.compress(path.read_bytes()))
    found = run("summarize", str(tmp_path / "app.jsonl.bz2"), "-f", "json").json
    assert found["data"]["totals"]["request_count"] == 20
    assert found["source"]["warnings"] == []


def test_a_pipe_cannot_be_read_again_and_its_log_says_what_is_doubtful(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path / "app.jsonl", rare())
    source = run("summarize", "-", "-f", "json", stdin=path.read_bytes()).json["source"]
    assert any("7,000 calls of 7,020 without model, tokens and cost" in warning for warning in source["warnings"])


def test_lines_that_only_begin_calls_do_not_count_where_they_first_appear_late(run: Run, tmp_path: Path) -> None:
    def lines() -> Iterator[Line]:
        for number in range(5000):
            if number > 2000:
                yield {"ts": stamp(number), "event": "llm_start", "model": "gpt-4o"}
            yield call(number)

    path = log(tmp_path / "app.jsonl", lines())
    assert run("summarize", str(path), "-f", "json").json["data"]["totals"]["request_count"] == 5000


def test_another_dialect_in_the_middle_is_read_by_its_own_rules(run: Run, tmp_path: Path) -> None:
    """Pieces of streams, of which each call is several lines."""

    def lines() -> Iterator[Line]:
        yield from (call(number) for number in range(3000))
        for number in range(30):
            piece = {"id": f"c{number}", "object": "chat.completion.chunk", "created": 1773479820, "model": "gpt-4o"}
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            yield from ({**piece, "choices": [{"delta": {"content": text}}]} for text in ("a", "b"))
            yield {**piece, "choices": [], "usage": usage}

    path = log(tmp_path / "app.jsonl", lines())
    assert run("summarize", str(path), "-f", "json").json["data"]["totals"]["request_count"] == 3030


def test_fields_that_are_null_on_all_first_lines_are_read_later(run: Run, tmp_path: Path) -> None:
    def lines() -> Iterator[Line]:
        for number in range(2500):
            told = number > 700
            more = {"error": "timeout" if told and number % 2 else None, "user": "bob" if told else None}
            cached = {"prompt_tokens_details": {"cached_tokens": 10} if told else None}
            yield {**call(number), **more, **cached, "latency_s": 2.0 if told else None}

    path = log(tmp_path / "app.jsonl", lines())
    found = run("summarize", str(path), "--by", "user", "-f", "json").json["data"]
    assert found["totals"]["error_count"] == 900
    assert found["totals"]["cached_tokens"] == 17990
    assert [(group["key"]["user"], group["request_count"]) for group in found["groups"]] == [("bob", 1799), (None, 701)]


def test_a_followed_log_is_read_anew_where_it_shows_what_its_calls_are(tmp_path: Path) -> None:
    path = log(tmp_path / "app.jsonl", rare())
    found = read_new(Query(logs=(str(path),), wall_us=1), frozenset({"latency_ms"}), ColumnsFold, ())
    assert sum(columns.size for columns in found.results) == found.source.requests == 20


def test_inspect_counts_the_shapes_of_a_whole_file(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path / "app.jsonl", rare())
    (file,) = run("inspect", str(path), "-f", "json").json["data"]["files"]
    assert [(shape["lines"], shape["calls"]) for shape in file["shapes"]] == [(7000, 0), (20, 20)]
