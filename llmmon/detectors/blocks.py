"""An hour of many series as matrices: what the judges of the default monitor read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llmmon.detectors.cusum import BoolArray
from llmmon.series import HOUR_US, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Block:
    """Buckets of one hour; matrices are (buckets, columns), zero where nothing is known.

    `count` calls, `x` the mean (levels), the hits (rates) or the total (traffic), `spread` the variance
    of the calls within a bucket. `starts` int64 epoch microseconds.
    """

    starts: IntArray
    step_us: int
    count: FloatArray
    x: FloatArray
    spread: FloatArray

    @property
    def hour(self) -> int:
        """Hours since the epoch."""
        return int(self.starts[0] // HOUR_US)

    @property
    def of_day(self) -> int:
        """Hour of the day, UTC."""
        return self.hour % 24

    @property
    def of_week(self) -> int:
        """Hour of the week, Thursday 00:00 UTC first."""
        return self.hour % 168


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge says of a block.

    `steps` evidence in nats (buckets, alternatives, columns); `z` (buckets, columns) the deviation of each
    bucket in standard deviations, positive above; `low`, `high` (buckets, columns) the expected range in
    the judge's own units.
    """

    steps: FloatArray
    z: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Hour:
    """Verdicts on the rows of one block; each (buckets, columns)."""

    low: FloatArray
    high: FloatArray
    score: FloatArray
    z: FloatArray
    alarm: BoolArray
    onset: IntArray


def blocks_of(starts: IntArray, step_us: int) -> list[slice]:
    """The runs of rows that share an hour (one row each where buckets are longer)."""
    if not len(starts):
        return []
    number = starts // max(HOUR_US, step_us)
    edges = np.flatnonzero(np.diff(number)) + 1
    bounds = [0, *edges.tolist(), len(starts)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def joined(blocks: list[Block]) -> Block:
    """Blocks of the same hour as one."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        np.concatenate([b.starts for b in blocks]),
        blocks[0].step_us,
        np.concatenate([b.count for b in blocks]),
        np.concatenate([b.x for b in blocks]),
        np.concatenate([b.spread for b in blocks]),
    )
