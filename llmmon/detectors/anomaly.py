"""What a detector found: one incident of one metric and group, and how severe it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from llmmon.series import Group


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


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One incident. `timestamp` is the end of the bucket that raised it, `start` its estimated onset.

    `expected_range` is (low, high) at the bucket that raised it, `score` in [0, 1] how rare it is,
    `contributors` what the change is made of (filled in by attribution).
    """

    metric_name: str
    value: float
    expected_range: tuple[float, float]
    severity: Severity
    timestamp: datetime
    description: str
    start: datetime | None = None
    end: datetime | None = None
    group: Group = ()
    detector: str = ""
    score: float | None = None
    id: str = ""
    contributors: tuple[Mapping[str, Any], ...] = field(default=())


def moment(stamp_us: int) -> datetime:
    """Epoch microseconds as a time in UTC."""
    return datetime.fromtimestamp(stamp_us // 1_000_000, UTC).replace(microsecond=int(stamp_us % 1_000_000))


def micros(time: datetime) -> int:
    """A time as epoch microseconds; one without a zone is UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)


def spoken(number: float) -> str:
    """A number in a sentence: four digits, thousands with separators."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e12 else f"{number:.4g}"
