"""`llmmon rules`: lint, tests, backtests and suggestions, as people run them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

RULES = """
[[rules]]
name = "slow"
metric = "latency_p95_ms"
threshold = 5000
by = ["model"]
for = "2m"
window = "15m"
"""
TEST = """
[[tests]]
name = "slow answers wake us"
[[tests.series]]
metric = "latency_ms"
group = { model = "a" }
values = "800x9 9000x10 _x60"
[[tests.expect]]
at = "10m"
alerts = []
[[tests.expect]]
at = "11m"
alerts = [{ rule = "slow", state = "pending" }]
[[tests.expect]]
at = "13m"
alerts = [{ rule = "slow", group = { model = "a" }, severity = "error" }]
[[tests.expect]]
at = "80m"
alerts = []
"""
QUIET = """
[[rules]]
name = "quiet"
metric = "requests"
condition = "lt"
threshold = 1
window = "30m"
"""
Write = Callable[[str, list[dict[str, Any]]], Path]


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], None]:
    return lambda text: (tmp_path / "llmmon.toml").write_text(text) and None


def test_a_clean_set_of_rules_is_exit_0(run: Run, configured: Callable[[str], None]) -> None:
    configured(RULES)
    ran = run("rules", "check")
    assert (0, "1 rule, 0 channels: no findings\n") == (ran.code, ran.stdout)


def test_findings_are_exit_1_and_say_why(run: Run, configured: Callable[[str], None]) -> None:
    configured(RULES.replace('"15m"', '"2m"'))
    ran = run("rules", "check", "-f", "json")
    (found,) = ran.json["data"]["findings"]
    assert (1, "short-window", "slow") == (ran.code, found["code"], found["about"])
    assert found["reason"]


def test_faults_of_the_configuration_are_exit_4(run: Run, configured: Callable[[str], None]) -> None:
    configured(RULES.replace("p95", "p96"))
    assert 4 == run("rules", "check").code
    assert 4 == run("rules", "backtest", ".").code


def test_what_init_writes_is_without_findings(run: Run) -> None:
    assert run("init").code == 0
    assert run("rules", "check").code == 0


def test_logs_say_what_never_holds(run: Run, configured: Callable[[str], None], write: Write) -> None:
    configured(RULES)
    rows = [
        {"timestamp": f"2026-01-01T00:{m:02}:{s:02}Z", "model": "a", "latency_ms": 9}
        for m in range(40)
        for s in (1, 31)
    ]
    write("a.jsonl", rows)
    ran = run("rules", "check", "a.jsonl")
    assert (1, True) == (ran.code, "never-met" in ran.stdout)


def test_rules_that_do_as_their_tests_say_pass(run: Run, configured: Callable[[str], None]) -> None:
    configured(RULES + TEST)
    ran = run("rules", "test")
    assert (0, "1 test: 1 passed, 0 failed\n") == (ran.code, ran.stdout)


def test_a_failing_test_shows_both_sides(run: Run, configured: Callable[[str], None]) -> None:
    configured(RULES + TEST.replace('severity = "error"', 'severity = "critical"'))
    ran = run("rules", "test")
    assert 1 == ran.code
    assert "slow answers wake us, at 13m" in ran.stdout
    assert "!  slow model=a firing critical  slow model=a firing error" in ran.stdout


def test_a_log_can_be_the_input(run: Run, configured: Callable[[str], None], write: Write) -> None:
    rows = [
        {"timestamp": f"2026-01-01T00:{m:02}:{s:02}Z", "model": "a", "latency_ms": 9000 if m > 9 else 800}
        for m in range(20)
        for s in (1, 21, 41)
    ]
    write("calls.jsonl", rows)
    head, _, tail = TEST.partition("[[tests.series]]")
    input_of_log = head + 'input = "calls.jsonl"\n[[tests.expect]]' + tail.partition("[[tests.expect]]")[2]
    configured(RULES + input_of_log)
    ran = run("rules", "test", "-f", "json")
    assert (0, True) == (ran.code, ran.json["data"]["tests"][0]["passed"])
    configured(RULES + input_of_log.replace("calls.jsonl", "no.jsonl"))
    assert (3, True) == ((ran := run("rules", "test")).code, "test 'slow answers wake us'" in ran.stderr)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("latency_ms", "latncy_ms", "tests[1].series[1].metric"),
        ("800x9", "800y9", "tests[1].series[1].values: '800y9' is not a value"),
        ('"13m"', '"soon"', "tests[1].expect[3].at"),
        ('"slow", state', '"slw", state', "did you mean 'slow'"),
        ("pending", "resolved", "tests[1].expect[2].alerts[1].state"),
        ("[[tests.series]]", "[[tests.serie]]", "tests[1].serie: unknown key, did you mean 'series'?"),
    ],
)
def test_faults_of_tests_are_named(run: Run, configured: Callable[[str], None], old: str, new: str, fault: str) -> None:
    configured(RULES + TEST.replace(old, new))
    ran = run("rules", "test")
    assert (4, True) == (ran.code, fault in ran.stderr), ran.stderr


def test_without_tests_there_is_nothing_to_test(run: Run) -> None:
    assert (4, True) == ((ran := run("rules", "test")).code, "there is no llmmon.toml" in ran.stderr)


@pytest.fixture
def drill(run: Run, tmp_path: Path) -> Path:
    assert run("simulate", "drill", "--days", "5", "--per-day", "3000", "--quiet-days", "2").code == 0
    return tmp_path / "drill"


def test_a_backtest_says_who_would_have_been_told(run: Run, drill: Path) -> None:
    ran = run("rules", "backtest", "drill", "-f", "json")
    data = ran.json["data"]
    (slow, failing) = data["rules"]
    assert (0, "High Error Rate", False) == (ran.code, failing["rule"], slow["always"])
    assert failing["notifications"] == sum(week["notifications"] for week in failing["weeks"]) > 0
    assert len(data["episodes"]) >= failing["episodes"]
    assert ["latency_step", "error_burst", "traffic_drop"] == [one["kind"] for one in data["incidents"]]
    assert "High Error Rate" == data["incidents"][1]["caught_by"]


def test_other_rules_and_labels_can_be_tried(run: Run, drill: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(RULES)
    (tmp_path / "labels.toml").write_text("")
    ran = run("rules", "backtest", "drill", "--rules", "other.toml", "--labels", "labels.toml", "-f", "json")
    assert (["slow"], []) == ([row["rule"] for row in ran.json["data"]["rules"]], ran.json["data"]["incidents"])
    (tmp_path / "labels.toml").write_text("[[incidents]]\nkind = 3\nstart = 2026-01-01\n")
    ran = run("rules", "backtest", "drill", "--labels", "labels.toml")
    assert (3, True) == (ran.code, "incidents[1].start: must be a time" in ran.stderr)


def test_the_timeline_fits_a_narrow_terminal(run: Run, drill: Path) -> None:
    ran = run("rules", "backtest", "drill", env={"COLUMNS": "80"})
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert "when they fired" in ran.stdout
    assert "labelled incidents: an alert fired for" in ran.stdout


def test_suggestions_are_rules_to_paste(run: Run, drill: Path, tmp_path: Path) -> None:
    (tmp_path / "llmmon.toml").write_text(RULES)
    ran = run("rules", "suggest", "drill", "--budget", "1/day", "--write", "found.toml")
    assert (0, True) == (ran.code, "← proposed" in ran.stdout)
    (rule,) = tomllib.loads((tmp_path / "found.toml").read_text())["rules"]
    assert ("slow", "latency_p95_ms", ["model"]) == (rule["name"], rule["metric"], rule["by"])
    assert run("rules", "check", "--rules", "found.toml").code == 0


def test_a_budget_that_is_none_is_a_usage_error(run: Run, drill: Path) -> None:
    assert (2, True) == ((ran := run("rules", "suggest", "drill", "--budget", "few")).code, "2/week" in ran.stderr)


def test_the_json_of_every_command_has_its_keys(run: Run, drill: Path, configured: Callable[[str], None]) -> None:
    configured(RULES + TEST)
    outcome = {"notifications", "noise", "caught", "incidents"}
    checked = run("rules", "check", "-f", "json").json
    assert (1, "rules check") == (checked["schema_version"], checked["command"])
    assert checked["data"].keys() >= {"rules", "channels", "findings"}
    (tested,) = run("rules", "test", "-f", "json").json["data"]["tests"]
    assert tested.keys() >= {"name", "passed", "times"}
    assert tested["times"][1].keys() >= {"at", "passed", "expected", "got"}
    played = run("rules", "backtest", "drill", "-f", "json").json["data"]
    assert played.keys() >= {"start", "end", "rules", "episodes", "messages", "incidents"}
    assert played["rules"][0].keys() >= {
        *("rule", "severity", "notifications", "weeks", "episodes", "firing_minutes", "firing_share", "never"),
        *("longest_minutes", "incidents", "caught", "delay_minutes", "always"),
    }
    found = run("rules", "suggest", "drill", "-f", "json").json["data"]
    assert found.keys() >= {"budget", "allowed", "split", "first_minutes", "rest_minutes", "suggestions", "toml"}
    assert found["suggestions"][0]["then"].keys() >= {"threshold", "for_minutes", "min_count", "first", "rest"}
    assert found["suggestions"][0]["then"]["first"].keys() >= outcome


OBJECTIVE = """
[[slos]]
name = "answers"
objective = 0.95
good = "ok"
"""


def test_what_is_left_of_an_error_budget_is_said_by_check_and_report(
    run: Run, drill: Path, configured: Callable[[str], None], tmp_path: Path
) -> None:
    configured(OBJECTIVE)
    (standing,) = run("check", "drill", "--now", "log", "-f", "json").json["data"]["slos"]
    assert ("answers", {}, 0.95, "30d") == tuple(standing[key] for key in ("slo", "group", "objective", "window"))
    allowed = 0.05 * standing["calls"]
    assert standing["budget_left"] == pytest.approx(1 - standing["failures"] / allowed)
    quiet = run("check", "drill", "--now", "log")  # nothing changed: stdout stays empty for cron
    assert ("", True) == (quiet.stdout, "of the error budget is left" in quiet.stderr)
    assert run("report", "drill", "-o", "page.html").code == 0
    assert "answers: " in (tmp_path / "page.html").read_text()


def test_a_backtest_judges_only_the_time_that_was_asked_for(
    run: Run, configured: Callable[[str], None], write: Write
) -> None:
    configured(RULES.replace("15m", "30m") + QUIET)
    rows = [
        {"timestamp": f"2026-01-0{d}T{h:02}:{m:02}:30Z", "model": "a", "latency_ms": 9000}
        for d in range(1, 6)
        for h in range(24)
        for m in range(60)
    ]
    write("a.jsonl", rows)
    for args, start, end in (
        (("--since", "2026-01-05"), "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"),
        (("--window", "1d"), "2026-01-04T23:59:00Z", "2026-01-06T00:00:00Z"),
        (("--until", "2026-01-02"), "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
    ):
        data = run("rules", "backtest", "a.jsonl", *args, "-q", "-f", "json").json["data"]
        assert (start, end) == (data["start"], data["end"])
        minutes = {row["rule"]: row["firing_minutes"] for row in data["rules"]}
        assert 0 == minutes["quiet"]
        assert 1400 <= minutes["slow"] <= 1441
    nothing = run("rules", "backtest", "a.jsonl", "--since", "2026-02-01")
    assert (3, True) == (nothing.code, "in the time range" in nothing.stderr)


def test_a_rule_that_would_flap_and_calls_that_end_after_their_minute_are_found_in_the_configured_logs(
    run: Run, configured: Callable[[str], None], write: Write
) -> None:
    configured('logs = ["a.jsonl"]\n' + RULES)
    said = run("rules", "check")
    assert (0, True) == (said.code, "only the rules themselves are checked" in said.stderr)
    rows = [
        {"timestamp": f"2026-01-01T{h:02}:{m:02}:30Z", "model": "a", "latency_ms": 600_000 if m > 50 else 700}
        for h in range(9)
        for m in range(60)
    ]
    write("a.jsonl", rows)
    found = {one["code"]: one for one in run("rules", "check", "-f", "json").json["data"]["findings"]}
    assert "81 calls took longer than the 2m that minutes wait for them, up to 10m" == found["short-late"]["message"]
    assert 'late = "11m"' in found["short-late"]["reason"]
    configured('logs = ["a.jsonl"]\n' + RULES.replace("for =", "min_count = 3\nfor ="))
    found = {one["code"]: one for one in run("rules", "check", "-f", "json").json["data"]["findings"]}
    assert "it fires 9 times for model a on 2026-01-01" == found["flapping"]["message"]
