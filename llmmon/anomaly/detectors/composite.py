"""Several detectors as one."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import ClassVar, Final

import numpy as np

from llmmon.anomaly.detectors.detector import Anomaly, Detector, DetectorResults, Monitored, ResultColumn
from llmmon.anomaly.series import Series
from llmmon.text.times import Clock, utc_now

_KEPT: Final = 10_000  # anomalies remembered


class CompositeAnomalyDetector:
    """Asks every detector it was given; remembers the last 10,000 anomalies."""

    name: ClassVar[str] = "composite"

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self.detectors: list[Detector] = []
        self.anomalies: deque[Anomaly] = deque(maxlen=_KEPT)
        self._now: datetime | None = None

    def add_detector(self, detector: Detector) -> None:
        """Ask this detector too."""
        self.detectors.append(detector)

    def check(self, metric_name: str, value: float, timestamp: datetime | None = None) -> list[Anomaly]:
        """Give one value to every detector; the anomalies that begin with it."""
        at = timestamp or self._clock()
        self._now = at if self._now is None else max(self._now, at)
        found = [detector.add_value(metric_name, value, at) for detector in self.detectors]
        new = [anomaly for anomaly in found if anomaly is not None]
        self.anomalies.extend(new)
        return new

    def add_value(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """As `check`, but only the most severe anomaly, or None."""
        found = self.check(metric_name, value, timestamp)
        return max(found, key=lambda anomaly: anomaly.severity.rank, default=None)

    def get_recent_anomalies(self, hours: float = 24) -> list[Anomaly]:
        """Those of the last hours before the latest value seen (event time)."""
        if self._now is None:
            return []
        since = self._now - timedelta(hours=hours)
        return [anomaly for anomaly in self.anomalies if anomaly.timestamp >= since]

    def detect(self, series: Series) -> DetectorResults:
        """Results of every detector for a series, one column each."""
        return side_by_side(series, [detector.detect(series) for detector in self.detectors])


def side_by_side(series: Series, parts: list[DetectorResults]) -> DetectorResults:
    """Join the results of several detectors for one series; it counts as judged if one of them could judge it."""
    blank = np.zeros((len(series), 0))
    columns = tuple(ResultColumn(series.metric, series.group, c.detector, 0) for part in parts for c in part.columns)
    rows = [row for part in parts for row in part.monitored]
    best = next((row for row in rows if row.judged), rows[0] if rows else None)
    row = best or Monitored(series.metric, series.group, len(series), "none", False, "no detector")
    return DetectorResults(
        series.starts,
        series.ends,
        columns,
        np.hstack([blank, *(part.value for part in parts)]),
        np.hstack([blank, *(part.low for part in parts)]),
        np.hstack([blank, *(part.high for part in parts)]),
        np.hstack([blank, *(part.score for part in parts)]),
        np.hstack([blank, *(part.z for part in parts)]),
        np.hstack([blank.astype(np.bool_), *(part.alarm for part in parts)]),
        np.hstack([blank.astype(np.int64), *(part.onset for part in parts)]),
        (row,),
        (series,),
    )
