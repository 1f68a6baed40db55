"""Detectors: a Series in, scores and anomalies out; all causal, all streaming and batch.

`DETECTORS` are the value-by-value ones, by the name of `--method`; `judge` is the default monitor, which
judges a whole panel of series together; `judge_samples` is its counterpart for bare metric samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmmon.detectors.anomaly import Anomaly, Severity, severity_of
from llmmon.detectors.composite import CompositeAnomalyDetector
from llmmon.detectors.monitor import Monitor, Sensitivity, judge
from llmmon.detectors.novelty import NoveltyAnomalyDetector
from llmmon.detectors.shift import ShiftAnomalyDetector
from llmmon.detectors.statistical import StatisticalAnomalyDetector
from llmmon.detectors.streaming import Detector
from llmmon.detectors.threshold import ThresholdAnomalyDetector
from llmmon.detectors.trend import TrendAnomalyDetector
from llmmon.detectors.verdicts import Column, Monitored, Verdicts
from llmmon.series import Series

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
