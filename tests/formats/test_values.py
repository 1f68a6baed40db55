"""Values as logs really hold them: wrong types, two meanings of one key, texts that are numbers, damage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmmon.formats.mapping import parse_override
from llmmon.formats.values import numbers
from llmmon.reports.inspection import sources
from tests.support.log_samples import SAMPLES, calls_in, lines, plan, read


def only(row: Any, **wanted: Any) -> dict[str, Any]:
    (call,) = calls_in(lines(row) if not isinstance(row, bytes) else row, **wanted)
    return call


def test_prompt_and_completion_are_counts_or_texts() -> None:
    counted = only({"model": "m", "prompt": 205, "completion": 31})
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (205, 31)
    texts = only({"model": "m", "prompt": "205", "completion": "31"})
    assert (texts["prompt"], texts["output"]) == ("205", "31")
    assert "prompt_tokens" not in texts


def test_tokens_are_a_count_or_an_object() -> None:
    assert only({"model": "m", "tokens": 30})["total_tokens"] == 30
    assert only({"model": "m", "tokens": {"input": 10, "output": 20}})["total_tokens"] == 30


def test_both_kinds_in_one_file() -> None:
    found = calls_in(
        lines({"model": "m", "tokens": 30, "prompt": "hi"}, {"model": "m", "tokens": {"in": 4}, "prompt": "x"})
    )
    assert [call["total_tokens"] for call in found] == [30.0, 4.0]


@pytest.mark.parametrize("text", ["812", " 812 ", "812.0"])
def test_numbers_as_texts(text: str) -> None:
    assert only({"model": "m", "prompt_tokens": text})["prompt_tokens"] == 812


@pytest.mark.parametrize("value", [True, [], {}, "many", "", None, 2**70, "nan", -(10**400)])
def test_what_is_no_number_is_missing(value: Any) -> None:
    line = json.dumps({"model": "m", "prompt_tokens": value}).encode()
    assert "prompt_tokens" not in only(line)


@pytest.mark.parametrize("value", [[1], [[]], [1, 2], ["7"]])
def test_a_column_of_lists_has_no_numbers(value: Any) -> None:
    assert str(numbers([value, value]).tolist()) == "[nan, nan]"


def test_the_last_of_two_equal_keys_counts() -> None:
    assert only(b'{"model": "a", "latency_ms": 1, "model": "b"}')["model"] == "b"


@pytest.mark.parametrize("name", ["", None])
def test_an_empty_name_is_missing(name: Any) -> None:
    assert only({"model": name, "prompt_tokens": 5}) == {"prompt_tokens": 5.0, "total_tokens": 5.0, "status": "unknown"}


def test_an_empty_answer_is_an_answer() -> None:
    assert only({"output": ""})["output"] == ""


def test_an_empty_object_is_no_answer() -> None:
    _, accounting = read(lines({"response": {}, "note": "x"}))
    assert (accounting.used, accounting.skipped) == (0, 1)


def test_deep_nesting_is_rejected_or_read_but_never_fatal() -> None:
    deep = b'{"model": "m", "extra": ' + b"[" * 5000 + b"]" * 5000 + b"}\n"
    errors = b'{"model": "m", "error": ' + b'{"error": ' * 300 + b"1" + b"}" * 300 + b"}\n"
    _, accounting = read(deep + errors)
    assert (accounting.rejected, accounting.used) == (1, 1)


def test_half_a_surrogate_pair_is_put_up_with() -> None:
    assert only(b'{"model": "a\\ud800", "latency_ms": 1}\n')["model"] == "a?"


def test_bad_utf8_and_nan_are_put_up_with() -> None:
    assert only(b'{"model": "m", "cost": NaN, "user": "\xff"}\n')["model"] == "m"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"status": "success"}, "ok"),
        ({"status": "FAILED"}, "error"),
        ({"status": "timeout"}, "error"),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": 200}, "ok"),
        ({"status": "HTTP 503"}, "error"),
        ({"status_code": 429}, "error"),
        ({"success": False}, "error"),
        ({"ok": "true"}, "ok"),
        ({"is_error": True}, "error"),
        ({"error": "boom"}, "error"),
        ({"error": {"type": "Timeout"}}, "error"),
        ({"error": None}, "unknown"),
        ({"error": "", "completion_tokens": 4}, "ok"),
        ({"finish_reason": "content_filter"}, "ok"),
        ({}, "unknown"),
    ],
)
def test_status(said: dict[str, Any], status: str) -> None:
    assert status == only({"model": "m", **said})["status"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded_error"),
        ('{"error": {"code": "context_length_exceeded"}}', "context_length_exceeded"),
        ("Request timed out after 60 s", "timeout"),
        ("APIConnectionError", "APIConnectionError"),
        (True, "error"),
    ],
)
def test_the_kind_of_an_error(error: Any, kind: str) -> None:
    assert kind == only({"model": "m", "error": error})["error_type"]


def test_json_in_texts_is_looked_into() -> None:
    usage = json.dumps({"prompt_tokens": 7, "completion_tokens": 2})
    body = json.dumps({"object": "chat.completion", "model": "gpt-5", "usage": json.loads(usage), "choices": []})
    assert only({"ts": 1773479820, "response_body": body})["prompt_tokens"] == 7
    properties = json.dumps({"modelName": "gpt-4o"})
    azure = {"category": "RequestResponse", "resourceId": "r", "properties": properties, "durationMs": 3}
    assert only(azure)["model"] == "gpt-4o"


def test_tags_are_found_where_they_stand() -> None:
    rows = [{"model": "m", "env": "a"}, {"model": "m", "metadata": {"env": "b"}}, {"model": "m", "tags": {"env": 3}}]
    data = lines(*rows)
    columns, _ = read(data, plan(data, tags=("env",)))
    assert columns.name("tag.env").texts() == ["a", "b", "3"]


@pytest.mark.parametrize(
    ("sample", "tag", "value"),
    [
        ("otlp", "service.name", "library-desk"),
        ("otlp", "server.address", "api.openai.com"),
        ("litellm", "user_api_key_alias", "web"),
        ("helicone", "env", "prod"),
        ("bedrock", "tenant", "a"),
        ("langfuse-ui", "tenant", "a"),
        ("langsmith", "revision_id", "r1"),
        ("llmmon", "team", "north"),
    ],
)
def test_tags_of_dialects(sample: str, tag: str, value: str) -> None:
    data = SAMPLES[sample].read_bytes()
    columns, _ = read(data, plan(data, tags=(tag,)))
    assert value == columns.name(f"tag.{tag}").texts()[0]


@pytest.mark.parametrize("sample", ["generic", "litellm", "otlp", "openai_batch"])
def test_an_override_wins_in_every_dialect(sample: str) -> None:
    data = SAMPLES[sample].read_bytes()
    first = data.partition(b"\n")[0][:-1] + b', "mine": {"took": 2.5, "what": "x"}}\n'
    overrides = (parse_override("model=mine.what"), parse_override("latency_ms=mine.took:s"))
    call = calls_in(first, overrides=overrides, fields=frozenset({"model", "latency_ms"}))[0]
    assert call["model"] == "x"
    if sample in {"generic", "openai_batch"}:  # the others log start and end, which say it better
        assert call["latency_ms"] == 2500


def test_a_row_is_a_call_whatever_the_command_asks_for() -> None:
    data = lines(
        {"ts": 1773479820, "model": "m", "latency": 3},
        {"ts": 1773479821, "note": "x"},
        {"ts": 1773479822, "prompt": "x", "output": "y"},
    )
    for fields in ({"timestamp"}, {"model"}, {"status", "cost_usd"}):
        assert read(data, plan(data, fields=frozenset(fields)))[0].size == 2


def test_a_file_says_where_its_fields_are_and_why() -> None:
    why = {(each.slot, each.path): (each.unit, each.why) for each in sources(plan(SAMPLES["generic"].read_bytes()))}
    assert why["latency", "elapsed"] == (
        "s",
        "the unit that gives a plausible speed or length in most calls of the head",
    )
    assert why["latency", "duration_s"] == ("s", "the unit is in the name of the key")


def test_a_count_too_large_for_a_number_costs_only_itself() -> None:
    row = {"model": "m", "latency": 1.5, "usage": {"prompt_tokens": 1, "completion_tokens": 10**400}}
    call = only(json.dumps(row).encode())
    assert ("m", 1) == (call["model"], call["prompt_tokens"])
    assert "completion_tokens" not in call
