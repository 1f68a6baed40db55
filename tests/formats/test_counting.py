"""The rules that make a count right: what is inside what, what is said twice, what only repeats others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmmon.ingest.selection import codes_of, keep_most_complete, keep_once
from llmmon.metrics.columns import concat
from tests.support.log_samples import SAMPLES, calls, calls_in, lines, plan, read

CHAT: dict[str, Any] = {"object": "chat.completion", "created": 1773479820, "model": "gpt-5", "choices": []}
CLAUDE: dict[str, Any] = {"type": "message", "model": "claude-sonnet-4-5", "stop_reason": "end_turn"}


def test_openai_counts_cached_tokens_inside_the_prompt() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 600}}
    (call,) = calls_in(lines({**CHAT, "usage": usage}))
    assert (call["prompt_tokens"], call["cached_tokens"], call["total_tokens"]) == (1000, 600, 1200)


def test_anthropic_counts_cache_reads_and_writes_outside_the_prompt() -> None:
    usage = {
        "input_tokens": 50,
        "cache_read_input_tokens": 1800,
        "cache_creation_input_tokens": 400,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 300},
        "output_tokens": 90,
    }
    (call,) = calls_in(lines({**CLAUDE, "usage": usage}))
    assert (call["prompt_tokens"], call["cached_tokens"], call["cache_write_tokens"]) == (2250, 1800, 400)
    assert call["cache_write_1h_tokens"] == 300


def test_more_cached_than_prompt_means_that_the_one_is_not_in_the_other() -> None:
    (call,) = calls_in(lines({"model": "m", "prompt_tokens": 40, "cached_tokens": 900, "completion_tokens": 5}))
    assert (call["prompt_tokens"], call["cached_tokens"]) == (940, 900)


def test_one_file_of_both_kinds_keeps_each_rule_to_its_own_rows() -> None:
    openai = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 600}}
    anthropic = {"input_tokens": 1000, "cache_read_input_tokens": 600, "output_tokens": 10}
    wrapped = [
        {"ts": 1773479820, "response": {**CHAT, "usage": openai}},
        {"ts": 1773479821, "response": {**CLAUDE, "usage": anthropic}},
    ]
    assert [call["prompt_tokens"] for call in calls_in(lines(*wrapped))] == [1000, 1600]


def test_gemini_counts_thoughts_outside_the_answer() -> None:
    usage = {"promptTokenCount": 300, "candidatesTokenCount": 50, "thoughtsTokenCount": 400}
    (call,) = calls_in(lines({"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage, "modelVersion": "g"}))
    assert (call["completion_tokens"], call["reasoning_tokens"]) == (450, 400)


def test_langfuse_buckets_are_added_up() -> None:
    found = calls_in(SAMPLES["langfuse-ui"].read_bytes())[0]
    assert found["prompt_tokens"] > found["cached_tokens"] > 0
    assert found["completion_tokens"] > found["reasoning_tokens"] > 0


def once(data: bytes) -> tuple[list[dict[str, Any]], int]:
    every, _ = read(data)
    single = keep_once(every)
    return calls(single), every.size - single.size


def test_streamed_snapshots_count_once_and_the_most_complete_stays() -> None:
    found, dropped = once(SAMPLES["claude_code"].read_bytes())
    assert dropped == 1
    assert [call.get("completion_tokens") for call in found] == [242.0]


def test_snapshots_without_a_request_id_are_told_by_the_message() -> None:
    line = {"sessionId": "s", "uuid": "u", "type": "assistant", "timestamp": "2026-03-14T09:17:00Z"}
    sizes = (3, 80, 12)
    snapshots = [
        {**line, "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5, "output_tokens": size}}}
        for size in sizes
    ]
    found, dropped = once(lines(*snapshots))
    assert ([call["completion_tokens"] for call in found], dropped) == ([80.0], 2)


def test_repeats_are_found_across_blocks_and_files() -> None:
    data = SAMPLES["claude_code"].read_bytes()
    columns = keep_once(concat([read(data)[0], read(data)[0]]))
    assert columns.size == 1


def test_logs_that_repeat_nothing_are_left_alone_unless_asked() -> None:
    row = {"request_id": "r", "model": "m", "prompt_tokens": 5}
    columns, _ = read(lines(row, {**row, "prompt_tokens": 9}))
    assert keep_once(columns) is columns
    kept, dropped = keep_most_complete(columns, codes_of(columns.name("request_id")))
    assert (kept.number("prompt_tokens").tolist(), dropped) == ([9.0], 1)


def test_what_tells_repeats_is_read_whatever_the_command_asks_for() -> None:
    data = SAMPLES["claude_code"].read_bytes()
    columns = keep_once(read(data, plan(data, fields=frozenset({"timestamp"})))[0])
    assert columns.size == 1
    assert calls(columns)[0]["timestamp"] == "2026-03-14T09:17:04.650000Z"


def test_the_chunks_of_a_streamed_reply_are_one_call() -> None:
    found, dropped = once(SAMPLES["openai_chunk"].read_bytes())
    assert ([call["total_tokens"] for call in found], dropped) == ([35.0], 2)


def test_a_log_row_split_by_size_is_one_call() -> None:
    found, dropped = once(SAMPLES["azure_apim_llm"].read_bytes())
    assert ([call["total_tokens"] for call in found], dropped) == ([26.0, 26.0], 1)


def test_repeated_codex_counts_are_dropped_and_totals_become_differences() -> None:
    def counted(total: int) -> dict[str, Any]:
        info = {"total_token_usage": {"input_tokens": total, "output_tokens": total // 10}}
        return {
            "timestamp": "2026-03-14T09:17:00Z",
            "type": "event_msg",
            "payload": {"type": "token_count", "info": info},
        }

    meta = {"timestamp": "2026-03-14T09:17:00Z", "type": "session_meta", "payload": {"id": "s"}}
    found = calls_in(lines(meta, counted(100), counted(100), counted(250)))
    assert [call["prompt_tokens"] for call in found] == [100.0, 150.0]


def test_chains_are_not_counted_beside_their_calls() -> None:
    (call, failed) = calls_in(SAMPLES["langsmith"].read_bytes())
    assert "ChatOpenAI" == call["feature"] == failed["feature"]


def test_operations_are_not_counted_beside_their_calls() -> None:
    found = calls_in(SAMPLES["weave"].read_bytes())
    assert [call["operation"] for call in found] == ["openai.chat.completions.create"] * 2


def test_spans_around_calls_are_not_counted_beside_them() -> None:
    def span(number: str, parent: str, name: str) -> dict[str, Any]:
        attributes = {"gen_ai.operation.name": name, "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 7}
        listed = [{"key": k, "value": {"stringValue": str(v)}} for k, v in attributes.items()]
        return {
            "spanId": number,
            "parentSpanId": parent,
            "startTimeUnixNano": "1773479820000000000",
            "attributes": listed,
        }

    spans = [span("a", "", "invoke_agent"), span("b", "a", "chat"), span("c", "b", "chat"), span("d", "a", "chat")]
    data = lines({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    assert [call["request_id"] for call in calls_in(data)] == ["c", "d"]


def test_observations_that_are_no_generations_are_no_calls() -> None:
    _, accounting = read(SAMPLES["langfuse-ui"].read_bytes())
    assert (accounting.used, accounting.skipped) == (2, 1)


def test_errors_without_usage_have_no_tokens_and_not_zero() -> None:
    failed = calls_in(SAMPLES["litellm"].read_bytes())[-1]
    assert failed["status"] == "error"
    assert not {"prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"} & failed.keys()


@pytest.mark.parametrize("status", ["ok", "error"])
def test_zeros_on_both_sides_are_no_count(status: str) -> None:
    (call,) = calls_in(lines({"model": "m", "prompt_tokens": 0, "completion_tokens": 0, "status": status}))
    assert "total_tokens" not in call


def test_an_answer_of_no_tokens_is_a_count() -> None:
    (call,) = calls_in(lines({"model": "m", "prompt_tokens": 12, "completion_tokens": 0}))
    assert (call["prompt_tokens"], call["completion_tokens"]) == (12, 0)


def test_cents_are_a_hundredth_of_a_dollar() -> None:
    assert calls_in(SAMPLES["portkey"].read_bytes())[0]["cost_usd"] == 0.002575
    assert calls_in(lines({"model": "m", "cost_cents": 25}))[0]["cost_usd"] == 0.25


def test_the_cost_of_a_message_is_not_that_of_the_session() -> None:
    properties = {"main_model": "m", "prompt_tokens": 5, "cost": 0.01, "total_cost": 0.75}
    line = {"event": "message_send", "properties": properties, "user_id": "u", "time": 1773479820}
    assert calls_in(lines(line))[0]["cost_usd"] == 0.01


def codex(session: str, *events: tuple[int, int], parent: str = "", at: str = "2026-03-14T09:17:00Z") -> bytes:
    """A session file whose calls have these prompt and completion tokens; it begins with its parent's header."""
    own = {"id": session, **({"forked_from_id": parent} if parent else {})}
    headers = [own, *([{"id": parent}] if parent else [])]
    totals = [0, 0]
    found: list[Any] = [{"timestamp": at, "type": "session_meta", "payload": one} for one in headers]
    for prompt, answer in events:
        totals = [totals[0] + prompt, totals[1] + answer]
        last, total = (
            {"input_tokens": one, "output_tokens": other} for one, other in ((prompt, answer), (totals[0], totals[1]))
        )
        payload = {"type": "token_count", "info": {"total_token_usage": total, "last_token_usage": last}}
        found.append({"timestamp": at, "type": "event_msg", "payload": payload})
    return lines(*found)


