"""llmmon: reads the request logs of LLM applications and says what they spent, how fast and how broken they were."""

from __future__ import annotations

import importlib
from typing import Any, Final

__version__ = "0.1.0"

# public name -> module that owns it; loaded on first use, so that `llmmon --help` imports no numpy
_OWNERS: Final[dict[str, str]] = {
    "Alert": "llmmon.alerting.alert",
    "AlertManager": "llmmon.alerting.manager",
    "AlertRule": "llmmon.alerting.rules",
    "AlertRuleRequest": "llmmon.live.server.replies",
    "AlertSeverity": "llmmon.alerting.rules",
    "Anomaly": "llmmon.anomaly.detectors.detector",
    "CompositeAnomalyDetector": "llmmon.anomaly.detectors",
    "DashboardData": "llmmon.live.server.replies",
    "EmailNotifier": "llmmon.alerting.notifiers.email",
    "JsonLinesWriter": "llmmon.live.json_lines",
    "LLMMetric": "llmmon.metrics.recording",
    "LLMQualityJudge": "llmmon.quality.judge",
    "LLMSpanExporter": "llmmon.live.json_lines",
    "LogHandler": "llmmon.live.json_lines",
    "MetricRequest": "llmmon.live.server.intake",
    "MetricType": "llmmon.metrics.recording",
    "MetricsAggregator": "llmmon.metrics.collector",
    "MetricsCollector": "llmmon.metrics.collector",
    "PagerDutyNotifier": "llmmon.alerting.notifiers.pagerduty",
    "PrometheusExporter": "llmmon.output.export.prometheus",
    "QualityMonitor": "llmmon.quality.scores",
    "QualityScore": "llmmon.quality.scores",
    "RecordedCall": "llmmon.metrics.recording",
    "RequestMetrics": "llmmon.metrics.recording",
    "SlackNotifier": "llmmon.alerting.notifiers.slack",
    "StatisticalAnomalyDetector": "llmmon.anomaly.detectors",
    "ThresholdAnomalyDetector": "llmmon.anomaly.detectors",
    "TrendAnomalyDetector": "llmmon.anomaly.detectors",
    "create_app": "llmmon.live.server.app",
    "read": "llmmon.reports.frames",
    "recorded": "llmmon.metrics.recording",
    "structlog_processor": "llmmon.live.json_lines",
}

__all__ = [
    "Alert",
    "AlertManager",
    "AlertRule",
    "AlertRuleRequest",
    "AlertSeverity",
    "Anomaly",
    "CompositeAnomalyDetector",
    "DashboardData",
    "EmailNotifier",
    "JsonLinesWriter",
    "LLMMetric",
    "LLMQualityJudge",
    "LLMSpanExporter",
    "LogHandler",
    "MetricRequest",
    "MetricType",
    "MetricsAggregator",
    "MetricsCollector",
    "PagerDutyNotifier",
    "PrometheusExporter",
    "QualityMonitor",
    "QualityScore",
    "RecordedCall",
    "RequestMetrics",
    "SlackNotifier",
    "StatisticalAnomalyDetector",
    "ThresholdAnomalyDetector",
    "TrendAnomalyDetector",
    "__version__",
    "create_app",
    "read",
    "recorded",
    "structlog_processor",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that owns it (PEP 562)."""
    if name not in _OWNERS:
        raise AttributeError(f"module 'llmmon' has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    return __all__
