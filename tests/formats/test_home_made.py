"""Logs that no dialect claims: which lines are calls, where in a line the call is, and what its keys mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmmon.formats.mapping import parse_override
from tests.conftest import Run
from tests.support.log_samples import calls_in, lines

TS = "2026-03-14T09:17:00Z"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20}
CALL: dict[str, Any] = {"model": "gpt-4o", "duration_s": 2.1, "usage": USAGE}
REPLY: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1773479820,
    "model": "gpt-4o",
    "choices": [],
    "usage": {**USAGE, "total_tokens": 120},
}


def figures(call: dict[str, Any]) -> tuple[Any, ...]:
    return call["model"], call["latency_ms"], call["prompt_tokens"], call["completion_tokens"], call["timestamp"]


@pytest.mark.parametrize(
    "key",
    (
        "call llm llm_call event fields context body props message msg record info details params args openai ai "
        "data payload anything_else"
    ).split(),
)
def test_the_call_may_stand_under_any_key(key: str) -> None:
    found = calls_in(lines(*[{"ts": TS, "level": "info", key: CALL}] * 3))
    assert [figures(call) for call in found] == [("gpt-4o", 2100, 100, 20, TS)] * 3


def test_what_the_call_says_of_itself_counts_before_what_is_said_around_it() -> None:
    row = {"ts": TS, "msg": "done", "duration_ms": 5000, "user": "bob", "llm": {"model": "m", "latency_ms": 900}}
    (call,) = calls_in(lines(row))
    assert (call["latency_ms"], call["user"]) == (900, "bob")


def test_a_reply_deep_inside_is_found() -> None:
    row = {"ts": TS, "data": {"attempt": 1, "result": {"api": {"response": REPLY, "took_ms": 77}}}}
    (call,) = calls_in(lines(row))
    assert figures(call) == ("gpt-4o", 77, 100, 20, TS)


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        {**CALL, "type": "message", "stop_reason": "end_turn", "usage": {"input_tokens": 100, "output_tokens": 20}},
    ],
)
def test_fields_that_a_writer_adds_to_a_reply_are_read(reply: dict[str, Any]) -> None:
    row = {**reply, "duration_s": None, "latency_ms": 1234, "timestamp": TS, "user": "bob", "feature": "chat"}
    (call,) = calls_in(lines(row))
    assert figures(call) == ("gpt-4o", 1234, 100, 20, TS)
    assert (call["user"], call["feature"]) == ("bob", "chat")


def test_lengths_of_time_make_no_call_beside_lines_with_evidence() -> None:
    web = {"ts": TS, "path": "/", "status": 200, "duration_ms": 3}
    found = calls_in(lines(web, {"ts": TS, "msg": "llm", **CALL}, web, {"ts": TS, "query": "select", "duration_ms": 1}))
    assert [call["latency_ms"] for call in found] == [2100]


def test_a_log_of_lengths_of_time_alone_is_read_and_said(run: Run) -> None:
    found = run("summarize", "-", "-f", "json", "--no-cache", stdin='{"ts": 1773479820, "duration_ms": 3}\n')
    assert json.loads(found.stdout)["data"]["totals"]["request_count"] == 1
    assert "without model, tokens and cost" in found.stderr


def test_turns_of_a_chat_are_no_calls_but_for_the_assistant() -> None:
    turns = [{"role": role, "content": "text", "timestamp": TS} for role in ("system", "user", "assistant", "tool")]
    assert len(calls_in(lines(*turns))) == 1


def test_a_bucket_of_usage_is_no_call() -> None:
    bucket = {"date": "2026-03-01", "model": "gpt-4o", "requests": 120, "prompt_tokens": 1000, "completion_tokens": 50}
    assert calls_in(lines(bucket)) == []
    assert len(calls_in(lines({**bucket, "requests": 1}))) == 1


def test_a_line_that_only_begins_a_call_is_none() -> None:
    begun = {"ts": TS, "model": "m", "status": "started"}
    assert len(calls_in(lines(begun, {"ts": TS, "model": "m", "status": "ok", "prompt_tokens": 4}))) == 1


def test_a_failed_call_needs_no_tokens() -> None:
    found = calls_in(lines({"ts": TS, "model": "m", "error": "timeout"}, {"ts": TS, "model": "m", **USAGE}))
    assert [call["status"] for call in found] == ["error", "ok"]


def test_a_request_line_and_its_response_line_are_one_call(run: Run) -> None:
    text = lines(
        {"ts": "2026-03-14T09:17:00Z", "event": "request", "id": "r1", "model": "gpt-4o", "user": "a"},
        {"ts": "2026-03-14T09:17:02Z", "event": "response", "id": "r1", "usage": USAGE},
        {"ts": "2026-03-14T09:17:03Z", "event": "request", "id": "r2", "model": "gpt-4o", "user": "b"},
        {"ts": "2026-03-14T09:17:04Z", "event": "web", "path": "/", "duration_ms": 3},
        {"ts": "2026-03-14T09:17:05Z", "event": "response", "id": "r2", "error": "rate limited", "latency_ms": 1900},
    ).decode()
    found = json.loads(run("requests", "-", "-f", "json", "--no-cache", stdin=text).stdout)
    rows = found["data"]["requests"]
    assert [(row["user"], row["latency_ms"], row["status"]) for row in rows] == [
        ("b", 1900, "error"),
        ("a", 2000, "ok"),
    ]
    source = found["source"]
    assert source["lines"] == source["blank"] + source["used"] + source["skipped"] + source["rejected"]
    assert source["used"] == source["requests"] + source["duplicates"]


def test_calls_in_a_list_are_completed_by_what_stands_around_it() -> None:
    row = {"ts": TS, "user": "bob", "steps": [{"model": "a", "total_tokens": 3}, {"model": "b", "total_tokens": 4}]}
    found = calls_in(lines(row))
    assert [(call["model"], call["user"], call["timestamp"]) for call in found] == [("a", "bob", TS), ("b", "bob", TS)]


@pytest.mark.parametrize(
    ("logged", "ms"),
    [
        (5_043_500_667, 5043.501),
        (2_100_000, 2100),
        (2100, 2100),
        (2.1, 2100),
        (0.02, 20),
        ("2.1", 2100),
        ("1.2s", 1200),
        ("350ms", 350),
        ("0:00:01.2", 1200),
        ({"secs": 2, "nanos": 100_000_000}, 2100),
    ],
)
def test_the_unit_of_a_length_of_time_is_told_by_its_form_or_by_the_tokens(logged: Any, ms: float) -> None:
    found = calls_in(lines(*[{"ts": TS, "model": "m", "latency": logged, "completion_tokens": 50}] * 3))
    assert [call["latency_ms"] for call in found] == [pytest.approx(ms)] * 3


@pytest.mark.parametrize("key", ["took_s", "tookSeconds", "seconds"])
def test_the_unit_in_a_key_holds_for_an_override_too(key: str) -> None:
    overrides = (parse_override(f"latency_ms={key}"),)
    (call,) = calls_in(lines({"ts": TS, "model": "m", key: 2.1}), overrides=overrides)
    assert call["latency_ms"] == 2100


def test_an_override_may_name_the_path_in_the_file_or_inside_the_envelope() -> None:
    row = {"text": "x", "record": {"extra": {"llm": {"name": "gpt-4o", "t": 10}}, "time": {"timestamp": 1773479820}}}
    for path in ("record.extra.llm.name", "llm.name"):
        (call,) = calls_in(lines(row), overrides=(parse_override(f"model={path}"),))
        assert call["model"] == "gpt-4o"


def test_a_total_without_one_of_its_halves_gives_the_other() -> None:
    (call,) = calls_in(lines({"ts": TS, "model": "m", "completion_tokens": 20, "total_tokens": 120}))
    assert (call["prompt_tokens"], call["completion_tokens"]) == (100, 20)


def test_negative_counts_are_missing() -> None:
    (call,) = calls_in(lines({"ts": TS, "model": "m", "prompt_tokens": -1, "completion_tokens": -1, "latency_ms": 5}))
    assert "prompt_tokens" not in call
    assert "total_tokens" not in call


def test_reasoning_beside_the_answer_is_told_by_the_total() -> None:
    usage = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "reasoning_tokens": 94}
    (call,) = calls_in(lines({"ts": TS, "model": "m", **usage}))
    assert call["completion_tokens"] == 103
    (call,) = calls_in(lines({"ts": TS, "model": "m", **usage, "completion_tokens": 103}))
    assert call["completion_tokens"] == 103


def test_a_cache_beside_the_prompt_is_told_by_the_total() -> None:
    row = {"ts": TS, "model": "m", "usage": {"input": 10, "output": 20, "cacheRead": 5, "totalTokens": 35}}
    (call,) = calls_in(lines(row))
    assert (call["prompt_tokens"], call["cached_tokens"]) == (15, 5)


def test_where_nothing_fits_the_keys_are_named_and_an_option_to_paste(run: Run) -> None:
    text = '{"event": "x", "call": {"m": "gpt-4o", "took": 2.1, "tok_in": 100}}\n'
    found = run("summarize", "-", "--no-cache", stdin=text)
    assert found.code == 3
    assert "call.m (text), call.took (number), call.tok_in (number)" in found.stderr
    assert "--map model=call.m --map latency_ms=call.took --map prompt_tokens=call.tok_in" in found.stderr


def test_root_maps_an_object_at_once(run: Run) -> None:
    text = '{"when": "2026-03-14T09:17:00Z", "a": {"b": {"name": "m1", "latency_ms": 7, "model": "m"}}, "model": "x"}\n'
    asked = json.loads(run("requests", "-", "-f", "json", "--root", "a.b", "--no-cache", stdin=text).stdout)
    assert (asked["data"]["requests"][0]["model"], asked["data"]["requests"][0]["latency_ms"]) == ("m", 7)


def test_an_override_that_matches_nothing_is_said(run: Run) -> None:
    found = run("summarize", "-", "--map", "cost=nosuch", "--no-cache", stdin='{"model": "m", "total_tokens": 5}\n')
    assert "--map: nothing is at 'nosuch' in any line" in found.stderr


def test_the_configuration_holds_map_and_root(run: Run, tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text("map = { model = 'b.name', latency_ms = 'b.t:s' }\n")
    (tmp_path / "a.jsonl").write_text('{"ts": "2026-03-14T09:17:00Z", "b": {"name": "m", "t": 2}}\n')
    found = json.loads(run("requests", "a.jsonl", "-f", "json", "--no-cache").stdout)
    assert (found["data"]["requests"][0]["model"], found["data"]["requests"][0]["latency_ms"]) == ("m", 2000)


def test_inspect_accounts_for_the_shapes_of_a_log(run: Run, tmp_path: Path) -> None:
    web = '{"ts": "2026-03-14T09:17:00Z", "path": "/", "duration_ms": 3}\n'
    (tmp_path / "a.jsonl").write_text(web * 3 + '{"ts": "2026-03-14T09:17:00Z", "model": "m", "total_tokens": 3}\n')
    file = json.loads(run("inspect", "a.jsonl", "-f", "json").stdout)["data"]["files"][0]
    assert [(shape["lines"], shape["calls"]) for shape in file["shapes"]] == [(3, 0), (1, 1)]
