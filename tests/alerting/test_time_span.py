"""Which minutes a replay goes through: those that were asked for, and no decades because of one wrong timestamp."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.alerting.history import Stream, StreamsFold
from llmmon.alerting.time_span import Bulk, bulk_of, replayed_minutes, within
from llmmon.ingest.report import SourceReport
from llmmon.ingest.time_range import Ago, Midnight, TimeRequest
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.columns import Columns
from llmmon.text.times import DAY_US, MINUTE_US

ERRORS = Stream("requests")
BEGIN = 29_000_000  # a minute of 2025
YEARS = 20 * 365 * 1440


def histories(minutes: list[int]) -> dict[Stream, Aggregates]:
    fold = StreamsFold([ERRORS])
    fold.add(Columns(len(minutes), np.array(minutes, np.int64) * MINUTE_US, {}, {}), [])
    return {ERRORS: fold.result()[0]}


def source(minutes: list[int]) -> SourceReport:
    return SourceReport(start_us=min(minutes) * MINUTE_US, end_us=max(minutes) * MINUTE_US)


DAY = list(range(BEGIN, BEGIN + 1440))


@pytest.mark.parametrize(
    ("stray", "left"),
    [([], 0), ([BEGIN + YEARS], 1), ([BEGIN - YEARS], 1), ([BEGIN - YEARS, 60, BEGIN + YEARS], 3)],
)
def test_stray_timestamps_do_not_lengthen_a_replay(stray: list[int], left: int) -> None:
    said: list[str] = []
    assert Bulk(BEGIN, BEGIN + 1439, left) == bulk_of(histories(DAY + stray))
    ends = replayed_minutes(source(DAY + stray), histories(DAY + stray), said.append)
    assert (BEGIN + 1, BEGIN + 1440) == (ends[0], ends[-1])
    assert bool(stray) == any("is a timestamp wrong" in text for text in said)


def test_a_log_of_two_times_far_apart_is_replayed_whole() -> None:
    later = [minute + 60 * 1440 for minute in DAY]
    assert Bulk(BEGIN, later[-1]) == bulk_of(histories(DAY + later))


def test_nothing_is_known_of_no_calls() -> None:
    assert bulk_of({}) is None
    assert 0 == len(replayed_minutes(SourceReport(), {}, print))


def test_only_the_time_that_was_asked_for_is_replayed() -> None:
    asked = ((BEGIN + 100) * MINUTE_US, (BEGIN + 200) * MINUTE_US)
    ends = replayed_minutes(source(DAY), histories(DAY), print, asked)
    assert (BEGIN + 101, BEGIN + 200) == (ends[0], ends[-1])
    open_end = replayed_minutes(source(DAY), histories(DAY), print, (asked[0], None))
    assert (BEGIN + 101, BEGIN + 1440) == (open_end[0], open_end[-1])


def test_a_range_without_calls_has_no_minutes() -> None:
    asked = ((BEGIN + 5000) * MINUTE_US, (BEGIN + 5100) * MINUTE_US)
    assert 0 == len(replayed_minutes(source(DAY), histories(DAY), print, asked))


def test_histories_keep_only_what_is_looked_back_on() -> None:
    kept = within(histories(DAY), np.array([BEGIN + 700, BEGIN + 701]), 10)[ERRORS]
    assert (BEGIN + 689, BEGIN + 700) == (kept.groups[0][0], kept.groups[-1][0])


@pytest.mark.parametrize(
    ("asked", "longer"),
    [
        (TimeRequest(), TimeRequest()),
        (TimeRequest(window_us=DAY_US), TimeRequest(window_us=3 * DAY_US)),
        (TimeRequest(since=5 * DAY_US), TimeRequest(since=3 * DAY_US)),
        (TimeRequest(since=Ago(DAY_US), until=Ago(0)), TimeRequest(since=Ago(3 * DAY_US), until=Ago(0))),
        (TimeRequest(since=Midnight(1, "UTC")), TimeRequest(since=Midnight(4, "UTC"))),
    ],
)
def test_a_range_can_begin_earlier(asked: TimeRequest, longer: TimeRequest) -> None:
    assert longer == asked.begun_earlier(2 * DAY_US)
