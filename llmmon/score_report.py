"""Scored calls -> the report of `llmmon score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from llmmon.columns import FloatArray
from llmmon.judge_report import verdict_figures
from llmmon.scored import Place, Scored, ScoredRows
from llmmon.scorers.flags import DIMENSIONS, FLAGS

_TREND_ROWS: Final = 100


class WorstRow(msgspec.Struct, frozen=True):
    """A row as it is shown, with its texts where they were asked for (their beginnings)."""

    row: Mapping[str, Any]
    prompt: str | None = None
    output: str | None = None


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon score`: the summary's figures by name, rows by flag, recent figures, all rows, the worst ones."""

    summary: Mapping[str, float | int | None]
    flags: Mapping[str, int]
    trend: Mapping[str, float | int | None]
    rows: ScoredRows
    worst: tuple[WorstRow, ...]
    more_worst: int = 0
    judge: Mapping[str, Any] | None = None


class Verdicts(Protocol):
    """A judge's verdicts by the positions of calls, and what they took."""

    @property
    def verdicts(self) -> Mapping[int, Mapping[str, Any]]: ...
    def taken(self) -> dict[str, Any]: ...


def report_of(
    scored: Scored,
    place: Place,
    limit: int,
    texts: Mapping[int, tuple[str | None, str]],
    judged: Verdicts | None = None,
) -> ScoreReport:
    """The report on calls in the order of the log, with the `limit` worst (0: all flagged) and their texts."""
    verdicts = None if judged is None else _by_row(scored, judged.verdicts)
    rows = ScoredRows(scored, place, verdicts)
    order = _worst_first(scored)
    return ScoreReport(
        summary=_summary(scored),
        flags={name: sum(name in flags for flags in scored.quality.flags) for name in FLAGS},
        trend=_trend(scored),
        rows=rows,
        worst=tuple(_worst_row(scored, rows, number, texts) for number in order[: limit or None]),
        more_worst=max(0, len(order) - limit) if limit else 0,
        judge=None if judged is None or verdicts is None else _judge_figures(scored, verdicts, judged.taken()),
    )


def _by_row(scored: Scored, verdicts: Mapping[int, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    positions = scored.calls.positions
    places = np.arange(scored.calls.size) if positions is None else positions
    return dict(zip(np.searchsorted(places, list(verdicts)).tolist(), verdicts.values(), strict=True))


def _judge_figures(
    scored: Scored, verdicts: Mapping[int, Mapping[str, Any]], taken: Mapping[str, Any]
) -> dict[str, Any]:
    rows = sorted(verdicts)
    return verdict_figures([verdicts[row] for row in rows], scored.quality.overall[rows]) | dict(taken)


def _worst_first(scored: Scored) -> list[int]:
    """Rows with a flag, the lowest `overall` first, then in the order of the log."""
    flagged = [i for i, flags in enumerate(scored.quality.flags) if flags]
    overall = np.nan_to_num(scored.quality.overall, nan=np.inf)
    return sorted(flagged, key=lambda i: (overall[i], i))


def _worst_row(scored: Scored, rows: ScoredRows, number: int, texts: Mapping[int, tuple[str | None, str]]) -> WorstRow:
    positions = scored.calls.positions
    at = number if positions is None else int(positions[number])
    return WorstRow(rows[number], *texts.get(at, (None, None)))


def _summary(scored: Scored) -> dict[str, float | int | None]:
    overall = scored.quality.overall
    answers = int(scored.has_text.sum())
    return {
        "overall_avg": _mean(overall),
        "overall_min": _extreme(overall, np.fmin),
        "overall_max": _extreme(overall, np.fmax),
        **{f"{name}_avg": _mean(scored.quality.dimensions[name]) for name in DIMENSIONS},
        "scored": answers,
        "without_text": len(overall) - answers,
    }


def _mean(column: FloatArray) -> float | None:
    known = column[~np.isnan(column)]
    return round(float(known.mean()), 6) if len(known) else None


def _extreme(column: FloatArray, choose: np.ufunc) -> float | None:
    known = column[~np.isnan(column)]
    return round(float(choose.reduce(known)), 6) if len(known) else None


def _trend(scored: Scored) -> dict[str, float | int | None]:
    """The guide's figures of the last 100 scored rows, and what `overall` was before them."""
    rows = np.flatnonzero(scored.has_text)
    recent, before = rows[-_TREND_ROWS:], rows[:-_TREND_ROWS]
    quality = scored.quality
    return {
        "rows": len(recent),
        "overall_avg": _mean(quality.overall[recent]),
        "overall_min": _extreme(quality.overall[recent], np.fmin),
        "overall_max": _extreme(quality.overall[recent], np.fmax),
        **{f"{name}_avg": _mean(quality.dimensions[name][recent]) for name in ("relevance", "coherence", "safety")},
        "overall_avg_before": _mean(quality.overall[before]),
    }
