"""Scored calls -> the report of `llmmon score`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, overload

import msgspec
import numpy as np

from llmmon.metrics.columns import MISSING_TIME, FloatArray
from llmmon.metrics.grouping import Grouping
from llmmon.quality.rates import ASSUMED_RATE, FlagRate, GroupRates, flag_rates, grouped, wilson
from llmmon.quality.scored import Scored
from llmmon.quality.scorers.flags import DIMENSIONS, FLAGS
from llmmon.quality.scores import QualityColumns
from llmmon.text.times import iso

_AT_ONCE: Final = 1024
_DECIMALS: Final = 6

T = TypeVar("T")
Place = Callable[[int], tuple[str, int | None]]


class ScoredRows(Sequence[Mapping[str, Any]]):
    """The rows of `llmmon score`, each made when it is asked for: as objects they would be many times larger.

    `place` gives a call's file and line; `judged` adds a verdict under "judge" to the rows that it names.
    """

    def __init__(self, scored: Scored, place: Place, judged: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        self._scored = scored
        self._place = place
        self._judged = judged

    def __len__(self) -> int:
        return self._scored.calls.size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self.between(start, start + _AT_ONCE)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(at, slice):
            return [row for i in range(*at.indices(len(self))) for row in self.between(i, i + 1)]
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(at)
        return self.between(number, number + 1)[0]

    def between(self, start: int, end: int) -> list[dict[str, Any]]:
        """The rows in [start, end)."""
        stop = min(end, len(self))
        part = self._scored.take(np.arange(start, stop))
        rows = _rows(part, start + 1, self._place)
        for row in rows if self._judged is not None else ():
            row["judge"] = (self._judged or {}).get(row["row"] - 1)
        return rows


def _rows(part: Scored, first: int, place: Place) -> list[dict[str, Any]]:
    calls, quality = part.calls, part.quality
    positions = calls.positions
    places = [("", None)] * calls.size if positions is None else [place(at) for at in positions.tolist()]
    overall = public(quality.overall)
    logged = public(calls.public("quality_score"))
    columns: dict[str, list[Any]] = {
        "row": list(range(first, first + calls.size)),
        "file": [file for file, _ in places],
        "line": [line for _, line in places],
        "request_id": calls.name("request_id").texts(),
        **{name: calls.names[name].texts() for name in ("trace", "span") if name in calls.names},
        "timestamp": [iso(None if us == MISSING_TIME else us) for us in calls.timestamp.tolist()],
        "model": calls.name("model").texts(),
        "user": calls.name("user").texts(),
        "overall": overall,
        **{name: public(quality.dimensions[name]) for name in DIMENSIONS},
        "quality_score": [mine if said is None else said for said, mine in zip(logged, overall, strict=True)],
        "signals": _signals(quality),
        "flags": [list(flags) for flags in quality.flags],
        "evidence": quality.evidence,
        "confidence": public(quality.confidence),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _signals(quality: QualityColumns) -> list[dict[str, float | None]]:
    columns = [public(column) for column in quality.signals.values()]
    return [dict(zip(quality.signals, values, strict=True)) for values in zip(*columns, strict=True)]


def public(column: FloatArray) -> list[float | None]:
    """Scores as they are shown, to six decimals, None for missing; shape (n,)."""
    return [None if value != value else value for value in column.round(_DECIMALS).tolist()]


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


_TREND_ROWS: Final = 100


class Shown(msgspec.Struct, frozen=True):
    """The texts of one answer (their beginnings), and by flag what stands around the places it was raised for."""

    prompt: str | None
    output: str
    quotes: Mapping[str, str] = {}


class WorstRow(msgspec.Struct, frozen=True):
    """A row as it is shown, with its texts where they were asked for."""

    row: Mapping[str, Any]
    shown: Shown | None = None


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon score`: the summary's figures by name, rows by flag, recent figures, all rows, the worst ones.

    `texts` holds those that were kept, by the number of the row from 1.
    """

    summary: Mapping[str, float | int | None]
    flags: Mapping[str, int]
    trend: Mapping[str, float | int | None]
    rows: ScoredRows
    worst: tuple[WorstRow, ...]
    rates: Mapping[str, FlagRate]
    texts: Mapping[int, Shown] = {}
    groups: tuple[GroupRates, ...] = ()
    more_worst: int = 0
    judge: Mapping[str, Any] | None = None


