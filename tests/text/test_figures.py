"""Numbers as people read them."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from llmmon.text.figures import count, key_text, milliseconds, percent, plain, rate, sparkline


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "-"), (0, "0 ms"), (0.25, "0.25 ms"), (1, "1 ms"), (912.4, "912 ms"), (1000, "1.00 s")),
        *((9_999, "10.00 s"), (12_345, "12.3 s"), (60_000, "1.0 min"), (5_400_000, "1.5 h")),
    ],
)
def test_lengths_of_time(value: float | None, text: str) -> None:
    assert text == milliseconds(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "-"), (0, "0"), (1234, "1,234"), (9_999_999, "9,999,999"), (12_345_678, "12.3 M")),
        *((2.5e9, "2.5 G"), (3e12, "3.0 T")),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert text == count(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0.0 %"), (0.0004, "<0.1 %"), (0.001, "0.1 %"), (0.123, "12.3 %"), (1, "100.0 %")],
)
def test_shares(value: float | None, text: str) -> None:
    assert text == percent(value)


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.017, "0.02"), (1.25, "1.2"), (12345.6, "12,346")])
def test_rates(value: float | None, text: str) -> None:
    assert text == rate(value)


def test_a_sparkline_goes_from_nothing_to_the_most() -> None:
    assert sparkline([0, 5, 10]) == "▁▄█"


def test_a_gap_is_a_space_and_nothing_but_zeros_is_low() -> None:
    assert sparkline([0, None, 3]) == "▁ █"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


@pytest.mark.parametrize("size", [1, 47, 48, 49, 100, 1001])
def test_a_long_series_fits_into_its_width(size: int) -> None:
    assert min(size, 48) == len(sparkline(list(range(size)), 48))


def test_a_group_is_one_text() -> None:
    assert key_text({"model": "a", "user": None}) == "a / (none)"
    assert key_text({}) == "all"


def test_no_character_that_moves_or_hides_text_is_shown_as_it_is() -> None:
    bidirectional = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI", "ALM"}
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        kind, written = unicodedata.category(sign), plain(f"a{sign}b")
        if kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in bidirectional:
            assert sign not in written or sign == " ", hex(number)
        elif kind[0] in "LN":
            assert written == f"a{sign}b", hex(number)
    assert plain("\u061c\u00ad\U000e0041") == "\\u061c\\xad\\ue0041"
