"""`check` as cron runs it, on a log that grows, rotates, stops and comes late."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.appending_log import Rotation, Service, at, episodes
from tests.support.judge_server import Answer, JudgeServer, judge_server

GONE = """
[[rules]]
name = "gone"
metric = "requests"
condition = "lt"
threshold = 1
window = "10m"
"""


@pytest.fixture
def service(run: Run, tmp_path: Path) -> Service:
    return Service(tmp_path, run)


def test_it_fires_once_and_tells_the_end(service: Service) -> None:
    service.write(0, 10)
    assert 0 == service.check(10).code
    service.write(10, 15, latency_ms=9000)
    fired = service.check(15)
    assert (1, "firing" in fired.stdout, "slow: model a" in fired.stdout) == (fired.code, True, True)
    assert 1 == service.check(16).code
    service.write(16, 30)
    assert 0 == service.check(30).code
    assert [("trigger", "firing"), ("resolve", "resolved")] == service.told


def test_a_run_without_news_prints_nothing_on_stdout(service: Service) -> None:
    service.write(0, 10)
    assert ["", ""] == [service.check(10).stdout, service.check(11).stdout]


def test_both_ends_found_in_one_run_are_one_message(service: Service) -> None:
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    service.write(15, 30)
    assert 0 == service.check(30).code
    assert [("trigger", "resolved")] == service.told


def test_exit_zero_keeps_zero_while_alerts_fire(service: Service) -> None:
    service.write(0, 9, latency_ms=9000)
    assert [0, 1] == [service.check(9, "--exit-zero").code, service.check(10).code]


def test_a_dry_run_shows_the_messages_and_remembers_nothing(service: Service) -> None:
    service.write(0, 9, latency_ms=9000)
    for _ in range(2):
        dry = service.check(9, "--dry-run")
        assert (1, True) == (dry.code, "slow: model a" in dry.stdout)
        assert [] == service.told
    assert not (service.folder / "state.db").exists()
    service.check(9)
    assert [("trigger", "firing")] == service.told


def test_a_log_that_stops_is_no_data(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run, more=GONE)
    service.write(0, 10)
    assert 0 == service.check(10).code
    assert [("gone", "firing", at(20))] == episodes([service.json(25)])
    assert [("trigger", "firing")] == service.told


@pytest.mark.parametrize(("policy", "code"), [("ok", 0), ("alert", 1), ("keep", 1)])
def test_a_rule_says_what_no_data_means(run: Run, tmp_path: Path, policy: str, code: int) -> None:
    service = Service(tmp_path, run)
    file = tmp_path / "llmmon.toml"
    file.write_text(
        file.read_text().replace("min_count = 3", f'min_count = 3\nno_data = "{policy}"').replace('by = ["model"]', "")
    )
    service.write(0, 5, latency_ms=9000)
    assert 1 == service.check(5).code
    assert code == service.check(30).code


@pytest.mark.parametrize("present", [False, True])
def test_an_empty_or_absent_log_is_no_data_and_no_failure(service: Service, present: bool) -> None:
    if present:
        service.log.touch()
    assert [0, 0] == [service.check(10).code, service.check(20).code]


def test_an_unreadable_log_is_exit_3_after_the_rules_were_evaluated(service: Service) -> None:
    service.write(0, 9, latency_ms=9000)
    (service.folder / "logs" / "folder.jsonl").mkdir()
    (service.folder / "logs" / "bad.jsonl").symlink_to("/proc/self/mem")
    ran = service.check(9)
    assert (3, "slow: model a" in ran.stdout) == (ran.code, True)


def test_lines_that_come_late_count_while_their_minute_waits(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run)
    file = tmp_path / "llmmon.toml"
    file.write_text(file.read_text().replace('late = "0s"', 'late = "3m"'))
    service.write(0, 10, calls=1)
    assert 0 == service.check(10).code
    service.write(7, 9, latency_ms=9000)  # of minutes that were over, but not yet judged
    assert [("slow: model a", "firing", at(8))] == episodes([service.json(12)])


def test_a_clock_that_steps_back_does_no_harm(service: Service) -> None:
    service.write(0, 30)
    service.check(30)
    back = service.check(10)
    assert (3, True) == (back.code, "behind the last run and behind the log" in back.stderr)
    service.write(30, 35, latency_ms=9000)
    assert 1 == service.check(35).code
    assert [("trigger", "firing")] == service.told


ROTATIONS: dict[str, Rotation] = {
    "rename": Service.rename,
    "copytruncate": Service.copy_and_truncate,
    "rename and compress": Service.compress,
}


@pytest.mark.parametrize("rotation", ROTATIONS.values(), ids=ROTATIONS.keys())
def test_rotation_loses_and_repeats_nothing(run: Run, tmp_path: Path, rotation: Rotation) -> None:
    outcomes = []
    for name in ("rotated", "whole"):
        (folder := tmp_path / name).mkdir()
        service = Service(folder, lambda *args, folder=folder: run(*args, "--config", str(folder / "llmmon.toml")))
        found = []
        for first in range(0, 40, 5):
            service.write(first, first + 5, latency_ms=9000 if first in {10, 15, 30} else 1000)
            if name == "rotated" and first in {10, 20, 30}:
                rotation(service)
            found.append(service.json(first + 5))
        outcomes.append((episodes(found), service.told))
    assert outcomes[0] == outcomes[1]
    assert 4 == len(outcomes[0][0])


def test_a_new_rule_looks_back_on_what_was_read_before(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run)
    service.write(0, 20, error_type="timeout", success=False)
    service.check(20)
    file = tmp_path / "llmmon.toml"
    file.write_text(
        file.read_text()
        + '\n[[rules]]\nname = "errors"\nmetric = "error_rate"\nthreshold = 0.1\nwindow = "15m"\nmin_count = 50\n'
    )
    assert ["errors"] == [alert["rule"] for alert in service.json(21)["alerts"]]


def test_a_removed_rule_resolves_its_alerts_and_says_why(service: Service) -> None:
    service.write(0, 9, latency_ms=9000)
    service.check(9)
    file = service.folder / "llmmon.toml"
    file.write_text(
        file.read_text().replace('name = "slow"', 'name = "other"').replace("threshold = 5000", "threshold = 50000")
    )
    assert [("slow: model a", "rule removed")] == [
        (one["title"], one["reason"]) for one in service.json(10)["transitions"]
    ]
    assert [("trigger", "firing"), ("resolve", "resolved")] == service.told


def test_a_channel_that_is_down_delays_and_loses_nothing(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run, more='[notify.broken]\ntype = "command"\ncommand = ["false"]\n')
    service.write(0, 9, latency_ms=9000)
    assert 5 == service.check(9).code
    assert [("trigger", "firing")] == service.told  # the other channel was not kept waiting
    assert [("broken", "queued")] == [(one["channel"], one["status"]) for one in service.json(9.5)["notifications"]]
    file = tmp_path / "llmmon.toml"
    file.write_text(file.read_text().replace('["false"]', f'["sh", "-c", "cat > {tmp_path}/late.json"]'))
    service.write(9, 15, latency_ms=9000)
    assert 1 == service.check(15).code
    assert ["trigger"] == [one["event"] for one in json.loads((tmp_path / "late.json").read_text())["alerts"]]


def test_an_end_follows_only_a_beginning_that_was_delivered(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run, more='[notify.broken]\ntype = "command"\ncommand = ["false"]\n')
    service.write(0, 9, latency_ms=9000)
    service.check(9)
    service.write(9, 30)
    service.check(30)
    file = tmp_path / "llmmon.toml"
    file.write_text(file.read_text().replace('["false"]', f'["sh", "-c", "cat >> {tmp_path}/late.json"]'))
    service.check(200)
    told = json.loads((tmp_path / "late.json").read_text())["alerts"]
    assert [("trigger", "resolved")] == [(one["event"], one["status"]) for one in told]


def test_without_a_configuration_the_default_rules_apply_and_nothing_is_kept(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run)
    (tmp_path / "llmmon.toml").unlink()
    service.write(0, 10, latency_ms=9000)
    ran = run("check", "--now", at(10), "logs", "-f", "json")
    assert ["High Latency"] == [alert["rule"] for alert in ran.json["data"]["alerts"]]
    assert (1, True, True) == (ran.code, "default rules" in ran.stderr, "no state" in ran.stderr)
    assert {"logs"} == {path.name for path in tmp_path.iterdir()}


def test_a_replay_shows_what_would_have_fired_and_leaves_the_live_state_alone(service: Service) -> None:
    service.write(0, 10)
    service.write(10, 20, latency_ms=9000)
    service.write(20, 40)
    ran = service._run("check", "--now", "log", "-f", "json")
    assert [("slow: model a", "firing", at(11)), ("slow: model a", "resolved", at(25))] == episodes([ran.json["data"]])
    assert not (service.folder / "state.db").exists()
    assert [] == service.told


def test_what_a_rule_saw_can_be_looked_at(service: Service) -> None:
    service.write(0, 10, latency_ms=9000)
    rows = service.json(10, "--explain", "slow")["explained"]
    assert {"group": {"model": "a"}, "value": 9000.0, "threshold": 5000, "count": 20, "met": True} == {
        key: rows[-1][key] for key in ("group", "value", "threshold", "count", "met")
    }
    assert 2 == service.check(10, "--explain", "slwo").code


@pytest.mark.parametrize(
    ("latency_ms", "severity", "code", "word"),
    [(1000, "error", 0, "OK"), (9000, "warning", 1, "WARNING"), (9000, "critical", 2, "CRITICAL")],
)
def test_nagios_gets_one_line_and_its_own_exit_codes(
    service: Service, latency_ms: int, severity: str, code: int, word: str
) -> None:
    file = service.folder / "llmmon.toml"
    file.write_text(file.read_text().replace("min_count = 3", f'min_count = 3\nseverity = "{severity}"'))
    service.write(0, 9, latency_ms=latency_ms)
    ran = service.check(9, "--nagios", "-q")
    assert (code, 1) == (ran.code, len(ran.stdout.splitlines()))
    assert ran.stdout.startswith(f"LLMMON {word} - ")
    assert "| firing=" in ran.stdout


def test_nagios_is_told_unknown_where_the_tool_itself_fails(service: Service) -> None:
    (service.folder / "llmmon.toml").write_text("rules = 3")
    ran = service.check(9, "--nagios", "-q")
    assert (3, True) == (ran.code, ran.stdout.startswith("LLMMON UNKNOWN - "))


def test_nagios_is_told_unknown_for_a_wrong_option(service: Service) -> None:
    ran = service.check(9, "--nagios", "--nope")
    assert (3, True) == (ran.code, ran.stdout.startswith("LLMMON UNKNOWN - "))


@pytest.mark.parametrize("option", ["--window=60", "--since=2h", "--until=today"])
def test_check_keeps_its_own_time(service: Service, option: str) -> None:
    assert 2 == service.check(9, option).code


def test_alerts_are_listed_acknowledged_and_resolved(service: Service, run: Run) -> None:
    service.write(0, 9, latency_ms=9000)
    service.check(9)
    listed = run("alerts", "list", "-f", "json").json["data"]["alerts"]
    assert ["firing"] == [alert["state"] for alert in listed]
    short = listed[0]["alert_id"][:5]
    assert 0 == run("alerts", "ack", short, "--why", "seen").code
    assert [True] == [alert["acknowledged"] for alert in run("alerts", "list", "-f", "json").json["data"]["alerts"]]
    assert 0 == run("alerts", "resolve", short).code
    assert ["trigger", "acknowledge", "resolve"] == [event for event, _ in service.told]
    service.write(9, 12, latency_ms=9000)
    assert 0 == service.check(12).code  # held until the condition has cleared
    service.write(12, 20)
    service.check(20)
    service.write(20, 30, latency_ms=9000)
    assert 1 == service.check(30).code
    assert 2 == run("alerts", "ack", "zzz").code


def test_an_alert_can_be_named_by_its_rule_where_one_is_open(service: Service, run: Run) -> None:
    service.write(0, 9, latency_ms=9000)
    service.check(9)
    (alert,) = run("alerts", "list", "-f", "json").json["data"]["alerts"]
    assert alert["alert_id"] in run("alerts", "ack", alert["rule"]).stdout
    for minute in range(9, 20):
        service.write(minute, minute + 1, latency_ms=9000)
        service.write(minute, minute + 1, latency_ms=9000, model="b")
    service.check(20)
    listed = run("alerts", "list", "-f", "json").json["data"]["alerts"]
    refused = run("alerts", "resolve", alert["rule"])
    assert (refused.code, len(listed)) == (2, 2)
    assert all(each["alert_id"] in refused.stderr for each in listed)


def test_a_silence_keeps_quiet_until_it_ends(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run)
    service.write(0, 9, latency_ms=9000)
    made = run("alerts", "silence", "rule=sl*", "--for", "400d", "--why", "deploy")
    assert 0 == made.code
    data = service.json(9)
    assert [True] == [alert["silenced"] for alert in data["alerts"]]
    assert [("trigger", "suppressed")] == [(one["event"], one["status"]) for one in data["notifications"]]
    assert [] == service.told
    silence = run("alerts", "list", "-f", "json").json["data"]["silences"][0]["silence_id"]
    assert 0 == run("alerts", "unsilence", silence).code
    service.write(9, 10, latency_ms=9000)
    service.check(10)
    assert [("trigger", "firing")] == service.told


def _with_hook(service: Service, url: str, **rule: str) -> None:
    """Replace the channel by a webhook."""
    file = service.folder / "llmmon.toml"
    text = file.read_text()
    text = text[: text.index("[notify.desk]")] + "".join(f"{k} = {v}\n" for k, v in rule.items())
    file.write_text(f'{text}\n[notify.hook]\ntype = "webhook"\nurl = "{url}"\n')


def _told(server: JudgeServer) -> list[dict[str, Any]]:
    return [one for _, _, body in server.seen if body for one in body["alerts"]]


def test_a_clock_that_was_ahead_is_said_and_its_minutes_are_evaluated_again(service: Service) -> None:
    service.write(0, 10)
    service.check(10)
    service.check(10 + 30 * 1440)
    service.write(10, 20, latency_ms=9000)
    ran = service.check(20, "-f", "json")
    assert (3, True) == (ran.code, "ahead in the last run" in ran.stderr)
    assert [("slow: model a", "firing", at(11))] == episodes([ran.json["data"]])
    assert (1, 2) == (service.check(21).code, service.check(22, "--nagios", "-q").code)
    assert [("trigger", "firing")] == service.told


def test_a_clock_that_is_behind_the_log_evaluates_nothing(service: Service) -> None:
    service.write(0, 60, latency_ms=9000)
    service.check(60)
    ran = service.check(20, "--nagios", "-q")
    assert (3, True) == (ran.code, "behind the log" in ran.stdout)


def test_after_years_without_a_run_only_the_last_day_is_evaluated(service: Service) -> None:
    service.write(0, 10)
    service.check(10)
    ran = service.check(10 + 5 * 365 * 1440)
    assert (0, True) == (ran.code, "only the last day is evaluated" in ran.stderr)


@pytest.mark.parametrize("options", [["other.jsonl"], ["--where", "model=b"]])
def test_a_look_at_other_calls_leaves_the_alerts_alone(service: Service, options: list[str]) -> None:
    (service.folder / "other.jsonl").write_text("")
    service.write(0, 10, latency_ms=9000)
    service.check(10)
    ran = service._run("check", "--now", at(20), *(str(service.folder / o) if "." in o else o for o in options))
    assert "nothing is remembered or sent" in ran.stderr
    service.write(10, 30, latency_ms=9000)
    assert 1 == service.check(30).code
    assert [("trigger", "firing")] == service.told


def test_the_dead_man_s_switch_hears_of_what_cannot_be_delivered(service: Service) -> None:
    answers = {"hook": Answer(404)}
    with judge_server(lambda *_: answers["hook"]) as hook, judge_server(lambda *_: Answer()) as beat:
        _with_hook(service, hook.url)
        service.write(0, 10, latency_ms=9000)
        codes = [service.check(10, "--heartbeat", f"{beat.url}/beat").code]
        answers["hook"] = Answer()
        codes.append(service.check(90, "--heartbeat", f"{beat.url}/beat").code)
        assert [5, 0] == codes
        assert ["/v1/beat/fail", "/v1/beat"] == [path for path, _, _ in beat.seen]


def test_every_message_names_the_installation_and_its_labels(service: Service) -> None:
    file = service.folder / "llmmon.toml"
    file.write_text(f'name = "prod-eu"\nlabels = {{ team = "chat" }}\n{file.read_text()}')
    with judge_server(lambda *_: Answer()) as hook:
        _with_hook(service, hook.url)
        service.write(0, 10, latency_ms=9000)
        service.check(10)
        assert [{"team": "chat", "instance": "prod-eu"}] == [one["labels"] for one in _told(hook)]


def test_alerts_keep_their_ids_when_the_configuration_moves(service: Service, tmp_path: Path) -> None:
    service.write(0, 10, latency_ms=9000)
    first = service.json(10)["alerts"][0]["alert_id"]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    text = (service.folder / "llmmon.toml").read_text()
    text = text.replace('"logs/', f'"{service.folder}/logs/').replace('"state.db"', f'"{service.folder}/state.db"')
    (moved / "llmmon.toml").write_text(text)
    service.write(10, 20, latency_ms=9000)
    ran = service._run("check", "--now", at(20), "-f", "json", "--config", str(moved / "llmmon.toml"))
    assert [first] == [one["alert_id"] for one in ran.json["data"]["alerts"]]
    assert [("trigger", "firing")] == service.told


def test_two_installations_with_one_configuration_share_no_id(run: Run, tmp_path: Path) -> None:
    found = []
    for state in ("one.db", "two.db"):
        service = Service(tmp_path, run)
        file = tmp_path / "llmmon.toml"
        file.write_text(file.read_text().replace("state.db", state))
        if state == "one.db":
            service.write(0, 10, latency_ms=9000)
        found.append(service.json(10)["alerts"][0]["alert_id"])
    assert found[0] != found[1]


def test_a_message_says_why_it_is_over(service: Service) -> None:
    with judge_server(lambda *_: Answer()) as hook:
        _with_hook(service, hook.url)
        service.write(0, 10, latency_ms=9000)
        service.check(10)
        service.check(30)
        service.write(30, 40, latency_ms=9000)
        service.check(40)
        service.write(40, 60)
        service.check(60)
        ends = [(one["ended"], one["ended_reason"]) for one in _told(hook) if one["status"] == "resolved"]
    assert [("no_data", "no data for 5m"), ("recovered", "no longer holds")] == ends


@pytest.mark.parametrize(
    ("matcher", "said"),
    [
        ("rul=slow", "did you mean 'rule'"),
        ("modle=a", "did you mean 'model'"),
        ("rule=slwo", "did you mean 'slow'"),
        ("severity=crit", "did you mean 'critical'"),
        ("user=*", "unknown matcher 'user'"),
        ("model=", "matches no alert"),
    ],
)
def test_a_silence_that_can_match_nothing_is_an_error(service: Service, matcher: str, said: str) -> None:
    service.write(0, 10, latency_ms=9000)
    service.check(10)
    ran = service._run("alerts", "silence", matcher)
    assert (2, True) == (ran.code, said in ran.stderr)


def test_a_silence_says_how_much_it_covers(service: Service) -> None:
    service.write(0, 10, latency_ms=9000)
    service.check(10)
    assert "covers 1 open alert now" in service._run("alerts", "silence", "model=a").stdout
    assert "covers 0 open alerts now" in service._run("alerts", "silence", "model=b*", "--start", "2h").stdout
    assert 2 == service._run("alerts", "silence", "model=a", "--for", "0s").code


def test_the_reason_of_an_acknowledgement_is_kept_and_outlives_the_alert(service: Service) -> None:
    service.write(0, 10, latency_ms=9000)
    service.check(10)
    (found,) = service._run("alerts", "list", "-f", "json").json["data"]["alerts"]
    assert 0 == service._run("alerts", "ack", found["alert_id"], "--why", "looking").code
    service.write(10, 30)
    service.check(30)
    (found,) = service._run("alerts", "list", "--all", "-f", "json").json["data"]["alerts"]
    assert ("resolved", True, "looking") == (found["state"], found["acknowledged"], found["acknowledged_why"])
    assert 2 == service._run("alerts", "ack", found["alert_id"]).code


def _default_late(service: Service) -> None:
    file = service.folder / "llmmon.toml"
    file.write_text(file.read_text().replace('late = "0s"', "").replace('by = ["model"]\n', ""))


def test_calls_that_hang_are_noticed_while_they_hang(service: Service) -> None:
    """Each call is logged ten minutes after it began, with the time at which it began."""
    _default_late(service)
    service.write(0, 30)
    service.check(30)
    said = ""
    for minute in range(40, 71, 5):
        service.write(minute - 15 if minute > 40 else 30, minute - 10, latency_ms=600_000)
        said += service.check(minute).stderr
    assert "calls arrived after their minute was evaluated, up to" in said
    assert ("trigger", "firing") in service.told
    assert 1 == len(service.told)


def test_a_log_that_is_always_behind_is_waited_for(service: Service) -> None:
    _default_late(service)
    service.write(0, 30)
    service.check(30)
    for minute in range(45, 101, 5):
        service.write(minute - 20 if minute > 50 else minute - 15, minute - 15, latency_ms=9000)
        service.check(minute)
    assert [("trigger", "firing")] == service.told


def test_a_few_late_calls_do_not_hold_the_others_up(service: Service) -> None:
    service.write(0, 60)
    service.check(60)
    service.write(30, 31, calls=1)
    service.write(60, 70, latency_ms=9000)
    ran = service.check(70, "-f", "json")
    assert ("1 call arrived" in ran.stderr, "late = " in ran.stderr) == (True, True)
    assert [("slow: model a", "firing", at(61))] == episodes([ran.json["data"]])


def test_a_log_that_ended_long_ago_or_is_in_the_future_is_said(service: Service) -> None:
    service.write(0, 10)
    assert "last event 5 h ago" in service.check(10 + 5 * 60).stderr
    service.write(720, 730)
    assert "in the future" in service.check(400).stderr


def test_a_rule_that_cannot_fire_on_this_log_is_named_once(service: Service) -> None:
    file = service.folder / "llmmon.toml"
    file.write_text(file.read_text().replace("min_count = 3", "min_count = 300"))
    service.write(0, 200)
    assert "rule 'slow' cannot fire here: no window of 5m holds 300 calls" in service.check(200).stderr
    service.write(200, 400)
    assert "cannot fire" not in service.check(400).stderr


def test_groups_that_are_gone_give_up_their_seats(service: Service) -> None:
    for number in range(120):
        service.write(0, 1, calls=1, model=f"old{number}")
    service.check(10)
    service.write(3000, 3010, latency_ms=9000, model="new")
    assert ["slow: model new"] == [title for title, event, _ in episodes([service.json(3010)]) if event == "firing"]


def test_a_budget_by_user_knows_every_user(service: Service) -> None:
    file = service.folder / "llmmon.toml"
    budget = '[[budgets]]\nname = "spend"\namount_usd = 50\nper = "day"\nby = ["user"]\nthresholds = [100]\n'
    file.write_text(file.read_text().replace("[[rules]]", f"{budget}\n[[rules]]", 1))
    for number in range(150):
        service.write(600, 601, calls=1, user=f"u{number}", cost_usd=90 if number == 140 else 1)
    found = [title for title, event, _ in episodes([service.json(605)]) if event == "firing" and "100" in title]
    assert ["spend 100 %: user u140"] == found


def test_one_stray_timestamp_neither_lengthens_a_replay_nor_hides_what_happened(service: Service, run: Run) -> None:
    service.write(0, 10)
    service.write(10, 16, latency_ms=9000)
    service.write(16, 40)
    with service.log.open("a") as file:
        for year in (1970, 2099):
            file.write(json.dumps({"timestamp": f"{year}-01-02T00:00:00Z", "model": "a", "latency_ms": 5}) + "\n")
    ran = run("check", "--now", "log", "-f", "json")
    assert 39 <= ran.json["data"]["minutes"] <= 41
    assert ["firing", "resolved"] == [one["event"] for one in ran.json["data"]["transitions"]]
    assert "2 calls more than 30 days away from all others" in ran.stderr
    backtest = run("rules", "backtest", "logs", "-f", "json").json["data"]
    assert [at(0), 1] == [backtest["start"], len(backtest["episodes"])]


def test_a_first_run_does_not_begin_at_a_stray_timestamp(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run, more=GONE)
    service.log.write_text(json.dumps({"timestamp": "1970-01-02T00:00:00Z", "model": "a", "latency_ms": 5}) + "\n")
    service.write(0, 30)
    assert [] == episodes([service.json(30)])


BUDGET = """
logs = ["logs/*.jsonl"]
state = "state.db"
late = "0s"
[[budgets]]
name = "spend"
amount_usd = 50
per = "{per}"
by = ["user"]
thresholds = [100]
projected = false
[notify.desk]
type = "command"
command = ["sh", "-c", "cat >> told.jsonl; echo >> told.jsonl"]
"""


@pytest.mark.parametrize("per", ["day", "24h"])
def test_every_user_has_a_budget_of_their_own_however_many_there_are(run: Run, tmp_path: Path, per: str) -> None:
    service = Service(tmp_path, run, configuration=BUDGET.replace("{per}", per))
    for user in range(300):
        service.write(0, 1, calls=1, user=f"u{user}", cost_usd=90.0 if user == 250 else 1.0)
    found = service.json(10)
    assert [{"user": "u250"}] == [one["group"] for one in found["alerts"]]
    backtest = run("rules", "backtest", "logs", "-f", "json").json["data"]
    assert [{"user": "u250"}] == [one["group"] for one in backtest["episodes"]]


def test_a_version_that_comes_after_a_hundred_others_has_its_own_alert_in_check_and_backtest(
    run: Run, tmp_path: Path
) -> None:
    service = Service(tmp_path, run)
    file = tmp_path / "llmmon.toml"
    file.write_text(file.read_text().replace('by = ["model"]', 'by = ["prompt_version"]'))
    for day in range(104):
        latency_ms = 9000 if day == 103 else 1000
        service.write(day * 1440, day * 1440 + 4, latency_ms, prompt_version=f"v{day}")
        if day % 40 == 0 or day > 101:
            found = service.json(day * 1440 + 5)
    assert [{"prompt_version": "v103"}] == [one["group"] for one in found["alerts"]]
    backtest = run("rules", "backtest", "logs", "-f", "json").json["data"]
    assert [{"prompt_version": "v103"}] == [one["group"] for one in backtest["episodes"]]


def test_a_few_calls_that_all_fail_are_no_noise(run: Run, tmp_path: Path) -> None:
    rule = '[[rules]]\nname = "errors"\nmetric = "error_rate"\nthreshold = 0.1\n'
    service = Service(tmp_path, run, configuration=BUDGET.partition("[[budgets]]")[0] + rule)
    service.write(0, 60, calls=1)
    service.write(60, 65, calls=3, status="error")
    (found,) = service.json(65)["alerts"]
    assert "error rate is 100.0 %, limit 10 %, over 5 min, 15 calls" == found["description"]


def test_a_rule_that_can_never_fire_here_is_named_once(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run)
    service.write(0, 120, calls=1, model="a")
    file = tmp_path / "llmmon.toml"
    file.write_text(file.read_text().replace("min_count = 3", "min_count = 30"))
    said = [service.check(minute).stderr for minute in (40, 70, 100, 110)]
    assert [1] == [
        text.count("rule 'slow' cannot fire here: no window of 5m holds 30 calls (at most 5")
        for text in said
        if "cannot fire" in text
    ]


def told_file(service: Service) -> list[dict[str, Any]]:
    lines = (service.folder / "told.jsonl").read_text().splitlines()
    return [one for line in lines if line for one in json.loads(line)["alerts"]]


def test_history_shows_episodes_and_who_did_what(service: Service, run: Run) -> None:
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    (alert,) = service.json(15)["alerts"]
    assert 0 == run("alerts", "ack", alert["alert_id"][:6], "--why", "looking into it").code
    service.write(15, 30)
    service.check(30)
    data = run("alerts", "history", "--since", at(0), "-f", "json").json["data"]
    (episode,) = data["episodes"]
    assert ("resolved", "recovered", "looking into it") == (
        episode["state"],
        episode["ended"],
        episode["acknowledged_why"],  # outlives the end
    )
    (action,) = episode["actions"]
    assert ("acknowledged", "looking into it", True) == (action["action"], action["why"], bool(action["by"]))
    assert ["trigger", "acknowledge", "resolve"] == [one["event"] for one in told_file(service)]
    assert [None, "looking into it", "looking into it"] == [one["acknowledged_why"] for one in told_file(service)]
    shown = run("alerts", "history", "--since", at(0)).stdout
    assert "slow: model a" in shown
    assert "looking into it" in shown
    assert [] == run("alerts", "history", "--since", at(0), "--rule", "other*", "-f", "json").json["data"]["episodes"]
    assert "no alert has fired" in run("alerts", "history", "--since", at(60)).stdout


def test_an_alert_that_is_over_cannot_be_acted_on(service: Service, run: Run) -> None:
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    (alert,) = service.json(15)["alerts"]
    service.write(15, 30)
    service.check(30)
    for action in ("ack", "resolve"):
        assert 2 == run("alerts", action, alert["alert_id"]).code
        assert 2 == run("alerts", action, "nonsense").code


def test_the_queue_can_be_listed_retried_and_dropped(service: Service, run: Run) -> None:
    file = service.folder / "llmmon.toml"
    works = file.read_text()
    file.write_text(works.replace('"sh", "-c",', '"false",'))
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    assert 5 == service.check(15).code
    (waiting,) = run("notify", "queue", "-f", "json").json["data"]["queue"]
    assert ("desk", "trigger", "queued", 1) == tuple(waiting[k] for k in ("channel", "event", "status", "tries"))
    assert "false ended with exit code 1" in waiting["reason"]
    assert "false ended with exit code 1" in run("notify", "queue").stdout
    failed = run("notify", "queue", "retry")
    assert (5, True) == (failed.code, "1 notification could not be sent" in failed.stderr)
    file.write_text(works)
    assert (0, "sent") == ((ran := run("notify", "queue", "retry")).code, ran.stdout.partition(":")[0])
    assert ["trigger"] == [one["event"] for one in told_file(service)]
    assert "nothing waits" in run("notify", "queue", "retry").stdout
    assert "nothing waits" in run("notify", "queue", "list").stdout


def test_what_waits_for_a_channel_that_is_gone_can_be_dropped(service: Service, run: Run) -> None:
    file = service.folder / "llmmon.toml"
    file.write_text(file.read_text().replace('"sh", "-c",', '"false",'))
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    service.check(15)
    (waiting,) = run("notify", "queue", "-f", "json").json["data"]["queue"]
    assert 2 == run("notify", "queue", "drop").code
    assert 2 == run("notify", "queue", "drop", "999").code
    assert 2 == run("notify", "queue", "drop", "--channel", "other").code
    assert 2 == run("notify", "queue", "delete").code
    dropped = run("notify", "queue", "drop", str(waiting["number"]))
    assert (0, f"dropped: {waiting['number']} to desk, slow: model a\n") == (dropped.code, dropped.stdout)
    (left,) = run("notify", "queue", "-f", "json").json["data"]["queue"]
    assert ("dropped", "dropped by hand") == (left["status"], left["reason"])
    assert 1 == service.check(16).code
