"""Durations and moments as options and configuration write them."""

from __future__ import annotations

import pytest

from llmmon.errors import UsageError
from llmmon.text.times import age_text, at, duration_text, duration_us, iso, local, moment_us, time_point, zone

S = 1_000_000
NOW = 1_772_463_600 * S  # 2026-03-02T15:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90s", 90), ("5m", 300), ("5min", 300), ("2h", 7200), ("1h30m", 5400), ("7d", 604800), ("1w", 604800)),
        *(("250ms", 0.25), ("0.5h", 1800), (" 2H ", 7200)),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds * S == duration_us(text)


@pytest.mark.parametrize("text", ["", "soon", "5", "5 minutes", "-5m", "m5", "5mm5", "1e5s", "5y", "99999999d"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        duration_us(text)


def test_a_bare_number_has_the_unit_that_the_option_says() -> None:
    assert duration_us("60", plain="m") == 3600 * S


@pytest.mark.parametrize("text", ["90s", "5m", "1h30m", "7d", "250ms", "0s", "1d1h1m1s"])
def test_a_duration_written_out_is_read_back(text: str) -> None:
    assert duration_us(text) == duration_us(duration_text(duration_us(text)))


@pytest.mark.parametrize(
    ("text", "tz", "expected"),
    [
        ("2026-03-02", "UTC", "2026-03-02T00:00:00Z"),
        ("2026-03-02T08:00", "Europe/Berlin", "2026-03-02T07:00:00Z"),
        ("2026-03-02T08:00:00+05:45", "UTC", "2026-03-02T02:15:00Z"),
        ("2026-03-02 08:00:00Z", "Asia/Tokyo", "2026-03-02T08:00:00Z"),
        ("2h", "UTC", "2026-03-02T13:00:00Z"),
        ("3d", "UTC", "2026-02-27T15:00:00Z"),
        ("now", "UTC", "2026-03-02T15:00:00Z"),
        ("today", "UTC", "2026-03-02T00:00:00Z"),
        ("yesterday", "UTC", "2026-03-01T00:00:00Z"),
        ("today", "Asia/Tokyo", "2026-03-02T15:00:00Z"),
        ("Yesterday", "America/New_York", "2026-03-01T05:00:00Z"),
    ],
)
def test_a_moment_is_read(text: str, tz: str, expected: str) -> None:
    assert expected == iso(moment_us(text, NOW, tz))


@pytest.mark.parametrize("text", ["", "later", "2026-13-01", "0001-01-01", "9999-12-31", "2026-03-02T25:00", "12:00"])
def test_what_is_no_moment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        moment_us(text, NOW, "UTC")


@pytest.mark.parametrize("text", ["2h", "3d", "today", "yesterday", "now", "Today"])
def test_some_moments_depend_on_what_now_is(text: str) -> None:
    assert at(time_point(text, "UTC"), NOW) == at(time_point(text, "UTC"), NOW + 86_400_000_000) - 86_400_000_000


def test_a_date_does_not_depend_on_what_now_is() -> None:
    assert isinstance(time_point("2026-03-02", "UTC"), int)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/localtime", "UTC\0"])
def test_what_is_no_zone_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        zone(name)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(60, "1 min"), (5340, "89 min"), (3 * 3600, "3 h"), (50 * 3600, "2 days"), (9**9, "4,484 days")],
)
def test_an_age_is_written_for_people(seconds: int, expected: str) -> None:
    assert expected == age_text(seconds * S)


def test_microseconds_are_written_only_where_there_are_any() -> None:
    assert iso(NOW) == "2026-03-02T15:00:00Z"
    assert iso(NOW + 1) == "2026-03-02T15:00:00.000001Z"
    assert iso(None) is None


def test_times_are_shown_in_their_zone() -> None:
    assert local(NOW, "Asia/Tokyo") == "2026-03-03 00:00:00"
    assert local(NOW, "UTC", seconds=False) == "2026-03-02 15:00"
