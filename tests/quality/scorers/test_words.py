"""The one tokeniser."""

from __future__ import annotations

from llmmon.quality.scorers.texts import TERM_COUNT, term_id, words


def test_words_are_lower_case_without_punctuation() -> None:
    assert words("Don’t PANIC — it's “fine”, isn't it?") == [b"dont", b"panic", b"its", b"fine", b"isnt", b"it"]


def test_every_sign_of_a_script_without_spaces_is_a_word() -> None:
    assert words("漢字です") == [sign.encode() for sign in "漢字です"]


def test_forms_of_a_word_are_one_term_and_function_words_are_none() -> None:
    assert term_id(b"running") == term_id(b"runs")
    assert term_id(b"the") == 0
    assert 0 < term_id(b"sourdough") < TERM_COUNT
