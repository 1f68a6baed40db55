"""Similarity to a reference answer."""

from __future__ import annotations

from llmmon.quality.scores import QualityMonitor


def similarity(output: str, expected: str | None) -> float | None:
    return QualityMonitor().score("Capital?", output, expected=expected).signals["expected_similarity"]


def test_equal_answers_are_alike_whatever_their_case_and_signs() -> None:
    assert similarity("Paris!", "paris") == 1.0


def test_different_answers_share_nothing() -> None:
    assert similarity("Rome", "Paris") == 0.0


def test_a_short_reference_inside_a_sentence_counts() -> None:
    assert similarity("The capital is Paris.", "Paris") == 0.8


def test_the_similarity_is_unknown_without_a_reference() -> None:
    assert similarity("Paris.", None) is None
