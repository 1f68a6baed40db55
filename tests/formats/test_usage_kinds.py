"""Usage of kinds that only some models bill apart, in the dialects that log it."""

from __future__ import annotations

from typing import Any

import pytest

from llmmon.formats.mapping import selector_of, value_at
from tests.support.columns_factory import as_rows, columns_of

ANSWER = [{"type": "message", "content": [{"type": "output_text", "text": 'the word "web_search_call", quoted'}]}]


def response(*output: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    return {"object": "response", "id": "r", "model": "gpt-5", "created_at": 1795000000, "status": "completed",
            "usage": usage, "output": [*output, *ANSWER]}  # fmt: skip


@pytest.mark.parametrize("searches", [0, 1, 3])
def test_tool_calls_in_the_output_are_counted(searches: int) -> None:
    rows = [response(*[{"type": "web_search_call", "action": {"type": "search"}}] * searches) for _ in range(3)]
    assert [row.get("web_searches") for row in as_rows(columns_of(rows))] == [searches or None] * 3


def test_lines_with_and_without_an_object_of_costs_are_read_alike() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    plain = {"object": "chat.completion", "id": "a", "model": "m", "created": 1795000000, "choices": []}
    rows = [plain | {"usage": usage | {"cost": cost}} for cost in (0.5, {"total_cost": 0.25}, None)]
    for order in (rows, rows[::-1], rows * 50):
        found = [row.get("cost_usd") for row in as_rows(columns_of(order))]
        expected = [{0.5: 5e8, None: None}.get(c) if not isinstance(c, dict) else 2.5e8
                    for c in (row["usage"]["cost"] for row in order)]  # fmt: skip
        assert found == expected


def test_a_selector_adds_up_what_it_selects() -> None:
    steps = {"steps": [{"type": "a", "n": 1}, {"type": "b", "n": 2}, {"type": "c", "n": 4}, {"n": None}, "odd"]}
    found = {step: value_at(steps, ("steps", step, "n")) for step in ("*", "[type=a|b]", "[type!=b]", "[type=z]", "0")}
    assert found == {"*": 7, "[type=a|b]": 3, "[type!=b]": 5, "[type=z]": None, "0": 1}
    assert value_at(steps, ("steps", "#[type=a|c]")) == 2
    assert value_at(steps, ("steps", "#[type=z]")) is None
    assert selector_of("[type=a]").counts is False


def test_steps_of_a_reply_are_added_up_with_what_was_kept_for_an_hour() -> None:
    step = {"type": "message", "input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 4, "cache_creation": {"ephemeral_1h_input_tokens": 4}}  # fmt: skip
    usage = {"input_tokens": 1, "output_tokens": 2, "iterations": [step, step]}
    row = {
        "type": "message",
        "id": "m",
        "model": "claude-opus-4-6",
        "content": [],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    (found,) = as_rows(columns_of([row]))
    assert (found["prompt_tokens"], found["completion_tokens"]) == (2 + 6 + 8, 4)
    assert (found["cached_tokens"], found["cache_write_tokens"], found["cache_write_1h_tokens"]) == (6, 8, 8)
