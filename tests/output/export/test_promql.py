"""Queries for Prometheus: the dashboard, and alert rules; both name only metrics that are exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from llmmon.alerting.rules import AlertRule, AlertSeverity, Change
from llmmon.metrics.definitions import METRICS, STATISTICS
from llmmon.output.export.grafana import dashboard
from llmmon.output.export.promql import expression, rule_file
from llmmon.text.times import MINUTE_US
from tests.conftest import Run

HAS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
EXPORTED = {metric.prometheus for metric in METRICS.values()} | {"llm_last_event_timestamp_seconds"}
RULES = (
    AlertRule(
        "slow", "latency_ms", "gt", 5000, AlertSeverity.ERROR, aggregation="p95", by=("model",), for_us=2 * MINUTE_US
    ),
    AlertRule(
        "failing",
        "error_rate",
        "gt",
        0.1,
        AlertSeverity.CRITICAL,
        description="what\n: it {{is}}",
        runbook="https://x/y",
    ),
    AlertRule("dear", "cost_usd", "gt", 10.0, aggregation="sum", window_us=60 * MINUTE_US),
    AlertRule("silent", "request_count", "lt", 1.0, labels={"team": "a"}),
)
LEFT_OUT = (
    AlertRule("incidents", anomaly=True),
    AlertRule("chat", "error_rate", "gt", 0.1, where="feature=chat"),
    AlertRule("users", "error_rate", "gt", 0.1, by=("user",)),
    AlertRule("worst", "latency_ms", "gt", 5000, aggregation="max"),
    AlertRule("more", "cost_usd", "gt", 1.0, aggregation="sum", basis=Change(1.5)),
)


def names_in(text: str) -> set[str]:
    found = set(re.findall(r"\bllm_\w+", text))
    return {re.sub(r"(_seconds|_per_second)_(bucket|sum|count)$", r"\1", name) for name in found}


def queries() -> list[str]:
    return [target["expr"] for panel in json.loads(dashboard())["panels"] for target in panel["targets"]]


def checked(text: str, folder: Path) -> None:
    (folder / "rules.yml").write_text(text)
    done = subprocess.run(
        ["promtool", "check", "rules", str(folder / "rules.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_becomes_an_alert_of_prometheus() -> None:
    text, left = rule_file((*RULES, *LEFT_OUT))
    (group,) = yaml.safe_load(text)["groups"]
    slow, failing, dear, silent = group["rules"]
    assert slow["expr"] == (
        "histogram_quantile(0.95, sum by (le, model) (increase(llm_request_duration_seconds_bucket[5m]))) > 5.0"
        " and sum by (model) (increase(llm_requests_total[5m])) >= 20"
    )
    assert slow["for"] == "2m"
    assert failing["annotations"]["description"] == 'what\n: it {{"{{"}}is}}'
    assert failing["labels"] == {"severity": "critical"}
    assert dear["expr"] == "sum(increase(llm_cost_usd_total[1h])) > 10.0"
    assert silent["labels"]["team"] == "a"
    assert [one.rule for one in left] == [rule.name for rule in LEFT_OUT]
    assert all(one.reason in text for one in left)


def test_a_file_without_any_rule_is_valid() -> None:
    assert yaml.safe_load(rule_file(LEFT_OUT)[0]) == {"groups": [{"name": "llmmon", "rules": []}]}


@HAS_PROMTOOL
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    checked(rule_file((*RULES, *LEFT_OUT))[0], tmp_path)


@HAS_PROMTOOL
def test_promtool_accepts_every_statistic_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [found for s in STATISTICS.values() if (found := expression(s, MINUTE_US, ("model",)))]
    expressions += [query.replace("$__rate_interval", "5m").replace("$__range", "1h") for query in queries()]
    lines = [f"  - record: made:{at}\n    expr: {json.dumps(text)}\n" for at, text in enumerate(expressions)]
    checked(f"groups:\n- name: a\n  rules:\n{''.join(lines)}", tmp_path)
    assert len(expressions) > 40


def test_only_exported_metrics_are_named() -> None:
    every = [expression(s, MINUTE_US, ("model",)) or "" for s in STATISTICS.values()]
    assert names_in(" ".join((*every, *queries(), rule_file(RULES)[0]))) <= EXPORTED


def test_the_dashboard_is_whole() -> None:
    made: dict[str, Any] = json.loads(dashboard())
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 12
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken), "panels overlap"
    assert max(x for x, _ in taken) < 24
    assert {variable["name"] for variable in made["templating"]["list"]} == {"datasource", "model"}
    assert all(panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for panel in panels)


def test_the_dashboard_is_as_grafana_describes_dashboards() -> None:
    """What Grafana's own model (generated from its schema) does not know is lost when it reads a dashboard."""
    made = json.loads(dashboard())
    read = json.loads(json.dumps(Dashboard.from_json(made), default=lambda part: part.to_json()))
    assert list(_lost(made, read)) == [".templating.list[1].definition"]  # Grafana's editor writes it beside `query`


def _lost(made: Any, read: Any, path: str = "") -> Iterator[str]:
    if isinstance(made, dict) and isinstance(read, dict):
        for key, value in made.items():
            yield from _lost(value, read.get(key), f"{path}.{key}")
    elif isinstance(made, list) and isinstance(read, list) and len(made) == len(read):
        for at, (one, other) in enumerate(zip(made, read, strict=True)):
            yield from _lost(one, other, f"{path}[{at}]")
    elif made != read:
        yield path


def test_a_dashboard_needs_no_logs(run: Run, tmp_path: Path) -> None:
    assert run("export", "--to", "grafana", "-o", "board.json").code == 0
    assert (tmp_path / "board.json").read_text() == dashboard()


def test_the_default_rules_can_be_exported(run: Run) -> None:
    found = run("rules", "export")
    assert found.code == 0
    assert {rule["alert"] for rule in yaml.safe_load(found.stdout)["groups"][0]["rules"]} == {
        "High Latency",
        "High Error Rate",
    }
