"""Several detectors as one."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import numpy as np

from llmmon.anomaly.detectors.detector import Anomaly, DetectorResults, Monitored, ResultColumn, Severity, moment
from llmmon.anomaly.series import Series
from llmmon.text.times import Clock, to_us, utc_now

_KEPT: Final = 10_000  # anomalies remembered
_KEPT_ERRORS: Final = 100


class CompositeAnomalyDetector:
    """Asks every detector it was given; remembers the last 10,000 anomalies.

    A detector that raises does not stop the others; `detector_errors` keeps the last 100 exceptions, newest last.
    """

    name: ClassVar[str] = "composite"

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self.detectors: list[Any] = []
        self.anomalies: deque[Anomaly] = deque(maxlen=_KEPT)
        self.detector_errors: deque[Exception] = deque(maxlen=_KEPT_ERRORS)
        self._now: datetime | None = None

    def add_detector(self, detector: Any) -> None:
        """Ask this detector too: any with `add_value(name, value[, timestamp])` or `check(name, value[, timestamp])`.

        Raises `TypeError` for one that has neither.
        """
        if not hasattr(detector, "add_value") and not hasattr(detector, "check"):
            raise TypeError(f"{type(detector).__name__} has neither add_value(name, value) nor check(name, value)")
        self.detectors.append(detector)

    def check(self, metric_name: str, value: float, timestamp: datetime | None = None) -> list[Anomaly]:
        """Give one value to every detector; the anomalies that begin with it."""
        at = moment(to_us(timestamp or self._clock()))
        self._now = at if self._now is None else max(self._now, at)
        new: list[Anomaly] = []
        for detector in self.detectors:
            try:
                new += _asked(detector, metric_name, value, at)
            except Exception as error:  # noqa: BLE001 - a broken detector does not stop the others
                self.detector_errors.append(error)
        self.anomalies.extend(new)
        return new

    def add_value(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """As `check`, but only the most severe anomaly, or None."""
        found = self.check(metric_name, value, timestamp)
        return max(found, key=lambda anomaly: Severity(anomaly.severity).rank, default=None)

    def get_recent_anomalies(self, hours: float = 24) -> list[Anomaly]:
        """Those of the last hours before the latest value seen (event time)."""
        if self._now is None:
            return []
        since_us = to_us(self._now - timedelta(hours=hours))
        return [anomaly for anomaly in self.anomalies if to_us(anomaly.timestamp) >= since_us]

    def detect(self, series: Series) -> DetectorResults:
        """Results of every detector of ours for a series, one column each."""
        return side_by_side(series, [one.detect(series) for one in self.detectors if hasattr(one, "detect")])


def _asked(detector: Any, metric_name: str, value: float, at: datetime) -> list[Anomaly]:
    """What a detector finds in a value, with the time where it takes one."""
    ask = detector.add_value if hasattr(detector, "add_value") else detector.check
    found = ask(metric_name, value, at) if _takes_time(ask) else ask(metric_name, value)
    if found is None:
        return []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _takes_time(ask: Callable[..., Any]) -> bool:
    """Whether it can be called with a name, a value and a time."""
    try:
        inspect.signature(ask).bind("", 0.0, None)
    except TypeError:
        return False
    return True


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
