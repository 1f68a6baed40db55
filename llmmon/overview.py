"""What the HTML report may see: all its parts as frozen values in public units; missing is None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llmmon.reports import AnomaliesReport, GroupRow, SourceReport, Statistics, Window
from llmmon.slo_standing import SloStanding

Values = tuple[float | None, ...]


class Course(msgspec.Struct, frozen=True):
    """Statistics bucket by bucket without a hole; bucket i is [edges_us[i], edges_us[i + 1])."""

    every_us: int
    edges_us: tuple[int, ...]
    statistics: Mapping[str, Values]
    cost_by_model: Mapping[str | None, Values]
    errors_by_type: Mapping[str | None, Values]


class Comparison(msgspec.Struct, frozen=True):
    """Two periods of equal length: the statistics of the later one and of the one before it."""

    length_us: int
    later: Statistics
    before: Statistics
    whole: bool  # whether the later period is all that the report is about


class Breakdown(msgspec.Struct, frozen=True):
    """The groups of one field with most calls, and how many more there are."""

    by: str
    groups: tuple[GroupRow, ...]
    more: int


class Histogram(msgspec.Struct, frozen=True):
    """How many values of a metric lie in [edges[i], edges[i + 1]), in the metric's public unit."""

    metric: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class ErrorKind(msgspec.Struct, frozen=True):
    """One type of error: how often, which share of all errors, and the model with most of it."""

    name: str | None
    count: int
    share: float
    model: str | None
    model_share: float


class Quality(msgspec.Struct, frozen=True):
    """What scoring the answers' texts gave: average scores, answers by flag, the worst answers without text."""

    summary: Mapping[str, float | int | None]
    flags: Mapping[str, int]
    worst: tuple[Mapping[str, Any], ...]


class AlertEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of an alert, from when it fired to when it was resolved (None: it still fires)."""

    rule: str
    severity: str
    state: str
    metric_name: str
    start_us: int
    end_us: int | None = None
    value: float | None = None
    threshold: float | None = None
    group: Mapping[str, str | None] = msgspec.field(default_factory=dict)
    description: str = ""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon report`: everything that the page shows."""

    command: str
    version: str
    window: Window
    source: SourceReport
    exact: bool
    totals: Statistics
    anomalies: AnomaliesReport
    comparison: Comparison | None = None
    course: Course | None = None
    breakdowns: tuple[Breakdown, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    errors: tuple[ErrorKind, ...] = ()
    finish_reasons: tuple[tuple[str, int], ...] = ()
    slowest: tuple[Mapping[str, Any], ...] = ()
    dearest: tuple[Mapping[str, Any], ...] = ()
    quality: Quality | None = None
    alerts: tuple[AlertEpisode, ...] = ()
    slos: tuple[SloStanding, ...] = ()
