"""What the log itself says about an answer's end is believed."""

from __future__ import annotations

import pytest

from llmmon.quality.scorers.corpus import Corpus
from llmmon.quality.scorers.texts import Texts
from llmmon.quality.scores import score_texts


def flags(output: str, reason: str | None = None, thought: float | None = None) -> tuple[str, ...]:
    texts = Texts(outputs=[output], finish_reasons=[reason], reasoning_tokens=[thought])
    return score_texts(texts, Corpus.empty()).flags[0]


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens"])
def test_a_cap_is_a_cut_even_after_a_full_stop(reason: str) -> None:
    assert "truncated" in flags("It ends well.", reason)


@pytest.mark.parametrize("reason", ["stop", "end_turn", "STOP", "tool_calls"])
def test_a_natural_end_is_none_even_in_the_middle_of_a_sentence(reason: str) -> None:
    assert "truncated" not in flags("It ends in the middle of the", reason)


def test_a_tool_call_needs_no_text() -> None:
    assert flags("", "tool_calls") == ()
    assert flags("", "stop") == ("empty",)


def test_nothing_after_reasoning_is_said_so() -> None:
    texts = Texts(outputs=[""], finish_reasons=["length"], reasoning_tokens=[512.0])
    columns = score_texts(texts, Corpus.empty())
    assert columns.flags[0] == ("truncated", "empty")
    assert columns.details[0]["empty"] == "after reasoning"


def test_a_content_filter_is_a_refusal() -> None:
    assert "refusal" in flags("The", "content_filter")


def test_a_round_number_of_tokens_is_a_sign_of_a_cap() -> None:
    text = "Mix the flour and the water well.\n\nThen leave the dough in a warm place\n\nFold it over itself twice"
    tokens = [256.0, 257.0]
    quality = score_texts(Texts(outputs=[text] * 2, completion_tokens=tokens))
    assert quality.signals["truncated"][0] > quality.signals["truncated"][1]
    ended = score_texts(Texts(outputs=["It was done."], completion_tokens=[256.0]))
    assert ended.flags == [()]
