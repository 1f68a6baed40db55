"""`[[rules]]`: what is taken, and that every fault is listed with its key and the nearest valid name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmmon.alerting.rules import AlertRule, AlertSeverity, NoData
from llmmon.config import Config, parse
from llmmon.errors import ConfigError
from llmmon.text.times import MINUTE_US

RULE = {"name": "slow", "metric": "latency_ms", "aggregation": "p95", "threshold": 5000}


def configured(*rules: Any, **more: Any) -> Config:
    return parse({"rules": list(rules), **more}, Path("/etc/llmmon.toml"))


def test_a_rule_is_read_whole() -> None:
    table = {
        **RULE,
        "window": "10m",
        "condition": "ge",
        "severity": "critical",
        "for": "2m",
        "keep_firing_for": "5m",
        "cooldown": "30m",
        "repeat": "4h",
        "by": ["model", "tag.team"],
        "where": "feature=chat",
        "min_count": 7,
        "no_data": "keep",
        "labels": {"team": "chat"},
        "description": "{model} {team} {tag.team} {value}",
    }
    assert (
        AlertRule(
            "slow",
            "latency_ms",
            "ge",
            5000.0,
            AlertSeverity.CRITICAL,
            30.0,
            "p95",
            10 * MINUTE_US,
            2 * MINUTE_US,
            5 * MINUTE_US,
            240 * MINUTE_US,
            ("model", "tag.team"),
            "feature=chat",
            7,
            NoData.KEEP,
            None,
            {"team": "chat"},
            "{model} {team} {tag.team} {value}",
        ),
    ) == configured(table).rules


def test_what_a_rule_does_not_say_is_as_the_guide_has_it() -> None:
    (rule,) = configured(RULE).rules
    assert (AlertSeverity.ERROR, 5.0, 5 * MINUTE_US, "gt", NoData.OK) == (
        rule.severity,
        rule.cooldown_minutes,
        rule.window_us,
        rule.condition,
        rule.no_data,
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": ""}, "rules[1].name: is missing"),
        ({"metric": "latncy_ms"}, "rules[1].metric: unknown metric 'latncy_ms', did you mean 'latency_ms'?"),
        ({"metric": None}, "rules[1].metric: is missing"),
        ({"threshold": None}, "rules[1].threshold: is missing"),
        ({"threshold": "high"}, "rules[1].threshold: must be a number, not 'high'"),
        ({"threshold": True}, "rules[1].threshold: must be a number, not True"),
        ({"aggregation": "p59"}, "rules[1].aggregation: unknown aggregation 'p59'"),
        ({"metric": "error_rate"}, "rules[1].aggregation: error_rate is already a statistic"),
        ({"condition": "gr"}, "rules[1].condition: unknown condition 'gr'"),
        ({"severity": "fatal"}, "rules[1].severity: unknown severity 'fatal'"),
        ({"window": "90s"}, "rules[1].window: must be whole minutes"),
        ({"window": "10s"}, "rules[1].window: '10s' is too short"),
        ({"window": 5}, 'rules[1].window: must be a duration such as "5m", not 5'),
        ({"window": "soon"}, "rules[1].window: 'soon' is not a duration"),
        ({"by": ["modle"]}, "rules[1].by: unknown field 'modle', did you mean 'model'?"),
        ({"where": "model=("}, "rules[1].where: "),
        ({"min_count": -1}, "rules[1].min_count: must not be negative"),
        ({"min_count": 1.5}, "rules[1].min_count: must be a whole number"),
        ({"no_data": "maybe"}, "rules[1].no_data: unknown no_data 'maybe'"),
        ({"labels": ["a"]}, "rules[1].labels: must be a table of texts"),
        ({"description": "{modle}"}, "rules[1].description: unknown placeholder {modle}"),
        ({"treshold": 1}, "rules[1].treshold: unknown key, did you mean 'threshold'?"),
        ({"notify": ["nobody"]}, "there is no [notify.nobody]"),
        ({"anomaly": True}, "rules[1].threshold: cannot be combined with anomaly = true"),
    ],
)
def test_each_fault_is_named_with_its_key(change: dict[str, Any], fault: str) -> None:
    table = {name: value for name, value in {**RULE, **change}.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        configured(table)
    assert fault in str(error.value)


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        configured({**RULE, "window": "x"}, {**RULE, "by": ["modle"]}, late="never", zone=1)
    text = str(error.value)
    assert "5 errors" in text
    for fault in ("rules[1].window", "rules[2].by", "rules[2].name: 'slow' is also", "late: ", "zone: "):
        assert fault in text


def test_rules_must_be_tables() -> None:
    with pytest.raises(ConfigError, match=r"rules: must be tables, each as \[\[rules\]\]"):
        parse({"rules": {"name": "x"}}, Path("llmmon.toml"))
