"""llmmon's own dialects: one call as a flat object with the record's field names, and metric samples."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.metrics.record import FIELDS

CALL_MARK: Final = "llmmon_call"  # true in a row that llmmon wrote and that carries nothing else of a call
OWN_KEYS: Final = frozenset({*FIELDS, "success", "tags", CALL_MARK})


def _is_sample(found: Object) -> bool:
    return not found.keys() & (FIELDS.keys() - {"timestamp"})


_LARGEST: Final = 1e300


def _samples() -> Feed:
    def sample(found: Object) -> list[Row]:
        value, name = found.get("value"), found.get("name")
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            return []
        if not -_LARGEST < value < _LARGEST:  # nor is what is no number
            return []
        tags, kind = found.get("tags"), str(found.get("type"))
        tags = tags if isinstance(tags, dict) else {}
        return [{"name": name, "value": float(value), "type": kind, "timestamp": found.get("timestamp"), "tags": tags}]

    return sample


METRIC_SAMPLES: Final = Dialect(
    name="llmmon_metric",
    title="llmmon metric samples",
    marks=marks("name value type timestamp"),
    proof=_is_sample,
    open=_samples,
    samples=True,
    lacks="samples of a metric, not calls",
)
