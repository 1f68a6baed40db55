"""Lengths of time that say their own unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmmon.formats.durations import duration_us, durations_us
from tests.support.log_samples import calls_in, lines


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("1.2s", 1200),
        ("350ms", 350),
        ("12µs", 0.012),
        ("900ns", 0.0009),
        ("1m2.5s", 62_500),
        ("1h2m3s", 3_723_000),
        ("1.2 seconds", 1200),
        ("2 minutes", 120_000),
        ("1,200 ms", 1200),
        ("PT1.2S", 1200),
        ("PT1M", 60_000),
        ("P1DT1S", 86_401_000),
        ("0:00:01.2", 1200),
        ("1 day, 0:00:01.200000", 86_401_200),
        ("0 days 00:00:01.200000", 1200),
        ("00:00:01.2345678", 1234.5678),
        ("1.02:03:04", 93_784_000),
        ("01:02.5", 62_500),
        ({"secs": 1, "nanos": 200_000_000}, 1200),
        ({"seconds": "1", "nanos": 200_000_000}, 1200),
        ({"Ticks": 12_000_000, "TotalMilliseconds": 1200, "Seconds": 1}, 1200),
        ({"value": 1.2, "unit": "s"}, 1200),
    ],
    ids=str,
)
def test_a_length_of_time_is_read_however_it_is_written(value: Any, milliseconds: float) -> None:
    assert duration_us(value) == pytest.approx(milliseconds * 1000)
    (call,) = calls_in(lines({"model": "m", "latency": value}))
    assert call["latency_ms"] == pytest.approx(milliseconds, abs=0.001)


@pytest.mark.parametrize(
    "value", ["2.1", "2", "", "s", "fast", "1x", "PT", "P", "12:30", {}, {"a": 1}, {"secs": True}, 5]
)
def test_what_says_no_unit_is_no_length_of_time(value: Any) -> None:
    assert duration_us(value) is None


def test_numbers_are_in_the_unit_that_is_given() -> None:
    found = durations_us(["2.1", 2, "1ms", None, True, {"secs": 3}, "x"], "s")
    assert np.array_equal(found, np.array([2.1e6, 2e6, 1e3, np.nan, np.nan, 3e6, np.nan]), equal_nan=True)
