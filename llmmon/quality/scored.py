"""Scored calls: what is left of calls once their texts are scored."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray, concat
from llmmon.quality.scores import QualityColumns


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
