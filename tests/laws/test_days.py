"""The parts of a range add up to the range: days, hours and windows, in any zone, when clocks change too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.ingest.selection import Selection
from llmmon.metrics.aggregation import Measures, aggregate, evaluate
from llmmon.metrics.columns import Columns
from llmmon.metrics.definitions import SUMMARY
from llmmon.metrics.grouping import Grouping, from_wall, to_wall
from llmmon.text.times import iso as iso_us
from llmmon.text.times import moment_us
from tests.support.columns_factory import columns_of, iso

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
# the weeks in which clocks go forward and back, and zones that are off by halves and quarters of an hour
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")
STARTS = ("2026-03-27", "2026-10-23", "2026-03-06", "2026-10-30", "2026-04-03", "2018-11-02")

zones = st.sampled_from(ZONES)
starts = st.sampled_from(STARTS).map(lambda day: moment_us(day, 0, "UTC"))
minutes = st.lists(st.integers(0, 6 * 24 * 60), min_size=1, max_size=40)


def calls_at(start: int, at: list[int]) -> Columns:
    rows: list[dict[str, Any]] = [
        {"model": "m", "timestamp": iso(start + m * 60_000_000), "latency_ms": m, "prompt_tokens": m} for m in at
    ]
    return columns_of(rows)


def midnights(start: int, zone: str, days: int) -> list[int]:
    """The beginnings of days in a zone, as the calendar has them."""
    first = datetime.fromtimestamp(start / 1e6, UTC).astimezone(ZoneInfo(zone)).date()
    dates = [datetime.combine(first + timedelta(days=n), datetime.min.time(), ZoneInfo(zone)) for n in range(days)]
    return [round(date.timestamp() * 1e6) for date in dates]


@given(starts, minutes, zones, st.sampled_from([HOUR_US, 15 * 60_000_000, DAY_US, 7 * DAY_US]))
@settings(max_examples=60)
def test_the_buckets_add_up_to_the_range(start: int, at: list[int], zone: str, every: int) -> None:
    columns = calls_at(start, at)
    sums = ("requests", "latency_ms", "prompt_tokens")
    whole = aggregate(columns, Measures(sums, ()), Grouping())
    buckets = aggregate(columns, Measures(sums, ()), Grouping((), every, zone))
    for name in sums:
        assert whole.sums[name].count.sum() == buckets.sums[name].count.sum()
        assert whole.sums[name].total.sum() == buckets.sums[name].total.sum()


@given(starts, minutes, zones, st.sampled_from([HOUR_US, DAY_US, 7 * DAY_US]))
@settings(max_examples=60)
def test_every_call_lies_in_its_bucket(start: int, at: list[int], zone: str, every: int) -> None:
    grouping = Grouping((), every, zone)
    columns = calls_at(start, at)
    for number, us in enumerate(columns.timestamp.tolist()):
        ((bucket,),) = aggregate(columns.take(np.array([number])), Measures(("requests",), ()), grouping).groups
        assert grouping.bucket_start(bucket) <= us < grouping.bucket_start(bucket + 1)


@given(starts, zones)
def test_days_begin_at_midnight_of_the_zone(start: int, zone: str) -> None:
    grouping = Grouping((), DAY_US, zone)
    days = midnights(start, zone, 8)
    for midnight, after in pairwise(days):
        columns = calls_at(midnight, [0, (after - midnight) // 60_000_000 - 1])
        ((bucket,),) = aggregate(columns, Measures(("requests",), ()), grouping).groups
        assert midnight == grouping.bucket_start(bucket)
        assert after == grouping.bucket_start(bucket + 1)


@given(starts, minutes, zones)
@settings(max_examples=40)
def test_the_sum_of_the_days_is_the_range(start: int, at: list[int], zone: str) -> None:
    columns = calls_at(start, at)
    days = midnights(start, zone, 9)
    counts = [np.count_nonzero(Selection(a, b).inside(columns)) for a, b in pairwise(days)]
    inside = Selection(days[0], days[-1]).inside(columns)
    assert np.count_nonzero(inside) == sum(counts)
    assert columns.size == np.count_nonzero(inside)


@given(starts, minutes, st.integers(0, 9 * 24 * 60))
def test_two_neighbouring_ranges_share_no_call_and_lose_none(start: int, at: list[int], cut: int) -> None:
    columns, middle = calls_at(start, at), start + cut * 60_000_000
    before, after = Selection(None, middle).inside(columns), Selection(middle, None).inside(columns)
    assert columns.size == np.count_nonzero(before) + np.count_nonzero(after)
    assert not (before & after).any()


@given(starts, minutes)
def test_the_groups_add_up_to_the_totals(start: int, at: list[int]) -> None:
    aggregates = aggregate(calls_at(start, at), Measures.of(SUMMARY), Grouping((), HOUR_US))
    found = evaluate(aggregates, SUMMARY, 60.0)
    for name in ("request_count", "prompt_tokens"):
        assert found[name][-1] == found[name][:-1].sum()
    assert found["latency_max_ms"][-1] == found["latency_max_ms"][:-1].max()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", STARTS)
def test_wall_clocks_are_those_of_the_calendar(start: str, zone: str) -> None:
    moments = np.arange(moment_us(start, 0, "UTC"), moment_us(start, 0, "UTC") + 6 * DAY_US, HOUR_US // 4)
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock
    expected = [
        round((datetime.fromtimestamp(us / 1e6, ZoneInfo(zone)).replace(tzinfo=None) - epoch).total_seconds() * 1e6)
        for us in moments.tolist()
    ]
    assert expected == to_wall(moments, zone).tolist()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", STARTS)
def test_a_wall_clock_leads_back_to_its_moment_or_the_first_of_two(start: str, zone: str) -> None:
    moments = np.arange(moment_us(start, 0, "UTC"), moment_us(start, 0, "UTC") + 6 * DAY_US, HOUR_US // 4)
    back = from_wall(to_wall(moments, zone), zone)
    assert (back <= moments).all()
    assert (to_wall(moments, zone) == to_wall(back, zone)).all()


@given(starts, zones)
def test_today_and_yesterday_are_days_of_the_zone(start: int, zone: str) -> None:
    now = start + 30 * HOUR_US
    today, yesterday = moment_us("today", now, zone), moment_us("yesterday", now, zone)
    calendar = [day for day in midnights(start - 2 * DAY_US, zone, 9) if day <= now]
    assert calendar[-2:] == [yesterday, today]


@given(st.integers(0, 2**51))
def test_a_moment_written_out_is_read_back(us: int) -> None:
    assert us == moment_us(iso_us(us) or "", 0, "UTC")
