"""`cost --waste`: planted waste is found, each call once, and nothing in a sound log; what is not logged is said."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from llmmon.pricing.waste import Waste
from llmmon.reports import waste as reports
from tests.conftest import Run
from tests.support.planted_waste import START, Planted, claude_code_rows, litellm_row, planted


def waste_of(run: Run, path: str, *more: str) -> dict[str, Any]:
    done = run("cost", path, "--waste", "-f", "json", *more)
    assert done.code == 0, done.stderr
    found: dict[str, Any] = done.json["data"]["waste"]
    return found


def by_class(found: dict[str, Any]) -> dict[str, tuple[int, float]]:
    return {row["waste"]: (row["calls"], row["amount_usd"]) for row in found["classes"]}


def write(folder: Path, *rows: dict[str, Any]) -> str:
    return Planted(list(rows), {}, {}).write(folder)


CALL = {"model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 100, "status": "ok", "finish_reason": "stop"}


def call(minute: float, **more: Any) -> dict[str, Any]:
    return {**CALL, "timestamp": (START + timedelta(minutes=minute)).isoformat(), **more}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_waste_is_found_by_class_and_adds_up(run: Run, tmp_path: Path, seed: int) -> None:
    log = planted(seed)
    found = waste_of(run, log.write(tmp_path))
    classes = by_class(found)
    assert {name: calls for name, (calls, _) in classes.items()} == log.calls
    for name, dollars in log.dollars.items():
        assert classes[name][1] == pytest.approx(dollars, rel=0.01), name
    assert set(classes) == {waste.value for waste in Waste}
    assert found["waste_calls"] == sum(log.calls.values())
    assert found["waste_usd"] == pytest.approx(sum(amount for _, amount in classes.values()))
    assert found["waste_share"] == pytest.approx(found["waste_usd"] / found["cost_usd"])


def test_nothing_is_found_in_a_sound_log(run: Run, tmp_path: Path) -> None:
    found = waste_of(run, planted(7, each=0).write(tmp_path))
    assert (found["classes"], found["waste_usd"], found["shown"]) == ([], 0.0, None)


def test_the_calls_of_a_class_are_shown_once_with_their_places(run: Run, tmp_path: Path) -> None:
    log = planted(4, sound=300, each=9)
    path = log.write(tmp_path)
    places = []
    for waste in Waste:
        rows = list(csv.DictReader(io.StringIO(run("cost", path, "--show", waste.value, "-f", "csv").stdout)))
        assert len(rows) == log.calls[waste.value]
        places += [(row["file"], row["line"]) for row in rows]
    assert len(set(places)) == len(places)
    row = log.rows[int(places[0][1]) - 1]
    assert row["status"] == "error"


def test_a_retry_names_the_call_that_it_repeats(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, call(0, prompt="why?", user="ann"), call(2, prompt="why?", user="ann"))
    (shown,) = waste_of(run, path, "--show", "retried")["shown"]
    assert (shown["line"], shown["other_line"], shown["evidence"]) == (2, 1, "text")
    table = run("cost", path, "--waste", "--show", "retried", env={"COLUMNS": "200"}).stdout
    assert "calls.jsonl:2" in table


def test_no_text_is_shown(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, call(0, prompt="a secret", output="x"), call(2, prompt="a secret", output="y"))
    for form in ("table", "json", "csv", "jsonl", "markdown"):
        assert "secret" not in run("cost", path, "--show", "retried", "-f", form).stdout


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({}, {"prompt": "other"}, {}),
        ({}, {"model": "gpt-4o-mini"}, {}),
        ({"prompt": "why is …"}, {"prompt": "why is …"}, {}),  # only how they begin
        ({}, {"prompt_tokens": 1001}, {}),  # the same words, more before them
        ({"user": "ann"}, {"user": "bob"}, {"answered_before": 1}),
        ({"status": "error"}, {}, {"failed": 1}),  # the second was needed
        ({"status": "error", "prompt_tokens": 0, "completion_tokens": 0}, {}, {}),
        ({"cache_hit": True}, {}, {}),
        ({}, {"cache_hit": True}, {}),  # the gateway answered: no money
        ({"completion_tokens": 0}, {}, {"empty": 1}),
        ({"completion_tokens": 100, "reasoning_tokens": 100}, {}, {"empty": 1}),
        ({"input_image_tokens": 700}, {"input_image_tokens": 700}, {}),  # another picture, perhaps
        ({"finish_reason": "max_tokens"}, {}, {"cut_off": 1}),
    ],
)
def test_what_counts_as_the_same_request(
    run: Run, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], found: dict[str, int]
) -> None:
    path = write(tmp_path, call(0, **{"prompt": "why?"} | first), call(2, **{"prompt": "why?"} | second))
    assert {name: calls for name, (calls, _) in by_class(waste_of(run, path)).items()} == found


def test_parallel_requests_are_not_answered_before(run: Run, tmp_path: Path) -> None:
    rows = [call(0, prompt="why?", user=user, latency_ms=60_000) for user in ("ann", "bob")]
    assert by_class(waste_of(run, write(tmp_path, *rows))) == {}


def test_a_logged_hash_is_as_good_as_a_text(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, call(0, prompt_hash="ab"), call(2, prompt_hash="ab"), call(3, prompt_hash="cd"))
    (row,) = waste_of(run, path)["classes"]
    assert (row["waste"], row["calls"], row["evidence"]) == ("retried", 1, {"hash": 1})


def test_attempts_count_after_an_answer_only(run: Run, tmp_path: Path) -> None:
    rows = [
        call(0, request_id="a", attempt=1),
        call(1, request_id="a", attempt=2),  # of an answered one
        call(2, request_id="b", attempt=1, status="error", prompt_tokens=0, completion_tokens=0),
        call(3, request_id="b", attempt=2),  # of one that failed unbilled: it was needed
        call(4, request_id="c", attempt=2),  # whose first one is not there
    ]
    found = waste_of(run, write(tmp_path, *rows))
    assert by_class(found) == {"retried": (1, pytest.approx(0.0035))}
    assert any("earlier attempts of 1 repeated request" in text for text in found["blind_spots"])


def test_without_texts_a_session_tells_what_was_cut_off(run: Run, tmp_path: Path) -> None:
    rows = [
        call(0, session="s", finish_reason="length"),
        call(1, session="s"),
        call(2, session="s", prompt_tokens=1200),
    ]
    found = waste_of(run, write(tmp_path, *rows))
    (row,) = found["classes"]
    assert (row["waste"], row["calls"], row["evidence"]) == ("cut_off", 1, {"size": 1})
    assert "no prompt and no hash" in found["blind_spots"][0]


def test_what_the_log_cannot_tell_is_said(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, {"model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 10})
    said = " ".join(waste_of(run, path)["blind_spots"])
    for words in ("no prompt", "why the answer ended", "cached tokens", "no time"):
        assert words in said


def test_sessions_of_claude_code(run: Run, tmp_path: Path) -> None:
    path = Planted(list(claude_code_rows()), {}, {}).write(tmp_path)
    found = waste_of(run, path, "--by", "session")
    assert by_class(found) == {
        "cache_missed": (1, pytest.approx(21_000 * (3.75 - 0.3) / 1e6)),  # 1,000 of the 22,000 are new
        "cache_unread": (1, pytest.approx(1_000 * 0.75 / 1e6)),  # of the second answer
    }
    assert found["classes"][0]["groups"][0]["key"] == {"session": "s1"}


def test_rows_of_litellm(run: Run, tmp_path: Path) -> None:
    failed = {"status": "failure", "response_cost": 0.003, "error_information": {"error_class": "Timeout"}}
    unbilled = failed | {"response_cost": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    first = litellm_row(1, 0)
    rows = [
        first,
        litellm_row(2, 60, messages=first["messages"]),
        litellm_row(3, 100, **failed),
        litellm_row(4, 200, **unbilled),
        litellm_row(5, 300, messages=litellm_row(4, 0)["messages"]),
        litellm_row(6, 9000, messages=first["messages"], end_user="another"),
        litellm_row(7, 9100, messages=first["messages"], cache_hit=True, response_cost=0),
    ]
    found = by_class(waste_of(run, Planted(rows, {}, {}).write(tmp_path)))
    assert found == {
        "retried": (1, pytest.approx(0.004)),
        "failed": (1, pytest.approx(0.003)),
        "answered_before": (1, pytest.approx(0.004)),
    }


def test_attempts_of_litellm(run: Run, tmp_path: Path) -> None:
    def attempt(number: int, at: float, **more: Any) -> dict[str, Any]:
        texts = {"messages": None, "trace_id": "trace-1", "metadata": {"attempted_retries": number}}
        return litellm_row(number, at, **(texts | more))

    unbilled = {"status": "failure", "response_cost": 0, "completion_tokens": 0}
    sound = [attempt(0, 0, **unbilled), attempt(1, 5)]
    assert by_class(waste_of(run, Planted(sound, {}, {}).write(tmp_path))) == {}
    twice = [attempt(0, 0), attempt(1, 5)]
    (row,) = waste_of(run, Planted(twice, {}, {}).write(tmp_path))["classes"]
    assert (row["waste"], row["calls"], row["evidence"]) == ("retried", 1, {"attempt": 1})


def test_rows_in_files_give_the_same(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(5, sound=600, each=20).write(tmp_path)
    in_memory = waste_of(run, path)
    monkeypatch.setattr(reports, "MOST_ROWS", 50)
    assert waste_of(run, path) == in_memory


def test_a_condition_on_waste(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, call(0, status="error"), call(1))
    assert run("cost", path, "--waste", "--fail-on", "waste_share>0.4").code == 1
    assert run("cost", path, "--waste", "--fail-on", "waste_share>0.6").code == 0
    done = run("cost", path, "--show", "retreid")
    assert (done.code, "did you mean 'retried'" in done.stderr) == (2, True)


def test_one_report_at_a_time(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, call(0))
    for options in (["--every", "day"], ["--forecast", "week"], ["--invoice", path]):
        done = run("cost", path, "--waste", *options)
        assert (done.code, "cannot be combined" in done.stderr) == (2, True)
    assert run("cost", path, "--invoice", path, "--by", "user").code == 2


def test_a_pipe_is_read_once(run: Run, tmp_path: Path) -> None:
    rows = "".join(json.dumps(call(minute, prompt_hash="ab")) + "\n" for minute in (0, 1))
    found = run("cost", "-", "--waste", "-f", "json", stdin=rows).json["data"]["waste"]
    assert by_class(found) == {"retried": (1, pytest.approx(0.0035))}


def test_a_log_without_costs_has_no_waste_in_dollars(run: Run, tmp_path: Path) -> None:
    rows = [call(minute, model="ours", prompt="why?", user="ann") for minute in (0, 1)]
    found = waste_of(run, write(tmp_path, *rows))
    assert by_class(found) == {"retried": (1, None)}
    assert "without a price" in " ".join(found["blind_spots"])


def test_groups_and_rows(run: Run, tmp_path: Path) -> None:
    rows = [call(0, status="error", user="ann"), call(1, status="error", user="bob"), call(2, user="bob")]
    path = write(tmp_path, *rows)
    done = run("cost", path, "--waste", "--by", "user", "-f", "jsonl")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["waste"], row["user"], row["calls"], row["share_of_group"]) for row in found] == [
        ("failed", "ann", 1, 1.0),
        ("failed", "bob", 1, 0.5),
    ]
