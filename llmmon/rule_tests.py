"""Unit tests of rules: calls, times, and the alerts that must be open then; the evaluator is the one of `check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.alert import Alert, Group
from llmmon.columns import Columns
from llmmon.evaluator import evaluate_minutes
from llmmon.history import StreamsFold, complete
from llmmon.kinds import reaches, sight_of
from llmmon.rule_series import GivenSeries, calls_of
from llmmon.rules import MINUTE_US, AlertRule

START_US: Final = 1_767_225_600_000_000  # 2026-01-01, where the series of a test begin unless it says otherwise


class ExpectedAlert(msgspec.Struct, frozen=True):
    """An alert that must be open; `group` and `severity` None are not compared."""

    rule: str
    state: str = "firing"
    group: Mapping[str, str | None] | None = None
    severity: str | None = None

    def fits(self, alert: Alert) -> bool:
        """Whether an alert is this one."""
        return (
            self.rule == alert.rule
            and self.state == alert.state.value
            and self.group in (None, dict(alert.group))
            and self.severity in (None, alert.severity.value)
        )


class Expectation(msgspec.Struct, frozen=True):
    """The alerts that must be open, all of them, so long after the test's start."""

    at_us: int
    alerts: tuple[ExpectedAlert, ...]


class RuleTest(msgspec.Struct, frozen=True):
    """One `[[tests]]` table: an input (a log, or series), and what must follow. `rules` empty means all rules."""

    name: str
    input: str = ""
    series: tuple[GivenSeries, ...] = ()
    start_us: int | None = None
    rules: tuple[str, ...] = ()
    expect: tuple[Expectation, ...] = ()


class OpenAlert(msgspec.Struct, frozen=True):
    """An alert that was open at a time of a test."""

    rule: str
    group: Group
    state: str
    severity: str


class Compared(msgspec.Struct, frozen=True):
    """One time of a test: pairs of what was expected and what there was, None where one of them is missing."""

    at_us: int
    pairs: tuple[tuple[ExpectedAlert | None, OpenAlert | None], ...]
    passed: bool


class RuleTestResult(msgspec.Struct, frozen=True):
    """What became of one test."""

    name: str
    times: tuple[Compared, ...]

    @property
    def passed(self) -> bool:
        """Whether every time was as expected."""
        return all(time.passed for time in self.times)


def calls_of_test(test: RuleTest) -> Columns:
    """The calls of a test that is made of series."""
    return calls_of(test.series, START_US if test.start_us is None else test.start_us)


def run_test(test: RuleTest, rules: Sequence[AlertRule], calls: Columns) -> RuleTestResult:
    """Evaluate every minute from the test's start, and compare the open alerts at each of its times."""
    chosen = [rule for rule in rules if not test.rules or rule.name in test.rules]
    streams = list(reaches(chosen))
    fold = StreamsFold(streams)
    fold.add(calls, [])
    past = complete(streams, [fold.result()])
    start = _start(test, calls) // MINUTE_US
    found, state, done = [], dict[str, Alert](), start
    for expectation in sorted(test.expect, key=lambda one: one.at_us):
        until = start + expectation.at_us // MINUTE_US
        if until > done:
            sights = [sight_of(rule, past, np.arange(done + 1, until + 1)) for rule in chosen]
            state, _ = evaluate_minutes(state, sights)
            done = until
        found.append(_compared(expectation, [alert for alert in state.values() if not alert.resolved]))
    return RuleTestResult(test.name, tuple(found))


def _start(test: RuleTest, calls: Columns) -> int:
    if test.start_us is not None:
        return test.start_us
    bounds = calls.bounds() if test.input else None
    return START_US if bounds is None else bounds[0]


def _compared(expectation: Expectation, alerts: Sequence[Alert]) -> Compared:
    """Expected and open alerts side by side; those that say most are matched first."""
    left = sorted(alerts, key=lambda a: (a.rule, str(a.group)))
    pairs: list[tuple[ExpectedAlert | None, OpenAlert | None]] = []
    missing = []
    for wanted in sorted(expectation.alerts, key=lambda e: (e.group is None) + (e.severity is None)):
        hit = next((alert for alert in left if wanted.fits(alert)), None)
        if hit is None:
            missing.append(wanted)
        else:
            left.remove(hit)
            pairs.append((wanted, _open(hit)))
    for wanted in missing:
        near = next((alert for alert in left if alert.rule == wanted.rule), None)
        if near is not None:
            left.remove(near)
        pairs.append((wanted, None if near is None else _open(near)))
    pairs += [(None, _open(alert)) for alert in left]
    return Compared(expectation.at_us, tuple(pairs), passed=not missing and not left)


def _open(alert: Alert) -> OpenAlert:
    return OpenAlert(alert.rule, alert.group, alert.state.value, alert.severity.value)
