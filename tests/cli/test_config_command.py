"""`llmmon config`: the settings in use, the state, the cache."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Run

CONFIG = """
logs = ["a.jsonl"]
timezone = "Europe/Berlin"
state = "state.db"
[notify.pager]
type = "pagerduty"
routing_key = "very-secret-key"
[serve]
token = "env:TOKEN"
port = 8081
[[budgets]]
name = "team"
amount_usd = 5
"""


def test_each_setting_says_where_it_comes_from_and_no_secret_is_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text(CONFIG)
    ran = run("config", "-f", "json", env={"LLMMON_LOGS": "other.jsonl"})
    found = {row["key"]: (row["value"], row["from"]) for row in ran.json["data"]["settings"]}
    assert found["timezone"] == ("Europe/Berlin", "llmmon.toml")
    assert found["late"] == ("2m", "default")
    assert found["logs"] == ([str(tmp_path / "a.jsonl")], "llmmon.toml")
    assert found["notify"] == ({"pager": "pagerduty"}, "llmmon.toml")
    assert found["budgets"][0] == ["team"]
    assert ran.json["data"]["state"] == {"path": str(tmp_path / "state.db"), "bytes": None}
    assert "secret" not in ran.stdout
    assert "TOKEN" not in ran.stdout


def test_logs_of_the_environment_are_named_so(run: Run) -> None:
    (row,) = (
        r
        for r in run("config", "-f", "json", env={"LLMMON_LOGS": "a:b"}).json["data"]["settings"]
        if r["key"] == "logs"
    )
    assert row == {"key": "logs", "value": ["a", "b"], "from": "$LLMMON_LOGS"}


def test_the_cache_is_emptied_and_judge_scores_stay(run: Run, tmp_path: Path) -> None:
    columns, verdicts = (tmp_path / "cache" / "llmmon" / name for name in ("columns", "verdicts"))
    for folder in (columns / "0a1b", verdicts):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 1500)
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert run("config", "-f", "json", env=environment).json["data"]["cache"]["bytes"] == 1500
    ran = run("config", "--clear-cache", env=environment)
    assert "deleted 1.5 KB" in ran.stderr
    assert list(columns.iterdir()) == []
    assert (verdicts / "file").exists()
    assert "1.5 KB" in ran.stdout
