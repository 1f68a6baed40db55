"""`PrometheusExporter`: what a collector holds, as Prometheus or OpenMetrics text."""

from __future__ import annotations

from typing import Final

from llmmon.collector import LLMMetric, MetricsCollector
from llmmon.columns import Columns
from llmmon.exposition import INSTRUMENTS, Moment, families, sample_families
from llmmon.names import lookup
from llmmon.record import SCORE_UNITS
from llmmon.renderers.prometheus import openmetrics, prometheus
from llmmon.tallies import Labels, Numbers, Tally, add, kept_labels, limited, tally

FORMATS: Final = {"prometheus": prometheus, "openmetrics": openmetrics}
LABEL_LIMIT: Final = 100
_QUALITY: Final = "llm_quality_score"


class PrometheusExporter:
    """Counters, histograms and gauges of all calls that a collector holds, and the last of each recorded sample.

    Beyond `label_limit` values of a label (models, error types), those of the fewest calls are `other`.
    """

    def __init__(self, collector: MetricsCollector, label_limit: int = LABEL_LIMIT) -> None:
        self.collector = collector
        self._label_limit = label_limit

    def export(self, text_format: str = "prometheus") -> str:
        """Everything as text: `prometheus` (0.0.4) or `openmetrics` (1.0); raises `UsageError` for another format."""
        render = lookup(FORMATS, text_format, "text format")
        calls = self.collector.calls()
        samples = self.collector.samples()
        scored = [sample for sample in samples if _is_quality(sample)]
        found = add([tally(calls, INSTRUMENTS) if calls.size else Tally(), _quality(scored, calls)])
        found = limited(found, INSTRUMENTS, kept_labels(found, INSTRUMENTS, self._label_limit))
        shown = families(found, Moment(_minutes(found)))
        others = [sample.to_dict() for sample in samples if not _is_quality(sample)]
        return render([*shown, *sample_families(others, shown)])


def _is_quality(sample: LLMMetric) -> bool:
    return sample.name == _QUALITY and sample.tags.get("quality_type", "overall") == "overall"


def _quality(samples: list[LLMMetric], calls: Columns) -> Tally:
    """Recorded quality by the model of the call that it is of."""
    if not samples:
        return Tally()
    models = dict(zip(calls.name("request_id").texts(), calls.name("model").texts(), strict=True))
    points: dict[Labels, Numbers] = {}
    for sample in samples:
        labels = (models.get(str(sample.tags.get("request_id"))),)
        count, total = points.get(labels, (0, 0))
        points[labels] = (count + 1, total + round(sample.value * SCORE_UNITS))
    return Tally({"quality_score": points})


def _minutes(found: Tally) -> float | None:
    """From the first call to the last."""
    if found.first_us is None or found.last_us is None or found.first_us == found.last_us:
        return None
    return (found.last_us - found.first_us) / 60e6
