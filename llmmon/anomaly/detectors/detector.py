"""The base of every detector that reads value by value: one `step` serves streaming and batch.

A detector makes one `Track` per metric and group; `add_value` feeds it one value, `detect` a whole series,
so the two cannot disagree. An incident is reported once, when it begins.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import numpy as np

from llmmon.anomaly.series import GroupLabels, Series
from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.text.times import Clock, to_us, utc_now


class Severity(StrEnum):
    """How far out of the ordinary, from least to most."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low to 3 for critical, so that severities compare."""
        return list(Severity).index(self)


_ABOVE: Final = ((5.0, Severity.CRITICAL), (4.0, Severity.HIGH), (3.5, Severity.MEDIUM))


def severity_of(z: float) -> Severity:
    """The severity of a deviation of `z` standard deviations: steps above 3.5, 4 and 5."""
    return next((severity for limit, severity in _ABOVE if abs(z) > limit), Severity.LOW)


class AnomalyStatus(StrEnum):
    """Whether an anomaly is over; one whose level stays is not, though detectors take the level as their baseline."""

    OVER = "over"
    OPEN = "open"
    NEW_LEVEL = "new level"
    ACCEPTED = "accepted"  # somebody took the new level as the baseline


@dataclass(frozen=True, slots=True)
class Change:
    """How a metric moved, pooled over all of an anomaly's time, in public units (traffic and spend: per hour).

    `calls` are those during it, `hits` how many of them failed or were cut off (shares only); `shift` is the change
    in the units in which it is watched (logarithms of levels and traffic), `certainty` the same in standard errors.
    """

    usual: float | None
    during: float | None
    calls: int
    hits: int | None = None
    shift: float = 0.0
    certainty: float = 0.0

    @property
    def factor(self) -> float | None:
        """`during` over `usual`; None where there is nothing to divide by."""
        if self.usual is None or self.during is None or abs(self.usual) < 1e-12:
            return None
        return self.during / self.usual


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A metric of a group that is out of the ordinary for a while.

    `timestamp` is the end of the bucket that raised it, `start` its estimated onset, `end` None while it lasts.
    `value` and `expected_range` (low, high) are of the hour that stands out most, `score` in [0, 1] is how rare the
    bucket is that raised it, `change` the whole of it, `contributors` what the change is made of (filled in by
    attribution). `closed` is when the detector's alarm ended, `resolved` when it was certain that the anomaly is over.
    """

    metric_name: str
    value: float
    expected_range: tuple[float, float]
    severity: Severity
    timestamp: datetime
    description: str
    start: datetime | None = None
    end: datetime | None = None
    group: GroupLabels = ()
    detector: str = ""
    score: float | None = None
    id: str = ""
    contributors: tuple[Mapping[str, Any], ...] = field(default=())
    status: AnomalyStatus = AnomalyStatus.OVER
    change: Change | None = None
    closed: datetime | None = None
    resolved: datetime | None = None


def moment(stamp_us: int) -> datetime:
    """Epoch microseconds as a time in UTC."""
    return datetime.fromtimestamp(stamp_us // 1_000_000, UTC).replace(microsecond=int(stamp_us % 1_000_000))


def rounded_text(number: float) -> str:
    """A number in a sentence: four digits, thousands with separators."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e12 else f"{number:.4g}"


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A metric of a group and the detector that watches it; `series` is its place in the panel."""

    metric: str
    group: GroupLabels
    detector: str
    series: int


@dataclass(frozen=True, slots=True)
class Monitored:
    """Whether a metric of a group could be judged, with which season, or why not."""

    metric_name: str
    group: GroupLabels
    buckets: int
    season: str  # none, hour of day, hour of week
    judged: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DetectorResults:
    """Matrices of shape (buckets, columns).

    `value` and its expected range `low` to `high` are in public units; `score` in [0, 1], NaN where
    nothing could be scored; `z` standard deviations, positive above; `alarm` whether an anomaly is open;
    `onset` the row in which the open anomaly began (rows are counted from the detector's first). `series` are
    those watched, by the place that a column names; `expected` is the expected value, NaN where it is not known.
    """

    starts: IntArray
    ends: IntArray
    columns: tuple[ResultColumn, ...]
    value: FloatArray
    low: FloatArray
    high: FloatArray
    score: FloatArray
    z: FloatArray
    alarm: BoolArray
    onset: IntArray
    monitored: tuple[Monitored, ...] = ()
    series: tuple[Series, ...] = ()
    expected: FloatArray | None = None


_REMEMBERED: Final = 50  # half of the values in a history without a window
_MOST_METRICS: Final = 10_000  # tracks kept; the one longest unused is forgotten first
Z_CEILING: Final = 100.0
NATS_CEILING: Final = 34.0  # a score of 1 - 2e-15: the last that is not 1


class Detection(NamedTuple):
    """The result for one value; `score` is NaN where nothing could be scored, `text` says why it is an anomaly."""

    score: float = math.nan
    low: float = math.nan
    high: float = math.nan
    z: float = math.nan
    alarm: bool = False
    text: str = ""
    severity: Severity | None = None


UNSCORED: Final = Detection()


class Track(Protocol):
    """The memory of one metric."""

    def step(self, value: float, stamp_us: int) -> Detection:
        """Compare a finite value with those before it, then remember it."""
        ...


class Detector(Protocol):
    """The interface of every detector in the table."""

    name: ClassVar[str]

    def add_value(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """Add one value; returns the anomaly that begins with it, or None."""
        ...

    def detect(self, series: Series) -> DetectorResults:
        """Results for every value of a series, as a new detector would give them one by one."""
        ...


class StreamDetector(ABC):
    """A detector made of one track per metric."""

    name: ClassVar[str]

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._tracks: OrderedDict[str, Track] = OrderedDict()
        self._open: dict[str, Severity] = {}
        self._history: OrderedDict[str, deque[Any]] = OrderedDict()

    @property
    def history(self) -> Mapping[str, Sequence[Any]]:
        """By metric the last values that were added, at most twice a window, oldest first."""
        return {name: tuple(values) for name, values in self._history.items()}

    def _remember(self, metric_name: str, value: float, stamp_us: int) -> None:
        if metric_name not in self._history:
            self._history[metric_name] = deque(maxlen=2 * int(getattr(self, "window_size", _REMEMBERED)))
            if len(self._history) > _MOST_METRICS:
                self._history.popitem(last=False)
        self._history[metric_name].append(self.remembered(value, stamp_us))

    def remembered(self, value: float, stamp_us: int) -> Any:  # noqa: ARG002 - for detectors that look at times
        """What `history` holds of a value."""
        return value

    @abstractmethod
    def track(self, metric_name: str) -> Track:
        """A track without any history."""

    def add_value(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """Add one value; returns the anomaly that begins with it, or None.

        A value that is not finite is a gap. While an incident lasts nothing more is reported, unless it grows
        more severe. `timestamp` defaults to the clock.
        """
        stamp = to_us(timestamp or self._clock())
        self._remember(metric_name, float(value), stamp)
        detection = detection_of(self._track_of(metric_name), float(value), stamp)
        if math.isnan(detection.score):
            return None
        if not detection.alarm:
            self._open.pop(metric_name, None)
            return None
        severity = detection.severity or severity_of(detection.z)
        known = self._open.get(metric_name)
        if known is not None and severity.rank <= known.rank:
            return None
        self._open[metric_name] = severity
        return anomaly_of(detection, metric_name, float(value), stamp, self.name)

    def _track_of(self, metric_name: str) -> Track:
        known = self._tracks.get(metric_name)
        if known is None:
            known = self._tracks[metric_name] = self.track(metric_name)
            if len(self._tracks) > _MOST_METRICS:
                self._open.pop(self._tracks.popitem(last=False)[0], None)
        self._tracks.move_to_end(metric_name)
        return known

    def detect(self, series: Series) -> DetectorResults:
        """Results for every value of a series, by a new track; one column."""
        track = self.track(series.metric)
        ends = series.ends
        detections = [
            detection_of(track, value, stamp) for value, stamp in zip(series.value.tolist(), ends.tolist(), strict=True)
        ]
        return results_of(series, self.name, detections)


def detection_of(track: Track, value: float, stamp_us: int) -> Detection:
    """Pass a value to a track; one that is not finite is a gap and is not remembered."""
    return track.step(value, stamp_us) if math.isfinite(value) else UNSCORED


def anomaly_of(detection: Detection, metric: str, value: float, stamp_us: int, detector: str) -> Anomaly:
    """The result for one value as an anomaly."""
    at = moment(stamp_us)
    return Anomaly(
        metric,
        value,
        (detection.low, detection.high),
        detection.severity or severity_of(detection.z),
        at,
        detection.text,
        start=at,
        end=at,
        detector=detector,
        score=detection.score,
    )


def results_of(series: Series, name: str, detections: list[Detection]) -> DetectorResults:
    """The results for single values as one column."""
    table = np.array([detection[:4] for detection in detections], np.float64).reshape(len(detections), 4)
    alarm = np.array([detection.alarm for detection in detections], np.bool_)
    begins = alarm & ~np.append(False, alarm[:-1]) if len(alarm) else alarm
    onset = np.maximum.accumulate(np.where(begins, np.arange(len(detections)), 0)) if len(alarm) else begins
    known = bool(np.isfinite(table[:, 0]).any())
    values = int(np.isfinite(series.value).sum())
    reason = "" if known else f"too little history: {values} values" if values else "no values"
    row = Monitored(series.metric, series.group, len(series), "none", known, reason)
    return DetectorResults(
        series.starts,
        series.ends,
        (ResultColumn(series.metric, series.group, name, 0),),
        series.value[:, None],
        *(table[:, 1:2], table[:, 2:3], table[:, 0:1], table[:, 3:4]),
        alarm[:, None],
        onset[:, None].astype(np.int64),
        (row,),
        (series,),
    )


def rarity(z: float) -> float:
    """The share of a normal distribution nearer to its middle than `z`."""
    return math.erf(abs(z) / math.sqrt(2.0))


def units(difference: float, spread: float) -> float:
    """A difference in spreads, bounded, so that a spread of zero needs no case of its own."""
    if difference == 0:
        return 0.0
    return math.copysign(min(abs(difference) / spread, Z_CEILING) if spread > 0 else Z_CEILING, difference)
