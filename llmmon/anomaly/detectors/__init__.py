"""Detectors: a Series in, scores and anomalies out; all causal, streaming and batch alike.

`DETECTORS` are the detectors that read one value at a time, by the name of `--method`. `detect` runs the default
monitor, which watches a whole panel of series together; `detect_in_samples` does the same for bare metric samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmmon.anomaly.detectors.composite import CompositeAnomalyDetector
from llmmon.anomaly.detectors.detector import (
    Anomaly,
    Detector,
    DetectorResults,
    Monitored,
    ResultColumn,
    Severity,
    severity_of,
)
from llmmon.anomaly.detectors.monitor import Monitor, Sensitivity, detect
from llmmon.anomaly.detectors.novelty import NoveltyAnomalyDetector
from llmmon.anomaly.detectors.shift import ShiftAnomalyDetector
from llmmon.anomaly.detectors.statistical import StatisticalAnomalyDetector
from llmmon.anomaly.detectors.threshold import ThresholdAnomalyDetector
from llmmon.anomaly.detectors.trend import TrendAnomalyDetector
from llmmon.anomaly.series import Series

__all__ = [
    "DETECTORS",
    "Anomaly",
    "CompositeAnomalyDetector",
    "Detector",
    "DetectorResults",
    "Monitor",
    "Monitored",
    "NoveltyAnomalyDetector",
    "ResultColumn",
    "Sensitivity",
    "Severity",
    "ShiftAnomalyDetector",
    "StatisticalAnomalyDetector",
    "ThresholdAnomalyDetector",
    "TrendAnomalyDetector",
    "detect",
    "detect_in_samples",
    "severity_of",
]


def _novelty_and_shift() -> CompositeAnomalyDetector:
    both = CompositeAnomalyDetector()
    both.add_detector(NoveltyAnomalyDetector())
    both.add_detector(ShiftAnomalyDetector())
    return both


DETECTORS: Final[dict[str, Callable[[], Detector]]] = {
    "statistical": StatisticalAnomalyDetector,
    "threshold": ThresholdAnomalyDetector,
    "trend": TrendAnomalyDetector,
    "novelty": NoveltyAnomalyDetector,
    "shift": ShiftAnomalyDetector,
    "composite": _novelty_and_shift,
}


def detect_in_samples(series: Series) -> DetectorResults:
    """Find what a series of bare metric samples has never done before, whatever its unit or season."""
    return NoveltyAnomalyDetector().detect(series)
