"""The rules that make a count right: what is inside what, what is said twice, what only repeats others."""

from __future__ import annotations

from typing import Any

import pytest

from llmmon.ingest.selection import keep_most_complete
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
    columns, dropped = keep_most_complete(read(data)[0])
    return calls(columns), dropped


def test_streamed_snapshots_count_once_and_the_most_complete_stays() -> None:
    found, dropped = once(SAMPLES["claude_code"].read_bytes())
    assert dropped == 1
    assert [call.get("completion_tokens") for call in found] == [242.0, None]


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
    columns, dropped = keep_most_complete(concat([read(data)[0], read(data)[0]]))
    assert (columns.size, dropped) == (2, 4)


def test_logs_that_repeat_nothing_are_left_alone_unless_asked() -> None:
    row = {"request_id": "r", "model": "m", "prompt_tokens": 5}
    columns, _ = read(lines(row, {**row, "prompt_tokens": 9}))
    assert (columns, 0) == keep_most_complete(columns)
    kept, dropped = keep_most_complete(columns, "request_id")
    assert (kept.number("prompt_tokens").tolist(), dropped) == ([9.0], 1)


def test_what_tells_repeats_is_read_whatever_the_command_asks_for() -> None:
    data = SAMPLES["claude_code"].read_bytes()
    columns, dropped = keep_most_complete(read(data, plan(data, fields=frozenset({"timestamp"})))[0])
    assert (columns.size, dropped) == (2, 1)
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
