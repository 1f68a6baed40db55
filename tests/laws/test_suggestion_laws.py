"""What is suggested keeps its promise, and what is written is read again."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.alerting.backtest import LabelledIncident, notified, replay
from llmmon.alerting.evaluation import evaluate_rule, streams_of
from llmmon.alerting.history import StreamsFold
from llmmon.alerting.reading import complete
from llmmon.alerting.rule_config import rule_toml
from llmmon.alerting.rule_tests import GivenSeries, calls_of
from llmmon.alerting.rules import AlertRule
from llmmon.alerting.suggest import Parts, noise_budget, suggest
from llmmon.config import parse
from llmmon.text.times import MINUTE_US

START = 1440
MINUTES = 900

spans = st.integers(0, 10).map(lambda minutes: f"{minutes}m")
levels = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["latency_avg_ms", "latency_p95_ms", "requests", "error_rate"]),
        "condition": st.sampled_from(["gt", "ge", "lt", "le"]),
        "threshold": st.floats(0.001, 5000),
    }
)
changes = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["latency_avg_ms", "latency_p95_ms"]),
        "change": st.sampled_from(["+50%", "-30%", "+12.5%"]),
        "versus": st.sampled_from(["previous 2h", "same hour last week"]),
    }
)
rest = st.fixed_dictionaries(
    {
        "window": st.integers(1, 30).map(lambda minutes: f"{minutes}m"),
        "for": spans,
        "keep_firing_for": spans,
        "cooldown": spans,
        "repeat": spans,
        "by": st.sampled_from([[], ["model"]]),
        "no_data": st.sampled_from(["ok", "alert", "keep"]),
        "severity": st.sampled_from(["info", "error", "critical"]),
        "labels": st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=2),
        "name": st.text(min_size=1, max_size=8).filter(str.strip),
    }
)
tables = st.builds(lambda one, other: {**one, **other}, st.one_of(levels, changes), rest)


def rule_of(table: dict[str, Any]) -> AlertRule:
    return parse({"rules": [table]}, Path("llmmon.toml")).rules[0]


@given(tables)
def test_a_rule_that_is_written_is_read_again_the_same(table: dict[str, Any]) -> None:
    rule = rule_of(table)
    assert rule_of(tomllib.loads(rule_toml(rule))["rules"][0]) == rule


@settings(max_examples=15)
@given(tables, st.integers(0, 6), st.integers(0, 2**30), st.booleans())
def test_a_suggested_threshold_keeps_its_budget_on_the_part_it_was_chosen_on(
    table: dict[str, Any], number: int, seed: int, labelled: bool
) -> None:
    rng = np.random.default_rng(seed)
    rule = rule_of(table)
    series = [
        GivenSeries("latency_ms", tuple(np.round(rng.lognormal(7, 0.3, MINUTES), 1).tolist()), {"model": name}, 25)
        for name in "ab"
    ]
    series += [GivenSeries("error_rate", tuple((rng.random(MINUTES) * 0.2).tolist()), {"model": n}, 25) for n in "ab"]
    streams = list(streams_of([rule]))
    fold = StreamsFold(streams)
    fold.add(calls_of(series, START * MINUTE_US), [])
    histories = complete(streams, [fold.result()])
    ends = np.arange(START + 1, START + MINUTES + 1)
    incidents = (LabelledIncident("x", (START + 100) * MINUTE_US, (START + 200) * MINUTE_US, "latency_ms"),) * labelled
    parts = Parts(histories, ends[:600], ends[600:], incidents)
    budget = noise_budget(f"{number * 1440 / 600}/day")
    (found,) = suggest([rule], parts, budget, labelled=labelled).suggestions
    if found.proposed is None or found.then is None:
        assert found.reason
        return
    told = notified(replay([evaluate_rule(found.proposed, histories, parts.first)]).messages)
    assert found.then.first.notifications == len(told)
    assert found.then.first.noise <= number
    assert labelled or len(told) <= number