def tokens(*logs: bytes) -> list[tuple[float, float]]:
    found = calls(keep_once(concat([read(log)[0] for log in logs])))
    return [(call["prompt_tokens"], call["completion_tokens"]) for call in found]


def test_what_a_fork_copied_of_its_parent_counts_once_and_with_the_first_time() -> None:
    parent = codex("a", (1000, 100), (2000, 200), (40, 4))
    child = codex("b", (1000, 100), (2000, 200), (500, 50), parent="a", at="2026-03-15T10:00:00Z")
    assert tokens(parent, child) == [(1000, 100), (2000, 200), (40, 4), (500, 50)]
    found = calls(keep_once(concat([read(child)[0], read(parent)[0]])))
    assert [call["timestamp"][:10] for call in found] == ["2026-03-15", "2026-03-14", "2026-03-14", "2026-03-14"]


def test_forks_of_a_session_that_is_not_there_share_its_calls() -> None:
    siblings = [codex(name, (1000, 100), own, parent="a") for name, own in (("b", (5, 6)), ("c", (7, 8)))]
    assert sorted(tokens(*siblings)) == [(5, 6), (7, 8), (1000, 100)]


def test_sessions_that_count_the_same_are_not_copies() -> None:
    assert tokens(codex("a", (1000, 100)), codex("b", (1000, 100))) == [(1000, 100), (1000, 100)]


