"""`sql`: what statements give is what the other commands say; tables are read-only, and files are out of reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmmon.errors import InputError, UsageError
from llmmon.formats import DIALECTS
from llmmon.ingest.query import Query
from llmmon.metrics.filters import all_of
from llmmon.metrics.record import TEXTS
from llmmon.reports.sessions import report_sessions
from llmmon.reports.sql import Answer, Database
from llmmon.reports.summary import summarize
from llmmon.reports.tables import TABLES, Asked, columns_of
from llmmon.reports.tools import report_tools
from tests.support import agent_logs

NOW = 1_785_000_000_000_000
ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
SAMPLES = ROOT / "sample_logs"
OF_DIALECTS = ROOT / "tests" / "samples"
TOTALS = """select count(*) request_count, count(*) filter (where error) error_count,
  avg(latency_ms) latency_avg_ms, quantile_cont(latency_ms, 0.95) latency_p95_ms, sum(prompt_tokens) prompt_tokens,
  sum(completion_tokens) completion_tokens, sum(cost_usd) cost_total_usd, sum(cost_logged_usd) cost_logged_usd,
  sum(cost_calculated_usd) cost_calculated_usd, count(*) filter (where unpriced) unpriced_requests from calls"""


def query(*logs: Path, **more: Any) -> Query:
    return Query(logs=tuple(map(str, logs)), wall_us=NOW, **more)


def answer(sql: str, *logs: Path, files: bool = False, texts: bool = False, **more: Any) -> Answer:
    (*_, last) = Database(Asked(query=query(*logs, **more), texts=texts), files=files).answers(sql, lambda _: None)
    return last


def rows(sql: str, *logs: Path, **more: Any) -> list[dict[str, Any]]:
    found = answer(sql, *logs, **more)
    return [dict(zip([name for name, _ in found.columns], row, strict=True)) for row in found.rows]


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Missing is null in a row and may be 0 in a sum of a summary."""
    for name, value in found.items():
        assert (value or 0) == pytest.approx(expected[name] or 0, rel=1e-9), name


def test_totals_are_those_of_the_summary() -> None:
    report, _ = summarize(query(SAMPLES), by=("model",))
    (total,) = rows(TOTALS, SAMPLES)
    same(total, report.totals)


@pytest.mark.parametrize("where", ["error", "model=gpt-4o* and latency_ms>2000", "feature=chat"])
def test_groups_of_chosen_calls_are_those_of_the_summary(where: str) -> None:
    report, _ = summarize(query(SAMPLES, where=all_of([where])), by=("model", "user"), limit=0)
    found = rows(TOTALS.replace("select", "select model, user,", 1) + " group by all", SAMPLES, where=all_of([where]))
    expected = {(row.key["model"], row.key["user"]): row.statistics for row in report.groups}
    assert len(found) == len(expected) > 3
    for row in found:
        same(row, expected[row.pop("model"), row.pop("user")])


def _sample_logs() -> list[Path]:
    return sorted(
        path for path in OF_DIALECTS.rglob("*") if path.is_file() and path.suffix in {".jsonl", ".json", ".csv"}
    )


@pytest.mark.parametrize("path", _sample_logs(), ids=lambda path: path.name)
def test_totals_are_those_of_the_summary_in_every_dialect(path: Path) -> None:
    try:
        report, _ = summarize(query(path), by=("model",))
    except InputError:
        with pytest.raises(InputError):
            answer(TOTALS, path)
        return
    (total,) = rows(TOTALS, path)
    same(total, report.totals)


def test_there_are_samples_of_most_dialects() -> None:
    assert len(_sample_logs()) > len(DIALECTS) / 2


def test_repeated_calls_count_once(write: Callable[..., Path]) -> None:
    path = write("a.jsonl", [{"request_id": "r", "model": "m", "latency_ms": 1}] * 3)
    assert answer("select count(*) from calls", path, dedup=True).rows == [(1,)]


