"""`[[slos]]` and `[[budgets]]`: objectives and spending limits, the rules that follow from them, and SLO status.

An objective becomes two burn-rate rules, one that pages and one for a ticket. A budget becomes one rule for each
threshold, which fires once a period, and one for a projected overrun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.alert import GroupLabels
from llmmon.alerting.evaluation import Histories
from llmmon.alerting.evaluation.burn import CALLS, allowed, good_and_all
from llmmon.alerting.evaluation.spend import PERIODS, QUARTER, rolling_minutes
from llmmon.alerting.evaluation.windows import RunningSums, keys_in, labels_of
from llmmon.alerting.history import Stream
from llmmon.alerting.rules import AlertRule, AlertSeverity, Burn, BurnWindows, Spend, group_text, number_text
from llmmon.errors import UsageError
from llmmon.metrics.filters import parse
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.vocabulary import meant_fields
from llmmon.text.tables import TomlTable
from llmmon.text.times import DAY_US, HOUR_US, MINUTE_US, duration_text, duration_us, zone


class SloStatus(msgspec.Struct, frozen=True):
    """The status of an objective for one group at a moment: the calls of its window, and the error budget left.

    `good_share` and `budget_left` are None without calls; a budget that is overdrawn is negative.
    """

    slo: str
    group: GroupLabels
    objective: float
    window_us: int
    calls: int
    failures: int
    good_share: float | None
    budget_left: float | None

    @property
    def sentence(self) -> str:
        """One line for people."""
        whom = f"{self.slo}: {group_text(self.group)}" if self.group else self.slo
        if self.good_share is None or self.budget_left is None:
            return f"{whom}: no calls in {duration_text(self.window_us)}"
        left = f"{self.budget_left:.0%} of the error budget is left".replace("%", " %")
        if self.budget_left < 0:
            left = f"the error budget is overdrawn by {-self.budget_left:.0%}".replace("%", " %")
        good = f"{number_text(self.good_share * 100)} % of {self.calls:,} calls were good"
        return f"{whom}: {left} ({good} in {duration_text(self.window_us)}, objective {self.objective * 100:g} %)"


SLO_KEYS: Final = (
    "name",
    "objective",
    "good",
    "window",
    "by",
    "where",
    "min_count",
    "min_failures",
    "notify",
    "labels",
)
DEFAULT_WINDOW: Final = 30 * 1440  # minutes
LEAST_CALLS: Final = 100
LEAST_FAILURES: Final = 3
# long and short window in minutes and burn rate, for a window of 30 days: 2 % and 5 % of the budget, and 10 % twice
PAGE: Final = (BurnWindows(60, 5, 14.4), BurnWindows(360, 30, 6.0))
TICKET: Final = (BurnWindows(1440, 120, 3.0), BurnWindows(4320, 360, 1.0))
_LEAST_WINDOW_US: Final = DAY_US
_MOST_WINDOW_US: Final = 92 * DAY_US


class Slo(msgspec.Struct, frozen=True):
    """An objective: this share of the calls (of each group) over the window must be good."""

    name: str
    objective: float
    good: str
    window_us: int = DEFAULT_WINDOW * MINUTE_US
    by: tuple[str, ...] = ()
    where: str = ""
    min_count: int = LEAST_CALLS
    min_failures: int = LEAST_FAILURES
    notify: tuple[str, ...] | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def rules(self) -> tuple[AlertRule, AlertRule]:
        """The rule that pages, and the one that opens a ticket."""
        return (
            self._rule("page", AlertSeverity.CRITICAL, PAGE, 5),
            self._rule("ticket", AlertSeverity.WARNING, TICKET, 60),
        )

    def _rule(self, what: str, severity: AlertSeverity, pairs: Sequence[BurnWindows], keep: int) -> AlertRule:
        scaled = tuple(_scaled(pair, self.window_us) for pair in pairs)
        return AlertRule(
            name=f"{self.name} {what}",
            metric_name="burn_rate",
            condition="gt",
            threshold=scaled[0].factor,
            severity=severity,
            window_us=scaled[0].long * MINUTE_US,
            keep_firing_for_us=keep * MINUTE_US,  # a rate near its limit would flap
            by=self.by,
            where=self.where,
            min_count=self.min_count,
            notify=self.notify,
            labels={"slo": self.name, **self.labels},
            basis=Burn(self.objective, self.good, scaled, self.min_failures),
        )

    @property
    def streams(self) -> dict[Stream, int]:
        """The streams of the status, over the window: good calls and all calls by quarters of an hour."""
        streams = good_and_all(self.where, self.good, self.by, QUARTER * MINUTE_US)
        return dict.fromkeys(streams, self.window_us // MINUTE_US + QUARTER)


def _scaled(pair: BurnWindows, window_us: int) -> BurnWindows:
    """A pair scaled from 30 days to another window, so that it uses up the same part of the budget."""
    part = window_us / MINUTE_US / DEFAULT_WINDOW
    return BurnWindows(max(1, round(pair.long * part)), max(1, round(pair.short * part)), pair.factor)


def slo_statuses(slos: Sequence[Slo], histories: Histories, minute: int) -> tuple[SloStatus, ...]:
    """The status of objectives at the end of a minute, in order of objective and group.

    The start of the window is rounded down to a quarter of an hour.
    """
    return tuple(one for slo in slos for one in _slo_statuses(slo, histories, minute))


def _slo_statuses(slo: Slo, histories: Histories, minute: int) -> list[SloStatus]:
    good, every = (histories[stream] for stream in slo.streams)
    low, high = (minute - slo.window_us // MINUTE_US) // QUARTER, -(-minute // QUARTER)
    keys = keys_in(slo.by, every)
    good_calls, calls = (
        RunningSums(part, CALLS, keys, low, high).counts(np.array([low]), np.array([high]))[:, 0].tolist()
        for part in (good, every)
    )
    return [
        SloStatus(
            slo=slo.name,
            group=group,
            objective=slo.objective,
            window_us=slo.window_us,
            calls=count,
            failures=count - good_count,
            good_share=good_count / count if count else None,
            budget_left=1 - (count - good_count) / (count * allowed(slo.objective)) if count else None,
        )
        for group, good_count, count in zip(labels_of(slo.by, keys), good_calls, calls, strict=True)
    ]


def slos_of(tables: Iterable[TomlTable]) -> tuple[Slo, ...]:
    """The objectives of `[[slos]]`; what is wrong is noted in the tables."""
    return tuple(map(_slo, tables))


def _slo(read: TomlTable) -> Slo:
    read.only(SLO_KEYS)
    count, failures = read.whole("min_count"), read.whole("min_failures")
    slo = Slo(
        name=read.text("name"),
        objective=read.number("objective"),
        good=read.text("good", "ok"),
        window_us=read.duration("window", "30d", least_us=_LEAST_WINDOW_US),
        by=meant_fields(read.texts("by")),
        where=read.text("where"),
        min_count=LEAST_CALLS if count is None else count,
        min_failures=LEAST_FAILURES if failures is None else failures,
        notify=read.texts("notify") if read.has("notify") else None,
        labels=read.named_texts("labels"),
    )
    if not slo.name.strip():
        read.fault("name", "is missing: every objective needs a name of its own")
    if not 0 < slo.objective < 1:
        read.fault("objective", "must be a share between 0 and 1, such as 0.999")
    if slo.window_us > _MOST_WINDOW_US:
        read.fault("window", "must be at most 92d")
    read.check("by", lambda: Grouping(slo.by))
    read.check("good", lambda: parse(slo.good))
    if slo.where:
        read.check("where", lambda: parse(slo.where))
    return slo


BUDGET_KEYS: Final = (
    "name",
    "amount_usd",
    "per",
    "timezone",
    "thresholds",
    "projected",
    "by",
    "where",
    "notify",
    "labels",
)
DEFAULT_THRESHOLDS: Final = (50.0, 80.0, 100.0)  # percent
_DAY: Final = 1440  # minutes
_LONGEST_US: Final = 31 * DAY_US


class Budget(msgspec.Struct, frozen=True):
    """The amount that all calls (or those of each group) may cost in a period."""

    name: str
    amount_usd: float
    per: str
    tz: str = "UTC"
    thresholds: tuple[float, ...] = DEFAULT_THRESHOLDS
    projected: bool = True
    by: tuple[str, ...] = ()
    where: str = ""
    notify: tuple[str, ...] | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def rules(self) -> tuple[AlertRule, ...]:
        """One rule for each threshold, and one for an overrun that is expected."""
        found = [
            self._rule(f"{self.name} {percent:g} %", _severity(percent), percent / 100) for percent in self.thresholds
        ]
        if self.projected and self.per in PERIODS:
            found.append(self._rule(f"{self.name} projected", AlertSeverity.WARNING, None))
        return tuple(found)

    def _rule(self, name: str, severity: AlertSeverity, share: float | None) -> AlertRule:
        """One rule; a projection goes up and down, so it must hold for a while, and clear for a while."""
        rolling = rolling_minutes(self.per)
        period = PERIODS[self.per] * _DAY if rolling is None else rolling
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
            keep_firing_for_us=period // 24 * MINUTE_US if share is None or rolling is not None else 0,
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


def budgets_of(tables: Iterable[TomlTable], tz: str) -> tuple[Budget, ...]:
    """The budgets of `[[budgets]]`, in the time zone `tz` where they name none; faults are noted in the tables."""
    return tuple(_budget(read, tz) for read in tables)


def _period(read: TomlTable) -> str:
    """A period of the calendar, or any time of a length such as 24h."""
    text = read.text("per", "month")
    if text in PERIODS:
        return text
    try:
        found = duration_us(text)
    except UsageError:
        found = 0
    if found % MINUTE_US or not HOUR_US <= found <= _LONGEST_US:
        read.fault("per", f'must be day, week, month, or a duration from "1h" to "31d" such as "24h", not {text!r}')
        return "month"
    return text


def _budget(read: TomlTable, tz: str) -> Budget:
    read.only(BUDGET_KEYS)
    budget = Budget(
        name=read.text("name"),
        amount_usd=read.number("amount_usd"),
        per=_period(read),
        tz=read.text("timezone", tz),
        thresholds=read.numbers("thresholds", DEFAULT_THRESHOLDS),
        projected=read.flag("projected", default=True),
        by=meant_fields(read.texts("by")),
        where=read.text("where"),
        notify=read.texts("notify") if read.has("notify") else None,
        labels=read.named_texts("labels"),
    )
    if not budget.name.strip():
        read.fault("name", "is missing: every budget needs a name of its own")
    if not budget.amount_usd > 0:
        read.fault("amount_usd", "must be more than 0" if read.has("amount_usd") else "is missing")
    if any(not 0 < percent <= 1000 for percent in budget.thresholds):
        read.fault("thresholds", "must be percentages, such as [50, 80, 100]")
    read.check("timezone", lambda: zone(budget.tz))
    read.check("by", lambda: Grouping(budget.by))
    if budget.where:
        read.check("where", lambda: parse(budget.where))
    return budget
