"""The concrete defects an answer can have: their names, dimensions and default thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

TextSpan = tuple[int, int]


class Signal(NamedTuple):
    """One sign in one answer: strength in [0, 1] (None: cannot be judged), places in the output, a word on it.

    Neither `spans` nor `detail` ever holds the text that was found.
    """

    strength: float | None
    spans: tuple[TextSpan, ...] = ()
    detail: str = ""


CLEAN: Final = Signal(0.0)
UNKNOWN: Final = Signal(None)


def logistic(logit: float) -> float:
    """1 / (1 + e^-x), for any finite x."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))


def linear(features: Sequence[float], weights: Sequence[float], bias: float) -> float:
    """The probability that a linear model with these weights gives."""
    return logistic(bias + sum(w * x for w, x in zip(weights, features, strict=True)))


def strongest(signals: Sequence[Signal]) -> Signal:
    """The strongest of several signals, with the places and words of the strong ones; CLEAN for none."""
    known = [signal for signal in signals if signal.strength is not None]
    if not known:
        return UNKNOWN if signals else CLEAN
    most = max(signal.strength or 0.0 for signal in known)
    strong = [signal for signal in known if (signal.strength or 0.0) >= min(most, 0.5)]
    spans = tuple(sorted({span for signal in strong for span in signal.spans}))
    details = dict.fromkeys(signal.detail for signal in strong if signal.detail)
    return Signal(most, spans, ", ".join(details))


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

# Strengths that are reported beside the flags but never raise one.
EXTRA_SIGNALS: Final = ("expected_similarity",)
SIGNALS: Final = (*FLAGS, *EXTRA_SIGNALS)
