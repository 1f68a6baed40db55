"""Detectors: a Series in, scores and anomalies out; all causal, all streaming and batch.

`DETECTORS` are the value-by-value ones, by the name of `--method`; `judge` is the default monitor, which
judges a whole panel of series together; `judge_samples` is its counterpart for bare metric samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmmon.anomaly.detectors.composite import CompositeAnomalyDetector
from llmmon.anomaly.detectors.detector import Anomaly, Column, Detector, Monitored, Severity, Verdicts, severity_of
from llmmon.anomaly.detectors.monitor import Monitor, Sensitivity, judge
from llmmon.anomaly.detectors.novelty import NoveltyAnomalyDetector
from llmmon.anomaly.detectors.shift import ShiftAnomalyDetector
from llmmon.anomaly.detectors.statistical import StatisticalAnomalyDetector
from llmmon.anomaly.detectors.threshold import ThresholdAnomalyDetector
from llmmon.anomaly.detectors.trend import TrendAnomalyDetector
from llmmon.anomaly.series import Series

__all__ = [
    "DETECTORS",
    "Anomaly",
    "Column",
    "CompositeAnomalyDetector",
    "Detector",
    "Monitor",
    "Monitored",
    "NoveltyAnomalyDetector",
    "Sensitivity",
    "Severity",
    "ShiftAnomalyDetector",
    "StatisticalAnomalyDetector",
    "ThresholdAnomalyDetector",
    "TrendAnomalyDetector",
    "Verdicts",
    "judge",
    "judge_samples",
    "severity_of",
]


def _samples_detector() -> CompositeAnomalyDetector:
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
    "composite": _samples_detector,
}


def judge_samples(series: Series) -> Verdicts:
    """Verdicts on bare metric samples: what a series has never done before, whatever its units or season."""
    return DETECTORS["novelty"]().judge(series)
