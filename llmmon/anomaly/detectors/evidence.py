"""Turns evidence into a score that means the same rarity in every series.

The score is one minus the share of a series' own calm past with at least this much evidence. Past its
record the tail falls as exp(-evidence), as evidence in nats does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np

from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.text.times import HOUR_US


@dataclass(frozen=True, slots=True)
class HourBlock:
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
class BlockEvidence:
    """The findings of a detector in a block.

    `steps` evidence in nats (buckets, alternatives, columns); `z` (buckets, columns) the deviation of each
    bucket in standard deviations, positive above; `low`, `high` (buckets, columns) the expected range and
    `center` the expected value, in the detector's own units.
    """

    steps: FloatArray
    z: FloatArray
    low: FloatArray
    high: FloatArray
    center: FloatArray


@dataclass(frozen=True, slots=True)
class Hour:
    """Results for the rows of one block; each (buckets, columns)."""

    low: FloatArray
    high: FloatArray
    center: FloatArray
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


def joined(blocks: list[HourBlock]) -> HourBlock:
    """Blocks of the same hour as one."""
    if len(blocks) == 1:
        return blocks[0]
    return HourBlock(
        np.concatenate([b.starts for b in blocks]),
        blocks[0].step_us,
        np.concatenate([b.count for b in blocks]),
        np.concatenate([b.x for b in blocks]),
        np.concatenate([b.spread for b in blocks]),
    )


class Bad(StrEnum):
    """Which change of a metric is worth reporting."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Watch:
    """How one metric is watched.

    `shifts` are the changes that are looked for: of a level in log units (or in the metric's own units
    where `log` is False), of a rate as (factor, least addition) pairs; a change below half of the least
    one never accumulates. `tail` is the share of calls usually beyond the tail's limit (0: no tail is
    watched), reported as `tail_metric`. `drift` is the creeping change looked for overall. `given` is a
    metric of the same group whose change explains part of this one.
    """

    metric: str
    bad: Bad = Bad.BOTH
    log: bool = True
    shifts: tuple[float, ...] = (0.25, 0.8)
    drift: float = 0.0
    tail: float = 0.0
    tail_metric: str = ""
    given: str = ""


WATCHED: Final[dict[str, Watch]] = {
    row.metric: row
    for row in (
        Watch("latency_ms", Bad.UP, tail=0.02, tail_metric="latency_p99_ms", given="completion_tokens"),
        Watch("time_to_first_token_ms", Bad.UP),
        Watch("output_tokens_per_second", Bad.DOWN, tail=0.003),
        Watch("prompt_tokens", Bad.BOTH, drift=0.12),
        Watch("completion_tokens", Bad.BOTH),
        Watch("cost_per_request_usd", Bad.UP, drift=0.14),
        Watch("cost_per_token_usd", Bad.UP),
        Watch("quality_score", Bad.DOWN, log=False, shifts=(0.05, 0.15)),
        Watch("error_rate", Bad.UP, drift=1.6),
        Watch("truncated_rate", Bad.UP),
        Watch("refused_rate", Bad.UP),
        Watch("empty_rate", Bad.UP),
        Watch("requests", Bad.BOTH),
        Watch("cost_usd", Bad.UP),
    )
}


def watch_of(metric: str) -> Watch:
    """The row of a metric; one that is not in the table is watched both ways."""
    return WATCHED.get(metric) or Watch(metric)


ENDS_BELOW: Final = 0.3  # of the limit: an incident is over when its evidence has gone
CEILING: Final = 1.3  # times the limit: so that the end is seen soon


@dataclass(frozen=True, slots=True)
class CusumResult:
    """The sums after each of a run of buckets; all of shape (buckets, columns).

    `ratio` is the largest sum over its limit, `alarm` whether an incident is open, `onset` the bucket
    number since which the leading sum has been above zero.
    """

    ratio: FloatArray
    alarm: BoolArray
    onset: IntArray


class Cusum:
    """The sums of every column for every alternative; shape (alternatives, columns)."""

    def __init__(self, alternatives: int, columns: int, keep: FloatArray | float = 1.0) -> None:
        """`keep` (columns) is the share of a sum that is left a bucket later: below 1, slow change is let go."""
        self.keep = keep
        self.sums = np.zeros((alternatives, columns))
        self.open = np.zeros(columns, np.bool_)
        self.since = np.zeros(columns, np.int64)  # onset of the open incident
        self.rest = np.zeros((alternatives, columns), np.int64)  # the bucket after each sum's last zero
        self.seen = 0

    def add(self, steps: FloatArray, limits: FloatArray) -> CusumResult:
        """Add evidence of shape (buckets, alternatives, columns) against limits (alternatives, columns)."""
        size, _, width = steps.shape
        course = CusumResult(
            np.zeros((size, width)), np.zeros((size, width), np.bool_), np.zeros((size, width), np.int64)
        )
        share, ceiling = 1.0 / limits, CEILING * limits
        for i in range(size):
            sums = self.sums * self.keep + steps[i]
            np.clip(sums, 0.0, ceiling, out=sums)
            self.sums = sums
            self.seen += 1
            np.copyto(self.rest, self.seen, where=sums <= 0)
            shares = sums * share
            ratio = shares.max(axis=0)
            self._switch(shares, ratio)
            course.ratio[i], course.alarm[i], course.onset[i] = ratio, self.open, self.since
        return course

    def _switch(self, shares: FloatArray, ratio: FloatArray) -> None:
        rise = (ratio > 1.0) & ~self.open
        if rise.any():
            columns = np.flatnonzero(rise)
            self.since[columns] = self.rest[shares[:, columns].argmax(axis=0), columns]
        self.open = (self.open & (ratio > ENDS_BELOW)) | rise

    def reset(self, columns: BoolArray) -> None:
        """Forget the evidence of some columns and close their incidents."""
        self.sums[:, columns] = 0.0
        self.rest[:, columns] = self.seen
        self.open = self.open & ~columns


_BINS: Final = 96
_PER_NAT: Final = 6
_PRIOR: Final = 300.0  # buckets that the exponential tail counts for
_KEEP: Final = 0.5 ** (1 / (24 * 28))
_LEAST: Final = 1e-15


class Rarity:
    """Histograms of evidence seen so far; shape (columns, bins)."""

    def __init__(self, columns: int) -> None:
        self.seen = np.zeros((columns, _BINS))

    def score(self, evidence: FloatArray) -> FloatArray:
        """Scores in [0, 1] of evidence (buckets, columns)."""
        above = np.cumsum(self.seen[:, ::-1], axis=1)[:, ::-1]
        columns = np.arange(evidence.shape[1])
        reached = above[columns, _bin(evidence)]
        tail = np.exp(-np.minimum(evidence, 60.0))
        rare = (reached * (0.5 + 0.5 * tail) + _PRIOR * tail) / (above[:, 0] + _PRIOR)
        scores: FloatArray = 1.0 - np.clip(rare, _LEAST, 1.0)
        return scores

    def learn(self, evidence: FloatArray, calm: BoolArray) -> None:
        """Add an hour of calm evidence (buckets, columns)."""
        self.seen *= _KEEP
        rows, columns = np.nonzero(calm)
        np.add.at(self.seen, (columns, _bin(evidence[rows, columns])), 1.0)


def _bin(evidence: FloatArray) -> IntArray:
    return np.minimum(evidence * _PER_NAT, _BINS - 1).astype(np.int64)
