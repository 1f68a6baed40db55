"""Replies with unusual usage as vendors write them, each priced by hand from the vendor's list prices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from llmmon.metrics.columns import Columns
from llmmon.pricing.costs import price
from llmmon.pricing.price_table import PriceTable
from tests.support.columns_factory import columns_of
from tests.support.priced_calls import us

NOW = us(datetime(2026, 11, 20, tzinfo=UTC))
WHOLE, PARTIAL = 0.0, 1.0
M = 1e6
Object = dict[str, Any]
Case = tuple[str, Object, float, float]


def chat(
    model: str, prompt: int, completion: int, read: Object | None = None, made: Object | None = None, **usage: Any
) -> Object:
    """A reply in OpenAI's chat form; `read` and `made` are the details of the prompt and of the completion."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    details = {"prompt_tokens_details": read, "completion_tokens_details": made}
    top = {key: usage.pop(key) for key in ("service_tier", "provider") if key in usage}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1795000000,
        "model": model,
        **top,
        "choices": [{"message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}],
        "usage": {**counts, **{key: value for key, value in details.items() if value}, **usage},
    }


def response(model: str, tokens_in: int, tokens_out: int, *output: Object, **more: Any) -> Object:
    """A reply in OpenAI's responses form."""
    usage = {"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    text = {"type": "message", "content": [{"type": "output_text", "text": "Done."}]}
    usage |= more.pop("usage", {})
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1795000000,
        "status": "completed",
        "model": model,
        "output": [*output, text],
        "usage": usage,
        **more,
    }


def claude(model: str, tokens_in: int, tokens_out: int, **usage: Any) -> Object:
    """A reply in Anthropic's form."""
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Done."}],
        "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out, **usage},
    }


def step(kind: str, tokens_in: int, tokens_out: int, **usage: Any) -> Object:
    return {"type": kind, "input_tokens": tokens_in, "output_tokens": tokens_out, **usage}


def gemini(model: str, prompt: int, answer: int, queries: int = 0, **usage: Any) -> Object:
    """A reply in Gemini's form."""
    found: Object = {"content": {"parts": [{"text": "Done."}]}, "finishReason": "STOP"}
    if queries:
        found["groundingMetadata"] = {"webSearchQueries": [f"query {n}" for n in range(queries)]}
    total = prompt + answer + usage.get("thoughtsTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": answer, "totalTokenCount": total, **usage}
    return {
        "responseId": "g1",
        "createTime": "2026-11-10T09:00:00Z",
        "modelVersion": model,
        "candidates": [found],
        "usageMetadata": counts,
    }


def by_kind(**tokens: int) -> list[Object]:
    return [{"modality": kind.upper(), "tokenCount": count} for kind, count in tokens.items()]


SEARCH = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
OPENED = {"type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": "u"}}
FILES, CODE = {"type": "file_search_call", "queries": ["q"]}, {"type": "code_interpreter_call", "code": "1"}

