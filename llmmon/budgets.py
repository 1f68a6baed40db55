"""`[[budgets]]`: an amount a day, week or month, as rules that each fire once a period."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llmmon.durations import zone
from llmmon.filters import parse
from llmmon.grouping import Grouping
from llmmon.kinds.spend import PERIODS
from llmmon.rule_tables import RuleTable, tables_of
from llmmon.rules import MINUTE_US, AlertRule, AlertSeverity, Spend

KEYS: Final = ("name", "amount_usd", "per", "timezone", "thresholds", "projected", "by", "where", "notify", "labels")
USUAL_THRESHOLDS: Final = (50.0, 80.0, 100.0)  # percent
_DAY: Final = 1440  # minutes


class Budget(msgspec.Struct, frozen=True):
    """An amount that all calls (or those of each group) of a period may cost."""

    name: str
    amount_usd: float
    per: str
    tz: str = "UTC"
    thresholds: tuple[float, ...] = USUAL_THRESHOLDS
    projected: bool = True
    by: tuple[str, ...] = ()
    where: str = ""
    notify: tuple[str, ...] | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def rules(self) -> tuple[AlertRule, ...]:
        """One rule a threshold, and one for an overrun that the pace so far foretells."""
        found = [
            self._rule(f"{self.name} {percent:g} %", _severity(percent), percent / 100) for percent in self.thresholds
        ]
        if self.projected:
            found.append(self._rule(f"{self.name} projected", AlertSeverity.WARNING, None))
        return tuple(found)

    def _rule(self, name: str, severity: AlertSeverity, share: float | None) -> AlertRule:
        """A pace goes up and down: it must last a while, and its end too."""
        period = PERIODS[self.per] * _DAY
        return AlertRule(
            name=name,
            metric_name="cost_usd",
            condition="gt" if share is None else "ge",
            threshold=self.amount_usd * (1.0 if share is None else share),
            severity=severity,
            cooldown_minutes=0.0,
            aggregation="sum",
            window_us=period * MINUTE_US,
            for_us=period // 96 * MINUTE_US if share is None else 0,
            keep_firing_for_us=period // 24 * MINUTE_US if share is None else 0,
            by=self.by,
            where=self.where,
            notify=self.notify,
            labels={"budget": self.name, **self.labels},
            basis=Spend(self.amount_usd, self.per, self.tz, share),
        )


def _severity(percent: float) -> AlertSeverity:
    if percent >= 100:
        return AlertSeverity.ERROR
    return AlertSeverity.WARNING if percent >= 80 else AlertSeverity.INFO


def budgets_of(tables: Any, tz: str, faults: list[str]) -> tuple[Budget, ...]:
    """The budgets of `[[budgets]]`, in the time zone `tz` unless they say otherwise; faults are added to `faults`."""
    return tuple(_budget(read, tz) for read in tables_of(tables, "budgets", faults))


def _budget(read: RuleTable, tz: str) -> Budget:
    read.only(KEYS)
    budget = Budget(
        name=read.text("name"),
        amount_usd=read.number("amount_usd"),
        per=read.one_of("per", {name: name for name in PERIODS}, "month"),
        tz=read.text("timezone", tz),
        thresholds=read.numbers("thresholds", USUAL_THRESHOLDS),
        projected=read.flag("projected") if read.has("projected") else True,
        by=read.texts("by"),
        where=read.text("where"),
        notify=read.texts("notify") if read.has("notify") else None,
        labels=read.table("labels"),
    )
    if not budget.name.strip():
        read.fault("name", "is missing: every budget has a name of its own")
    if not budget.amount_usd > 0:
        read.fault("amount_usd", "must be more than 0" if read.has("amount_usd") else "is missing")
    if any(not 0 < percent <= 1000 for percent in budget.thresholds):
        read.fault("thresholds", "must be percentages, such as [50, 80, 100]")
    read.checked("timezone", lambda: zone(budget.tz))
    read.checked("by", lambda: Grouping(budget.by))
    if budget.where:
        read.checked("where", lambda: parse(budget.where))
    return budget
