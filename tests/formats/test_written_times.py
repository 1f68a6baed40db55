"""Moments in all the ways in which logs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats.timestamps import moments
from llmmon.formats.written_times import date_order, looks_like_time
from llmmon.metrics.columns import MISSING_TIME
from tests.support.log_samples import calls_in, lines

AT = 1_773_479_820_000_000  # 2026-03-14T09:17:00Z
NANOS = [{"seconds": "1773479820", "nanos": 250_000_000}, [1773479820, 250_000_000], {"epochSecond": 1773479820}]


@pytest.mark.parametrize(
    "value",
    [
        # MongoDB, Firestore and protobuf, Log4j, OpenTelemetry, Jackson, .NET
        {"$date": "2026-03-14T09:17:00.000Z"},
        {"$date": 1773479820000},
        {"$date": {"$numberLong": "1773479820000"}},
        {"_seconds": 1773479820, "_nanoseconds": 0},
        {"seconds": "1773479820", "nanos": 0},
        {"epochSecond": 1773479820, "nanoOfSecond": 0},
        {"secs_since_epoch": 1773479820, "nanos_since_epoch": 0},
        {"value": "2026-03-14T09:17:00Z"},
        [1773479820, 0],
        [2026, 3, 14, 9, 17],
        [2026, 3, 14, 9, 17, 0, 0],
        "/Date(1773479820000)/",
        "/Date(1773479820000+0200)/",
        639_090_766_200_000_000,
        # Go, JavaScript, Java, Ruby, C, Python, Postgres
        "2026-03-14 09:17:00 +0000 UTC m=+0.103213",
        "2026-03-14 10:17:00 +0100 CET",
        "2026-03-14 14:47:00 +0530 +0530",
        "Sat Mar 14 2026 10:17:00 GMT+0100 (Central European Standard Time)",
        "3/14/2026, 9:17:00 AM",
        "3/14/2026, 9:17:00\u202fAM",
        "2026-03-14T10:17:00+01:00[Europe/Paris]",
        "2026-03-14T10:17:00[Europe/Paris]",
        "Sat Mar 14 05:17:00 EDT 2026",
        "Mar 14, 2026, 9:17:00 AM",
        "Mar 14, 2026 @ 09:17:00.000",
        "2026-03-14 09:17:00 UTC",
        "Sat Mar 14 09:17:00 2026",
        "2026-03-14 09:17:00,000",
        "2026-03-14 09:17:00+00",
        # servers
        "14/Mar/2026:10:17:00 +0100",
        "[14/Mar/2026:09:17:00 +0000]",
        "[Sat Mar 14 09:17:00.000000 2026]",
        "2026/03/14 09:17:00",
        "Sat, 14 Mar 2026 09:17:00 GMT",
        "Saturday, 14-Mar-26 09:17:00 UTC",
        # people
        "03/14/2026 9:17 AM",
        "14/03/2026 09:17",
        "14.03.2026 09:17:00",
        "March 14, 2026 at 9:17 AM UTC",
        # ISO 8601 in its rarer forms, and numbers as text
        "2026-03-14t09:17:00z",
        "2026-03-14T09:17Z",
        "2026-03-14T09:16:60Z",
        "2026-W11-6T09:17:00Z",
        "2026-073T09:17:00Z",
        "20260314T091700Z",
        "20260314091700",
        "1773479820",
        "1773479820.000",
        "1773479820000",
        "1773479820000000000",
    ],
    ids=str,
)
def test_a_moment_is_read_however_it_is_written(value: Any) -> None:
    assert moments([value]).tolist() == [AT]
    assert moments([value, "2026-03-14T09:17:00Z", value]).tolist() == [AT] * 3
    (call,) = calls_in(lines({"timestamp": value, "model": "m", "prompt_tokens": 3}))
    assert call["timestamp"] == "2026-03-14T09:17:00Z"


@pytest.mark.parametrize("value", NANOS, ids=str)
def test_seconds_and_nanoseconds_are_added(value: Any) -> None:
    assert moments([value]).tolist() == [AT + (250_000 if value is not NANOS[-1] else 0)]


@pytest.mark.parametrize("key", ["asctime", "@t", "@timestamp", "instant", "eventTime", "createdAt"])
def test_keys_of_loggers_that_hold_the_time(key: str) -> None:
    (call,) = calls_in(lines({key: "2026-03-14 09:17:00,000", "model": "m", "prompt_tokens": 3}))
    assert call["timestamp"] == "2026-03-14T09:17:00Z"


@pytest.mark.parametrize(
    "value",
    [
        *("", "hello", "2026-02-30", "Mar 14 09:17:00", "09:17:00", "2026-03-14 09:17:00 IST", "2026-03-14T09:17:61Z"),
        *("31/31/2026", "13:00 PM 03/14/2026", "2026-400T09:17:00Z", "2026-03-14T10:17:00[Europe/Nowhere]", "9" * 30),
        *({}, {"a": 1}, {"seconds": True}, {"$date": None}, {"$date": {"$date": {}}}, [1, 2], [2026, 13, 1], True),
        *(float("nan"), {"seconds": 10**18}, "/Date(x)/"),
    ],
    ids=str,
)
def test_what_is_no_moment_is_missing(value: Any) -> None:
    assert moments([value]).tolist() == [MISSING_TIME]


def test_days_come_first_where_the_log_shows_it() -> None:
    rows = [{"date": f"{day:02}/03/2026 09:17", "model": "m", "prompt_tokens": 3} for day in (4, 5, 14)]
    assert [call["timestamp"][:10] for call in calls_in(lines(*rows))] == ["2026-03-04", "2026-03-05", "2026-03-14"]
    assert [call["timestamp"][:10] for call in calls_in(lines(rows[0]))] == ["2026-04-03"]


@pytest.mark.parametrize(
    ("dates", "order", "sure"),
    [
        (["03/04/2026", "14/04/2026"], "dmy", True),
        (["03/04/2026", "04/14/2026"], "mdy", True),
        (["01/03/2026", "02/03/2026"], "dmy", False),
        (["03/01/2026", "03/02/2026"], "mdy", False),
        (["03/03/2026"], "mdy", True),
        (["2026-03-14", 5, None, "x"], "", True),
    ],
)
def test_the_order_of_dates(dates: list[Any], order: str, sure: bool) -> None:
    assert date_order(dates) == (order, sure)


WHEN = st.datetimes(datetime(1971, 1, 1), datetime(2068, 1, 1)).map(lambda when: when.replace(tzinfo=UTC))  # noqa: DTZ001
LAYOUTS = {
    "rfc2822": format_datetime,
    "ctime": lambda when: when.ctime(),
    "clf": lambda when: when.strftime("%d/%b/%Y:%H:%M:%S %z"),
    "javascript": lambda when: when.strftime("%a %b %d %Y %H:%M:%S GMT%z (Coordinated Universal Time)"),
    "go": lambda when: when.strftime("%Y-%m-%d %H:%M:%S %z UTC"),
    "us": lambda when: when.strftime("%m/%d/%Y %I:%M:%S %p"),
    "slashed": lambda when: when.strftime("%Y/%m/%d %H:%M:%S"),
    "compact": lambda when: when.strftime("%Y%m%dT%H%M%SZ"),
    "seconds": lambda when: str(int(when.timestamp())),
    "object": lambda when: {"$date": when.isoformat()},
}


@given(st.lists(st.tuples(WHEN, st.sampled_from(sorted(LAYOUTS))), min_size=1, max_size=8))
def test_layouts_of_every_kind_may_be_mixed(written: list[tuple[datetime, str]]) -> None:
    seconds = [when.replace(microsecond=0) for when, _ in written]
    values = [LAYOUTS[layout](when) for when, (_, layout) in zip(seconds, written, strict=True)]  # type: ignore[operator]
    expected = [(when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for when in seconds]
    assert moments(values).tolist() == [
        moment if moment >= 10**14 or layout != "seconds" else int(values[row]) * 10**6
        for row, (moment, (_, layout)) in enumerate(zip(expected, written, strict=True))
    ]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("time", "Mar 14 09:17:00", True),
        ("when", "14. März 2026 09:17", True),
        ("date", "14 mars 2026 09:17", True),
        ("startTime", "9:17", True),
        ("created", {"$date": 5}, True),
        ("ts", 1773479820, True),
        ("latency", "0:00:01", False),
        ("duration_ms", 1773479820, False),
        ("timeTaken", 5, False),
        ("model", "gpt-4-2024-05-13", False),
        ("prompt", "call me at 10:20", False),
        ("prompt_tokens", 1773479820, False),
        ("time", None, False),
    ],
)
def test_what_looks_like_a_time(key: str, value: Any, expected: bool) -> None:
    assert looks_like_time(key, value) is expected
