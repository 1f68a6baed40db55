"""QualityMonitor and score_texts: rows without text, thresholds, the two kinds of overall, trends."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.quality.scorers.texts import Texts
from llmmon.quality.scores import QualityMonitor, QualityScore, score_texts

GOOD = "The capital of France is Paris, a city on the river Seine with about two million people."
ASKED = "What is the capital of France, and how many people live there?"


def test_a_row_without_output_is_null_and_raises_nothing() -> None:
    columns = score_texts(Texts(outputs=[None, GOOD], prompts=[ASKED, ASKED]))
    row = columns.row(0)
    assert row == QualityScore(
        overall=None,
        relevance=None,
        coherence=None,
        completeness=None,
        safety=None,
        format_compliance=None,
        signals=dict.fromkeys(row.signals),
    )
    assert columns.row(1).overall == 1.0


def test_an_empty_output_is_scored() -> None:
    row = score_texts(Texts(outputs=[""], prompts=[ASKED])).row(0)
    assert row.flags == ("empty",)
    assert row.overall == 0.0
    assert row.relevance is None


def test_no_rows_give_no_rows() -> None:
    assert len(score_texts(Texts(outputs=[]))) == 0
    assert len(score_texts(Texts(outputs=[None]))) == 1


def test_without_a_prompt_relevance_is_missing() -> None:
    row = score_texts(Texts(outputs=[GOOD])).row(0)
    assert row.relevance is None
    assert row.signals["off_topic"] is None
    assert row.confidence == 0.5


def test_one_certain_defect_dominates_overall() -> None:
    columns = score_texts(Texts(outputs=[GOOD + " no" * 200], prompts=[ASKED]))
    weighted = score_texts(Texts(outputs=[GOOD + " no" * 200], prompts=[ASKED]), overall="weighted")
    assert columns.overall[0] < 0.2
    assert weighted.overall[0] > 0.5


def test_the_weighted_mean_is_the_guides() -> None:
    row = score_texts(Texts(outputs=[GOOD], prompts=[ASKED]), overall="weighted").row(0)
    assert None not in (row.relevance, row.coherence, row.completeness, row.safety)
    expected = 0.3 * row.relevance + 0.2 * (row.coherence + row.completeness + row.safety)  # type: ignore[operator]
    assert row.overall == pytest.approx(expected + 0.1 * (row.format_compliance or 0))


def test_thresholds_move_flags_and_unknown_names_are_refused() -> None:
    texts = Texts(outputs=[GOOD], prompts=[ASKED])
    assert "refusal" in score_texts(texts, thresholds={"refusal": 0.0}).flags[0]
    with pytest.raises(KeyError, match="rudeness"):
        score_texts(texts, thresholds={"rudeness": 0.5})


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts must hold 2 rows"):
        Texts(outputs=["a", "b"], prompts=["c"])


def test_a_very_short_answer_has_low_confidence() -> None:
    columns = score_texts(Texts(outputs=["Paris.", GOOD], prompts=[ASKED, ASKED]))
    assert columns.confidence[0] < 0.2
    assert columns.confidence[1] == 1.0


def test_the_monitor_agrees_with_the_batch_and_keeps_a_bounded_history() -> None:
    monitor = QualityMonitor(keep=3)
    scores = [monitor.score(ASKED, GOOD) for _ in range(5)]
    assert len(monitor.history) == 3
    assert monitor.history[-1] == scores[-1]


def test_the_trend_has_the_guides_keys_over_the_last_window() -> None:
    monitor = QualityMonitor()
    assert monitor.get_trend() == {}
    monitor.score(ASKED, "")
    monitor.score(ASKED, GOOD)
    trend = monitor.get_trend(window=2)
    assert list(trend) == [
        "overall_avg", "overall_min", "overall_max", "relevance_avg", "coherence_avg", "safety_avg",
    ]  # fmt: skip
    assert (trend["overall_min"], trend["overall_max"]) == (0.0, 1.0)
    assert monitor.get_trend(window=1)["overall_avg"] == 1.0


def test_an_answer_to_another_prompt_stands_out_in_its_file() -> None:
    subjects = ["bread", "rivers", "violins", "planets", "taxes", "horses", "glaciers", "chess"]
    prompts = [f"Explain the history of {subject} to a child." for subject in subjects]
    outputs = [
        f"Long ago people first learned about {subject}, and {subject} changed much since." for subject in subjects
    ]
    outputs[2], outputs[5] = outputs[5], outputs[2]
    columns = score_texts(Texts(outputs=outputs, prompts=prompts))
    raised = [i for i, flags in enumerate(columns.flags) if "off_topic" in flags]
    assert raised == [2, 5]
    assert np.nanmin(columns.dimensions["relevance"][[0, 1, 3, 4]]) > 0.5
