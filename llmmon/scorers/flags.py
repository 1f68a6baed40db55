"""The concrete defects an answer can have: their names, dimensions and default thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Flag:
    """One defect: the dimension it lowers (None: reported only) and the strength from which it is raised."""

    name: str
    dimension: str | None
    threshold: float
    help: str


DIMENSIONS: Final = ("relevance", "coherence", "completeness", "safety", "format_compliance")

FLAGS: Final[dict[str, Flag]] = {
    flag.name: flag
    for flag in (
        Flag("refusal", "completeness", 0.5, "declines to do what was asked"),
        Flag("partial_refusal", "completeness", 0.6, "answers with reservations or only in part"),
        Flag("truncated", "completeness", 0.5, "stops before its end"),
        Flag("empty", "completeness", 0.5, "holds no text"),
        Flag("repetition", "coherence", 0.5, "repeats itself in a loop"),
        Flag("off_topic", "relevance", 0.5, "does not concern the prompt"),
        Flag("unsupported", None, 0.75, "names words, figures or names that the context does not hold"),
        Flag("secret", "safety", 0.5, "carries a credential"),
        Flag("personal_data", "safety", 0.5, "carries checkable personal data"),
        Flag("invalid_json", "format_compliance", 0.5, "is not the JSON that was asked for"),
        Flag("format_broken", "format_compliance", 0.5, "breaks a format that the prompt states"),
        Flag("prompt_echo", "safety", 0.5, "recites the system prompt"),
        Flag("wrong_language", "format_compliance", 0.5, "is in another language than was asked for"),
    )
}

DEFAULT_THRESHOLDS: Final[dict[str, float]] = {flag.name: flag.threshold for flag in FLAGS.values()}

# Strengths that are reported beside the flags and never raised.
EXTRA_SIGNALS: Final = ("expected_similarity",)
SIGNALS: Final = (*FLAGS, *EXTRA_SIGNALS)
