"""`[[tests]]` of the configuration -> `RuleTest`s; everything that is wrong is listed, with its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from llmmon.durations import duration_us, moment_us
from llmmon.errors import UsageError
from llmmon.grouping import is_groupable
from llmmon.names import unknown
from llmmon.rule_series import USUAL_CALLS, GivenSeries, expanded, measured
from llmmon.rule_tables import RuleTable, tables_of
from llmmon.rule_tests import Expectation, ExpectedAlert, RuleTest
from llmmon.rules import MINUTE_US, AlertRule, AlertSeverity

_KEYS: Final = ("name", "input", "series", "start", "rules", "expect")
_STATES: Final = ("pending", "firing")


def tests_of(tables: Any, rules: Sequence[AlertRule], faults: list[str]) -> tuple[RuleTest, ...]:
    """The tests of `[[tests]]`; what is wrong is added to `faults`."""
    return tuple(_test(read, rules) for read in tables_of(tables, "tests", faults))


def _test(read: RuleTable, rules: Sequence[AlertRule]) -> RuleTest:
    read.only(_KEYS)
    test = RuleTest(
        name=read.text("name"),
        input=read.text("input"),
        series=tuple(_series(one) for one in read.tables("series")),
        start_us=_start(read),
        rules=read.texts("rules"),
        expect=tuple(_expectation(one, rules) for one in read.tables("expect")),
    )
    if not test.name:
        read.fault("name", "is missing")
    if bool(test.input) == bool(test.series):
        read.fault("", 'must have either input = "calls.jsonl" or [[tests.series]]')
    if not test.expect:
        read.fault("expect", 'is missing, such as [[tests.expect]] with at = "10m" and alerts = [{ rule = "slow" }]')
    for name in test.rules:
        _known_rule(read, "rules", name, rules)
    return test


def _start(read: RuleTable) -> int | None:
    """When minute 0 is: a time of TOML, or a text."""
    value = read.value("start")
    if value is None:
        return None
    try:
        found = moment_us(value.isoformat() if isinstance(value, datetime) else str(value), 0, "UTC")
    except UsageError as error:
        read.fault("start", str(error))
        return None
    return found // MINUTE_US * MINUTE_US


def _series(read: RuleTable) -> GivenSeries:
    read.only(("metric", "values", "group", "calls"))
    metric, group = read.text("metric"), read.table("group")
    if read.checked("metric", lambda: measured(metric)) and not read.has("values"):
        read.fault("values", 'is missing, such as values = "800x10 9000x5"')
    values: tuple[float | None, ...] = ()
    try:
        values = expanded(read.text("values"))
    except UsageError as error:
        read.fault("values", f"{error} ({error.hint})" if error.hint else str(error))
    for field in group:
        if not is_groupable(field):
            read.fault("group", f"calls cannot be grouped by {field!r} (a tag is written tag.{field})")
    calls = read.whole("calls")
    return GivenSeries(metric, values, group, USUAL_CALLS if calls is None else calls)


def _expectation(read: RuleTable, rules: Sequence[AlertRule]) -> Expectation:
    read.only(("at", "alerts"))
    if not read.has("at"):
        read.fault("at", 'is missing, such as at = "10m"')
    elif duration_us_or_none(read.text("at")) is None:
        read.fault("at", "must be a duration since the start, such as 10m")
    alerts = tuple(_expected(one, rules) for one in read.tables("alerts"))
    if not read.has("alerts"):
        read.fault("alerts", "is missing; alerts = [] expects that none is open")
    return Expectation(duration_us_or_none(read.text("at")) or 0, alerts)


def duration_us_or_none(text: str) -> int | None:
    """A duration in microseconds, None where it is none."""
    try:
        return duration_us(text)
    except UsageError:
        return None


def _expected(read: RuleTable, rules: Sequence[AlertRule]) -> ExpectedAlert:
    read.only(("rule", "state", "group", "severity"))
    _known_rule(read, "rule", read.text("rule"), rules)
    state = read.one_of("state", {name: name for name in _STATES}, "firing")
    severity = read.text("severity") or None
    if severity is not None and severity not in list(AlertSeverity):
        read.fault("severity", unknown("severity", severity, list(AlertSeverity)))
    group: Mapping[str, str | None] | None = read.table("group") if read.has("group") else None
    return ExpectedAlert(read.text("rule"), state, group, severity)


def _known_rule(read: RuleTable, key: str, name: str, rules: Sequence[AlertRule]) -> None:
    known = [rule.name for rule in rules]
    if name not in known:
        read.fault(key, unknown("rule", name, known) if known else "there are no rules to test")
