"""`tools`: figures of groups, what loops and results cost, beside figures counted from what was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmmon.errors import InputError, UsageError
from llmmon.ingest.query import Query
from llmmon.reports.tools import ToolsReport, report_tools
from tests.support import agent_logs

NOW = 1_785_000_000_000_000
MADE = agent_logs.sessions(24, seed=9, turns=(4, 60), words=3000)


def tools(*paths: Path, by: tuple[str, ...] = ("tool",), **more: Any) -> ToolsReport:
    return report_tools(Query(logs=tuple(map(str, paths)), wall_us=NOW), by=by, **more)[0]


@pytest.mark.parametrize("name", sorted(agent_logs.FORMATS))
def test_planted_loops_are_found_in_every_format(name: str, tmp_path: Path) -> None:
    report = tools(agent_logs.write(tmp_path, name, MADE))
    made: dict[tuple[str, str, str], int] = {}
    for session in MADE:
        for tool in session.looped:
            key = (session.id, tool.tool, json.dumps(tool.arguments, sort_keys=True))
            made[key] = made.get(key, 0) + 1
    assert sorted((row.session, row.tool, row.times) for row in report.loops) == sorted(
        (session, tool, times) for (session, tool, _), times in made.items()
    )


@pytest.mark.parametrize("name", sorted(agent_logs.FORMATS))
def test_planted_failures_are_found_in_every_format(name: str, tmp_path: Path) -> None:
    report = tools(agent_logs.write(tmp_path, name, MADE), show_text=True)
    made = {}
    for session in MADE:
        spoken = session.turns[:-1] if name in ("openai", "anthropic", "gemini") else session.turns
        for tool in (tool for turn in spoken for tool in turn.tools if tool.failure):
            made[json.dumps(tool.arguments, sort_keys=True), tool.id] = tool.tool
    found = sorted((row.tool, json.dumps(json.loads(row.arguments or ""), sort_keys=True)) for row in report.failures)
    assert found == sorted((tool, arguments) for (arguments, _), tool in made.items())


def test_no_text_is_shown_unless_it_is_asked_for(tmp_path: Path) -> None:
    report = tools(agent_logs.write(tmp_path, "claude_code", MADE))
    assert report.failures == ()
    assert all(row.text is None for row in report.loops)


def test_groups_add_up_and_can_be_fields_of_calls(tmp_path: Path) -> None:
    folder = agent_logs.write(tmp_path, "openai", MADE)
    for by in ("tool", "server", "session", "user"):
        report = tools(folder, by=(by,))
        assert sum(row.calls for row in report.groups) == report.totals.calls
        assert sum(row.failed for row in report.groups) == report.totals.failed
    used = {}
    for session in MADE:
        used[session.user] = used.get(session.user, 0) + len(session.tools)
    assert {row.key["user"]: row.calls for row in tools(folder, by=("user",)).groups} == used


def log(path: Path, results: list[str], arguments: list[int]) -> Path:
    """A session of plain calls at 1 USD each for 1,000 prompt tokens; after each a tool."""
    rows: list[dict[str, Any]] = []
    for at, (result, argument) in enumerate(zip(results, arguments, strict=True)):
        rows.append(
            {"timestamp": f"2026-06-01T08:{at:02d}:00Z", "session": "s", "model": "gpt-4.1", "prompt_tokens": 1000,
             "completion_tokens": 0, "latency_ms": 1000, "cost_usd": 1.0}
        )  # fmt: skip
        rows.append(
            {"timestamp": f"2026-06-01T08:{at:02d}:02Z", "session": "s", "event": "tool", "tool": "search",
             "args": {"q": argument}, "result": result, "duration_ms": 100}
        )  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_loop_costs_the_calls_from_the_first_repetition_on(tmp_path: Path) -> None:
    report = tools(log(tmp_path / "a.jsonl", ["x"] * 6, [1, 2, 1, 1, 1, 3]))
    (loop,) = report.loops
    assert loop.times == 4
    assert loop.usd == pytest.approx(3.0)
    assert report.totals.loop_usd == pytest.approx(3.0)


def test_twice_the_same_is_no_loop(tmp_path: Path) -> None:
    assert tools(log(tmp_path / "a.jsonl", ["x"] * 4, [1, 1, 2, 2])).loops == ()


def test_a_result_costs_in_every_call_that_carries_it(tmp_path: Path) -> None:
    report = tools(log(tmp_path / "a.jsonl", ["y" * 400, "", "", ""], [1, 2, 3, 4]))
    # 100 tokens of 1,000 in each of the three calls after it, at 1 USD for each call's input
    assert report.totals.result_tokens == 100
    assert report.totals.context_usd == pytest.approx(0.3)


def test_logs_without_tools_say_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"model": "gpt-4.1", "session": "s", "prompt_tokens": 5, "completion_tokens": 1}\n')
    with pytest.raises(InputError, match="no tool call in these logs"):
        tools(path)


def test_tools_of_traces_without_a_call_say_so(tmp_path: Path) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find"}
    listed = [{"key": key, "value": {"stringValue": value}} for key, value in tool.items()]
    model = [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}]
    spans = [
        {"traceId": trace * 32, "spanId": trace * 16, "startTimeUnixNano": "1700000000000000000", "attributes": held}
        for trace, held in (("a", listed), ("b", model))
    ]
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}) + "\n")
    with pytest.raises(UsageError, match="belongs to a session"):
        report_tools(Query(logs=(str(path),), wall_us=0), by=("tool",))