OPENAI: tuple[Case, ...] = (
    (
        "audio in and out",
        chat("gpt-realtime", 1000, 500, {"audio_tokens": 800}, {"audio_tokens": 400}),
        (200 * 4 + 800 * 32 + 100 * 16 + 400 * 64) / M,
        WHOLE,
    ),
    (
        "cached audio",
        chat(
            "gpt-realtime",
            1000,
            0,
            {"audio_tokens": 800, "cached_tokens": 600, "cached_tokens_details": {"audio_tokens": 500}},
        ),
        (100 * 4 + 100 * 0.4 + 300 * 32 + 500 * 0.4) / M,
        WHOLE,
    ),
    ("images", chat("gpt-realtime", 1000, 100, {"image_tokens": 700}), (300 * 4 + 700 * 5 + 100 * 16) / M, WHOLE),
    (
        "audio without a price of its own",
        chat("gpt-4o-audio-preview", 1000, 100, {"audio_tokens": 900}),
        (1000 * 2.5 + 100 * 10) / M,
        PARTIAL,
    ),
    ("images that cost as text", chat("gpt-4.1", 1000, 100, {"image_tokens": 700}), (1000 * 2 + 100 * 8) / M, WHOLE),
    ("web searches", response("gpt-5", 1000, 100, SEARCH, SEARCH, OPENED), (1000 * 1.25 + 100 * 10) / M + 0.02, WHOLE),
    ("file searches", response("gpt-4.1", 1000, 100, FILES), (1000 * 2 + 100 * 8) / M + 0.0025, WHOLE),
    ("code", response("gpt-4.1", 1000, 100, CODE), (1000 * 2 + 100 * 8) / M, PARTIAL),
    (
        "flex with a cache",
        chat("gpt-5", 1000, 100, {"cached_tokens": 400}, service_tier="flex"),
        (600 * 0.625 + 400 * 0.0625 + 100 * 5) / M,
        WHOLE,
    ),
    (
        "cache writes",
        chat("gpt-5.6", 1000, 100, {"cached_tokens": 400, "cache_write_tokens": 500}),
        (100 * 4 + 400 * 0.4 + 500 * 5 + 100 * 20) / M,
        WHOLE,
    ),
)
ANTHROPIC: tuple[Case, ...] = (
    (
        "web searches",
        claude("claude-opus-4-6", 1000, 100, server_tool_use={"web_search_requests": 3}),
        (1000 * 5 + 100 * 25) / M + 0.03,
        WHOLE,
    ),
    (
        "web fetches, which are free",
        claude("claude-opus-4-6", 1000, 100, server_tool_use={"web_fetch_requests": 3}),
        (1000 * 5 + 100 * 25) / M,
        WHOLE,
    ),
    (
        "compaction",
        claude("claude-opus-4-6", 600, 1300, iterations=[step("compaction", 60000, 600), step("message", 600, 1300)]),
        (60600 * 5 + 1900 * 25) / M,
        WHOLE,
    ),
    (
        "a step whose writes are kept for an hour",
        claude(
            "claude-opus-4-6",
            10,
            20,
            cache_creation_input_tokens=3000,
            iterations=[
                step(
                    "message",
                    10,
                    20,
                    cache_creation_input_tokens=3000,
                    cache_read_input_tokens=0,
                    cache_creation={"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
                )
            ],
        ),
        (10 * 5 + 1000 * 6.25 + 2000 * 10 + 20 * 25) / M,
        WHOLE,
    ),
    (
        "writes of both lengths",
        claude(
            "claude-sonnet-4-5",
            10,
            20,
            cache_creation_input_tokens=3000,
            cache_creation={"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
        ),
        (10 * 3 + 1000 * 3.75 + 2000 * 6 + 20 * 15) / M,
        WHOLE,
    ),
    (
        "fast mode",
        claude("claude-opus-4-8", 1000, 100, service_tier="standard", speed="fast"),
        (1000 * 10 + 100 * 50) / M,
        WHOLE,
    ),
    (
        "standard speed",
        claude("claude-opus-4-8", 1000, 100, service_tier="standard", speed="standard"),
        (1000 * 5 + 100 * 25) / M,
        WHOLE,
    ),
    (
        "batch with cache reads",
        claude("claude-haiku-4-5", 1000, 100, service_tier="batch", cache_read_input_tokens=500),
        (1000 * 0.5 + 500 * 0.05 + 100 * 2.5) / M,
        WHOLE,
    ),
    (
        "a long prompt with a cache",
        claude("claude-sonnet-4-5", 10_000, 100, cache_read_input_tokens=200_000),
        (10_000 * 6 + 200_000 * 0.6 + 100 * 22.5) / M,
        WHOLE,
    ),
    ("no steps", claude("claude-opus-4-6", 1000, 100, iterations=[]), (1000 * 5 + 100 * 25) / M, WHOLE),
)
GOOGLE: tuple[Case, ...] = (
    (
        "audio in",
        gemini("gemini-2.5-flash", 1000, 10, promptTokensDetails=by_kind(audio=900, text=100)),
        (100 * 0.3 + 900 * 1 + 10 * 2.5) / M,
        WHOLE,
    ),
    (
        "cached audio",
        gemini(
            "gemini-2.5-flash",
            1000,
            10,
            promptTokensDetails=by_kind(audio=900, text=100),
            cachedContentTokenCount=800,
            cacheTokensDetails=by_kind(audio=750, text=50),
        ),
        (50 * 0.3 + 50 * 0.03 + 150 * 1 + 750 * 0.1 + 10 * 2.5) / M,
        WHOLE,
    ),
    (
        "images, which cost as text",
        gemini("gemini-2.5-pro", 1000, 10, promptTokensDetails=by_kind(image=900, text=100)),
        (1000 * 1.25 + 10 * 10) / M,
        WHOLE,
    ),
    (
        "images out",
        gemini("gemini-2.5-flash-image", 100, 1290, candidatesTokensDetails=by_kind(image=1290)),
        (100 * 0.3 + 1290 * 30) / M,
        WHOLE,
    ),
    (
        "images and text out",
        gemini("gemini-3-pro-image-preview", 100, 1300, candidatesTokensDetails=by_kind(image=1120, text=180)),
        (100 * 2 + 180 * 12 + 1120 * 120) / M,
        WHOLE,
    ),
    (
        "tokens of its tools",
        gemini("gemini-2.5-pro", 100, 50, toolUsePromptTokenCount=900),
        (1000 * 1.25 + 50 * 10) / M,
        WHOLE,
    ),
    ("thoughts", gemini("gemini-2.5-flash", 100, 50, thoughtsTokenCount=450), (100 * 0.3 + 500 * 2.5) / M, WHOLE),
    (
        "a grounded reply, billed once",
        gemini("gemini-2.5-flash", 100, 50, queries=3),
        (100 * 0.3 + 50 * 2.5) / M + 0.035,
        WHOLE,
    ),
    (
        "search queries, billed each",
        gemini("gemini-3-flash-preview", 100, 50, queries=3),
        (100 * 0.5 + 50 * 3) / M + 0.042,
        WHOLE,
    ),
    (
        "audio out without a price of its own",
        gemini("gemini-2.5-flash", 100, 50, candidatesTokensDetails=by_kind(audio=50)),
        (100 * 0.3 + 50 * 2.5) / M,
        PARTIAL,
    ),
)
PERPLEXITY: tuple[Case, ...] = (
    (
        "a cost that is logged",
        chat("sonar-pro", 100, 200, cost={"request_cost": 0.006, "total_cost": 0.0093}),
        0.0093,
        WHOLE,
    ),
    ("a fee for the request", chat("sonar-pro", 100, 200), (100 * 3 + 200 * 15) / M + 0.014, WHOLE),
    ("a fee for the request of a smaller model", chat("sonar", 100, 200), 300 / M + 0.012, WHOLE),
    (
        "deep research",
        chat("sonar-deep-research", 33, 7163, citation_tokens=20016, num_search_queries=18, reasoning_tokens=73995),
        (33 * 2 + 7163 * 8 + 20016 * 2 + 73995 * 3) / M + 18 * 0.005,
        WHOLE,
    ),
    (
        "citations alone",
        chat("sonar-deep-research", 100, 200, citation_tokens=1000),
        (100 * 2 + 200 * 8 + 1000 * 2) / M,
        WHOLE,
    ),
    (
        "searches alone",
        chat("sonar-deep-research", 100, 200, num_search_queries=2),
        (100 * 2 + 200 * 8) / M + 0.01,
        WHOLE,
    ),
    (
        "a logged cost of deep research",
        chat("sonar-deep-research", 33, 7163, num_search_queries=18, cost={"total_cost": 0.4}),
        0.4,
        WHOLE,
    ),
    ("no output", chat("sonar", 100, 0), 100 / M + 0.012, WHOLE),
    (
        "searches without a price",
        chat("sonar-pro", 100, 200, num_search_queries=1),
        (100 * 3 + 200 * 15) / M + 0.014,
        PARTIAL,
    ),
    (
        "a cost in parts",
        chat("sonar", 10, 10, cost={"input_tokens_cost": 0.00001, "total_cost": 0.00502}),
        0.00502,
        WHOLE,
    ),
)
OPENROUTER: tuple[Case, ...] = (
    ("a cost that is logged", chat("openai/gpt-5", 1000, 100, cost=0.0123, provider="OpenAI"), 0.0123, WHOLE),
    (
        "a cost beside its details",
        chat("openai/gpt-5", 1000, 100, cost=0.01, cost_details={"upstream_inference_cost": None}),
        0.01,
        WHOLE,
    ),
    ("reasoning", chat("openai/gpt-5", 1000, 100, None, {"reasoning_tokens": 60}), (1000 * 1.25 + 100 * 10) / M, WHOLE),
    (
        "a logged cost with audio",
        chat("google/gemini-2.5-flash", 1000, 100, {"audio_tokens": 900}, cost=0.001),
        0.001,
        WHOLE,
    ),
    (
        "audio",
        chat("google/gemini-2.5-flash", 1000, 100, {"audio_tokens": 900}),
        (100 * 0.3 + 900 * 1 + 100 * 2.5) / M,
        WHOLE,
    ),
    (
        "a cache",
        chat("openai/gpt-5", 1000, 100, {"cached_tokens": 600}),
        (400 * 1.25 + 600 * 0.125 + 100 * 10) / M,
        WHOLE,
    ),
    ("images", chat("google/gemini-2.5-flash", 1000, 100, {"image_tokens": 900}), (1000 * 0.3 + 100 * 2.5) / M, WHOLE),
    ("a free model", chat("meta-llama/llama-3.3-70b-instruct:free", 1000, 100), 0.0, WHOLE),
    (
        "a logged cost with searches",
        chat("openai/gpt-5", 10, 10, cost=0.02, server_tool_use={"web_search_requests": 2}),
        0.02,
        WHOLE,
    ),
    ("a response with a cost", response("openai/gpt-5", 1000, 100, usage={"cost": 0.007}), 0.007, WHOLE),
)
OTHERS: tuple[Case, ...] = (
    ("xAI's ticks", chat("grok-4.3", 1000, 100, cost_in_usd_ticks=37_500_000), 0.00375, WHOLE),
    ("xAI's cache", chat("grok-3", 1000, 100, {"cached_tokens": 600}), (400 * 3 + 600 * 0.75 + 100 * 15) / M, WHOLE),
    (
        "xAI's sources, whose price the list has not",
        chat("grok-3", 1000, 100, num_sources_used=4),
        (1000 * 3 + 100 * 15) / M,
        PARTIAL,
    ),
    ("xAI's long prompt", chat("grok-4.3", 200_000, 100), (200_000 * 2.5 + 100 * 5) / M, WHOLE),
    (
        "pages that were read",
        {"model": "mistral-ocr-2505", "input_document_pages": 12, "latency_ms": 900},
        0.012,
        WHOLE,
    ),
    (
        "annotated pages",
        {"model": "mistral-ocr-2512", "input_document_pages": 12, "input_annotated_document_pages": 2, "latency_ms": 1},
        10 * 0.002 + 2 * 0.003,
        WHOLE,
    ),
    (
        "an hour of audio",
        {"model": "whisper-large-v3", "provider": "groq", "input_audio_seconds": 3600.0, "latency_ms": 900},
        0.111,
        WHOLE,
    ),
    (
        "half a minute of audio",
        {"model": "whisper-1", "input_audio_seconds": 30.5, "latency_ms": 900},
        30.5 / 3600 * 0.36,
        WHOLE,
    ),
    (
        "an embedding",
        {
            "object": "list",
            "data": [{"object": "embedding"}],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
        },
        1000 * 0.02 / M,
        WHOLE,
    ),
    (
        "transcribed audio",
        chat("gpt-4o-transcribe", 1000, 100, {"audio_tokens": 900}),
        (100 * 2.5 + 900 * 6 + 100 * 10) / M,
        WHOLE,
    ),
)
VENDORS = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "google": GOOGLE,
    "perplexity": PERPLEXITY,
    "openrouter": OPENROUTER,
    "others": OTHERS,
}
CASES = [pytest.param(*case[1:], id=f"{vendor}: {case[0]}") for vendor, cases in VENDORS.items() for case in cases]


def priced(row: Object) -> Columns:
    return price(columns_of([row]), PriceTable.of(), undated_us=NOW)


@pytest.mark.parametrize(("reply", "usd", "partial"), CASES)
def test_a_reply_costs_what_its_vendor_charges(reply: Object, usd: float, partial: float) -> None:
    found = priced(reply)
    assert found.size == 1
    assert found.public("cost_usd")[0] == pytest.approx(usd, abs=1.1e-9)
    assert found.number("unpriced")[0] == partial


def test_an_advisor_is_billed_as_the_model_that_it_is() -> None:
    steps = [
        step("message", 400, 80),
        step("advisor_message", 800, 1600, model="claude-opus-4-6"),
        step("message", 600, 20),
    ]
    own, advice = (1000 * 1 + 100 * 5) / M, (800 * 5 + 1600 * 25) / M
    found = priced(claude("claude-haiku-4-5", 1000, 100, iterations=steps))
    assert found.public("cost_usd")[0] == pytest.approx(own + advice)
    assert (found.number("prompt_tokens")[0], found.number("unpriced")[0]) == (1000, WHOLE)
    steps[1]["model"] = "nobody-knows"
    unknown = priced(claude("claude-haiku-4-5", 1000, 100, iterations=steps))
    assert unknown.public("cost_usd")[0] == pytest.approx(own)
    assert unknown.number("unpriced")[0] == PARTIAL


def test_there_are_ten_replies_of_each_vendor() -> None:
    assert {vendor: len(cases) for vendor, cases in VENDORS.items()} == dict.fromkeys(VENDORS, 10)


def test_replies_of_one_file_are_priced_as_each_alone() -> None:
    rows = [case[1] for case in (*OPENAI, *OPENROUTER) if case[1].get("object") == "chat.completion"]
    together = price(columns_of(rows), PriceTable.of(), undated_us=NOW).public("cost_usd").tolist()
    assert together == [priced(row).public("cost_usd")[0] for row in rows]


def test_a_model_without_any_price_is_unpriced_whatever_it_used() -> None:
    found = priced(claude("claude-nobody-knows", 1000, 100, server_tool_use={"web_search_requests": 3}))
    assert found.public("cost_usd").tolist() != found.public("cost_usd").tolist()  # not a number
    assert found.number("unpriced").tolist() == [1.0]


def test_searches_alone_that_have_no_price_are_no_cost_of_nothing() -> None:
    row = {"model": "gpt-4o", "code_executions": 2, "latency_ms": 5}
    found = price(columns_of([row]), PriceTable.of(), undated_us=NOW)
    assert msgspec.to_builtins(found.number("unpriced").tolist()) == [1.0]
    assert found.public("cost_usd")[0] != found.public("cost_usd")[0]
