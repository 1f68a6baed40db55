"""Stamps: many of one layout at once are read as each alone; layouts may be mixed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats.timestamps import joined_moments, local_moments, moments
from llmmon.metrics.columns import MISSING_TIME

WIDTHS = [f"%Y-%m-%d{t}%H:%M:%S{fraction}{zone}" for t in "T " for fraction in ("", ".%f") for zone in ("", "Z", "%z")]
WHEN = st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1))  # noqa: DTZ001  # the zone is added
OFFSET = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.lists(WHEN, min_size=1, max_size=8), st.sampled_from(WIDTHS), OFFSET)
def test_stamps_of_one_layout_are_read_as_the_moments_they_name(
    whens: list[datetime], layout: str, offset: timezone
) -> None:
    texts = [when.replace(tzinfo=offset).strftime(layout) for when in whens]
    zone = offset if "%z" in layout else UTC
    cut = whens if "%f" in layout else [when.replace(microsecond=0) for when in whens]
    expected = [
        (when.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for when in cut
    ]
    assert moments(texts).tolist() == expected
    assert local_moments("".join(texts).encode(), len(texts[0])) is not None


SIGNS = st.sampled_from("0123456789:-T .Z+xé\x00/")


@given(st.lists(WHEN, min_size=2, max_size=5), st.sampled_from(WIDTHS), st.data())
def test_a_damaged_stamp_among_others_is_read_as_it_is_alone(
    whens: list[datetime], layout: str, data: st.DataObject
) -> None:
    texts = [when.replace(tzinfo=UTC).strftime(layout) for when in whens]
    row, at = data.draw(st.integers(0, len(texts) - 1)), data.draw(st.integers(0, len(texts[0]) - 1))
    texts[row] = texts[row][:at] + data.draw(SIGNS) + texts[row][at + 1 :]
    alone = [int(moments([text])[0]) for text in texts]
    assert moments(texts).tolist() == alone
    if texts[row].isascii():
        assert joined_moments("".join(texts).encode(), len(texts[0]), "", "UTC").tolist() == alone


@pytest.mark.parametrize("digits", range(1, 10))
def test_a_fraction_has_one_to_nine_digits(digits: int) -> None:
    (found,) = moments([f"1970-01-01T00:00:01.{'123456789'[:digits]}"]).tolist()
    assert found == 1_000_000 + int("123456"[:digits].ljust(6, "0"))


def test_layouts_may_be_mixed() -> None:
    texts = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:01.5Z", None, 3, "", "1970-01-01T00:00:02Z", "x"]
    expected = [1_000_000, 1_500_000, MISSING_TIME, 3_000_000, MISSING_TIME, 2_000_000, MISSING_TIME]
    assert moments(texts).tolist() == expected


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00", "2026-01-01T24:00:00", "2026-01-01T00:60:00", "2026-01-01T00:00:61"]
)
def test_times_that_cannot_be_are_missing(text: str) -> None:
    assert moments([text, "2026-01-01T00:00:00"]).tolist() == [MISSING_TIME, 1_767_225_600_000_000]
