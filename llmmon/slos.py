"""`[[slos]]`: objectives for calls that are good, as burn-rate rules, and what is left of the error budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.filters import parse
from llmmon.grouping import Grouping
from llmmon.history import Stream
from llmmon.kinds import Past
from llmmon.kinds.burn import CALLS, allowed, good_and_all
from llmmon.kinds.running import Running, keys_in
from llmmon.kinds.spend import QUARTER
from llmmon.rule_tables import RuleTable, tables_of
from llmmon.rules import MINUTE_US, AlertRule, AlertSeverity, Burn, Burning
from llmmon.slo_standing import SloStanding

KEYS: Final = ("name", "objective", "good", "window", "by", "where", "min_count", "min_failures", "notify", "labels")
USUAL_WINDOW: Final = 30 * 1440  # minutes
LEAST_CALLS: Final = 100
LEAST_FAILURES: Final = 3
# long and short window in minutes and burn rate, for a window of 30 days: 2 % and 5 % of the budget, and 10 % twice
PAGE: Final = (Burning(60, 5, 14.4), Burning(360, 30, 6.0))
TICKET: Final = (Burning(1440, 120, 3.0), Burning(4320, 360, 1.0))
_LEAST_WINDOW_US: Final = 86_400_000_000
_MOST_WINDOW_US: Final = 92 * 86_400_000_000


class Slo(msgspec.Struct, frozen=True):
    """An objective: this share of the calls (of each group) over the window must be good."""

    name: str
    objective: float
    good: str
    window_us: int = USUAL_WINDOW * MINUTE_US
    by: tuple[str, ...] = ()
    where: str = ""
    min_count: int = LEAST_CALLS
    min_failures: int = LEAST_FAILURES
    notify: tuple[str, ...] | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def rules(self) -> tuple[AlertRule, AlertRule]:
        """The rule that pages, and the one that makes a ticket."""
        return (
            self._rule("page", AlertSeverity.CRITICAL, PAGE, 5),
            self._rule("ticket", AlertSeverity.WARNING, TICKET, 60),
        )

    def _rule(self, what: str, severity: AlertSeverity, pairs: Sequence[Burning], keep: int) -> AlertRule:
        scaled = tuple(_scaled(pair, self.window_us) for pair in pairs)
        return AlertRule(
            name=f"{self.name} {what}",
            metric_name="burn_rate",
            condition="gt",
            threshold=scaled[0].factor,
            severity=severity,
            window_us=scaled[0].long * MINUTE_US,
            keep_firing_for_us=keep * MINUTE_US,  # a rate near its limit would come and go
            by=self.by,
            where=self.where,
            min_count=self.min_count,
            notify=self.notify,
            labels={"slo": self.name, **self.labels},
            basis=Burn(self.objective, self.good, scaled, self.min_failures),
        )

    @property
    def needs(self) -> dict[Stream, int]:
        """What the standing is made of: good calls and all calls by quarters of an hour, as far as the window."""
        streams = good_and_all(self.where, self.good, self.by, QUARTER * MINUTE_US)
        return dict.fromkeys(streams, self.window_us // MINUTE_US + QUARTER)


def _scaled(pair: Burning, window_us: int) -> Burning:
    """A pair for another window than 30 days: it uses up the same part of the budget."""
    part = window_us / MINUTE_US / USUAL_WINDOW
    return Burning(max(1, round(pair.long * part)), max(1, round(pair.short * part)), pair.factor)


def standings(slos: Sequence[Slo], past: Past, minute: int) -> tuple[SloStanding, ...]:
    """How objectives stand at the end of a minute, in order of objective and group.

    The window begins at the quarter of an hour in which it begins.
    """
    return tuple(one for slo in slos for one in _standings(slo, past, minute))


def _standings(slo: Slo, past: Past, minute: int) -> list[SloStanding]:
    good, every = (past[stream] for stream in slo.needs)
    low, high = (minute - slo.window_us // MINUTE_US) // QUARTER, -(-minute // QUARTER)
    keys = keys_in(every) if slo.by else [()]
    fine, calls = (
        Running(part, CALLS, keys, low, high).counts(np.array([low]), np.array([high]))[:, 0] for part in (good, every)
    )
    found = []
    for key, right, all_calls in zip(keys, fine.tolist(), calls.tolist(), strict=True):
        failures = all_calls - right
        share = right / all_calls if all_calls else None
        left = 1 - failures / (all_calls * allowed(slo.objective)) if all_calls else None
        group = tuple(zip(slo.by, key, strict=True))
        found.append(SloStanding(slo.name, group, slo.objective, slo.window_us, all_calls, failures, share, left))
    return found


def slos_of(tables: Any, faults: list[str]) -> tuple[Slo, ...]:
    """The objectives of `[[slos]]`; what is wrong is added to `faults`."""
    return tuple(_slo(read) for read in tables_of(tables, "slos", faults))


def _slo(read: RuleTable) -> Slo:
    read.only(KEYS)
    count, failures = read.whole("min_count"), read.whole("min_failures")
    slo = Slo(
        name=read.text("name"),
        objective=read.number("objective"),
        good=read.text("good", "ok"),
        window_us=read.duration("window", "30d", least_us=_LEAST_WINDOW_US),
        by=read.texts("by"),
        where=read.text("where"),
        min_count=LEAST_CALLS if count is None else count,
        min_failures=LEAST_FAILURES if failures is None else failures,
        notify=read.texts("notify") if read.has("notify") else None,
        labels=read.table("labels"),
    )
    if not slo.name.strip():
        read.fault("name", "is missing: every objective has a name of its own")
    if not 0 < slo.objective < 1:
        read.fault("objective", "must be a share between 0 and 1, such as 0.999")
    if slo.window_us > _MOST_WINDOW_US:
        read.fault("window", "must be at most 92d")
    read.checked("by", lambda: Grouping(slo.by))
    read.checked("good", lambda: parse(slo.good))
    if slo.where:
        read.checked("where", lambda: parse(slo.where))
    return slo
