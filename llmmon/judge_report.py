"""What a judge's verdicts come to, beside the scores that were read from the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from llmmon.columns import FloatArray

_GOOD: Final = 0.5
_LEAST: Final = 3  # pairs, below which there is no telling


def verdict_figures(verdicts: Sequence[Mapping[str, Any]], overall: FloatArray) -> dict[str, Any]:
    """Counts and averages of verdicts, and how far they agree with the `overall` of the same answers (same order)."""
    scored = [number for number, verdict in enumerate(verdicts) if verdict["status"] == "scored"]
    judged = np.array([verdicts[i]["overall"] for i in scored], np.float64)
    names = dict.fromkeys(name for i in scored for name in verdicts[i]["scores"])
    averages = {name: [verdicts[i]["scores"][name] for i in scored if name in verdicts[i]["scores"]] for name in names}
    return {
        "scored": len(scored),
        "unscored": len(verdicts) - len(scored),
        "overall_avg": round(float(judged.mean()), 6) if len(judged) else None,
        "criteria": {name: round(sum(values) / len(values), 6) for name, values in averages.items()},
        "agreement": agreement(judged, overall[scored]),
    }


def agreement(judged: FloatArray, overall: FloatArray) -> dict[str, Any]:
    """Spearman's rank correlation, and the share of answers that both find good (at least 0.5) or both bad.

    None where there are fewer than 3 pairs, or (for the correlation) where one side is always the same.
    """
    known = ~np.isnan(overall)
    judged, overall = judged[known], overall[known]
    if len(judged) < _LEAST:
        return {"pairs": len(judged), "spearman": None, "same_side": None}
    same = float(((judged >= _GOOD) == (overall >= _GOOD)).mean())
    return {"pairs": len(judged), "spearman": spearman(judged, overall), "same_side": round(same, 6)}


def spearman(one: FloatArray, other: FloatArray) -> float | None:
    """The rank correlation of two columns of equal length, ties at their mean rank; None if one is constant."""
    a, b = _ranks(one), _ranks(other)
    spread = float(a.std() * b.std())
    return round(float(((a - a.mean()) * (b - b.mean())).mean()) / spread, 6) if spread > 0 else None


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: FloatArray = (ends - (counts - 1) / 2)[inverse]
    return ranks
