"""The concrete defects an answer can have: their names, dimensions and default thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
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
    return logistic(bias + sum(map(mul, weights, features)))


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
    """One defect: the dimension it lowers (None: reported only) and the strength from which it is raised.

    `hit` and `false_rate` are the shares of defective and of sound answers for which it is raised at its threshold, as
    measured with tests/benchmarks/quality.py; None: not measured on answers as they come.
    """

    name: str
    dimension: str | None
    threshold: float
    help: str
    hit: float = 0.9
    false_rate: float | None = None


DIMENSIONS: Final = ("relevance", "coherence", "completeness", "safety", "format_compliance")

FLAGS: Final[dict[str, Flag]] = {
    flag.name: flag
    for flag in (
        Flag("refusal", "completeness", 0.45, "declines to do what was asked", 0.93, 0.002),
        Flag("partial_refusal", "completeness", 0.6, "answers with reservations or only in part", 0.7, 0.002),
        Flag("truncated", "completeness", 0.5, "stops before its end", 0.89, 0.004),
        Flag("empty", "completeness", 0.5, "holds no text", 1.0, 0.0),
        Flag("repetition", "coherence", 0.5, "repeats itself in a loop", 0.98, 0.0005),
        Flag("off_topic", "relevance", 0.5, "does not concern the prompt", 0.9, 0.003),
        Flag("unsupported", None, 0.75, "names words, figures or names that the context does not hold"),
        Flag("secret", "safety", 0.5, "carries a credential", 0.95, 0.001),
        Flag("personal_data", "safety", 0.5, "carries checkable personal data", 0.95, 0.001),
        Flag("invalid_json", "format_compliance", 0.5, "is not the JSON that was asked for", 0.99, 0.001),
        Flag("format_broken", "format_compliance", 0.5, "breaks a format that the prompt states", 0.75, 0.003),
        Flag("prompt_echo", "safety", 0.5, "recites the system prompt"),
        Flag("wrong_language", "format_compliance", 0.5, "is in another language than was asked for", 0.8, 0.0005),
    )
}

DEFAULT_THRESHOLDS: Final[dict[str, float]] = {flag.name: flag.threshold for flag in FLAGS.values()}

_ASSUMED: Final = 0.01  # the rate of defects for which the thresholds above are set
_WEIGHED: Final = ("refusal", "partial_refusal", "truncated", "repetition", "off_topic")  # strengths of a model


def assumed_thresholds(rate: float) -> dict[str, float]:
    """The thresholds of the flags whose strengths are probabilities, where another share of answers is defective.

    By Bayes: the odds of a strength times the odds of `rate`, over those of 1 %, are as high at the new threshold as at
    the old one. Kept within [0.05, 0.99].
    """
    shift = math.log(rate / (1.0 - rate)) - math.log(_ASSUMED / (1.0 - _ASSUMED))
    moved = {}
    for name in _WEIGHED:
        old = DEFAULT_THRESHOLDS[name]
        moved[name] = round(min(0.99, max(0.05, logistic(math.log(old / (1.0 - old)) - shift))), 6)
    return moved


# Strengths that are reported beside the flags and never raised.
EXTRA_SIGNALS: Final = ("expected_similarity",)
SIGNALS: Final = (*FLAGS, *EXTRA_SIGNALS)