def test_sessions_are_those_of_the_command(tmp_path: Path) -> None:
    logs = agent_logs.write(tmp_path, "claude_code", agent_logs.sessions(8, turns=(4, 30), words=500))
    report, _ = report_sessions(query(logs))
    found = rows("select * from sessions", logs)
    expected = {row.session: msgspec.to_builtins(row) for row in report.sessions}
    assert {row["session"] for row in found} == expected.keys()
    for row in found:
        own = {name: value for name, value in row.items() if name not in ("start", "end")}
        assert own == {name: expected[row["session"]][name] for name in own}


def test_tool_calls_are_those_of_the_command(tmp_path: Path) -> None:
    logs = agent_logs.write(tmp_path, "claude_code", agent_logs.sessions(8, turns=(4, 30), words=500))
    report, _ = report_tools(query(logs), by=("tool",))
    (found,) = rows(
        """select count(*) calls, count(*) filter (where failed) failed, count(*) filter (where hidden) hidden_failures,
        sum(result_chars) result_chars, count(looped) looped_calls, sum(context_usd) context_usd,
        sum(loop_usd) loop_usd, count(distinct session) sessions from tools""",
        logs,
    )
    same(found, msgspec.to_builtins(report.totals))


def test_incidents_are_those_of_the_command() -> None:
    from llmmon.anomaly.analysis import MonitorPlan, find_anomalies

    report, _ = find_anomalies(query(SAMPLES), MonitorPlan())
    found = rows("select id, severity, metric_name, usual, calls from incidents", SAMPLES)
    assert found
    assert found == [{name: getattr(one, name) for name in found[0]} for one in report.incidents]


@pytest.mark.parametrize("name", TABLES)
def test_every_documented_column_is_there_with_its_type(name: str, tmp_path: Path) -> None:
    logs = agent_logs.write(tmp_path, "claude_code", agent_logs.sessions(3, turns=(4, 8), words=200))
    found = dict(row[:2] for row in answer(f"describe {name}", logs, texts=True).rows)
    found.pop("tag", None)
    names = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    assert found == {column: names.get(kind, kind) for column, (kind, _) in columns_of(name, texts=True).items()}


def test_tags_are_fields_of_one_column(write: Callable[..., Path]) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": n, "tags": {"team": f"t{n % 2}"}} for n in range(5)])
    assert answer("select tag.team, count(*) from calls group by all order by all", path).rows == [("t0", 3), ("t1", 2)]


def test_texts_are_there_only_where_they_are_asked_for(write: Callable[..., Path]) -> None:
    path = write("a.jsonl", [{"model": "m", "prompt": "a question", "output": "an answer"}])
    assert not {name for name, _ in answer("select * from calls", path).columns} & set(TEXTS)
    with pytest.raises(UsageError) as refused:
        answer("select prompt from calls", path)
    assert refused.value.hint == "--show-text adds the columns of texts"
    assert answer("select prompt, output from calls", path, texts=True).rows == [("a question", "an answer")]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select model from calls", "m"),
        ("from calls select model", "m"),
        ("with c as (select * from calls) select model from c", "m"),
        ("select c.model from calls c", "m"),
        ('select "MODEL" from CALLS', "m"),
        ("select max(columns('mod.l')) from calls", "m"),
        ("select calls.model from calls where calls.latency_ms = (select max(latency_ms) from calls)", "m"),
        ("select (calls).model from calls", "m"),
        ("select c['model'] from (select calls as c from calls)", "m"),
        ("select a.model from calls a join calls b using (model)", "m"),
        ("select model from (summarize calls) s, calls limit 1", "m"),
        ("select min(model) over (order by latency_ms) from calls", "m"),
        ("create table t as select * from calls; select model from t", "m"),
        ("select count(*) from calls; select model from calls", "m"),
        ("select model from calls union all by name select model from calls limit 1", "m"),
    ],
)
def test_only_columns_that_cannot_matter_are_left_out(write: Callable[..., Path], sql: str, expected: str) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": 5, "user": "u", "prompt_tokens": 3}])
    assert answer(sql, path).rows[0][0] == expected


