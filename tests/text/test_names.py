"""Looking names up, with a suggestion for those that are not there."""

from __future__ import annotations

import pytest

from llmmon.errors import UsageError
from llmmon.metrics.definitions import (
    ALIASES,
    METRICS,
    SESSION_METRICS,
    STATISTICS,
    SUMMARY,
    metric_called,
    needed_fields,
    statistic_called,
)
from llmmon.metrics.record import FIELDS
from llmmon.text.names import lookup, nearest, unknown


def test_the_nearest_name_is_suggested() -> None:
    assert nearest("latncy_ms", ["latency_ms", "cost_usd"]) == "latency_ms"
    assert nearest("model", ["Model"]) == "Model"
    assert nearest("zzz", ["latency_ms"]) is None


def test_where_nothing_is_near_all_names_are_listed() -> None:
    assert unknown("colour", "qqq", ["red", "blue"]) == "unknown colour 'qqq', known: blue, red"


def test_a_name_that_is_there_is_found() -> None:
    assert lookup({"one": 1}, "one", "number") == 1
    with pytest.raises(UsageError, match="unknown number 'onee', did you mean 'one'"):
        lookup({"one": 1}, "onee", "number")


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_name_of_the_guide_leads_to_a_statistic(alias: str) -> None:
    assert statistic_called(alias).name in STATISTICS


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_has_a_most_telling_statistic(name: str) -> None:
    assert name == statistic_called(name).metric.name
    assert name == metric_called(name).name


@pytest.mark.parametrize("name", sorted(STATISTICS))
def test_every_statistic_is_found_by_its_own_name(name: str) -> None:
    assert name == statistic_called(name).name
    assert needed_fields([name]) <= FIELDS.keys() | SESSION_METRICS


@pytest.mark.parametrize(
    ("metric", "statistic"),
    [
        *(("latency_ms", "latency_p95_ms"), ("cost_usd", "cost_total_usd"), ("error", "error_rate")),
        *(("total_tokens", "tokens_total"), ("quality_score", "quality_p95"), ("requests", "requests_sum")),
    ],
)
def test_a_metric_alone_means_its_public_statistic(metric: str, statistic: str) -> None:
    assert statistic == statistic_called(metric).name


def test_the_summary_names_are_statistics() -> None:
    assert set(SUMMARY) <= STATISTICS.keys()


def test_an_unknown_metric_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean"):
        statistic_called("latncy_p95_m")
    with pytest.raises(UsageError, match="did you mean"):
        metric_called("latncy_ms")


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_every_metric_says_what_it_is(metric: object) -> None:
    assert metric.help  # type: ignore[attr-defined]
    assert metric.needs  # type: ignore[attr-defined]
