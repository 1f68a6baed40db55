"""Numbers as people read them."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.text.figures import (
    aligned,
    brief_count,
    clipped,
    count,
    from_to,
    key_text,
    milliseconds,
    money_text,
    percent,
    plain,
    rate,
    shortened,
    sparkline,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "-"), (0, "0 ms"), (0.25, "0.25 ms"), (1, "1 ms"), (912.4, "912 ms"), (1000, "1.00 s")),
        *((9_999, "10.0 s"), (999.7, "1.00 s"), (12_345, "12.3 s"), (60_000, "1.0 min"), (5_400_000, "1.5 h")),
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


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        *((None, "-"), (0, "$0.00"), (12.345, "$12.35"), (0.4968, "$0.50"), (0.01, "$0.01"), (0.0099, "$0.0099")),
        *((0.00996, "$0.01"), (0.003701, "$0.0037"), (0.000223, "$0.00022"), (-0.5, "-$0.50"), (1e-12, "$1.0e-12")),
        *((1234567.891, "$1,234,567.89"), (float("nan"), "-")),
    ],
)
def test_money_has_cents_from_a_cent_on_and_two_digits_below(usd: float | None, text: str) -> None:
    assert money_text(usd) == text


@pytest.mark.parametrize(
    ("write", "values", "texts"),
    [
        (count, (10_712_345, 9_848_676), ["10.7 M", "9.8 M"]),
        (count, (10_712_345, 1_234), ["10,712,345", "1,234"]),
        (count, (10_712_345, 0), ["10.7 M", "0"]),
        (count, (1_234, 5), ["1,234", "5"]),
        (milliseconds, (912, 13_400), ["0.91 s", "13.40 s"]),
        (milliseconds, (1_830, 12_800), ["1.8 s", "12.8 s"]),
        (milliseconds, (950, 950), ["950 ms", "950 ms"]),
        (milliseconds, (5, 95_000), ["0.01 s", "95.00 s"]),
        (milliseconds, (90_000, 600_000), ["1.5 min", "10.0 min"]),
        (milliseconds, (1, 10_800_000), ["1 ms", "3.0 h"]),
        (milliseconds, (2_568_000, 5_832_000), ["42.8 min", "97.2 min"]),
        (money_text, (0.4968, 10.58), ["$0.50", "$10.58"]),
        (money_text, (0.0001, 10.58), ["<$0.01", "$10.58"]),
        (money_text, (0.000607, 0.00675, 0.0), ["$0.00061", "$0.00675", "$0.00"]),
        (money_text, (0.0037, 0.5), ["$0.0037", "$0.50"]),
        (rate, (111.2, 52.5, 142.0), ["111", "52", "142"]),
        (percent, (0.5, 0.001), ["50.0 %", "0.1 %"]),
    ],
)
def test_a_column_has_one_unit_and_one_number_of_decimals(
    write: Callable[[float | None], str], values: tuple[float, ...], texts: list[str]
) -> None:
    assert aligned([write(value) for value in values]) == texts


def test_what_is_no_figure_stays_and_partial_costs_say_so() -> None:
    assert aligned([money_text(1.5, complete=False), "-", money_text(0.25)]) == ["~$1.50", "-", "$0.25"]
    assert aligned(["a", "b"]) == ["a", "b"]
    assert aligned([count(12_000_000), milliseconds(3)]) == ["12.0 M", "3 ms"]


@given(st.lists(st.floats(0, 1e9), min_size=1), st.sampled_from([count, milliseconds, money_text, rate]))
def test_no_figure_of_a_column_becomes_nothing(values: list[float], write: Callable[[float | None], str]) -> None:
    for value, text in zip(values, aligned([write(value) for value in values]), strict=True):
        digits = re.sub(r"e[-+]\d+$", "", text)
        if value >= 0.5:
            assert re.search(r"[1-9]", digits), (value, text)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (12, "12"), (999_499, "999,499"), (5_290_900, "5.29 M"), (50.7e6, "50.7 M")]
)
def test_brief_counts(value: float | None, text: str) -> None:
    assert brief_count(value) == text


def test_a_change_has_its_unit_once() -> None:
    assert from_to("87.0 tok/s", "84.6 tok/s") == "87.0 → 84.6 tok/s"
    assert from_to("912 ms", "1.20 s") == "912 ms → 1.20 s"
    assert from_to("5", "6") == "5 → 6"


NAME = "bedrock:arn:aws:bedrock:eu-central-1:123456789012:inference-profile/claude-sonnet-4-5-v1:0"


@pytest.mark.parametrize("width", [3, 10, 24, 40, 200])
def test_a_name_is_cut_in_its_middle(width: int) -> None:
    text = shortened(NAME, width)
    assert len(text) == min(width, len(NAME))
    if width == 40:
        assert text == "bedrock:arn:aws:…/claude-sonnet-4-5-v1:0"


@given(st.text(), st.integers(1, 60))
def test_what_is_cut_fits(text: str, width: int) -> None:
    assert len(shortened(text, width)) <= width
    assert len(clipped(text, width)) <= width


def test_no_character_that_moves_or_hides_text_is_shown_as_it_is() -> None:
    blank = "\u115f\u1160\u3164\uffa0"  # fillers of Hangul: letters without a shape
    bidirectional = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI", "ALM"}
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        kind, written = unicodedata.category(sign), plain(f"a{sign}b")
        hidden = sign in blank or unicodedata.bidirectional(sign) in bidirectional
        if kind in ("Cc", "Cs", "Zl", "Zp") or hidden:
            assert sign not in written or sign == " ", hex(number)
        elif kind[0] in "LN":
            assert written == f"a{sign}b", hex(number)
    assert plain("\u061c\u00ad\U000e0041") == "\\u061c\\xad\\ue0041"
