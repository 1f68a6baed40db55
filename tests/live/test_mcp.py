"""`mcp`: the tools over stdio with the SDK's own client, their answers beside the commands', and what they refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from llmmon.config import Config
from llmmon.errors import UsageError
from llmmon.ingest.query import Query
from llmmon.live.mcp import TOOLS, Reach, Tools, bounded
from llmmon.output.renderers.json import dumps
from llmmon.reports.summary import summarize
from tests.conftest import clean_environment, llmmon_command
from tests.support import agent_logs

NOW = 1_785_000_000_000_000
ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
SAMPLES = str(ROOT / "sample_logs")


def tools(*logs: str | Path, **more: Any) -> Tools:
    return Tools(Reach(Query(logs=tuple(map(str, logs)), wall_us=NOW, jobs=1), Config(), **more))


def with_client(folder: Path, *args: str, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do something with a client of the server that these arguments start."""
    program, *rest = llmmon_command("mcp", *args)
    parameters = StdioServerParameters(command=program, args=rest, env=clean_environment(folder), cwd=str(folder))

    async def run() -> None:
        async with Client(parameters) as client:
            await work(client)

    asyncio.run(asyncio.wait_for(run(), 300))


def test_an_assistant_lists_and_calls_the_tools_over_stdio(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == list(TOOLS)
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in listed)
        assert all(tool.description for tool in listed)
        done = await client.call_tool("summarize", {"by": ["user"], "limit": 2})
        assert not done.is_error
        answer = json.loads(done.content[0].text)  # type: ignore[union-attr]
        report, _ = summarize(Query(logs=(SAMPLES,), wall_us=NOW), by=("user",))
        assert answer["data"]["totals"]["cost_total_usd"] == pytest.approx(report.totals["cost_total_usd"])
        assert len(answer["data"]["groups"]) == 2
        assert answer["left_out"]["data.groups"] > 0
        refused = await client.call_tool("requests", {"show_text": True})
        assert refused.is_error
        assert "--allow-text" in refused.content[0].text  # type: ignore[union-attr]
        wrong = await client.call_tool("summarize", {"by": ["modl"]})
        assert "did you mean 'model'" in wrong.content[0].text  # type: ignore[union-attr]

    with_client(tmp_path, SAMPLES, work=work)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("logs", {}),
        ("summarize", {"every": "1d", "where": "error", "window": "2d"}),
        ("requests", {"sort": "latency_ms"}),
        ("anomalies", {}),
        ("cost", {"as_model": ["gpt-4o-mini"]}),
        ("cost", {"waste": True}),
        ("compare", {"at": "2026-03-06"}),
        ("compare", {"split": "model=gpt-4o,gpt-4o-mini"}),
        ("rules", {}),
    ],
)
def test_every_answer_has_a_bounded_size(name: str, given: dict[str, Any]) -> None:
    for most in (2_000, 20_000):
        answer = getattr(tools(SAMPLES, most_chars=most), name)(**given)
        assert answer["data"]
        assert len(dumps(answer)) <= most * 1.5
        assert ("to_see_more" in answer) == ("left_out" in answer)


def test_sessions_can_be_listed_and_one_be_looked_at(tmp_path: Path) -> None:
    found = tools(agent_logs.write(tmp_path, "claude_code", agent_logs.sessions(4, turns=(4, 12), words=100)))
    first = found.sessions()["data"]["sessions"][0]
    assert found.sessions(session=first["session"])["data"]


@pytest.fixture
def fenced(tmp_path: Path) -> Path:
    """A folder with a log, beside a file that is none of its logs, with ways that lead there."""
    (tmp_path / "logs").mkdir()
    line = '{"model": "m", "latency_ms": 1, "prompt": "a question"}\n'
    (tmp_path / "logs" / "a.jsonl").write_text(line)
    (tmp_path / "secret.jsonl").write_text(line.replace('"m"', '"secret"'))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jsonl").write_text(line.replace('"m"', '"elsewhere"'))
    (tmp_path / "logs" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (tmp_path / "logs" / "folder").symlink_to(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize("named", ["logs", "logs/*.jsonl", "logs/**/*.jsonl", "logs/*/../../secret.jsonl"])
def test_links_out_of_the_folder_are_not_followed(fenced: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fenced)
    found = tools(named)
    try:
        groups = found.summarize()["data"]["groups"]
    except UsageError:
        groups = []
    assert {group["key"]["model"] for group in groups} <= {"m"}


@pytest.mark.parametrize(
    "log", ["secret.jsonl", "logs/../secret.jsonl", "logs/link.jsonl", "/etc/passwd", "-", "logs/folder/b.jsonl", "*"]
)
def test_a_log_that_is_none_of_the_servers_is_refused(fenced: Path, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fenced)
    for name in ("summarize", "requests", "anomalies", "cost", "sessions"):
        with pytest.raises(UsageError, match="is not among the logs"):
            getattr(tools("logs"), name)(log=log)


def test_one_of_the_logs_can_be_named(fenced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fenced)
    assert tools("logs").summarize(log="logs/a.jsonl")["source"]["requests"] == 1
    assert tools("logs").summarize(log=str(fenced / "logs" / "a.jsonl"))["source"]["requests"] == 1
    assert tools("logs").logs()["data"]["logs"] == [{"log": "logs/a.jsonl", "bytes": 56}]


def test_a_file_that_was_named_itself_may_be_a_link(fenced: Path) -> None:
    assert tools(fenced / "logs" / "link.jsonl").summarize()["source"]["requests"] == 1


def test_texts_are_shown_only_where_that_is_allowed(fenced: Path) -> None:
    log = fenced / "logs" / "a.jsonl"
    assert "a question" not in dumps(tools(log).requests())
    with pytest.raises(UsageError, match="not allowed"):
        tools(log).requests(show_text=True)
    assert "a question" in dumps(tools(log, allow_text=True).requests(show_text=True))


def test_conditions_add_to_those_of_the_server(write: Callable[..., Path]) -> None:
    from llmmon.metrics.filters import all_of

    path = write("a.jsonl", [{"model": m, "latency_ms": n, "user": "u"} for n, m in enumerate("aabb")])
    query = Query(logs=(str(path),), wall_us=NOW, jobs=1, where=all_of(["model=a or latency_ms=3"]))
    found = Tools(Reach(query, Config())).requests(where="latency_ms>0 and user=u")["data"]["requests"]
    assert [row["latency_ms"] for row in found] == [1.0, 3.0]


def test_long_lists_and_texts_are_cut_and_counted() -> None:
    answer = bounded(
        {"data": {"rows": [{"a": n, "inner": list(range(30))} for n in range(100)], "b": "x" * 9000}}, 20, 5000
    )
    assert len(dumps(answer)) <= 5000
    assert answer["left_out"]["data.rows"] == 100 - len(answer["data"]["rows"])
    assert answer["data"]["b"].endswith("… (9,000 characters)")


def test_what_fits_is_whole() -> None:
    assert bounded({"data": {"rows": [1, 2]}}, 20, 5000) == {"data": {"rows": [1, 2]}}
