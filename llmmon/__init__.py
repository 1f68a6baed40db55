"""llmmon: reads the request logs of LLM applications and says what they spent, how fast and how broken they were."""

from __future__ import annotations

import importlib
from typing import Any, Final

__version__ = "0.1.0"

# public name -> module that owns it; loaded on first use, so that `llmmon --help` imports no numpy
_OWNERS: Final[dict[str, str]] = {
    "Alert": "llmmon.alert",
    "AlertManager": "llmmon.alert_manager",
    "AlertRule": "llmmon.rules",
    "AlertSeverity": "llmmon.rules",
    "Anomaly": "llmmon.incidents",
    "CompositeAnomalyDetector": "llmmon.detectors",
    "EmailNotifier": "llmmon.notifiers.email",
    "LLMMetric": "llmmon.collector",
    "LLMQualityJudge": "llmmon.judge",
    "MetricType": "llmmon.collector",
    "MetricsAggregator": "llmmon.aggregator",
    "MetricsCollector": "llmmon.collector",
    "PagerDutyNotifier": "llmmon.notifiers.pagerduty",
    "PrometheusExporter": "llmmon.prometheus",
    "QualityMonitor": "llmmon.quality",
    "QualityScore": "llmmon.quality",
    "RequestMetrics": "llmmon.collector",
    "SlackNotifier": "llmmon.notifiers.slack",
    "StatisticalAnomalyDetector": "llmmon.detectors",
    "ThresholdAnomalyDetector": "llmmon.detectors",
    "TrendAnomalyDetector": "llmmon.detectors",
}

__all__ = [
    "Alert",
    "AlertManager",
    "AlertRule",
    "AlertSeverity",
    "Anomaly",
    "CompositeAnomalyDetector",
    "EmailNotifier",
    "LLMMetric",
    "LLMQualityJudge",
    "MetricType",
    "MetricsAggregator",
    "MetricsCollector",
    "PagerDutyNotifier",
    "PrometheusExporter",
    "QualityMonitor",
    "QualityScore",
    "RequestMetrics",
    "SlackNotifier",
    "StatisticalAnomalyDetector",
    "ThresholdAnomalyDetector",
    "TrendAnomalyDetector",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that owns it (PEP 562)."""
    if name not in _OWNERS:
        raise AttributeError(f"module 'llmmon' has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    return __all__
