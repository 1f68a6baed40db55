"""`[[rules]]` of the configuration -> `AlertRule`s; everything that is wrong is listed, with its key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from llmmon.durations import SECOND_US, duration_us
from llmmon.errors import UsageError
from llmmon.names import nearest, unknown
from llmmon.rules import CONDITIONS, MINUTE_US, AlertRule, AlertSeverity, Change, NoData, unknown_places

KEYS: Final = (
    *("name", "metric", "aggregation", "window", "condition", "threshold", "severity", "for", "keep_firing_for"),
    *("cooldown", "repeat", "by", "where", "min_count", "no_data", "notify", "labels", "description", "anomaly"),
    *("change", "versus"),
)
_NOT_OF_ANOMALIES: Final = frozenset({"aggregation", "window", "condition", "threshold", "min_count", "no_data"})
_NOT_OF_CHANGES: Final = frozenset({"condition", "threshold", "anomaly"})
_CHANGE: Final = re.compile(r"\s*([+-])\s*(\d+(?:\.\d+)?)\s*%\s*")
_SAME_HOUR: Final = "same hour last week"
_HOUR_US: Final = 60 * MINUTE_US
_LONGEST_US: Final = 366 * 86400 * SECOND_US
T = TypeVar("T")


class RuleTable:
    """One table being read; `faults` are texts such as `rules[2].window: ...`."""

    def __init__(self, table: Mapping[str, Any], place: str, faults: list[str]) -> None:
        self._table = table
        self._place = place
        self._faults = faults

    def fault(self, key: str, text: str) -> None:
        """Note what is wrong with a key."""
        self._faults.append(f"{self._place}.{key}: {text}" if key else f"{self._place}: {text}")

    def only(self, known: Sequence[str]) -> None:
        """No other keys than these."""
        for key in self._table:
            if key not in known:
                guess = nearest(key, known)
                self.fault(key, "unknown key" + (f", did you mean {guess!r}?" if guess else ""))

    def _of(self, key: str, kinds: type | tuple[type, ...], what: str, default: T) -> Any | T:
        value = self._table.get(key, default)
        if key in self._table and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
            self.fault(key, f"must be {what}, not {value!r}")
            return default
        return value

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._table

    def value(self, key: str) -> Any:
        """Whatever stands there, None where nothing does."""
        return self._table.get(key)

    def tables(self, key: str) -> list[RuleTable]:
        """The tables of a list of them."""
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fault(key, f"must be a list of tables, not {value!r}")
            return []
        return [RuleTable(one, f"{self._place}.{key}[{i}]", self._faults) for i, one in enumerate(value, 1)]

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        return str(self._of(key, str, "text", default))

    def flag(self, key: str) -> bool:
        """True or false."""
        return bool(self._of(key, bool, "true or false", default=False))

    def number(self, key: str, default: float = 0.0) -> float:
        """A number."""
        return float(self._of(key, (int, float), "a number", default))

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of different numbers."""
        value = self._table.get(key, list(default))
        if not isinstance(value, list) or not all(type(one) in {int, float} for one in value):
            self.fault(key, f"must be a list of numbers, not {value!r}")
            return default
        return tuple(dict.fromkeys(float(one) for one in value))

    def whole(self, key: str) -> int | None:
        """A whole number from 0, None where the key is absent."""
        found = self._of(key, int, "a whole number", None)
        if found is not None and found < 0:
            self.fault(key, "must not be negative")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A text or a list of them."""
        value = self._table.get(key, [])
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fault(key, f"must be a list of texts, not {value!r}")
            return ()
        return tuple(value)

    def table(self, key: str) -> dict[str, str]:
        """A table of texts (numbers are taken as texts)."""
        value = self._table.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, (str, int, float)) for v in value.values()):
            self.fault(key, 'must be a table of texts, as { team = "chat" }')
            return {}
        return {name: str(v) for name, v in value.items()}

    def duration(self, key: str, default: str, *, least_us: int = 0) -> int:
        """A duration in microseconds."""
        value = self._of(key, str, 'a duration such as "5m"', default)
        try:
            found = duration_us(value)
        except UsageError as error:
            self.fault(key, f"{error} ({error.hint})" if error.hint else str(error))
            return duration_us(default)
        if not least_us <= found <= _LONGEST_US:
            self.fault(key, f"{value!r} is too {'short' if found < least_us else 'long'}")
        return found

    def one_of(self, key: str, known: Mapping[str, T], default: str) -> T:
        """One of a few words."""
        word = self.text(key, default)
        if word not in known:
            self.fault(key, unknown(key, word, known))
            return known[default]
        return known[word]

    def checked(self, key: str, check: Callable[[], object]) -> bool:
        """Whether a check of the value raises no `UsageError`; what it raises is noted."""
        try:
            check()
        except UsageError as error:
            self.fault(key, str(error).removeprefix("--where: ").removeprefix("--by: "))
            return False
        return True


def tables_of(tables: Any, place: str, faults: list[str]) -> Iterator[RuleTable]:
    """Each of the tables of `[[place]]`."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.append(f"{place}: must be tables, each as [[{place}]]")
        return
    for number, table in enumerate(tables, 1):
        yield RuleTable(table, f"{place}[{number}]", faults)