def test_an_answer_is_told_by_its_message_alone() -> None:
    message = {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5, "output_tokens": 7}}
    line = {"sessionId": "s", "uuid": "u", "type": "assistant", "message": message}
    assert tokens(lines({**line, "requestId": "r"}), lines(line, {**line, "sessionId": "t"})) == [(5, 7)]


def test_what_a_program_writes_in_the_place_of_an_answer_is_no_call() -> None:
    usage = {"input_tokens": 0, "output_tokens": 0}
    line = {"sessionId": "s", "uuid": "u", "type": "assistant", "message": {"id": "m", "model": "<synthetic>"}}
    answer = {**line, "message": {"id": "n", "model": "claude", "usage": {"input_tokens": 5, "output_tokens": 7}}}
    synthetic = {**line, "message": {**line["message"], "usage": usage}}
    found, accounting = read(lines(*[answer] * 30, synthetic, line))
    assert (accounting.used, accounting.skipped) == (30, 2)
    assert calls(keep_once(found))[0]["model"] == "claude"


def span(identity: str, parent: str | None, kind: str = "chat", **usage: int) -> dict[str, Any]:
    attributes = {"gen_ai.operation.name": kind, "gen_ai.request.model": "m"} if kind else {}
    attributes |= {f"gen_ai.usage.{name}": count for name, count in usage.items()}
    return {
        "name": identity,
        "context": {"trace_id": "0x1", "span_id": identity},
        "parent_id": parent,
        "start_time": "2026-03-14T09:17:00Z",
        "end_time": "2026-03-14T09:17:01Z",
        "status": {"status_code": "OK"},
        "attributes": attributes,
    }


def test_of_calls_inside_calls_the_innermost_counts_whatever_comes_first() -> None:
    spans = [
        span(one, parent, input_tokens=9, output_tokens=1) for one, parent in (("a", None), ("b", "a"), ("c", "b"))
    ]
    for order in (spans, spans[::-1]):
        (call,) = calls(keep_once(read(lines(*order))[0]))
        assert call["request_id"] == "c"
    (call,) = calls(keep_once(concat([read(lines(one))[0] for one in spans])))
    assert call["request_id"] == "c"


def test_a_call_within_another_that_alone_counts_tokens_is_not_another() -> None:
    found = calls(keep_once(read(lines(span("a", None, input_tokens=9, output_tokens=1), span("b", "a")))[0]))
    assert [call["request_id"] for call in found] == ["a"]


def test_buckets_of_any_name_are_added_up() -> None:
    usage = {"input": 10, "input_odd_tokens": 5, "cache_read_input_tokens": 3, "output": 2, "output_audio_tokens": 4}
    row = {"id": "a", "traceId": "t", "startTime": "2026-03-14T09:17:00Z", "type": "GENERATION", "level": "DEFAULT"}
    for found in (usage, json.dumps(usage)):
        (call,) = calls_in(lines({**row, "usageDetails": found}))
        assert (call["prompt_tokens"], call["completion_tokens"], call["cached_tokens"]) == (18, 6, 3)


def test_a_compaction_is_billed_beside_the_counts_of_the_whole() -> None:
    parts = [
        {"type": "compaction", "input_tokens": 60_000, "output_tokens": 600},
        {"type": "message", "input_tokens": 600, "output_tokens": 1300},
    ]
    usage = {"input_tokens": 600, "output_tokens": 1300, "iterations": parts}
    (call,) = calls_in(lines({"id": "m", "type": "message", "model": "c", "stop_reason": "end_turn", "usage": usage}))
    assert (call["prompt_tokens"], call["completion_tokens"]) == (60_600, 1900)


def test_the_pieces_of_a_stream_make_one_answer() -> None:
    def piece(text: str, count: int) -> dict[str, Any]:
        usage = {"promptTokenCount": 20, "candidatesTokenCount": count}
        return {"candidates": [{"content": {"parts": [{"text": text}]}}], "usageMetadata": usage, "responseId": "r"}

    (call,) = calls(keep_once(read(lines(piece("Ha", 1), piece("ha", 2), piece(".", 3)))[0]))
    assert (call["output"], call["completion_tokens"]) == ("Haha.", 3)
