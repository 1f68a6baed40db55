"""Replies and rows that cost tools were publicly reported to price wrongly, each priced by hand here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

WHEN = "2026-11-10T10:00:00Z"
M = 1e6
Row = dict[str, Any]


def chat(model: str, usage: Row, **more: Any) -> Row:
    choice = {"message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}
    reply = {"id": "c1", "object": "chat.completion", "created": 1794304800, "model": model, "choices": [choice]}
    return reply | {"usage": usage} | more


def claude(model: str, **usage: Any) -> Row:
    content = [{"type": "text", "text": "Done."}]
    reply = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content}
    return reply | {"stop_reason": "end_turn", "usage": {"cache_read_input_tokens": 0} | usage, "timestamp": WHEN}


def own_key(cost: float, upstream: float | None, *, is_byok: bool) -> Row:
    """A reply of OpenRouter with costs; of calls with a key of one's own it bills a fee alone."""
    usage = {"prompt_tokens": 9171, "completion_tokens": 113, "total_tokens": 9284, "cost": cost, "is_byok": is_byok}
    return chat("openai/gpt-4o", usage | {"cost_details": {"upstream_inference_cost": upstream}}, provider="OpenAI")


def litellm(model: str, usage: Row, **more: Any) -> Row:
    return {
        "id": "c1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "startTime": 1794304800.0,
        "endTime": 1794304801.0,
        "status": "success",
        "model": model,
        "model_map_information": {},
        "metadata": {"usage_object": usage},
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
    } | more


def langfuse(details: Row) -> Row:
    return {
        "id": "ob-1",
        "traceId": "t-1",
        "type": "GENERATION",
        "level": "DEFAULT",
        "startTime": WHEN,
        "endTime": WHEN,
        "model": "gpt-4o",
        "usageDetails": details,
        "inputUsage": details["input"] + details["input_cached_tokens"],
        "outputUsage": details["output"],
    }


GEMINI_TWICE = litellm(
    "gemini-2.5-pro",
    {"prompt_tokens": 162_960, "completion_tokens": 1744, "prompt_tokens_details": {"cached_tokens": 157_955}},
    custom_llm_provider="gemini",
    response_cost=(162_960 * 1.25 + 157_955 * 0.125 + 1744 * 10) / M,
)
CASES: dict[str, tuple[Row, float | None]] = {
    "a cache write is not a prompt token too": (
        claude("claude-3-7-sonnet-20250219", input_tokens=3, cache_creation_input_tokens=12_304, output_tokens=550),
        (3 * 3 + 12_304 * 3.75 + 550 * 15) / M,
    ),
    "a write for an hour costs twice the input": (
        claude(
            "claude-opus-4-6",
            input_tokens=10,
            cache_creation_input_tokens=3904,
            cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3904},
            output_tokens=100,
        ),
        (10 * 5 + 3904 * 10 + 100 * 25) / M,
    ),
    "writes beyond both lengths are not lost": (
        claude(
            "claude-sonnet-4-5",
            input_tokens=10,
            cache_creation_input_tokens=1000,
            cache_creation={"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
            output_tokens=10,
        ),
        (10 * 3 + 800 * 3.75 + 200 * 6 + 10 * 15) / M,
    ),
    "reasoning is part of the output": (
        {
            "id": "r1",
            "object": "response",
            "created_at": 1794304800,
            "status": "completed",
            "model": "gpt-5",
            "output": [],
            "usage": {
                "input_tokens": 16_845,
                "input_tokens_details": {"cached_tokens": 16_358},
                "output_tokens": 6382,
                "output_tokens_details": {"reasoning_tokens": 2488},
                "total_tokens": 23_227,
            },
        },
        (487 * 1.25 + 16_358 * 0.125 + 6382 * 10) / M,
    ),
    "cached tokens in two buckets": (
        langfuse({"input": 17_903, "input_cached_tokens": 17_817, "output": 100, "total": 18_003}),
        (86 * 2.5 + 17_817 * 1.25 + 100 * 10) / M,
    ),
    "cached tokens in a bucket of their own": (
        langfuse({"input": 86, "input_cached_tokens": 17_817, "output": 100, "total": 18_003}),
        (86 * 2.5 + 17_817 * 1.25 + 100 * 10) / M,
    ),
    "text tokens that include cached ones": (
        {
            "model": "gemini-2.5-flash",
            "timestamp": WHEN,
            "usage_metadata": {
                "input_tokens": 11_125,
                "output_tokens": 429,
                "total_tokens": 11_554,
                "input_token_details": {"text": 11_125, "cache_read": 7441},
                "output_token_details": {"text": 20, "reasoning": 409},
            },
        },
        (3684 * 0.3 + 7441 * 0.03 + 429 * 2.5) / M,
    ),
    "thoughts stand beside candidates": (
        {
            "modelVersion": "gemini-3-pro-preview",
            "createTime": WHEN,
            "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": 324,
                "candidatesTokenCount": 1364,
                "thoughtsTokenCount": 495,
                "totalTokenCount": 2183,
            },
        },
        (324 * 2 + 1859 * 12) / M,
    ),
    "a key of one's own": (own_key(0, 0.0360795, is_byok=True), 0.0360795),
    "a key of one's own and a fee": (own_key(0.0018, 0.036, is_byok=True), 0.0378),
    "the provider's cost is in the cost": (own_key(0.0241, 0.0241, is_byok=False), 0.0241),
    "no cost of the provider": (own_key(0.0241, None, is_byok=False), 0.0241),
    "a gateway's prompt includes its writes": (
        litellm(
            "claude-3-5-sonnet-20241022",
            {"prompt_tokens": 1000, "completion_tokens": 10, "cache_creation_input_tokens": 1000},
            custom_llm_provider="anthropic",
        ),
        (1000 * 3.75 + 10 * 15) / M,
    ),
    "a priority call": (
        chat(
            "gpt-4o", {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}, service_tier="priority"
        ),
        (1000 * 4.25 + 100 * 17) / M,
    ),
    "logged as free": (
        {
            "timestamp": WHEN,
            "model": "gpt-4o",
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "cost": 0,
            "status": "ok",
        },
        0.0035,
    ),
    "a refused call": (
        {"timestamp": WHEN, "model": "gpt-4o", "status": "error", "prompt_tokens": 0, "completion_tokens": 0},
        None,
    ),
    "a model under another provider's name": (
        {"timestamp": WHEN, "model": "vertex_ai/claude-sonnet-4-5@20250929", "prompt_tokens": 1000}
        | {"completion_tokens": 100, "status": "ok"},
        (3000 + 1500) / M,
    ),
}


def costs(run: Run, folder: Path, row: Row) -> dict[str, Any]:
    path = folder / "calls.jsonl"
    path.write_text(json.dumps(row) + "\n")
    found: dict[str, Any] = run("cost", str(path), "-f", "json").json["data"]
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_reported_case(run: Run, tmp_path: Path, name: str) -> None:
    row, dollars = CASES[name]
    assert costs(run, tmp_path, row)["totals"]["cost_usd"] == (None if dollars is None else pytest.approx(dollars))


def test_a_logged_cost_that_counts_cached_tokens_twice(run: Run, tmp_path: Path) -> None:
    found = costs(run, tmp_path, GEMINI_TWICE)
    assert [row["cause"] for row in found["causes"]] == ["cached_tokens_counted_twice"]
    assert found["causes"][0]["difference_usd"] == pytest.approx(157_955 * 1.25 / M)
    assert found["certain_share"] == 0.0