def test_the_place_of_a_call_is_its_file_and_line(write: Callable[..., Path]) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": n} for n in range(3)])
    assert answer("select file, line from calls where latency_ms = 2", path).rows == [(str(path), 3)]


FORBIDDEN = [
    "select * from '{file}'",
    "select * from read_csv('{file}')",
    "select * from read_text('{file}')",
    "select * from glob('{folder}/*')",
    "copy calls to '{folder}/new.csv'",
    "copy (select * from calls) to '{folder}/new.parquet'",
    "attach '{folder}/new.db'",
    "export database '{folder}/new'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "select * from 'http://127.0.0.1:9/a.csv'",
    "insert into calls (model) values ('m')",
    "delete from calls",
    "update calls set model = 'x'",
    "select * from asked",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_a_statement_reaches_no_file_and_changes_no_table(write: Callable[..., Path], tmp_path: Path, sql: str) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": 5}])
    secret = write("secret.csv", ["a,b", "1,2"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError):
        answer("select model from calls; " + sql.format(file=secret, folder=tmp_path), path)
    assert sorted(tmp_path.iterdir()) == before


def test_files_can_be_allowed(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": 5}])
    other = write("names.csv", ["model,team", "m,red"])
    joined = "select team from calls join '{}' using (model)".format(other)
    assert answer(joined, path, files=True).rows == [("red",)]
    answer("copy (select model from calls) to '{}/new.csv'".format(tmp_path), path, files=True)
    assert (tmp_path / "new.csv").read_text() == "model\nm\n"


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("select sum(prompt_tokens) from calls", 6),
        ("select date_trunc('day', min(timestamp)) from calls", "2026-03-01T23:00:00Z"),
        ("select min(timestamp)::date from calls", "2026-03-02"),
        ("select 1.5::decimal(4, 2)", 1.5),
        ("select [1, 2]", [1, 2]),
        ("select {'a': date '2026-01-01'}", {"a": "2026-01-01"}),
        ("select interval 1 day", None),
        ("select uuid()", None),
        ("select 'nan'::double", None),
        ("select true", True),
        ("select 'a'::blob", "61"),
    ],
)
def test_values_are_those_of_json(write: Callable[..., Path], sql: str, value: Any) -> None:
    from llmmon.output.renderers.json import dumps

    row = {"model": "m", "prompt_tokens": 3, "timestamp": "2026-03-02T10:00:00Z"}
    found = answer(sql, write("a.jsonl", [row, row]), tz="Europe/Berlin").rows[0][0]
    assert dumps(found)
    if value is not None:
        assert found == value


def test_logs_without_sessions_or_tools_have_empty_tables(write: Callable[..., Path]) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": 5}])
    said: list[str] = []
    database = Database(Asked(query=query(path)))
    (found,) = database.answers("select (select count(*) from sessions), (select count(*) from tools)", said.append)
    assert found.rows == [(0, 0)]
    assert [line.split(":")[0] for line in said] == ["sessions is empty", "tools is empty"]


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("select modl from calls", "unknown column 'modl', did you mean 'model'?", "describe calls"),
        ("from callz", "unknown table 'callz', did you mean 'calls'?", ""),
        ("select end from sessions", "syntax error", "double quotes"),
        ("selec 1", "syntax error", ""),
    ],
)
def test_an_error_says_what_to_write(write: Callable[..., Path], sql: str, message: str, hint: str) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": 5, "session": "s"}])
    with pytest.raises(UsageError) as refused:
        answer(sql, path)
    assert message in str(refused.value)
    assert hint in (refused.value.hint or "")


def test_columns_with_one_name_are_all_kept(write: Callable[..., Path]) -> None:
    path = write("a.jsonl", [{"model": "m", "latency_ms": 5}])
    found = answer("select model as a, latency_ms as a from calls", path)
    assert [name for name, _ in found.columns] == ["a", "a_2"]
