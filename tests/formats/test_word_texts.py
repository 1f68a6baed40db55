"""Texts read eight characters at a time are what they are read as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.formats.tabular.scan import NUMBER_WORDS, KnownTexts, Words, decimals
from llmmon.metrics.columns import IntArray


def words_of(texts: list[str], count: int) -> tuple[Words, IntArray]:
    """The first words of texts, each followed by other text, as they stand in a log; shapes (n, count), (n,)."""
    padded = [(text + ', "k": 7.5e9 nulls')[: 8 * count].ljust(8 * count, ".").encode() for text in texts]
    return np.frombuffer(b"".join(padded), np.uint64).reshape(-1, count), np.array([len(text) for text in texts])


def read(texts: list[str], *, whole_only: bool) -> tuple[list[float], list[bool]]:
    words, lengths = words_of(texts, NUMBER_WORDS)
    found, plain = decimals(np.ascontiguousarray(words.T), lengths.view(np.uint64), whole_only=whole_only)
    return found.tolist(), plain.tolist()


digits = st.text("0123456789", min_size=1, max_size=9)
numbers = st.one_of(
    st.integers(0, 10**9).map(str),
    st.floats(0, 1e8).map(repr),
    st.tuples(digits, digits).map(".".join),
    st.text("0123456789.-+e ", max_size=17),
)


@given(st.lists(numbers, min_size=1, max_size=20), st.booleans())
@settings(max_examples=300)
def test_a_plain_number_is_the_float_of_its_text(texts: list[str], whole_only: bool) -> None:
    for text, value, is_plain in zip(texts, *read(texts, whole_only=whole_only), strict=True):
        if is_plain:
            assert float(text) == value
            assert text == "0" or text.startswith("0.") or text[0] in "123456789"


@pytest.mark.parametrize("text", ["0", "7", "1234567", "0.5", "1234567.12345678", "999.25", "0.00000001"])
def test_usual_numbers_are_plain(text: str) -> None:
    assert read([text, "5"], whole_only=False) == ([float(text), 5.0], [True, True])


@pytest.mark.parametrize(
    "text", ["", "-1", "007", "00.5", "1.", ".5", "1e5", "123456789", "12345678.5", "1.123456789", "null"]
)
def test_anything_else_is_not(text: str) -> None:
    assert read([text, "5"], whole_only=False)[1] == [False, True]
    assert read([text, "5"], whole_only=True)[1] == [False, True]


def known(words: int = 4) -> KnownTexts:
    return KnownTexts(lambda values: np.array([len(value) for value in values], np.int32), np.int32, words)


def learn(texts: KnownTexts, values: list[str], words: int = 4) -> Any:
    return texts.learn(*words_of(values, words), values, np.ones(len(values), np.bool_))


@given(st.lists(st.text("abc", min_size=1, max_size=40), min_size=1, max_size=60))
def test_a_text_that_was_learnt_is_known_and_no_other(values: list[str]) -> None:
    texts = known()
    half = values[: len(values) // 2 + 1]
    assert learn(texts, half).tolist() == [len(value) for value in half]
    meanings, found = texts.look_up(*words_of(values, 4))
    for value, meaning, is_known in zip(values, meanings.tolist(), found.tolist(), strict=True):
        assert not is_known or (value in half and meaning == len(value))
        assert is_known or value not in half or len(value) > 32


def test_what_was_not_fine_is_not_known_afterwards() -> None:
    texts = known()
    texts.learn(*words_of(["good", "bad"], 4), ["good", "bad"], np.array([True, False]))
    assert texts.look_up(*words_of(["good", "bad"], 4))[1].tolist() == [True, False]


def test_a_column_of_ever_new_texts_is_soon_no_longer_looked_up() -> None:
    texts = known()
    learn(texts, [str(number) for number in range(5000)])
    assert not texts.look_up(*words_of(["1", "2"], 4))[1].any()
