"""What every value-by-value detector shares: one `step`, from which streaming and batch both follow.

A detector makes one `Track` per metric and group; `add_value` feeds it one value, `judge` a whole series,
so the two cannot disagree. An incident speaks once, when it begins.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from datetime import datetime
from typing import ClassVar, Final, NamedTuple, Protocol

import numpy as np

from llmmon.clock import Clock, utc_now
from llmmon.detectors.anomaly import Anomaly, Severity, micros, moment, severity_of
from llmmon.detectors.verdicts import Column, Monitored, Verdicts
from llmmon.series import Series

_MOST_METRICS: Final = 10_000  # tracks kept; the one longest unused is forgotten first
Z_CEILING: Final = 100.0
NATS_CEILING: Final = 34.0  # a score of 1 - 2e-15: the last that is not 1


class Point(NamedTuple):
    """The verdict on one value; `score` NaN where nothing could be judged, `text` why it is an anomaly."""

    score: float = math.nan
    low: float = math.nan
    high: float = math.nan
    z: float = math.nan
    alarm: bool = False
    text: str = ""
    severity: Severity | None = None


UNJUDGED: Final = Point()


class Track(Protocol):
    """The memory of one metric."""

    def step(self, value: float, stamp_us: int) -> Point:
        """The verdict on a finite value, given those before it; then remember it."""
        ...


class Detector(Protocol):
    """What the table of detectors promises."""

    name: ClassVar[str]

    def add_value(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """Take in one value; the anomaly that begins with it, or None."""
        ...

    def judge(self, series: Series) -> Verdicts:
        """Verdicts on every value of a series, as a fresh detector would give them one by one."""
        ...


class StreamDetector(ABC):
    """A detector given by its tracks."""

    name: ClassVar[str]

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._tracks: OrderedDict[str, Track] = OrderedDict()
        self._open: dict[str, Severity] = {}

    @abstractmethod
    def track(self, metric_name: str) -> Track:
        """A track without any history."""

    def add_value(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """Take in one value; the anomaly that begins with it, or None.

        A value that is not finite is a gap. While an incident lasts nothing more is said, unless it grows
        more severe. `timestamp` defaults to the clock.
        """
        stamp = micros(timestamp or self._clock())
        point = judged(self._track_of(metric_name), float(value), stamp)
        if math.isnan(point.score):
            return None
        if not point.alarm:
            self._open.pop(metric_name, None)
            return None
        severity = point.severity or severity_of(point.z)
        known = self._open.get(metric_name)
        if known is not None and severity.rank <= known.rank:
            return None
        self._open[metric_name] = severity
        return anomaly_of(point, metric_name, float(value), stamp, self.name)

    def _track_of(self, metric_name: str) -> Track:
        known = self._tracks.get(metric_name)
        if known is None:
            known = self._tracks[metric_name] = self.track(metric_name)
            if len(self._tracks) > _MOST_METRICS:
                self._open.pop(self._tracks.popitem(last=False)[0], None)
        self._tracks.move_to_end(metric_name)
        return known

    def judge(self, series: Series) -> Verdicts:
        """Verdicts on every value of a series, by a fresh track; one column."""
        track = self.track(series.metric)
        ends = series.ends
        points = [
            judged(track, value, stamp) for value, stamp in zip(series.value.tolist(), ends.tolist(), strict=True)
        ]
        return verdicts_of(series, self.name, points)


def judged(track: Track, value: float, stamp_us: int) -> Point:
    """The verdict of a track on any value: what is not finite is a gap and not remembered."""
    return track.step(value, stamp_us) if math.isfinite(value) else UNJUDGED


def anomaly_of(point: Point, metric: str, value: float, stamp_us: int, detector: str) -> Anomaly:
    """One value's verdict as an anomaly."""
    at = moment(stamp_us)
    return Anomaly(
        metric,
        value,
        (point.low, point.high),
        point.severity or severity_of(point.z),
        at,
        point.text,
        start=at,
        end=at,
        detector=detector,
        score=point.score,
    )


def verdicts_of(series: Series, name: str, points: list[Point]) -> Verdicts:
    """Points as verdicts of one column."""
    table = np.array([point[:4] for point in points], np.float64).reshape(len(points), 4)
    alarm = np.array([point.alarm for point in points], np.bool_)
    begins = alarm & ~np.append(False, alarm[:-1]) if len(alarm) else alarm
    onset = np.maximum.accumulate(np.where(begins, np.arange(len(points)), 0)) if len(alarm) else begins
    known = bool(np.isfinite(table[:, 0]).any())
    values = int(np.isfinite(series.value).sum())
    reason = "" if known else f"too little history: {values} values" if values else "no values"
    row = Monitored(series.metric, series.group, len(series), "none", known, reason)
    return Verdicts(
        series.starts,
        series.ends,
        (Column(series.metric, series.group, name, 0),),
        series.value[:, None],
        *(table[:, 1:2], table[:, 2:3], table[:, 0:1], table[:, 3:4]),
        alarm[:, None],
        onset[:, None].astype(np.int64),
        (row,),
    )


def rarity(z: float) -> float:
    """The share of a normal distribution nearer to its middle than `z`."""
    return math.erf(abs(z) / math.sqrt(2.0))


def units(difference: float, spread: float) -> float:
    """A difference in spreads, bounded, so that a spread of zero needs no case of its own."""
    if difference == 0:
        return 0.0
    return math.copysign(min(abs(difference) / spread, Z_CEILING) if spread > 0 else Z_CEILING, difference)
