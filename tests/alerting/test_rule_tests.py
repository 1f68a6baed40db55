"""The compact notation of values, and the calls that series stand for."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.alerting.rule_tests import GivenSeries, calls_of, expanded, measured
from llmmon.errors import UsageError
from llmmon.metrics.definitions import METRICS
from llmmon.text.times import MINUTE_US


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", ()),
        ("500", (500,)),
        ("1 2.5 -3 1e3", (1, 2.5, -3, 1000)),
        ("0+10x5", (0, 10, 20, 30, 40, 50)),
        ("10-2x3", (10, 8, 6, 4)),
        ("-2+4x2", (-2, 2, 6)),
        ("1x4", (1, 1, 1, 1, 1)),
        ("_x3", (None, None, None)),
        ("0+10x1 _x2 500", (0, 10, None, None, 500)),
        ("1 _ 3", (1, None, 3)),
    ],
)
def test_the_notation_is_that_of_promtool(text: str, values: tuple[float | None, ...]) -> None:
    assert values == expanded(text)


@pytest.mark.parametrize(
    "text", ["a", "1x", "x5", "1+x5", "1x5x5", "__", "_x", "1x99999999", "1x999999999999999999999"]
)
def test_what_is_no_value_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a value|too many|are too many"):
        expanded(text)


def total(series: GivenSeries, metric: str) -> list[float]:
    """The total of a metric in each minute, in public units."""
    columns = calls_of([series], 0)
    rows = METRICS[metric].rows(columns)
    assert rows is not None
    return [
        float(np.nansum(rows[columns.timestamp // MINUTE_US == minute])) / METRICS[metric].scale
        for minute in range(len(series.values))
    ]


@pytest.mark.parametrize(
    ("name", "metric", "expected"),
    [
        ("latency_ms", "latency_ms", [10, 0, 20]),
        ("cost_usd", "cost_usd", [10, 0, 20]),
        ("cost_total_usd", "cost_usd", [1, 0, 2]),
        ("prompt_tokens", "prompt_tokens", [10, 0, 20]),
        ("error_count", "error", [1, 0, 2]),
        ("requests", "requests", [1, 0, 2]),
    ],
)
def test_a_value_is_of_each_call_or_of_the_minute(name: str, metric: str, expected: list[float]) -> None:
    assert expected == pytest.approx(total(GivenSeries(name, (1, None, 2), calls=10), metric))


def test_a_rate_is_a_share_of_the_calls() -> None:
    assert total(GivenSeries("error_rate", (0.1, 0.5), calls=20), "error") == [2, 10]
    assert total(GivenSeries("truncated", (0.25, 1), calls=4), "truncated") == [1, 4]


def test_series_of_one_group_are_of_the_same_calls() -> None:
    group = {"model": "a"}
    series = [GivenSeries("latency_ms", (1, 2), group, 5), GivenSeries("error_rate", (1, 0), group, 5)]
    columns = calls_of([*series, GivenSeries("latency_ms", (3,), {"model": "b"}, 7)], 0)
    assert (17, ["a"] * 10 + ["b"] * 7) == (columns.size, columns.name("model").texts())


@pytest.mark.parametrize("name", ["latncy_ms", "unpriced", "output_tokens_per_second", "latency_count_ms"])
def test_what_no_calls_can_be_made_of_is_said(name: str) -> None:
    with pytest.raises(UsageError):
        measured(name)