def rules_of(tables: Any, faults: list[str]) -> tuple[AlertRule, ...]:
    """The rules of `[[rules]]`; what is wrong is added to `faults`."""
    names: dict[str, int] = {}
    found = []
    for number, read in enumerate(tables_of(tables, "rules", faults), 1):
        rule = rule_of(read)
        if rule.name in names:
            read.fault("name", f"{rule.name!r} is also the name of rules[{names[rule.name]}]")
        names.setdefault(rule.name, number)
        found.append(rule)
    return tuple(found)


def rule_of(read: RuleTable) -> AlertRule:
    """One rule of its table."""
    read.only(KEYS)
    anomaly = read.flag("anomaly")
    change = _change(read)
    condition = "gt" if change is None or change.factor > 1 else "lt"
    rule = AlertRule(
        name=read.text("name"),
        metric_name=read.text("metric"),
        condition=read.one_of("condition", {name: name for name in CONDITIONS}, condition),
        threshold=read.number("threshold"),
        severity=read.one_of("severity", {s.value: s for s in AlertSeverity}, "warning" if anomaly else "error"),
        cooldown_minutes=read.duration("cooldown", "5m") / MINUTE_US,
        aggregation=read.text("aggregation"),
        window_us=read.duration("window", "5m", least_us=MINUTE_US),
        for_us=read.duration("for", "0s"),
        keep_firing_for_us=read.duration("keep_firing_for", "0s"),
        repeat_us=read.duration("repeat", "0s"),
        by=read.texts("by"),
        where=read.text("where"),
        min_count=read.whole("min_count"),
        no_data=read.one_of("no_data", {one.value: one for one in NoData}, "ok"),
        notify=read.texts("notify") if read.has("notify") else None,
        labels=read.table("labels"),
        description=read.text("description"),
        anomaly=anomaly,
        basis=change,
    )
    _check(read, rule)
    return rule


def _change(read: RuleTable) -> Change | None:
    """`change = "+50%"` and `versus`, where they are there."""
    if not read.has("change"):
        if read.has("versus"):
            read.fault("versus", 'goes together with change = "+50%"')
        return None
    for key in _NOT_OF_CHANGES:
        if read.has(key):
            read.fault(key, "does not go together with change")
    found = _CHANGE.fullmatch(read.text("change"))
    percent = float(found[1] + found[2]) if found else 0.0
    if not percent or percent <= -100:
        read.fault("change", f"must be such as +50% or -30%, not {read.text('change')!r}")
    return Change(1 + percent / 100, _earlier(read))


def _earlier(read: RuleTable) -> int:
    """How long the earlier time of a change is; 0 for the same hour last week."""
    versus = read.text("versus")
    if versus == _SAME_HOUR:
        return 0
    try:
        found = duration_us(versus.removeprefix("previous "))
    except UsageError:
        found = 0
    if not versus.startswith("previous ") or not 0 < found <= _LONGEST_US or found % _HOUR_US:
        read.fault("versus", f'must be "previous 7d" (whole hours) or "{_SAME_HOUR}", not {versus!r}')
        return 7 * 24 * _HOUR_US
    return found


def _check(read: RuleTable, rule: AlertRule) -> None:
    """What can be said only of the rule as a whole."""
    from llmmon.filters import parse
    from llmmon.grouping import Grouping
    from llmmon.history import statistic_of

    if not rule.name.strip():
        read.fault("name", "is missing: every rule has a name of its own")
    if rule.window_us % MINUTE_US:
        read.fault("window", "must be whole minutes: rules are evaluated every minute")
    read.checked("by", lambda: Grouping(rule.by))
    if rule.where:
        read.checked("where", lambda: parse(rule.where))
    for place in unknown_places(rule):
        read.fault("description", f"nothing fills {{{place}}}")
    if rule.anomaly:
        for key in _NOT_OF_ANOMALIES:
            if read.has(key):
                read.fault(key, "does not go together with anomaly = true")
        return
    if not rule.metric_name:
        read.fault("metric", 'is missing, such as metric = "latency_ms"')
    elif _aggregates(read, rule):
        read.checked("metric", lambda: statistic_of(rule))
    if not read.has("threshold") and not read.has("change"):
        read.fault("threshold", "is missing")


def _aggregates(read: RuleTable, rule: AlertRule) -> bool:
    from llmmon.metrics import AGGREGATIONS, ALIASES, METRICS, STATISTICS

    if rule.aggregation and rule.aggregation not in AGGREGATIONS:
        read.fault("aggregation", unknown("aggregation", rule.aggregation, AGGREGATIONS))
        return False
    name = ALIASES.get(rule.metric_name, rule.metric_name)
    if rule.aggregation and name in STATISTICS and name not in METRICS:
        read.fault("aggregation", f"{rule.metric_name} is a statistic already")
        return False
    return True
