"""Scored calls: their quality beside what tells which call it was, joined from blocks, and as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, overload

import msgspec
import numpy as np

from llmmon.columns import MISSING_TIME, BoolArray, Columns, FloatArray, IntArray, concat
from llmmon.durations import iso
from llmmon.quality import QualityColumns
from llmmon.scorers.flags import DIMENSIONS

_AT_ONCE: Final = 1024
_DECIMALS: Final = 6

Place = Callable[[int], tuple[str, int | None]]


class Scored(msgspec.Struct, frozen=True, eq=False):
    """Calls without their texts, which of them had output text (shape (size,)), and their quality."""

    calls: Columns
    has_text: BoolArray
    quality: QualityColumns

    def take(self, rows: IntArray) -> Scored:
        """The calls at these indices, in this order."""
        return Scored(self.calls.take(rows), self.has_text[rows], _picked(self.quality, rows))

    def in_log_order(self) -> Scored:
        """The calls in the order of the log, whichever worker scored them."""
        positions = self.calls.positions
        return self if positions is None else self.take(np.argsort(positions, kind="stable"))


def join(blocks: Sequence[Scored]) -> Scored:
    """All calls of at least one block, block after block."""
    first = blocks[0]
    return Scored(
        concat([block.calls for block in blocks]),
        np.concatenate([block.has_text for block in blocks]),
        QualityColumns(
            overall=np.concatenate([block.quality.overall for block in blocks]),
            confidence=np.concatenate([block.quality.confidence for block in blocks]),
            dimensions={name: _joined(blocks, "dimensions", name) for name in first.quality.dimensions},
            signals={name: _joined(blocks, "signals", name) for name in first.quality.signals},
            flags=[flags for block in blocks for flags in block.quality.flags],
            evidence=[places for block in blocks for places in block.quality.evidence],
            details=[words for block in blocks for words in block.quality.details],
        ),
    )


def _joined(blocks: Sequence[Scored], kind: str, name: str) -> FloatArray:
    return np.concatenate([getattr(block.quality, kind)[name] for block in blocks])


def _picked(quality: QualityColumns, rows: IntArray) -> QualityColumns:
    index = rows.tolist()
    return QualityColumns(
        overall=quality.overall[rows],
        confidence=quality.confidence[rows],
        dimensions={name: column[rows] for name, column in quality.dimensions.items()},
        signals={name: column[rows] for name, column in quality.signals.items()},
        flags=[quality.flags[i] for i in index],
        evidence=[quality.evidence[i] for i in index],
        details=[quality.details[i] for i in index],
    )


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
