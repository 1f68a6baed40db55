"""Alert rules: `AlertRule`, severities, conditions, and the two default rules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from llmmon.text.times import MINUTE_US, duration_text

LATE_US: Final = 2 * MINUTE_US  # how long a line may take to arrive, unless configured
MOST_GROUPS: Final = 100  # of a rule about quantiles; all further ones count as the group "other"
MOST_AVERAGED: Final = 5_000  # the same for rates and averages; sums and counts have no limit
OTHER: Final = "other"

CONDITIONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
}
SIGNS: Final = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "eq": "=", "ne": "≠"}


class AlertSeverity(StrEnum):
    """The severity of an alert, from info to critical."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 3 for critical."""
        return list(AlertSeverity).index(self)


class NoData(StrEnum):
    """How a rule treats a window without data."""

    OK = "ok"  # as if the condition were not met
    ALERT = "alert"  # as if it were met
    KEEP = "keep"  # the alert stays as it is


class Change(msgspec.Struct, frozen=True, tag="change"):
    """The threshold is the same statistic at an earlier time, times `factor` (1.5 for +50 %).

    The earlier time is the `earlier_us` before the window, or with 0 the same hours a week earlier.
    """

    factor: float
    earlier_us: int = 0

    @property
    def versus(self) -> str:
        """The name of the earlier time."""
        return f"the previous {duration_text(self.earlier_us)}" if self.earlier_us else "the same hour last week"


class BurnWindows(msgspec.Struct, frozen=True):
    """A burn rate that must be exceeded over a long and a short window, in minutes."""

    long: int
    short: int
    factor: float


class Burn(msgspec.Struct, frozen=True, tag="burn"):
    """The rate at which calls that are not `good` burn the error budget of an objective; 1 burns it in its window.

    One of `pairs` must be exceeded, with at least `min_failures` such calls in its long window.
    """

    objective: float
    good: str
    pairs: tuple[BurnWindows, ...]
    min_failures: int = 0


class Spend(msgspec.Struct, frozen=True, tag="spend"):
    """The spend of a day, week or month of a time zone, against a `share` of an amount.

    `share` None compares what the whole period is expected to come to with the amount.
    """

    amount_usd: float
    period: str
    tz: str = "UTC"
    share: float | None = None


INCIDENT: Final = "incident"  # the label that makes the alert of each incident its own


class AlertRule(msgspec.Struct, frozen=True):
    """A condition on one statistic, by group, that must hold for some time.

    `metric_name` is a statistic or, with `aggregation`, a base metric. Every `_us` is a duration in
    microseconds; `cooldown_minutes` is the least time from resolved to the next firing notification. `min_count`
    None means 20 calls for rates, averages and quantiles, and none for counts and sums. `notify` None means every
    channel. `title`, `description`, `runbook` and `dashboard` (links) are templates. `levels` are thresholds by
    severity, the mildest first, which is the rule's own. While the rule fires, the alerts of those that it `inhibits`
    (globs of names) are not notified. An `anomaly` rule fires on incidents of the anomaly monitor instead of a
    threshold; `basis` is set for rules that are not about a fixed threshold.
    """

    name: str
    metric_name: str = ""
    condition: str = "gt"
    threshold: float = 0.0
    severity: AlertSeverity = AlertSeverity.ERROR
    cooldown_minutes: float = 5.0
    aggregation: str = ""
    window_us: int = 5 * MINUTE_US
    for_us: int = 0
    keep_firing_for_us: int = 0
    repeat_us: int = 0
    by: tuple[str, ...] = ()
    where: str = ""
    min_count: int | None = None
    no_data: NoData = NoData.OK
    notify: tuple[str, ...] | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    description: str = ""
    anomaly: bool = False
    basis: Change | Burn | Spend | None = None
    title: str = ""
    runbook: str = ""
    dashboard: str = ""
    levels: tuple[tuple[AlertSeverity, float], ...] = ()
    inhibits: tuple[str, ...] = ()
    accepted_before_us: int = 0  # incidents that began before are over: their level is the baseline

    @property
    def cooldown_us(self) -> int:
        """`cooldown_minutes` in microseconds."""
        return round(self.cooldown_minutes * MINUTE_US)

    @property
    def measured(self) -> bool:
        """Whether it compares a statistic of a metric, unlike rules about anomalies, burn rates and budgets."""
        return not self.anomaly and not isinstance(self.basis, (Burn, Spend))

    def is_met(self, value: float) -> bool:
        """Whether a value meets the condition."""
        return CONDITIONS[self.condition](value, self.threshold)

    def level_of(self, value: float | None) -> tuple[AlertSeverity, float]:
        """The most severe level that a value reaches, with its threshold; the rule's own without levels."""
        found = self.severity, self.threshold
        for severity, threshold in self.levels:
            if value is not None and CONDITIONS[self.condition](value, threshold):
                found = severity, threshold
        return found


# of the original system, as statistics over a window
DEFAULT_RULES: Final = (
    AlertRule("High Latency", "latency_ms", "gt", 5000, AlertSeverity.ERROR, aggregation="avg"),
    AlertRule("High Error Rate", "error_rate", "gt", 0.1, AlertSeverity.CRITICAL),
)


def with_labels(rule: AlertRule, labels: Mapping[str, str]) -> AlertRule:
    """The rule with labels of all alerts, over which its own take precedence."""
    return msgspec.structs.replace(rule, labels={**labels, **rule.labels}) if labels else rule


def group_text(group: Sequence[tuple[str, str | None]]) -> str:
    """`model gpt-4o, user ann`; `all calls` for no group."""
    return ", ".join(f"{field} {name if name is not None else '(none)'}" for field, name in group) or "all calls"


def number_text(value: float | None) -> str:
    """A number for people: four significant digits, thousands separated; `-` for none."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
