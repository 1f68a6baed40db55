"""A backtest says what `check` would have done: run by run over the growing log, with a real state file."""

from __future__ import annotations

import json
import time
import tomllib
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmmon.alerting.alert import NotificationEvent
from llmmon.alerting.backtest import Episode, Message, episode_of
from llmmon.alerting.check import check
from llmmon.alerting.state import StateFile
from llmmon.alerting.suggest import backtest
from llmmon.config import Config, parse
from llmmon.ingest.query import Query
from llmmon.ingest.time_range import TimeRequest
from llmmon.text.times import moment_us
from tests.support.appending_log import at

MINUTES = 30

durations = st.integers(0, 4).map(lambda minutes: f"{minutes}m")
rule_tables = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["latency_p95_ms", "latency_avg_ms", "error_rate", "requests", "request_count"]),
        "condition": st.sampled_from(["gt", "lt"]),
        "window": st.integers(1, 6).map(lambda minutes: f"{minutes}m"),
        "for": durations,
        "keep_firing_for": durations,
        "cooldown": durations,
        "repeat": durations,
        "by": st.sampled_from([[], ["model"]]),
        "min_count": st.integers(0, 6),
        "no_data": st.sampled_from(["ok", "alert", "keep"]),
    }
)
limits = {"latency_p95_ms": 5000, "latency_avg_ms": 3000, "error_rate": 0.3, "requests": 2, "request_count": 5}
# a minute: (calls, of them slow, of them failed) of each of two models
minute = st.tuples(*[st.tuples(st.integers(0, 6), st.booleans(), st.booleans())] * 2)
logs = st.lists(minute, min_size=MINUTES, max_size=MINUTES)
gaps = st.lists(st.integers(1, 15), min_size=1, max_size=8)

few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def configuration(rules: list[dict[str, Any]], folder: Path) -> Config:
    tables = [{"name": f"rule {i}", "threshold": limits[r["metric"]], **r} for i, r in enumerate(rules)]
    table = {
        "logs": ["app.jsonl"],
        "late": "0s",
        "rules": tables,
        "notify": {
            "all": {"type": "command", "command": ["true"]},
            "worst": {"type": "command", "command": ["true"], "min_severity": "critical"},
        },
    }
    tables[0]["severity"] = "critical"
    return parse(table, folder / "llmmon.toml")


def lines_of(number: int, course: tuple[tuple[int, bool, bool], ...]) -> list[str]:
    rows = [
        {
            "timestamp": at(number + (call + 0.5) / calls),
            "model": model,
            "latency_ms": 9000 if slow else 800 + call,
            "status": "error" if failed and call % 2 else "ok",
        }
        for model, (calls, slow, failed) in zip("ab", course, strict=True)
        for call in range(calls)
    ]
    return [json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: str(row["timestamp"]))]


def lived(
    log: list[tuple[tuple[int, bool, bool], ...]], runs: list[int], config: Config, folder: Path
) -> tuple[list[Episode], list[tuple[int, Message]]]:
    """What a sequence of runs of `check` leaves in its state: episodes, and the messages of the outbox."""
    path, state = folder / "app.jsonl", folder / "state.db"
    for old in (path, state):
        old.unlink(missing_ok=True)
    written = 0
    for run in runs:
        with path.open("a") as file:
            for number in range(written, min(run, len(log))):
                file.writelines(lines_of(number, log[number]))
        written = run
        query = asked(path, at(run))
        check(query, config.check_plan(state, {"PATH": "/usr/bin:/bin"}))
    with StateFile(state) as kept:
        episodes = [episode_of(alert) for alert in kept.episodes()]
        rows = kept.outbox._db.execute("SELECT id FROM outbox ORDER BY id").fetchall()
        found = [queued for (number,) in rows for queued in kept.outbox._selected("id = ?", (number,))]
    messages = [
        Message(
            queued.created_us,
            queued.channel,
            NotificationEvent.RESOLVE if queued.event == "resolve" else NotificationEvent.TRIGGER,
            queued.alert.rule,
            queued.alert.group,
            queued.event == "repeat",
        )
        for queued in found
    ]
    return sorted(episodes, key=lambda e: (e.fired_us, e.rule, str(e.group))), messages


