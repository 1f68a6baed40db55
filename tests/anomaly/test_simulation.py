"""Simulated logs: reproducible, seasonal, and with the incidents that the labels say."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from llmmon.anomaly.simulation import DAY_S, KINDS, MODELS, jsonl, labels_toml, simulate
from tests.support.columns_factory import START_US, columns_of

START_S = START_US // 1_000_000 // DAY_S * DAY_S
DAYS = 3 + len(KINDS)


@pytest.fixture(scope="module")
def drill() -> tuple[list[Any], list[dict[str, Any]]]:
    incidents, days = simulate(1, START_S, DAYS, 1500, 3)
    return incidents, [call for day in days for call in day]


def within(calls: Iterable[dict[str, Any]], start_s: int, end_s: int, **wanted: str) -> list[dict[str, Any]]:
    start, end = str(np.datetime64(start_s, "s")), str(np.datetime64(end_s, "s"))
    return [
        call
        for call in calls
        if start <= call["timestamp"] < end and all(call.get(name) == value for name, value in wanted.items())
    ]


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    one, again, other = (list(simulate(seed, START_S, 2, 100, 1)[1]) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_every_kind_of_incident_has_its_turn_after_the_quiet_days(drill: Any) -> None:
    incidents, _ = drill
    assert list(KINDS) == [incident.kind for incident in incidents]
    assert min(incident.start_s for incident in incidents) >= START_S + 3 * DAY_S


def test_calls_are_in_order_of_time_and_have_distinct_ids(drill: Any) -> None:
    _, calls = drill
    times = columns_of(calls).timestamp
    assert (np.diff(times) >= 0).all()
    assert len(calls) == len({call["request_id"] for call in calls})


def test_nights_and_weekends_are_quieter(drill: Any) -> None:
    _, calls = drill
    monday = START_S
    day, night = within(calls, monday + 9 * 3600, monday + 11 * 3600), within(calls, monday, monday + 2 * 3600)
    assert len(day) > 3 * len(night)
    saturday = monday + 5 * DAY_S
    assert len(within(calls, saturday, saturday + DAY_S)) < 0.7 * len(within(calls, monday, monday + DAY_S))


def average(calls: list[dict[str, Any]], field: str) -> float:
    return float(np.mean([call[field] for call in calls if field in call]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_incident_shows_in_its_metric_and_group(drill: Any, kind: str) -> None:
    incidents, calls = drill
    (incident,) = [one for one in incidents if one.kind == kind]
    hit = within(calls, incident.start_s, incident.end_s, **incident.group)
    usual = within(calls, incident.start_s - 2 * 7200, incident.start_s, **incident.group)
    match incident.metric:
        case "requests":
            rate = len(hit) / (incident.end_s - incident.start_s) / (len(usual) / (2 * 7200))
            assert rate < 0.3 if kind == "traffic_drop" else rate > 1.8
        case "error_rate":
            assert np.mean([not call["success"] for call in hit]) > 0.15
        case "truncated":
            assert np.mean([call.get("finish_reason") == "length" for call in hit]) > 0.25
        case "quality_score":
            assert average(hit, "quality_score") < 0.7 * average(usual, "quality_score")
        case field:
            assert average(hit, field) > 1.5 * average(usual, field)


def test_failed_calls_have_an_error_and_no_answer(drill: Any) -> None:
    _, calls = drill
    failed = [call for call in calls if not call["success"]]
    assert failed
    assert all({"error_type", "status_code", "latency_ms"} <= call.keys() for call in failed)
    assert not any({"completion_tokens", "cost_usd"} & call.keys() for call in failed)


def test_costs_follow_from_tokens_and_prices(drill: Any) -> None:
    _, calls = drill
    prices = {model.name: (model.usd_in, model.usd_out) for model in MODELS}
    for call in calls[:200]:
        if call["success"]:
            usd_in, usd_out = prices[call["model"]]
            expected = (call["prompt_tokens"] * usd_in + call["completion_tokens"] * usd_out) / 1e6
            assert expected == pytest.approx(call["cost_usd"], abs=1e-6)


def test_the_labels_are_toml_that_says_when_and_where(drill: Any) -> None:
    incidents, _ = drill
    labels = tomllib.loads(labels_toml(incidents))["incidents"]
    assert [i.kind for i in incidents] == [label["kind"] for label in labels]
    assert [i.start_s for i in incidents] == [round(label["start"].timestamp()) for label in labels]
    assert [dict(i.group) for i in incidents] == [label["group"] for label in labels]


def test_a_log_has_one_line_a_call(drill: Any) -> None:
    _, calls = drill
    assert jsonl(calls[:10]).count(b"\n") == 10
