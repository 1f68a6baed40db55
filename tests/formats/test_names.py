"""The names of fields as people write them: each spelling gives the same figure, and none a wrong one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.log_samples import calls_in, lines

AT = {"timestamp": "2026-03-01T10:00:01Z", "model": "m"}
WHOLE = {"prompt_tokens": 100.0, "completion_tokens": 10.0}
CACHED = {**WHOLE, "cached_tokens": 60.0}


def only(row: dict[str, Any]) -> dict[str, Any]:
    (call,) = calls_in(lines({**AT, **row}))
    return call


@pytest.mark.parametrize(
    "counts",
    [
        {"tokenUsage": {"prompt": 100, "completion": 10}},
        {"token_counts": {"input": 100, "output": 10}},
        {"tokens": {"in": 100, "out": 10, "total": 110}},
        {"usage": {"prompt": 100, "completion": 10}},
        {"usage_input_tokens": 100, "usage_output_tokens": 10},
        {"attributes": {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}},
        {"llm.token_count.prompt": 100, "llm.token_count.completion": 10},
        {"usage": {"prompt_token_count": 100, "candidates_token_count": 10}},
        {"usage": {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}},
        {"inputTokensCount": 100, "outputTokensCount": 10},
        {"input": 100, "output": 10},
    ],
    ids=str,
)
def test_token_counts(counts: dict[str, Any]) -> None:
    assert WHOLE.items() <= only(counts).items()


def test_thoughts_that_are_counted_beside_the_answer_are_a_part_of_it() -> None:
    usage = {"prompt_token_count": 100, "candidates_token_count": 10, "thoughts_token_count": 5}
    found = only({"usage": usage})
    assert (found["completion_tokens"], found["reasoning_tokens"]) == (15, 5)


@pytest.mark.parametrize(
    "name",
    [
        *("cached_tokens", "input_cached_tokens", "cachedInputTokens", "promptCachedTokens", "cachedContentTokenCount"),
        *("cache_read_tokens", "input_cache_read", "num_cached_tokens"),
    ],
)
def test_cached_tokens(name: str) -> None:
    found = only({"usage": {"prompt_tokens": 100, "completion_tokens": 10, name: 60}})
    assert CACHED.items() <= found.items()


LENGTHS = {
    **dict.fromkeys(("latencyInMs", "elapsed_in_ms", "durationMillis", "response_time_msecs"), 1200),
    **dict.fromkeys(("latencyInSeconds", "duration_in_s", "elapsedSecs"), 1.2),
    **dict.fromkeys(("latencyNanos", "took_in_nanoseconds"), 1200000000),
    "duration_in_micros": 1_200_000,
    "Latency (ms)": "1,200",
}


@pytest.mark.parametrize(("name", "value"), LENGTHS.items())
def test_lengths_of_time_with_their_unit_in_the_name(name: str, value: float | str) -> None:
    assert only({name: value})["latency_ms"] == 1200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("cost_in_dollars", 0.25), ("totalCostInUsd", 0.25), ("cost_in_cents", 25), ("Cost ($)", "$0.25")),
        *(("cost_micros", 250_000), ("costMicroUsd", 250_000)),
    ],
)
def test_costs_with_their_unit_in_the_name(name: str, value: float) -> None:
    assert only({name: value})["cost_usd"] == 0.25


def test_texts_called_input_and_output_are_no_counts() -> None:
    found = only({"input": "How many?", "output": "12"})
    assert (found["prompt"], found["output"]) == ("How many?", "12")
    assert "prompt_tokens" not in found


def test_numbers_called_input_and_output_show_no_call_by_themselves() -> None:
    assert calls_in(lines(*({"timestamp": AT["timestamp"], "input": n, "output": 2 * n} for n in range(1, 9)))) == []


@pytest.mark.parametrize("key", ["accumulated_cost", "cumulativeCost", "running_cost_usd", "cost_so_far"])
def test_a_running_total_is_no_figure_of_one_call(run: Run, key: str) -> None:
    rows = lines(*({**AT, "prompt_tokens": 5, "completion_tokens": 5, "llm": {key: n}} for n in (1, 2, 3)))
    done = run("summarize", "-", "--cost", "logged", "-f", "json", stdin=rows.decode())
    assert done.json["data"]["totals"]["cost_total_usd"] is None


def test_running_totals_in_an_object_of_counts_are_passed_over_and_said(run: Run) -> None:
    usage = [{"prompt_tokens": 100 * n, "completion_tokens": 10 * n} for n in (1, 2, 3)]
    stamp = AT["timestamp"]
    found = ({"timestamp": stamp, "llm_metrics": {"accumulated_token_usage": {"model": "m", **each}}} for each in usage)
    rows = lines(*found)
    done = run("summarize", "-", "-f", "json", stdin=rows.decode())
    assert (done.json["data"]["totals"]["prompt_tokens"], done.json["data"]["totals"]["request_count"]) == (None, 3)
    assert "figures in llm_metrics.accumulated_token_usage are totals of all calls so far" in done.stderr


def test_rows_that_sum_up_many_calls_are_the_reason_why_none_is_found(run: Run) -> None:
    done = run("summarize", "-", stdin=lines({**AT, "requests": 12, "prompt_tokens": 1200}).decode())
    assert (done.code, "sum up several calls each" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "row",
    [
        {"model": "m", "uncached_input_tokens": 1500, "output_tokens": 500, "cache_read_input_tokens": 200},
        {"model": "m", "countObservations": 20, "inputUsage": 1000, "outputUsage": 200, "totalCost": 0.5},
        {"model": "m", "total_requests": 5, "prompt_tokens": 100, "completion_tokens": 50},
    ],
)
def test_buckets_of_usage_reports_are_no_calls(run: Run, row: dict[str, Any]) -> None:
    done = run("summarize", "-", stdin=lines({**AT, **row}).decode())
    assert (done.code, "sum up several calls each" in done.stderr) == (3, True)


def test_lines_with_a_date_and_no_time_are_said_as_they_may_sum_up_a_day(run: Run) -> None:
    rows = [{"date": f"2026-03-0{day}", "model": "m", "prompt_tokens": 9000} for day in (1, 2, 3)]
    assert "a line that sums up a day is no call" in run("summarize", "-", stdin=lines(*rows).decode()).stderr
    rows[1]["date"] = "2026-03-02T10:00:00Z"
    assert "sums up a day" not in run("summarize", "-", stdin=lines(*rows).decode()).stderr


def test_lines_that_name_a_model_and_nothing_else_are_counted_and_said(run: Run) -> None:
    done = run("summarize", "-", "-f", "json", stdin=lines({**AT, "model": "m"}, {**AT, "model": "n"}).decode())
    assert done.json["data"]["totals"]["request_count"] == 2
    assert "2 calls of 2 with a model and nothing that came of it" in done.stderr


@pytest.mark.parametrize(
    ("row", "cost"),
    [
        ({"spend": 0, "metadata": {"cost_breakdown": {"total_cost": 0.25}}}, 0.25),
        ({"spend": 0.5, "metadata": {"cost_breakdown": {"total_cost": 0.25}}}, 0.5),
        ({"spend": 0, "cache_hit": "True", "metadata": {"cost_breakdown": {"total_cost": 0.25}}}, 0),
    ],
)
def test_a_gateway_s_breakdown_counts_where_its_cost_is_0(row: dict[str, Any], cost: float) -> None:
    spend = {"request_id": "a", "startTime": AT["timestamp"], "endTime": "2026-03-01T10:00:02Z", "prompt_tokens": 1}
    (call,) = calls_in(lines({**spend, "model": "m", **row}))
    assert call["cost_usd"] == cost


def test_what_is_sold_by_the_search_is_a_call_beside_calls_with_tokens() -> None:
    chats = [{**AT, "prompt_tokens": 5, "completion_tokens": 5, "latency_ms": 9} for _ in range(9)]
    found = calls_in(lines(*chats, {**AT, "model": "reranker", "search_units": 2}, {**AT, "model": "only named"}))
    assert [call["model"] for call in found] == [*["m"] * 9, "reranker"]
    assert found[-1]["rerank_searches"] == 2


def test_a_span_of_the_ai_sdk_alone_is_a_call_and_the_one_around_it_is_none() -> None:
    usage = {"ai.model.id": "m", "ai.usage.inputTokens": 100, "ai.usage.outputTokens": 10}
    spans = [
        {
            "traceId": "0" * 31 + "1",
            "spanId": f"000000000000000{number}",
            "name": name,
            "startTimeUnixNano": "1772359201000000000",
            "endTimeUnixNano": "1772359202200000000",
            "attributes": [
                {"key": key, "value": {"intValue": value} if isinstance(value, int) else {"stringValue": value}}
                for key, value in {"ai.operationId": name, **usage, "ai.usage.cachedInputTokens": 60}.items()
            ],
        }
        for number, name in enumerate(("ai.generateText", "ai.generateText.doGenerate"), 1)
    ]
    (call,) = calls_in(lines({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    assert {**CACHED, "model": "m", "latency_ms": 1200.0}.items() <= call.items()


@pytest.mark.parametrize(
    ("asked", "answered"), [("request_body", "response_body"), ("requestBody", "responseBody"), ("request", "response")]
)
@pytest.mark.parametrize("kind", [{}, {"object": "chat.completion"}])
def test_request_and_response_as_texts_are_read_both(run: Run, asked: str, answered: str, kind: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    bodies = {asked: {"model": "gpt-4o", "messages": []}, answered: {**kind, "id": "c", "model": "m", "usage": usage}}
    rows = lines({**AT, "status": 200, "duration_ms": 9, **{key: json.dumps(body) for key, body in bodies.items()}})
    totals = run("summarize", "-", "-f", "json", stdin=rows.decode()).json["data"]["totals"]
    assert (totals["request_count"], totals["prompt_tokens"], totals["latency_p50_ms"]) == (1, 100, 9)


def test_the_last_chunk_of_groq_has_its_usage_in_its_own_object(run: Run) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1773479820, "model": "llama3", "choices": []}
    usage = {"x_groq": {"id": "r", "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}}
    totals = run("summarize", "-", "-f", "json", stdin=lines(chunk, chunk | usage).decode()).json["data"]["totals"]
    assert (totals["request_count"], totals["prompt_tokens"], totals["completion_tokens"]) == (1, 100, 10)


@pytest.mark.parametrize("inside", [True, False])
def test_cache_writes_of_an_hour_have_their_price_in_home_made_logs_too(run: Run, inside: bool) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_input_tokens": 500,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    }
    row = {**AT, "model": "claude-sonnet-4-5", **({"usage": usage} if inside else usage)}
    totals = run("summarize", "-", "-f", "json", stdin=lines(row).decode()).json["data"]["totals"]
    assert totals["prompt_tokens"] == 3600
    by_hand = 100 * 3e-6 + 500 * 0.3e-6 + 1000 * 3.75e-6 + 2000 * 6e-6 + 10 * 15e-6
    assert totals["cost_total_usd"] == pytest.approx(by_hand, rel=1e-9)
