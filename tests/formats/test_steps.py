"""Tool calls and compactions, read from every format that has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmmon.formats.messages import failed_inside, first_difference
from llmmon.ingest.query import Query, Read, read
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns
from llmmon.metrics.sessions import session_codes
from llmmon.metrics.steps import compactions, loops_of, tool_calls
from tests.support import agent_logs

MADE = agent_logs.sessions(10, seed=3, turns=(4, 50), words=2500)
SPOKEN = ("openai", "anthropic", "gemini")  # formats whose last results no call brings
UNFLAGGED = ("openai", "gemini")  # formats without a flag for failures
NOW = 1_785_000_000_000_000


def steps_of(folder: Path, **more: Any) -> Read:
    query = Query(logs=(str(folder),), wall_us=NOW, steps=True, **more)
    return read(query, frozenset({"model", "session"}), ColumnsFold)


@pytest.fixture(scope="module", params=sorted(agent_logs.FORMATS))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Columns, Columns]:
    name = request.param
    folder = agent_logs.write(tmp_path_factory.mktemp(name), name, MADE)
    steps = steps_of(folder).scanned.steps
    return name, tool_calls(steps), compactions(steps)


def truth(name: str) -> list[agent_logs.ToolUse]:
    """The tool calls whose outcome a format can tell."""
    if name not in SPOKEN:
        return [tool for session in MADE for tool in session.tools]
    return [tool for session in MADE for turn in session.turns[:-1] for tool in turn.tools]


def test_every_tool_call_is_found_once(found: tuple[str, Columns, Columns]) -> None:
    _, tools, _ = found
    made = sorted(tool.tool for session in MADE for tool in session.tools)
    assert sorted(filter(None, tools.name("tool").texts())) == made


def test_servers_are_those_of_mcp(found: tuple[str, Columns, Columns]) -> None:
    _, tools, _ = found
    made = sorted(tool.server for session in MADE for tool in session.tools if tool.server)
    assert sorted(filter(None, tools.name("server").texts())) == made


def test_failures_are_found_however_they_are_logged(found: tuple[str, Columns, Columns]) -> None:
    name, tools, _ = found
    made = truth(name)
    assert int((tools.number("failed") == 1).sum()) == sum(bool(tool.failure) for tool in made)
    hidden = [tool for tool in made if tool.failure and (tool.failure != "reported" or name in UNFLAGGED)]
    assert int((tools.number("hidden") == 1).sum()) == len(hidden)


def test_loops_are_found(found: tuple[str, Columns, Columns]) -> None:
    _, tools, _ = found
    codes, _ = session_codes(tools)
    loops = loops_of(tools, codes)
    looped = [tool for session in MADE for tool in session.looped]
    assert sorted(tool.tool for tool in looped) == sorted(
        name or "" for name, run in zip(tools.name("tool").texts(), loops.run.tolist(), strict=True) if run >= 0
    )
    assert loops.nth.max() == max(tool.loop for tool in looped)


def test_results_have_their_size(found: tuple[str, Columns, Columns]) -> None:
    name, tools, _ = found
    least = sum(len(tool.result) for tool in truth(name))
    assert least <= np.nansum(tools.number("result_chars")) <= least * 1.1


def test_latency_is_that_of_the_tool(found: tuple[str, Columns, Columns]) -> None:
    name, tools, _ = found
    latency = np.sort(tools.number("latency_ms")[~np.isnan(tools.number("latency_ms"))]) / 1e6
    if name in SPOKEN:
        assert not len(latency), "a message brings the result with the next call"
        return
    made = [lasted for session in MADE for turn in session.turns for lasted in lasting(turn, name)]
    assert np.allclose(latency, np.sort(made), atol=0.003)


def lasting(turn: agent_logs.Turn, name: str) -> Iterator[float]:
    """Seconds of each tool; where no start is logged, they count from when all were asked for."""
    waited = 0.0
    for tool in turn.tools:
        waited += tool.seconds
        yield waited if name in ("claude_code", "codex", "gemini_cli") else tool.seconds


@pytest.mark.parametrize("name", ["claude_code", "codex", "opencode"])
def test_compactions_are_found_where_they_are_logged(name: str, tmp_path: Path) -> None:
    made = agent_logs.sessions(6, seed=5, turns=(60, 90), words=4000)
    planted = sum(turn.compacted for session in made for turn in session.turns)
    assert planted
    assert compactions(steps_of(agent_logs.write(tmp_path, name, made)).scanned.steps).size == planted


def test_a_session_that_is_resumed_in_another_file_counts_its_tool_calls_once(tmp_path: Path) -> None:
    folder = agent_logs.write(tmp_path, "claude_code", MADE[:1])
    first = next(folder.iterdir())
    copied = first.read_text().splitlines()[:9]
    (folder / "resumed.jsonl").write_text("\n".join(copied) + "\n")
    assert tool_calls(steps_of(folder).scanned.steps).size == len(MADE[0].tools)


def test_steps_are_the_same_in_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = agent_logs.write(tmp_path, "claude_code", MADE)
    alone = tool_calls(steps_of(folder, jobs=1).scanned.steps)
    monkeypatch.setattr("llmmon.ingest.query.LEAST_TO_SHARE", 1)
    together = tool_calls(steps_of(folder, jobs=3).scanned.steps)
    assert alone.timestamp.tolist() == together.timestamp.tolist()
    assert alone.name("tool").texts() == together.name("tool").texts()
    assert np.array_equal(alone.number("arguments_key"), together.number("arguments_key"))


def test_nothing_is_read_of_steps_unless_it_is_asked_for(tmp_path: Path) -> None:
    folder = agent_logs.write(tmp_path, "claude_code", MADE[:2])
    found = read(Query(logs=(str(folder),), wall_us=NOW), frozenset({"model"}), ColumnsFold)
    assert found.scanned.steps.size == 0


def test_texts_of_tools_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = agent_logs.write(tmp_path, "claude_code", MADE[:2])
    assert tool_calls(steps_of(folder).scanned.steps).texts == {}
    texts = tool_calls(steps_of(folder, step_texts=True).scanned.steps).text("arguments")
    assert json.loads(texts[0] or "") in [tool.arguments for session in MADE[:2] for tool in session.tools]


@pytest.mark.parametrize(
    "result",
    [
        {"error": {"code": "x"}},
        '{"error": "no such file"}',
        {"success": False},
        {"ok": 0},
        {"status": "failed"},
        {"output": "", "metadata": {"exit_code": 1}},
        {"returncode": 127, "stdout": ""},
        {"status_code": 503},
        "Exit code: 2\nmake: *** [all] Error",
        "Process exited with code 1\nOutput:",
        "Error: file not found",
        "<tool_use_error>File has not been read yet</tool_use_error>",
        [{"type": "text", "text": '{"isError": true}'}],
        "Traceback (most recent call last):\n  File",
    ],
)
def test_a_result_that_shows_a_failure(result: Any) -> None:
    assert failed_inside(result)


@pytest.mark.parametrize(
    "result",
    [
        "",
        "1\tError: in line 3 of a file that was read",
        {"error": None, "items": []},
        {"errors": [], "data": {}},
        {"exit_code": 0, "output": "Error: printed by a program that went well"},
        {"success": True, "message": "failed builds: 0"},
        {"status": "completed"},
        {"status_code": 200},
        "Exit code: 0\nok",
        [{"type": "text", "text": "all is well"}],
        [],
    ],
)
def test_a_result_that_shows_none(result: Any) -> None:
    assert not failed_inside(result)


def test_the_first_part_of_a_prompt_that_differs() -> None:
    before = {"request": {"system": "You help. Today is Monday.", "messages": [{"role": "user", "content": "a"}]}}
    longer = {"request": {**before["request"], "messages": [*before["request"]["messages"], {"role": "user"}]}}
    other = {"request": {**before["request"], "system": "You help. Today is Tuesday."}}
    assert first_difference(before, longer) is None
    assert first_difference(before, other) == ("the system prompt", len("You help. Today is ") + 1)
    changed = {"request": {**before["request"], "messages": [{"role": "user", "content": "b"}]}}
    assert first_difference(before, changed) is not None
    assert first_difference(before, changed)[0] == "message 1 (user)"  # type: ignore[index]
    assert first_difference({"model": "m"}, {"model": "m"}) is None
