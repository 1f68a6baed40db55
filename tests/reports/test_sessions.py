"""`sessions`: figures beside an independent SQL over the same rows, growth, sub-agents, endings, one session."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from llmmon.alerting.history import statistic_of
from llmmon.alerting.rules import AlertRule
from llmmon.errors import InputError, UsageError
from llmmon.ingest.query import Query
from llmmon.metrics.filters import parse
from llmmon.reports.session_timeline import session_timeline
from llmmon.reports.sessions import SessionsReport, report_sessions
from llmmon.reports.summary import summarize
from tests.support import agent_logs

NOW = 1_785_000_000_000_000
MADE = agent_logs.sessions(24, seed=9, turns=(4, 60), words=3000)


def sessions(*paths: Path, **more: Any) -> SessionsReport:
    return report_sessions(Query(logs=tuple(map(str, paths)), wall_us=NOW), **more)[0]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", sorted(agent_logs.FORMATS))
def test_every_format_gives_the_same_sessions(name: str, tmp_path: Path) -> None:
    report = sessions(agent_logs.write(tmp_path, name, MADE))
    found = {row.session: row for row in report.sessions}
    assert found.keys() == {session.id for session in MADE}
    for session in MADE:
        row = found[session.id]
        assert row.calls == len(session.turns)
        assert row.prompt_tokens == sum(turn.prompt for turn in session.turns)
        assert row.completion_tokens == sum(turn.completion for turn in session.turns)
        assert row.context_tokens == max(turn.prompt for turn in session.turns)
        assert row.last_context_tokens == session.turns[-1].prompt
        assert row.compactions == sum(turn.compacted for turn in session.turns)
        assert row.tool_calls == len(session.tools)
        assert row.steps == len(session.turns) + len(session.tools)


def test_figures_are_those_of_sql_over_the_same_rows(tmp_path: Path) -> None:
    path = agent_logs.write(tmp_path, "home_made", MADE) / "home_made.jsonl"
    report = sessions(path)
    rows = duckdb.read_json(str(path))  # noqa: F841 - the table of the query
    query = """
        select session_id, count(*), sum(prompt_tokens), max(prompt_tokens),
            max(epoch_ms(ts::timestamptz) + latency_ms) - min(epoch_ms(ts::timestamptz))
        from rows where model is not null group by 1
    """
    truth = {key: rest for key, *rest in duckdb.sql(query).fetchall()}
    found = {
        row.session: [row.calls, row.prompt_tokens, row.context_tokens, row.duration_ms] for row in report.sessions
    }
    assert found.keys() == truth.keys()
    assert all(np.allclose(found[key], truth[key], atol=0.01) for key in truth)
    spread = report.spreads["session_duration_ms"]
    assert spread.p95 == pytest.approx(np.quantile([row[3] for row in truth.values()], 0.95), abs=0.01)
    assert report.spreads["session_calls"].p50 == np.quantile([row[0] for row in truth.values()], 0.5)


def test_a_session_goes_on_in_other_files_and_days(tmp_path: Path) -> None:
    rows = [
        {"timestamp": f"2026-06-0{day}T23:5{at}:00Z", "session": "s", "model": "gpt-4.1", "prompt_tokens": 10 * at,
         "completion_tokens": 1, "latency_ms": 1000}
        for day in (1, 2) for at in range(1, 4)
    ]  # fmt: skip
    lines(tmp_path / "app.log.1", rows[:2])
    lines(tmp_path / "app.log", rows[2:])
    (row,) = sessions(tmp_path).sessions
    assert row.calls == 6
    assert row.duration_ms == timedelta(days=1, minutes=2, seconds=1).total_seconds() * 1000


def test_a_session_without_an_id_is_that_of_its_trace_and_others_are_counted(tmp_path: Path) -> None:
    base = {"model": "gpt-4.1", "prompt_tokens": 5, "completion_tokens": 1}
    report = sessions(lines(tmp_path / "a.jsonl", [base | {"session": "s", "trace": "t"}, base | {"trace": "u"}, base]))
    assert [row.session for row in report.sessions] == ["s", "u"]
    assert report.without == 1
    by_trace = sessions(tmp_path / "a.jsonl", by=("trace",))
    assert {row.session for row in by_trace.sessions} == {"t", "u"}


def test_the_unit_can_be_a_task(tmp_path: Path) -> None:
    base = {"model": "gpt-4.1", "prompt_tokens": 5, "completion_tokens": 1, "session": "s"}
    path = lines(tmp_path / "a.jsonl", [base | {"task_id": "x"}, base | {"task_id": "y"}, base | {"task_id": "x"}])
    report = sessions(path, by=("task",))
    assert {row.session: row.calls for row in report.sessions} == {"x": 2, "y": 1}


def test_groups_add_up_to_the_whole(tmp_path: Path) -> None:
    report = sessions(agent_logs.write(tmp_path, "openai", MADE), by=("user",))
    assert sum(group.sessions for group in report.groups) == len(MADE)
    assert sum(group.cost_usd or 0 for group in report.groups) == pytest.approx(report.cost_usd)
    assert {group.key["user"] for group in report.groups} == {session.user for session in MADE}


def test_folders_of_projects_are_groups(tmp_path: Path) -> None:
    report = sessions(agent_logs.write(tmp_path, "claude_code", MADE), by=("folder",))
    assert {group.key["folder"] for group in report.groups} == {session.folder for session in MADE}


def agent(session: str, turns: int, cost: float, **more: Any) -> list[dict[str, Any]]:
    return [
        {"timestamp": f"2026-06-01T08:{at:02d}:00Z", "session": session, "model": "m", "prompt_tokens": 100 + at,
         "completion_tokens": 1, "cost_usd": cost, **more}
        for at in range(turns)
    ]  # fmt: skip


def test_sub_agents_are_under_their_parent(tmp_path: Path) -> None:
    rows = agent("main", 4, 1.0) + agent("helper", 2, 0.5, parent_session="main")
    rows += agent("main", 3, 0.25, subagent="reader")
    report = sessions(lines(tmp_path / "a.jsonl", rows))
    found = {row.session: row for row in report.sessions}
    assert found["main"].cost_usd == pytest.approx(4.75)
    assert found["main"].with_subagents_usd == pytest.approx(5.75)
    assert found["main"].subagent_usd == pytest.approx(1.75)
    assert found["main"].subagents == 2
    assert found["main"].turns == 4, "a sub-agent's calls are no turns of the session itself"
    assert found["helper"].parent == "main"
    assert report.cost_usd == pytest.approx(5.75)
    assert "sub-agents of 1 session are 30.4 % of the cost: $1.75" in [one.text for one in report.findings]


def test_sessions_that_are_each_others_parents_end(tmp_path: Path) -> None:
    rows = agent("a", 2, 1.0, parent_session="b") + agent("b", 2, 1.0, parent_session="a")
    assert {row.with_subagents_usd for row in sessions(lines(tmp_path / "a.jsonl", rows)).sessions} == {4.0}


def test_the_turn_from_which_a_session_is_long_and_expensive(tmp_path: Path) -> None:
    rows = agent("s", 40, 0.01)
    for at, row in enumerate(rows):
        row["prompt_tokens"] = 10_000 + 5_000 * at
        row["cost_usd"] = 0.01 if at < 25 else 0.05
    (row,) = sessions(lines(tmp_path / "a.jsonl", rows)).sessions
    assert row.long_context_from_turn == 29
    assert row.expensive_from_turn == 26
    report = sessions(tmp_path / "a.jsonl", long_context=100_000)
    assert report.sessions[0].long_context_from_turn == 19


def test_a_session_of_even_turns_is_not_called_expensive(tmp_path: Path) -> None:
    (row,) = sessions(lines(tmp_path / "a.jsonl", agent("s", 40, 0.01))).sessions
    assert row.expensive_from_turn is None
    assert row.long_context_from_turn is None


@pytest.mark.parametrize(
    ("last", "ended"),
    [
        ({"status": "error", "error_type": "overloaded"}, "error"),
        ({"status": "ok", "finish_reason": "length"}, "cut off"),
        ({"status": "ok", "finish_reason": "tool_calls"}, "in a tool call"),
        ({"status": "ok", "finish_reason": "stop"}, "ok"),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "ok", "finish_reason": "content_filter"}, "withheld"),
    ],
)
def test_how_a_session_ended(last: dict[str, Any], ended: str, tmp_path: Path) -> None:
    rows = agent("s", 3, 0.1, status="ok", finish_reason="stop")
    (row,) = sessions(lines(tmp_path / "a.jsonl", [*rows[:2], rows[2] | last])).sessions
    assert row.ended == ended
    assert row.error_type == last.get("error_type")


def test_few_sessions_that_are_most_of_the_cost_are_a_finding_with_what_they_share(tmp_path: Path) -> None:
    rows = [call for n in range(20) for call in agent(f"s{n}", 2, 0.01, folder="small")]
    rows += [call for n in range(2) for call in agent(f"big{n}", 4, 2.0, folder="x")]
    (first, *_) = sessions(lines(tmp_path / "a.jsonl", rows)).findings
    assert first.kind == "concentration"
    assert first.text.startswith("1 session of 22 is 48.8 % of the cost") or "2 sessions of 22" in first.text
    assert first.usd


def test_one_session_step_by_step(tmp_path: Path) -> None:
    folder = agent_logs.write(tmp_path, "claude_code", MADE)
    session = max(MADE, key=lambda one: len(one.turns))
    timeline, _ = session_timeline(Query(logs=(str(folder),), wall_us=NOW), session.id[:9])
    kinds = [step.kind for step in timeline.steps]
    assert kinds.count("call") == len(session.turns)
    assert kinds.count("tool") == len(session.tools)
    assert kinds.count("compaction") == sum(turn.compacted for turn in session.turns)
    assert [step.turn for step in timeline.steps if step.kind == "call"] == list(range(1, len(session.turns) + 1))
    assert timeline.steps[-1].cost_so_far_usd == pytest.approx(timeline.session.cost_usd)
    assert sum(step.repeated is not None for step in timeline.steps) == len(session.looped)


def test_an_unknown_or_ambiguous_session_is_a_usage_error(tmp_path: Path) -> None:
    query = Query(logs=(str(lines(tmp_path / "a.jsonl", agent("ab", 1, 1) + agent("ac", 1, 1))),), wall_us=NOW)
    with pytest.raises(UsageError, match="no session of these logs"):
        session_timeline(query, "zz")
    with pytest.raises(UsageError, match="2 sessions begin with 'a'"):
        session_timeline(query, "a")


def test_logs_without_sessions_say_so(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"model": "gpt-4.1", "prompt_tokens": 5, "completion_tokens": 1}])
    with pytest.raises(InputError, match="no call of these logs has a session"):
        sessions(path)
    with pytest.raises(UsageError, match="the unit is one of"):
        sessions(path, by=("session", "trace"))
    with pytest.raises(UsageError, match="unknown figure"):
        sessions(path, sort="colour")


@pytest.mark.parametrize("name", ["claude_code", "home_made", "otlp"])
def test_what_a_session_comes_to_is_a_metric(name: str, tmp_path: Path) -> None:
    folder = agent_logs.write(tmp_path, name, MADE)
    report, query = sessions(folder), Query(logs=(str(folder),), wall_us=NOW)
    for metric, at in (("cost", "_usd"), ("duration", "_ms"), ("context", "_tokens"), ("calls", "")):
        spread = report.spreads[f"session_{metric}{at}"]
        named = f"session_{metric}_p95{at}" if at in ("_usd", "_ms") else f"session_{metric}{at}_p95"
        summary, _ = summarize(query, by=("model",), every_us=None, series_by=(), sort=named, limit=20)
        assert summary.totals[named] == pytest.approx(spread.p95, rel=1e-6)


def test_the_metrics_of_sessions_are_those_of_the_calls_that_are_kept(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", agent("a", 4, 1.0, user="ada") + agent("b", 2, 1.0, user="bob"))
    query = Query(logs=(str(path),), wall_us=NOW, where=parse("user=ada"))
    summary, _ = summarize(query, by=("user",), every_us=None, series_by=(), sort="session_calls_max", limit=20)
    assert summary.totals["session_calls_max"] == 4
    assert summary.totals["request_count"] == 4


def test_a_rule_on_what_a_session_comes_to_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="sum cost_usd or requests by session"):
        statistic_of(AlertRule(name="dear", metric_name="session_cost_usd", aggregation="max", threshold=1))