def asked(path: Path, now: str) -> Query:
    time_asked = TimeRequest(now=moment_us(now, 0, "UTC"))
    return Query(logs=(str(path),), wall_us=time.time_ns() // 1000, time=time_asked, jobs=1)


def replayed(config: Config, folder: Path) -> tuple[list[Episode], list[Message]]:
    query = Query(logs=(str(folder / "app.jsonl"),), wall_us=time.time_ns() // 1000, jobs=1)
    done = backtest(query, config.rules, config.channels, identity=config.identity).replay
    return list(done.episodes), list(done.messages)


def started(log: list[Any]) -> list[Any]:
    """The log with a first and a last minute in which there is a call: between them is what both look at."""
    call = ((1, False, False), (1, False, False))
    return [call, *log[1:-1], call]


@few
@given(logs, st.lists(rule_tables, min_size=1, max_size=3), gaps)
def test_its_episodes_are_those_of_checks_at_any_cadence(
    tmp_path: Path, log: list[Any], rules: list[dict[str, Any]], steps: list[int]
) -> None:
    log = started(log)
    runs = [run for run in accumulate(steps * MINUTES) if run < MINUTES] + [MINUTES]
    config = configuration(rules, tmp_path)
    episodes, _ = lived(log, runs, config, tmp_path)
    assert replayed(config, tmp_path)[0] == episodes


@few
@given(logs, st.lists(rule_tables, min_size=1, max_size=3))
def test_its_messages_are_those_of_a_check_every_minute(
    tmp_path: Path, log: list[Any], rules: list[dict[str, Any]]
) -> None:
    log = started(log)
    config = configuration(rules, tmp_path)
    episodes, messages = lived(log, list(range(1, MINUTES + 1)), config, tmp_path)
    found = replayed(config, tmp_path)
    key = lambda m: (m.at_us, m.rule, str(m.group), m.channel, m.event, m.repeated)  # noqa: E731
    assert (episodes, sorted(messages, key=key)) == (found[0], sorted(found[1], key=key))


def test_the_live_state_is_not_touched(tmp_path: Path) -> None:
    config = configuration([{"metric": "latency_avg_ms"}], tmp_path)
    (tmp_path / "app.jsonl").write_text("".join(lines_of(0, ((5, True, False), (5, True, False)))))
    replayed(config, tmp_path)
    assert {"app.jsonl"} == {path.name for path in tmp_path.iterdir()}


LONG = """
timezone = "Europe/Berlin"
late = "0s"
[[rules]]
name = "slower"
metric = "latency_p95_ms"
change = "+50%"
versus = "previous 26h"
window = "30m"
by = ["model"]
min_count = 3
[[rules]]
name = "fewer"
metric = "requests"
change = "-50%"
versus = "previous 30h"
window = "1h"
[[rules]]
name = "dearer"
metric = "cost_usd"
aggregation = "sum"
change = "+40%"
versus = "previous 25h"
window = "1h"
[[slos]]
name = "answers"
objective = 0.8
window = "2d"
good = "ok and latency_ms<5000"
by = ["model"]
min_count = 5
[[budgets]]
name = "spend"
amount_usd = 4
per = "day"
by = ["model"]
"""


def sparse(seed: int, days: int) -> list[dict[str, Any]]:
    """A few calls every five minutes, with stretches that are slow, fail or cost more."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(0, days * 1440, 5):
        slow, dear = rng.random() < 0.3, number % 1440 > 700
        rows += [
            {
                "timestamp": at(number + call / 6),
                "model": "ab"[rng.integers(2)],
                "latency_ms": [900, 1000, 7000 if slow and number > 2000 else 1100][rng.integers(3)],
                "status": "error" if rng.random() < 0.1 else "ok",
                "cost_usd": [0.001, 0.01, 0.03 if dear else 0.02][rng.integers(3)],
            }
            for call in range([0, 1, 1, 2, 5][rng.integers(5)])
        ]
    return [*rows, {"timestamp": at(days * 1440 - 0.5), "model": "a", "latency_ms": 900, "status": "ok"}]


@pytest.mark.parametrize(("seed", "steps"), [(1, (733,)), (2, (61, 400, 905))])
def test_rules_that_look_far_back_see_the_same_in_checks_and_in_backtests(
    tmp_path: Path, seed: int, steps: tuple[int, ...]
) -> None:
    days = 3
    rows = sparse(seed, days)
    config = parse(tomllib.loads(LONG), tmp_path / "llmmon.toml")
    path, state = tmp_path / "app.jsonl", tmp_path / "state.db"
    ends = [run for run in accumulate(list(steps) * 80) if run < days * 1440] + [days * 1440]
    for start, end in pairwise([0, *ends]):
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows if at(start) <= str(row["timestamp"]) < at(end))
        query = asked(path, at(end))
        check(query, config.check_plan(state, {}))
    with StateFile(state) as kept:
        episodes = [episode_of(alert) for alert in kept.episodes()]
    found = replayed(config, tmp_path)[0]
    assert {"slower", "fewer", "answers ticket", "spend 80 %"} <= {episode.rule for episode in found}
    assert found == sorted(episodes, key=lambda e: (e.fired_us, e.rule, str(e.group)))
