"""Values beyond fixed limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

from llmmon.anomaly.detectors.detector import (
    UNSCORED,
    Anomaly,
    Detection,
    Severity,
    StreamDetector,
    Track,
    anomaly_of,
    detection_of,
)
from llmmon.text.times import Clock, to_us, utc_now

Direction: TypeAlias = Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class ThresholdLimits:
    """The limits of one metric; either may be missing."""

    warning: float | None
    critical: float | None
    above: bool

    def __getitem__(self, name: str) -> float | str | None:
        """`warning`, `critical` or `direction`; raises KeyError for anything else."""
        return {
            "warning": self.warning,
            "critical": self.critical,
            "direction": "above" if self.above else "below",
        }[name]

    def step(self, value: float, stamp_us: int) -> Detection:  # noqa: ARG002 - limits have no memory
        for word, limit, severity in (
            ("critical", self.critical, Severity.CRITICAL),
            ("warning", self.warning, Severity.MEDIUM),
        ):
            if limit is not None and (value > limit if self.above else value < limit):
                verb = "exceeds" if self.above else "is below"
                text = f"value {value:.4g} {verb} the {word} threshold {limit:.4g}"
                return Detection(1.0, *self._range(limit), math.nan, True, text, severity)
        first = self.warning if self.warning is not None else self.critical
        return UNSCORED if first is None else Detection(0.0, *self._range(first), math.nan)

    def _range(self, limit: float) -> tuple[float, float]:
        return (-math.inf, limit) if self.above else (limit, math.inf)


class ThresholdAnomalyDetector(StreamDetector):
    """Flags values beyond fixed limits; metrics without limits are not watched."""

    name: ClassVar[str] = "threshold"

    def __init__(self, *, clock: Clock = utc_now) -> None:
        super().__init__(clock)
        self.thresholds: dict[str, ThresholdLimits] = {}

    def set_threshold(
        self,
        metric_name: str,
        warning: float | None = None,
        critical: float | None = None,
        direction: Direction = "above",
    ) -> None:
        """Set the limits of a metric; a value must pass them, not meet them."""
        if direction not in ("above", "below"):
            raise ValueError(f"direction {direction!r} is neither 'above' nor 'below'")
        self.thresholds[metric_name] = ThresholdLimits(warning, critical, direction == "above")
        self._tracks.pop(metric_name, None)

    def check(self, metric_name: str, value: float, timestamp: datetime | None = None) -> Anomaly | None:
        """Whether this one value is beyond the limits, whatever came before it."""
        stamp = to_us(timestamp or self._clock())
        detection = detection_of(self.track(metric_name), float(value), stamp)
        return anomaly_of(detection, metric_name, float(value), stamp, self.name) if detection.alarm else None

    def track(self, metric_name: str) -> Track:
        """The limits themselves."""
        return self.thresholds.get(metric_name) or ThresholdLimits(None, None, above=True)
