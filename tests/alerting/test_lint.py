"""What `rules check` finds doubtful, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmmon.alerting.evaluation import evaluate_rule, streams_of
from llmmon.alerting.history import StreamsFold
from llmmon.alerting.lint import Finding, lint, lint_evaluations
from llmmon.alerting.reading import complete
from llmmon.alerting.rule_tests import GivenSeries, calls_of, expanded
from llmmon.alerting.rules import DEFAULT_RULES
from llmmon.config import Config, parse
from llmmon.text.times import MINUTE_US

CHANNEL = {"type": "command", "command": ["true"]}


def config(*rules: dict[str, Any], **channels: dict[str, Any]) -> Config:
    usual = {"name": "r", "metric": "latency_avg_ms", "threshold": 5}
    return parse({"rules": [{**usual, **rule} for rule in rules], "notify": channels}, Path("llmmon.toml"))


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, []),
        ({"window": "2m"}, ["short-window"]),
        ({"min_count": 0}, ["no-min-count"]),
        ({"metric": "error_rate", "min_count": 0}, ["no-min-count"]),
        ({"metric": "request_count", "min_count": 0}, []),
        ({"metric": "latency_p99_ms", "window": "30m"}, ["no-for"]),
        ({"metric": "latency_p99_ms", "window": "30m", "for": "5m"}, []),
        ({"metric": "latency_p95_ms", "window": "5m"}, ["no-for"]),
        ({"metric": "latency_p95_ms", "window": "15m"}, []),
        ({"metric": "latency_max_ms", "keep_firing_for": "10m"}, []),
        ({"metric": "cost_usd", "aggregation": "sum"}, []),
    ],
)
def test_a_doubtful_rule_is_named(rule: dict[str, Any], expected: list[str]) -> None:
    assert expected == codes(lint(config(rule).rules, ()))


def test_the_default_rules_are_without_doubt() -> None:
    assert lint(DEFAULT_RULES, ()) == []


def test_channels_that_nobody_uses_and_rules_that_nobody_hears() -> None:
    found = config(
        {"name": "a", "severity": "info"},
        {"name": "b", "notify": ["desk"], "by": ["model"]},
        {"name": "c", "notify": []},
        desk={**CHANNEL, "min_severity": "warning"},
        pager={**CHANNEL, "min_severity": "critical"},
        other={**CHANNEL, "match": {"model": "gpt-*", "team": "x"}},
    )
    assert [("unused-channel", "pager"), ("unused-channel", "other"), ("unheard-rule", "a"), ("unheard-rule", "c")] == [
        (one.code, one.about) for one in lint(found.rules, found.channels)
    ]


def seen(rule: dict[str, Any], metric: str, values: str, calls: int = 30) -> list[Finding]:
    rules = config(rule).rules
    streams = list(streams_of(rules))
    fold = StreamsFold(streams)
    columns = calls_of([GivenSeries(metric, expanded(values), {}, calls)], 1440 * MINUTE_US)
    fold.add(columns, [])
    histories = complete(streams, [fold.result()])
    return lint_evaluations(
        [evaluate_rule(one, histories, np.arange(1441, 1441 + len(expanded(values)))) for one in rules]
    )


@pytest.mark.parametrize(
    ("rule", "values", "calls", "expected"),
    [
        ({"threshold": 500}, "100x60 900x20 100x60", 30, []),
        ({"threshold": 5000}, "100x60 900x20 100x60", 30, ["never-met"]),
        ({"threshold": 50}, "100x60 900x20 100x60", 30, ["always-met"]),
        ({"threshold": 500}, "100x60 900x20", 2, ["never-judged"]),
        ({"threshold": 500, "metric": "ttft_avg_ms"}, "100x60 900x20", 30, ["no-data"]),
    ],
)
def test_what_logs_say_of_a_threshold(rule: dict[str, Any], values: str, calls: int, expected: list[str]) -> None:
    assert expected == codes(seen(rule, "latency_ms", values, calls))


def test_how_near_it_came_is_said() -> None:
    (found,) = seen({"threshold": 5000}, "latency_ms", "100x60 900x20")
    assert "(the highest was 900)" in found.message


def test_an_unknown_channel_is_a_fault() -> None:
    with pytest.raises(Exception, match=r"'r' notifies 'dsk': unknown channel 'dsk', did you mean 'desk'"):
        config({"notify": ["dsk"]}, desk=CHANNEL)
