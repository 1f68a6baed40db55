"""Streams whose pieces stand in a log's own lines: each call once, whole, from its first line to its last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

Line = dict[str, Any]


def chunk(number: int, text: str | None = None, usage: Line | None = None) -> Line:
    choices = [] if usage else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    piece = {"id": f"c{number}", "object": "chat.completion.chunk", "created": 1773479820, "model": "gpt-4o"}
    return {**piece, "choices": choices, **({"usage": usage} if usage else {})}


def openai(number: int) -> list[Line]:
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    return [*(chunk(number, text) for text in ("In", " the", " shed")), chunk(number, usage=usage)]


def gemini(number: int) -> list[Line]:
    def piece(text: str, tokens: int) -> Line:
        usage = {"promptTokenCount": 10, "candidatesTokenCount": tokens, "totalTokenCount": 10 + tokens}
        candidates = [{"content": {"parts": [{"text": text}], "role": "model"}}]
        reply = {"candidates": candidates, "usageMetadata": usage}
        return {**reply, "modelVersion": "gemini-2.5-flash", "responseId": f"g{number}"}

    return [piece("In", 1), piece(" the", 2), piece(" shed", 3)]


def anthropic(number: int) -> list[Line]:
    message = {"id": f"m{number}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}}
        for t in ("In the", " shed")
    ]
    return [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 10, "output_tokens": 1}}},
        *deltas,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize("stream", [openai, gemini, anthropic])
@pytest.mark.parametrize("key", ["chunk", "event", "payload"])
def test_the_pieces_of_a_stream_are_one_call(run: Run, tmp_path: Path, stream: Any, key: str) -> None:
    path = tmp_path / "app.jsonl"
    lines = [
        {"ts": f"2026-03-14T09:{number:02d}:{second:02d}Z", "level": "debug", key: piece}
        for number in range(30)
        for second, piece in enumerate(stream(number))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = run("requests", str(path), "--limit", "0", "--show-text", "-f", "json").json
    assert len(found["data"]["requests"]) == 30
    for call in found["data"]["requests"]:
        assert (call["prompt_tokens"], call["completion_tokens"], call["output"]) == (10, 3, "In the shed")
        assert call["latency_ms"] >= 2000
    assert found["source"]["warnings"] == []


def test_a_reply_that_is_asked_for_again_and_again_is_one_call(run: Run, tmp_path: Path) -> None:
    def polled(number: int, status: str, usage: Line | None) -> Line:
        reply = {"id": f"r{number}", "object": "response", "created_at": 1773479820, "model": "gpt-5", "usage": usage}
        return {"ts": f"2026-03-14T09:17:{number:02d}Z", "msg": "poll", "response": {**reply, "status": status}}

    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    states = (("queued", None), ("in_progress", None), ("completed", usage))
    path = tmp_path / "app.jsonl"
    path.write_text("".join(json.dumps(polled(n, *state)) + "\n" for n in range(20) for state in states))
    totals = run("summarize", str(path), "-f", "json").json["data"]["totals"]
    assert (totals["request_count"], totals["prompt_tokens"], totals["completion_tokens"]) == (20, 200, 100)


def test_ollamas_pieces_in_a_log_count_by_their_last(run: Run, tmp_path: Path) -> None:
    def pieces(number: int) -> list[Line]:
        shared = {"model": "llama3.2", "created_at": f"2026-03-14T09:17:{number:02d}Z"}
        counts = {"total_duration": 5 * 10**9, "prompt_eval_count": 10, "eval_count": 100}
        return [{**shared, "response": "x", "done": False}, {**shared, "response": "", "done": True, **counts}]

    path = tmp_path / "app.jsonl"
    lines = [{"ts": "2026-03-14T09:17:00Z", "user": "bob", "chunk": piece} for n in range(20) for piece in pieces(n)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    totals = run("summarize", str(path), "--by", "user", "-f", "json").json["data"]["totals"]
    assert (totals["request_count"], totals["completion_tokens"], totals["latency_p50_ms"]) == (20, 2000, 5000)
