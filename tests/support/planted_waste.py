"""Logs with waste of known amounts planted among sound calls, in several systems' shapes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

START = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 20
INPUT, OUTPUT, READ, WRITE = 3e-6, 15e-6, 0.3e-6, 3.75e-6  # dollars a token of claude-sonnet-4-5
Row = dict[str, Any]


class Planted(msgspec.Struct):
    """Rows in the order of time, and by class how many calls and dollars of them are waste."""

    rows: list[Row]
    calls: dict[str, int]
    dollars: dict[str, float]

    def write(self, folder: Path, name: str = "calls.jsonl") -> str:
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        return str(path)


def price_of(row: Row) -> float:
    """What a call costs in dollars."""
    read, write = row.get("cached_tokens", 0), row.get("cache_write_tokens", 0)
    fresh = row["prompt_tokens"] - read - write
    return float(fresh * INPUT + read * READ + write * WRITE + row["completion_tokens"] * OUTPUT)


class Planter:
    """Writes sound calls and plants waste among them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311
        self.found = Planted([], {}, {})

    def call(self, at: float | None = None, **more: Any) -> Row:
        rng = self.rng
        at = rng.uniform(0, (DAYS - 1) * 86400) if at is None else at
        row: Row = {
            "timestamp": (START + timedelta(seconds=at)).isoformat(),
            "model": "claude-sonnet-4-5",
            "user": f"u{rng.randrange(40)}",
            "feature": rng.choice(["chat", "search", "agent"]),
            "prompt_tokens": rng.randrange(300, 4000),
            "completion_tokens": rng.randrange(20, 600),
            "latency_ms": 1500,
            "status": "ok",
            "finish_reason": "stop",
            "prompt": f"question {rng.getrandbits(60)}",
            "output": "a sound answer",
        } | more
        self.found.rows.append(row)
        return row

    def plant(self, waste: str, row: Row, dollars: float | None = None) -> None:
        self.found.calls[waste] = self.found.calls.get(waste, 0) + 1
        amount = price_of(row) if dollars is None else dollars
        self.found.dollars[waste] = self.found.dollars.get(waste, 0.0) + amount

    def again(self, row: Row, seconds: float, **more: Any) -> Row:
        at = (datetime.fromisoformat(row["timestamp"]) - START).total_seconds() + seconds
        return self.call(at, **{key: row[key] for key in ("user", "feature", "prompt_tokens", "prompt")}, **more)

    def outcomes(self) -> None:
        """One of each class that a call's own outcome or its prompt gives away."""
        self.plant("failed", self.call(status="error", error_type="server_error"))
        self.plant("cancelled", self.call(status="cancelled"))
        self.plant("empty", self.call(completion_tokens=0, output=""))
        self.call(status="error", error_type="rate_limit", prompt_tokens=0, completion_tokens=0)  # not billed
        self.call(finish_reason="length")  # cut off and never asked again
        self.call(finish_reason="tool_calls", output="")
        first = self.call(finish_reason="length")
        self.plant("cut_off", first)
        self.again(first, 240, completion_tokens=900)
        self.plant("retried", self.again(self.call(), 120))
        self.plant("answered_before", self.again(self.call(), 3 * 3600))

    def session(self, kind: str) -> None:
        """A conversation whose prompt is cached: read again, never read, or missed after a pause."""
        name = f"s{self.rng.getrandbits(60)}"
        written = self.rng.randrange(3000, 20000)
        start = self.rng.uniform(0, (DAYS - 1) * 86400)

        def step(seconds: float, read: int, write: int, **more: Any) -> Row:
            tokens = {"prompt_tokens": written + 50, "cached_tokens": read, "cache_write_tokens": write}
            return self.call(start + seconds, session=name, user="ann", feature="agent", **tokens, **more)

        hour = {"cache_write_1h_tokens": written} if kind == "hour" else {}
        first = step(0, 0, written, **hour)
        if kind == "unread":
            self.plant("cache_unread", first, written * (WRITE - INPUT))
            return
        step(60, written, 0)
        if kind == "missed":
            missed = step(60 + 1500, 0, written)
            self.plant("cache_missed", missed, written * (WRITE - READ))
            step(60 + 1560, written, 0)
        elif kind == "hour":
            step(60 + 1500, written, 0)


def planted(seed: int = 1, *, sound: int = 3000, each: int = 60) -> Planted:
    """A log of `sound` calls and sessions, and `each` of every class of waste."""
    planter = Planter(seed)
    for _ in range(sound):
        planter.call()
    for kind in ("sound", "hour"):
        for _ in range(sound // 10):
            planter.session(kind)
    for _ in range(each):
        planter.outcomes()
        planter.session("unread")
        planter.session("missed")
    planter.call(DAYS * 86400.0)
    planter.found.rows.sort(key=lambda row: str(row["timestamp"]))
    return planter.found


def claude_code_rows() -> Iterator[Row]:
    """A session of Claude Code: each answer in several lines, a pause after which all was written again."""

    def lines(number: int, minute: int, read: int, write: int) -> Iterator[Row]:
        usage = {
            "input_tokens": 10,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
            "cache_creation": {"ephemeral_5m_input_tokens": write, "ephemeral_1h_input_tokens": 0},
        }
        blocks = (
            [{"type": "thinking", "thinking": "so"}],
            [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}],
        )
        for part, block in enumerate(blocks):
            when = START + timedelta(minutes=minute, seconds=part)
            message = {
                "id": f"msg_{number}",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-4-5-20250929",
                "content": block,
                "stop_reason": "tool_use" if part else None,
                "usage": usage | {"output_tokens": 5 + 200 * part},
            }
            yield {
                "sessionId": "s1",
                "type": "assistant",
                "uuid": f"u{number}{part}",
                "requestId": f"req_{number}",
                "timestamp": when.isoformat().replace("+00:00", "Z"),
                "message": message,
            }

    yield from lines(1, 0, 0, 20_000)
    yield from lines(2, 1, 20_000, 1_000)
    yield from lines(3, 30, 0, 22_000)  # all of it written again
    yield from lines(4, 31, 22_000, 500)
    yield from lines(5, 32, 22_500, 0)
    yield from lines(6, 60 * 24, 0, 0)


def litellm_row(number: int, at: float, **more: Any) -> Row:
    """A row of LiteLLM's standard logging payload; `more` replaces its keys."""
    return {
        "id": f"chatcmpl-{number}",
        "litellm_call_id": f"call-{number}",
        "call_type": "acompletion",
        "trace_id": f"trace-{number}",
        "response_cost": 0.004,
        "status": "success",
        "custom_llm_provider": "openai",
        "prompt_tokens": 1000,
        "completion_tokens": 150,
        "total_tokens": 1150,
        "startTime": START.timestamp() + at,
        "endTime": START.timestamp() + at + 2,
        "model": "gpt-4o",
        "model_group": "gpt-4o",
        "end_user": "reader",
        "metadata": {},
        "hidden_params": {},
        "messages": [{"role": "user", "content": f"Summarize note {number}"}],
        "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Done."}}]},
    } | more
