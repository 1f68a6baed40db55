"""`[[tests]]` and `rules test`: unit tests of rules, over given series or a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.alert import Alert, GroupLabels
from llmmon.alerting.evaluation import evaluate_minutes, evaluate_rule, streams_of
from llmmon.alerting.history import StreamsFold
from llmmon.alerting.reading import complete
from llmmon.alerting.rules import INCIDENT, AlertRule, AlertSeverity
from llmmon.alerting.suggest import read_calls
from llmmon.errors import InputError, UsageError
from llmmon.ingest.query import Query
from llmmon.metrics.columns import MISSING_CODE, Columns, FloatArray, IntArray, Names, concat
from llmmon.metrics.definitions import ALIASES, METRICS, Statistic, metric_called, statistic_called
from llmmon.metrics.grouping import is_groupable
from llmmon.metrics.record import FIELDS
from llmmon.text.names import unknown
from llmmon.text.tables import TomlTable
from llmmon.text.times import MINUTE_US, duration_us, moment_us

MOST_VALUES: Final = 60 * 24 * 400
USUAL_CALLS: Final = 60
_NUMBER: Final = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE: Final = re.compile(rf"(?P<start>{_NUMBER})(?:(?P<step>[-+](?:\d+(?:\.\d*)?|\.\d+)))?x(?P<times>\d+)")
_GAP: Final = re.compile(r"_(?:x(?P<times>\d+))?")
_EVENTS: Final = {"error": ("status", "error", "ok"), "truncated": ("finish_reason", "length", "stop")} | {
    "refused": ("finish_reason", "content_filter", "stop")
}


class GivenSeries(msgspec.Struct, frozen=True):
    """One metric of one group: a value per minute (None: missing), and the number of calls per minute.

    The value of a base metric is that of every call, or for errors and similar events their share of the calls; that
    of a count or sum (`cost_total_usd`, `error_count`, `requests`) is that of the whole minute.
    """

    metric: str
    values: tuple[float | None, ...]
    group: Mapping[str, str] = msgspec.field(default_factory=dict)
    calls: int = USUAL_CALLS


def expanded(text: str) -> tuple[float | None, ...]:
    """Expand `0+10x5 _x3 500` to values, None for missing ones; raises `UsageError`. The notation is promtool's.

    `a` is one value, `a+bxn` is a, a+b ... a+n*b, `axn` is a and n more of it, `_xn` is n missing ones.
    """
    found: list[float | None] = []
    for word in text.split():
        if (gap := _GAP.fullmatch(word)) is not None:
            found += [None] * _times(gap["times"] or "1", text)
        elif (part := _RANGE.fullmatch(word)) is not None:
            start, step = float(part["start"]), float(part["step"] or 0)
            found += [start + step * i for i in range(_times(part["times"], text) + 1)]
        elif re.fullmatch(_NUMBER, word):
            found.append(float(word))
        else:
            raise UsageError(
                f"{word!r} is not a value", hint="write 500, 0+10x5 (0 10 20 30 40 50), 7x3 or _x3 (missing)"
            )
    if len(found) > MOST_VALUES:
        raise UsageError(f"{len(found):,} values are too many, the limit is {MOST_VALUES:,}")
    return tuple(found)


def _times(text: str, whole: str) -> int:
    if len(text) > len(str(MOST_VALUES)):
        raise UsageError(f"{whole!r} has too many values, the limit is {MOST_VALUES:,}")
    return int(text)


def measured(name: str) -> tuple[str, str]:
    """The base metric of a series, and its aggregation ("" for values of calls); raises `UsageError`."""
    name = ALIASES.get(name, name)
    if name in METRICS:
        metric, aggregation = metric_called(name).name, ""
    else:
        statistic: Statistic = statistic_called(name)
        metric, aggregation = statistic.metric.name, statistic.aggregation
    if metric != "requests" and metric not in _EVENTS and (metric not in FIELDS or aggregation == "count"):
        known = {"requests", *_EVENTS, *(name for name in METRICS if name in FIELDS)}
        raise UsageError(f"a series cannot give {name}: {unknown('field', name, known)}")
    return metric, aggregation


def calls_of(series: Sequence[GivenSeries], start_us: int) -> Columns:
    """Make the calls of series, from `start_us` on; series of the same group describe the same calls."""
    groups: dict[tuple[tuple[str, str], ...], list[GivenSeries]] = {}
    for one in series:
        groups.setdefault(tuple(sorted(one.group.items())), []).append(one)
    return concat([_calls(those, start_us) for those in groups.values()])


def _calls(series: Sequence[GivenSeries], start_us: int) -> Columns:
    """The calls of one group."""
    size = max((len(one.values) for one in series), default=0)
    table = np.full((len(series), size), np.nan)
    for row, one in enumerate(series):
        table[row, : len(one.values)] = [np.nan if value is None else value for value in one.values]
    names = [measured(one.metric) for one in series]
    numbers = [i for i, (metric, _) in enumerate(names) if metric == "requests"]
    if numbers:
        calls = np.nan_to_num(table[numbers[0]]).astype(np.int64)
    else:
        calls = np.where(np.isnan(table).all(axis=0), 0, max(one.calls for one in series))
    minute = np.repeat(np.arange(size), np.maximum(calls, 0))
    place = np.arange(len(minute)) - np.repeat(np.cumsum(calls) - calls, calls)
    columns = Columns(len(minute), start_us + minute * MINUTE_US + place * MINUTE_US // np.maximum(calls[minute], 1))
    columns = _named(columns, {"status": "ok", **series[0].group})
    for row, (metric, aggregation) in enumerate(names):
        columns = _with(columns, metric, aggregation, table[row], calls, (minute, place))
    return columns


def _with(
    columns: Columns, metric: str, aggregation: str, values: FloatArray, calls: IntArray, at: tuple[IntArray, IntArray]
) -> Columns:
    minute, place = at
    if metric == "requests":
        return columns
    if metric in _EVENTS:
        field, yes, no = _EVENTS[metric]
        hits = values if aggregation == "count" else np.rint(values * calls)
        codes = np.where(np.isnan(hits[minute]), MISSING_CODE, (place >= hits[minute]).astype(np.int64))
        return msgspec.structs.replace(
            columns, names={**columns.names, field: Names(codes.astype(np.int32), [yes, no])}
        )
    each = values / np.maximum(calls, 1) if aggregation == "sum" else values
    return columns.with_numbers(**{metric: np.rint(each[minute] * FIELDS[metric].scale)})


def _named(columns: Columns, names: Mapping[str, str]) -> Columns:
    codes = np.zeros(columns.size, np.int32)
    return msgspec.structs.replace(columns, names={field: Names(codes, [name]) for field, name in names.items()})


START_US: Final = 1_767_225_600_000_000  # 2026-01-01, where the series of a test begin by default


class ExpectedAlert(msgspec.Struct, frozen=True):
    """An alert that is expected to be open; `group` and `severity` None are not compared."""

    rule: str
    state: str = "firing"
    group: Mapping[str, str | None] | None = None
    severity: str | None = None

    def matches(self, alert: Alert) -> bool:
        """Whether an alert is the expected one."""
        return (
            self.rule == alert.rule
            and self.state == alert.state.value
            and self.group in (None, dict(_named_group(alert)))
            and self.severity in (None, alert.severity.value)
        )


class Expectation(msgspec.Struct, frozen=True):
    """All alerts that are expected to be open, `at_us` after the start of the test."""

    at_us: int
    alerts: tuple[ExpectedAlert, ...]


class RuleTest(msgspec.Struct, frozen=True):
    """One `[[tests]]` table: an input (a log or series) and the expected alerts. Empty `rules` means all rules."""

    name: str
    input: str = ""
    series: tuple[GivenSeries, ...] = ()
    start_us: int | None = None
    rules: tuple[str, ...] = ()
    expect: tuple[Expectation, ...] = ()


class OpenAlert(msgspec.Struct, frozen=True):
    """An alert that was open at a time of a test."""

    rule: str
    group: GroupLabels
    state: str
    severity: str


class Compared(msgspec.Struct, frozen=True):
    """One time of a test: pairs of an expected and an open alert, None where one of them is missing."""

    at_us: int
    pairs: tuple[tuple[ExpectedAlert | None, OpenAlert | None], ...]
    passed: bool


class RuleTestResult(msgspec.Struct, frozen=True):
    """The result of one test."""

    name: str
    times: tuple[Compared, ...]

    @property
    def passed(self) -> bool:
        """Whether every time was as expected."""
        return all(time.passed for time in self.times)


def calls_of_test(test: RuleTest) -> Columns:
    """The calls of a test with series."""
    return calls_of(test.series, START_US if test.start_us is None else test.start_us)


def run_test(test: RuleTest, rules: Sequence[AlertRule], calls: Columns) -> RuleTestResult:
    """Evaluate every minute from the start of a test, and compare the open alerts at each of its times."""
    chosen = [rule for rule in rules if not test.rules or rule.name in test.rules]
    streams = list(streams_of(chosen))
    fold = StreamsFold(streams)
    fold.add(calls, [])
    histories = complete(streams, [fold.result()])
    start = _start(test, calls) // MINUTE_US
    found, state, done = [], dict[str, Alert](), start
    for expectation in sorted(test.expect, key=lambda one: one.at_us):
        until = start + expectation.at_us // MINUTE_US
        if until > done:
            evaluations = [evaluate_rule(rule, histories, np.arange(done + 1, until + 1)) for rule in chosen]
            state, _ = evaluate_minutes(state, evaluations)
            done = until
        found.append(_compared(expectation, [alert for alert in state.values() if not alert.resolved]))
    return RuleTestResult(test.name, tuple(found))


def _start(test: RuleTest, calls: Columns) -> int:
    if test.start_us is not None:
        return test.start_us
    bounds = calls.bounds() if test.input else None
    return START_US if bounds is None else bounds[0]


def _compared(expectation: Expectation, alerts: Sequence[Alert]) -> Compared:
    """Pair expected and open alerts; the most specific expectations are matched first."""
    left = sorted(alerts, key=lambda a: (a.rule, str(a.group)))
    pairs: list[tuple[ExpectedAlert | None, OpenAlert | None]] = []
    missing = []
    for wanted in sorted(expectation.alerts, key=lambda e: (e.group is None) + (e.severity is None)):
        hit = next((alert for alert in left if wanted.matches(alert)), None)
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


def _named_group(alert: Alert) -> GroupLabels:
    """The group without the id of an incident, which a test cannot know."""
    return tuple(label for label in alert.group if label[0] != INCIDENT)


def _open(alert: Alert) -> OpenAlert:
    return OpenAlert(alert.rule, _named_group(alert), alert.state.value, alert.severity.value)


_KEYS: Final = ("name", "input", "series", "start", "rules", "expect")
_STATES: Final = ("pending", "firing")


def tests_of(tables: Iterable[TomlTable], rules: Sequence[AlertRule]) -> tuple[RuleTest, ...]:
    """The tests of `[[tests]]`; what is wrong is noted in the tables."""
    return tuple(_test(read, rules) for read in tables)


def _test(read: TomlTable, rules: Sequence[AlertRule]) -> RuleTest:
    read.only(_KEYS)
    test = RuleTest(
        name=read.text("name"),
        input=read.text("input"),
        series=tuple(_series(one) for one in read.tables("series")),
        start_us=_start_of(read),
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


def _start_of(read: TomlTable) -> int | None:
    """The time of minute 0, from a TOML time or a text."""
    value = read.value("start")
    if value is None:
        return None
    try:
        found = moment_us(value.isoformat() if isinstance(value, datetime) else str(value), 0, "UTC")
    except UsageError as error:
        read.fault("start", str(error))
        return None
    return found // MINUTE_US * MINUTE_US


def _series(read: TomlTable) -> GivenSeries:
    read.only(("metric", "values", "group", "calls"))
    metric, group = read.text("metric"), read.named_texts("group")
    if read.check("metric", lambda: measured(metric)) and not read.has("values"):
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


def _expectation(read: TomlTable, rules: Sequence[AlertRule]) -> Expectation:
    read.only(("at", "alerts"))
    if not read.has("at"):
        read.fault("at", 'is missing, such as at = "10m"')
    elif duration_us_or_none(read.text("at")) is None:
        read.fault("at", "must be a duration since the start, such as 10m")
    alerts = tuple(_expected(one, rules) for one in read.tables("alerts"))
    if not read.has("alerts"):
        read.fault("alerts", "is missing; alerts = [] expects no open alert")
    return Expectation(duration_us_or_none(read.text("at")) or 0, alerts)


def duration_us_or_none(text: str) -> int | None:
    """A duration in microseconds, None if it is not one."""
    try:
        return duration_us(text)
    except UsageError:
        return None


def _expected(read: TomlTable, rules: Sequence[AlertRule]) -> ExpectedAlert:
    read.only(("rule", "state", "group", "severity"))
    _known_rule(read, "rule", read.text("rule"), rules)
    state = read.one_of("state", {name: name for name in _STATES}, "firing")
    severity = read.text("severity") or None
    if severity is not None and severity not in list(AlertSeverity):
        read.fault("severity", unknown("severity", severity, list(AlertSeverity)))
    group: Mapping[str, str | None] | None = read.named_texts("group") if read.has("group") else None
    return ExpectedAlert(read.text("rule"), state, group, severity)


def _known_rule(read: TomlTable, key: str, name: str, rules: Sequence[AlertRule]) -> None:
    known = [rule.name for rule in rules]
    if name not in known:
        read.fault(key, unknown("rule", name, known) if known else "there are no rules to test")


def run_tests(
    tests: Sequence[RuleTest], rules: Sequence[AlertRule], query: Query, folder: Path
) -> list[RuleTestResult]:
    """Run tests; raises `InputError` if a log cannot be read.

    `query` is how logs are read; input paths are relative to `folder`.
    """
    return [_run(test, rules, query, folder) for test in tests]


def _run(test: RuleTest, rules: Sequence[AlertRule], query: Query, folder: Path) -> RuleTestResult:
    if not test.input:
        return run_test(test, rules, calls_of_test(test))
    try:
        calls = read_calls(msgspec.structs.replace(query, logs=(str(folder / test.input),)), rules)
    except InputError as error:
        raise InputError(f"test {test.name!r}: {error}", hint="input is relative to the configuration file") from None
    return run_test(test, rules, calls)