class JudgeVerdicts(Protocol):
    """A judge's verdicts by the positions of calls, and what they took."""

    @property
    def verdicts(self) -> Mapping[int, Mapping[str, Any]]: ...
    def taken(self) -> dict[str, Any]: ...


def report_of(
    scored: Scored,
    place: Place,
    limit: int,
    texts: Mapping[int, Shown],
    judged: JudgeVerdicts | None = None,
    grouping: Grouping | None = None,
    assumed: float = ASSUMED_RATE,
) -> ScoreReport:
    """The report on calls in the order of the log, with the `limit` worst (0: all flagged) and their texts."""
    verdicts = None if judged is None else _by_row(scored, judged.verdicts)
    rows = ScoredRows(scored, place, verdicts)
    order = _worst_first(scored)
    return ScoreReport(
        summary=_summary(scored),
        flags={name: sum(name in flags for flags in scored.quality.flags) for name in FLAGS},
        rates=flag_rates(scored, np.arange(scored.calls.size), assumed),
        groups=() if grouping is None else tuple(grouped(scored, grouping, assumed)),
        trend=_trend(scored),
        rows=rows,
        worst=tuple(_worst_row(scored, rows, number, texts) for number in order[: limit or None]),
        texts={number + 1: text for number, text in _by_row(scored, texts).items()},
        more_worst=max(0, len(order) - limit) if limit else 0,
        judge=None if judged is None or verdicts is None else _judge_figures(scored, verdicts, judged.taken()),
    )


def _by_row(scored: Scored, verdicts: Mapping[int, T]) -> dict[int, T]:
    positions = scored.calls.positions
    places = np.arange(scored.calls.size) if positions is None else positions
    return dict(zip(np.searchsorted(places, list(verdicts)).tolist(), verdicts.values(), strict=True))


def _judge_figures(
    scored: Scored, verdicts: Mapping[int, Mapping[str, Any]], taken: Mapping[str, Any]
) -> dict[str, Any]:
    rows = sorted(verdicts)
    figures = verdict_figures([verdicts[row] for row in rows], scored.quality.overall[rows])
    return figures | {"flags": _judged_flags(scored, verdicts)} | dict(taken)


def _judged_flags(scored: Scored, verdicts: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the judged answers with each flag, how many the judge finds bad (below 0.5): the precision of the flag."""
    found = {}
    for name in FLAGS:
        rows = [row for row, verdict in verdicts.items() if name in scored.quality.flags[row]]
        known = [verdicts[row]["overall"] for row in rows if verdicts[row]["status"] == "scored"]
        if known:
            right = sum(value < _GOOD for value in known)
            low, high = wilson(right, len(known))
            found[name] = {
                "judged": len(known),
                "right": right,
                "precision": right / len(known),
                "low": low,
                "high": high,
            }
    return found


def _worst_first(scored: Scored) -> list[int]:
    """Rows with a flag, the lowest `overall` first, then in the order of the log."""
    flagged = [i for i, flags in enumerate(scored.quality.flags) if flags]
    overall = np.nan_to_num(scored.quality.overall, nan=np.inf)
    return sorted(flagged, key=lambda i: (overall[i], i))


def _worst_row(scored: Scored, rows: ScoredRows, number: int, texts: Mapping[int, Shown]) -> WorstRow:
    positions = scored.calls.positions
    at = number if positions is None else int(positions[number])
    return WorstRow(rows[number], texts.get(at))


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
