"""What a scorer says about one answer: how strong a sign is, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

Span = tuple[int, int]


class Finding(NamedTuple):
    """One sign in one answer: strength in [0, 1] (None: cannot be judged), places in the output, a word on it.

    Neither `spans` nor `detail` ever holds the text that was found.
    """

    strength: float | None
    spans: tuple[Span, ...] = ()
    detail: str = ""


CLEAN: Final = Finding(0.0)
UNKNOWN: Final = Finding(None)


def logistic(logit: float) -> float:
    """1 / (1 + e^-x), for any finite x."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))


def linear(features: Sequence[float], weights: Sequence[float], bias: float) -> float:
    """The probability that a linear model with these weights gives."""
    return logistic(bias + sum(w * x for w, x in zip(weights, features, strict=True)))


def strongest(findings: Sequence[Finding]) -> Finding:
    """The strongest of several findings, with the places and words of the strong ones; CLEAN for none."""
    known = [finding for finding in findings if finding.strength is not None]
    if not known:
        return UNKNOWN if findings else CLEAN
    most = max(finding.strength or 0.0 for finding in known)
    told = [finding for finding in known if (finding.strength or 0.0) >= min(most, 0.5)]
    spans = tuple(sorted({span for finding in told for span in finding.spans}))
    details = dict.fromkeys(finding.detail for finding in told if finding.detail)
    return Finding(most, spans, ", ".join(details))
