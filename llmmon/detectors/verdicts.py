"""What a detector says of every bucket: scores, ranges and open incidents, per column."""

from __future__ import annotations

from dataclasses import dataclass

from llmmon.detectors.cusum import BoolArray
from llmmon.series import FloatArray, Group, IntArray


@dataclass(frozen=True, slots=True)
class Column:
    """One thing that is judged: a metric of a group, by one detector; `series` is its place in the panel."""

    metric: str
    group: Group
    detector: str
    series: int


@dataclass(frozen=True, slots=True)
class Monitored:
    """Whether a metric of a group could be judged, by which season, and why not."""

    metric_name: str
    group: Group
    buckets: int
    season: str  # none, hour of day, hour of week
    judged: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Matrices of shape (buckets, columns).

    `value` and its expected range `low` to `high` are in public units; `score` in [0, 1], NaN where
    nothing could be judged; `z` standard deviations, positive above; `alarm` whether an incident is open;
    `onset` the row in which the open incident began (rows are counted from the detector's first).
    """

    starts: IntArray
    ends: IntArray
    columns: tuple[Column, ...]
    value: FloatArray
    low: FloatArray
    high: FloatArray
    score: FloatArray
    z: FloatArray
    alarm: BoolArray
    onset: IntArray
    monitored: tuple[Monitored, ...] = ()
