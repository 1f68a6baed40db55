"""Incidents: what belongs together is one, what does not stays apart, and nothing later changes which is which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import detect
from llmmon.anomaly.detectors.detector import Anomaly, AnomalyStatus, Change, Severity
from llmmon.anomaly.incidents import Accepted, grouped, incident, incident_id, incidents, with_accepted
from llmmon.anomaly.series import Series, level, panel
from tests.support.synth import STEP_US, between, service

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINI, LARGE = (("model", "mini"),), (("model", "large"),)


def raised(metric: str, group: tuple[tuple[str, str | None], ...] = (), onset: float = 0, **more: Any) -> Anomaly:
    """An anomaly that begins `onset` minutes after noon, is raised 5 minutes later and lasts for two hours."""
    start = AT + timedelta(minutes=onset)
    usual = {
        "severity": Severity.HIGH,
        "start": start,
        "end": start + timedelta(hours=2),
        "closed": start + timedelta(hours=2, minutes=20),
        "group": group,
        "detector": "level",
        "id": f"{metric}{group}{onset}",
        "change": Change(100.0, 200.0, 50, None, 0.7, 20.0),
    }
    return Anomaly(metric, 2.0, (0.0, 1.0), timestamp=start + timedelta(minutes=5), description="", **{**usual, **more})


def names(found: list[tuple[Anomaly, ...]]) -> list[set[tuple[str, str]]]:
    return [{(one.metric_name, "".join(str(v) for _, v in one.group)) for one in members} for members in found]


@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        ("time_to_first_token_ms", "latency_ms"),
        ("latency_ms", "output_tokens_per_second"),
        ("time_to_first_token_ms", "latency_p99_ms"),
        ("prompt_tokens", "cost_usd"),
        ("error_rate", "quality_score"),
        ("error_rate", "completion_tokens"),
    ],
)
def test_what_follows_from_what_is_one_incident_whichever_is_seen_first(cause: str, effect: str) -> None:
    assert len(grouped([raised(cause), raised(effect, onset=5)])) == 1
    assert len(grouped([raised(effect), raised(cause, onset=5)])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (raised("latency_ms", LARGE), raised("prompt_tokens", MINI)),
        (raised("latency_ms", LARGE), raised("quality_score")),
        (raised("time_to_first_token_ms", LARGE), raised("time_to_first_token_ms", MINI, onset=60)),
        (raised("error_rate", LARGE), raised("latency_ms", MINI)),
        (raised("latency_ms"), raised("latency_ms", onset=600)),
        (raised("requests"), raised("quality_score")),
    ],
)
def test_what_has_nothing_to_do_with_each_other_stays_two(one: Anomaly, other: Anomaly) -> None:
    assert len(grouped([one, other])) == 2


def test_the_figures_of_all_calls_join_the_incident_that_explains_them() -> None:
    found = grouped(
        [
            raised("latency_ms", LARGE),
            raised("prompt_tokens", MINI, onset=10),
            raised("latency_ms", onset=2),
            raised("cost_usd", onset=12),
        ]
    )
    assert names(found) == [
        {("latency_ms", "large"), ("latency_ms", "")},
        {("prompt_tokens", "mini"), ("cost_usd", "")},
    ]


def test_several_groups_at_once_are_one_incident_of_all() -> None:
    found = grouped([raised("error_rate"), raised("error_rate", LARGE, onset=1), raised("error_rate", MINI, onset=2)])
    assert len(found) == 1


def test_a_symptom_that_joins_later_changes_neither_id_nor_number() -> None:
    first, second = raised("latency_p99_ms"), raised("latency_ms", LARGE, onset=8)
    (early,) = incidents([first])
    (late,) = incidents([second, first])
    assert early.id == late.id
    assert late.lead.metric_name == "latency_ms"
    assert [one.metric_name for one in late.symptoms] == ["latency_p99_ms"]


def test_an_incident_depends_on_nothing_that_is_raised_later() -> None:
    every = [
        raised("latency_ms", LARGE),
        raised("latency_ms", onset=2),
        raised("cost_usd", MINI, onset=30),
        raised("prompt_tokens", MINI, onset=33),
        raised("error_rate", onset=70),
        raised("output_tokens_per_second", onset=75),
    ]
    whole = {one.id: position for position, members in enumerate(grouped(every)) for one in members}
    for k in range(1, len(every)):
        part = {one.id: position for position, members in enumerate(grouped(every[:k])) for one in members}
        assert part == {name: whole[name] for name in part}


def test_an_incident_lasts_as_long_as_the_calls_concerned_are_away() -> None:
    lasting = raised("latency_ms", LARGE, end=None, closed=None, status=AnomalyStatus.NEW_LEVEL)
    found = incident([lasting, raised("output_tokens_per_second", LARGE, onset=5)])
    assert (found.status, found.end, found.resolved) == (AnomalyStatus.NEW_LEVEL, None, None)
    noon_us = 1_800_000_000_000_000
    for accepted in (Accepted({incident_id(lasting)[:7]: noon_us}), Accepted(before_us=noon_us)):
        (over,) = with_accepted([found], accepted, noon_us)
        assert (over.status, over.end is not None) == (AnomalyStatus.ACCEPTED, True)
    assert with_accepted([found], Accepted({"0123456": noon_us}), noon_us) == [found]


def test_errors_everywhere_do_not_explain_one_slow_model() -> None:
    errors = [raised("error_rate"), raised("error_rate", LARGE), raised("error_rate", MINI)]
    assert len(grouped([*errors, raised("time_to_first_token_ms", LARGE, onset=2)])) == 2
    assert len(grouped([*errors, raised("time_to_first_token_ms", onset=2)])) == 1


def test_a_change_of_one_group_is_that_groups_and_a_change_of_all_is_everyones() -> None:
    slow = between(9.5, 9.7, 3.0)
    large = service(1, 10, group=LARGE, latency=slow)
    assert whose_latency(large, service(2, 10, group=MINI)) == LARGE
    assert whose_latency(large, service(2, 10, group=MINI, latency=slow)) == ()


def whose_latency(large: list[Series], mini: list[Series]) -> tuple[tuple[str, str | None], ...]:
    """The group of the one incident of latency in two groups and all calls."""
    results = detect(panel([*large, *mini, together(large[0], mini[0])]))
    (one,) = [i for i in incidents(anomalies(results), [results]) if i.lead.metric_name == "latency_ms"]
    return one.group


def together(a: Series, b: Series) -> Series:
    """The level of the calls of two series."""
    assert a.spread is not None
    count = a.count + b.count
    logs = [np.nan_to_num(np.log(one.value)) * one.count for one in (a, b)]
    mean = (logs[0] + logs[1]) / np.maximum(count, 1.0)
    return level(a.metric, a.starts, STEP_US, (count, mean, a.spread))
