"""`[[rules]]`: alert rules from TOML tables, and rules written as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from llmmon.alerting.rules import CONDITIONS, AlertRule, AlertSeverity, Change, NoData
from llmmon.alerting.sentences import unknown_placeholders
from llmmon.errors import UsageError
from llmmon.http_client import check_url
from llmmon.metrics.record import AGGREGATIONS
from llmmon.metrics.vocabulary import meant_fields
from llmmon.text.tables import LONGEST_US, TomlTable
from llmmon.text.times import HOUR_US, MINUTE_US, duration_text, duration_us

KEYS: Final = (
    "name",
    "metric",
    "aggregation",
    "window",
    "condition",
    "threshold",
    "severity",
    "for",
    "keep_firing_for",
    "cooldown",
    "repeat",
    "by",
    "where",
    "min_count",
    "no_data",
    "notify",
    "labels",
    "title",
    "description",
    "runbook",
    "dashboard",
    "levels",
    "inhibits",
    "anomaly",
    "change",
    "versus",
)
_NOT_OF_ANOMALIES: Final = frozenset(
    {"aggregation", "window", "condition", "threshold", "min_count", "no_data", "levels"}
)
_NOT_OF_CHANGES: Final = frozenset({"condition", "threshold", "anomaly", "levels"})
_NOT_OF_LEVELS: Final = ("threshold", "severity")
SEVERITIES: Final = {severity.value: severity for severity in AlertSeverity}
_CHANGE: Final = re.compile(r"\s*([+-])\s*(\d+(?:\.\d+)?)\s*%\s*")
_SAME_HOUR: Final = "same hour last week"


def rules_of(tables: Iterable[TomlTable]) -> tuple[AlertRule, ...]:
    """The rules of `[[rules]]`; what is wrong is noted in the tables."""
    names: dict[str, int] = {}
    found = []
    for number, read in enumerate(tables, 1):
        rule = rule_of(read)
        if rule.name in names:
            read.fault("name", f"{rule.name!r} is also the name of rules[{names[rule.name]}]")
        names.setdefault(rule.name, number)
        found.append(rule)
    return tuple(found)


_MISSING: Final = "(none)"  # until the faults of a table are listed


def rule_of(read: TomlTable) -> AlertRule:
    """The rule of a table."""
    read.only(KEYS)
    anomaly = read.flag("anomaly")
    change = _change(read)
    default = "gt" if change is None or change.factor > 1 else "lt"
    condition = read.one_of("condition", {name: name for name in CONDITIONS}, default)
    levels = _levels(read, condition)
    rule = AlertRule(
        name=read.text("name"),
        metric_name=read.text("metric") or ("" if anomaly else _MISSING),
        condition=condition,
        threshold=levels[0][1] if levels else read.number("threshold"),
        severity=levels[0][0] if levels else read.one_of("severity", SEVERITIES, "warning" if anomaly else "error"),
        cooldown_minutes=read.duration("cooldown", "5m") / MINUTE_US,
        aggregation=read.one_of("aggregation", {"": "", **{name: name for name in AGGREGATIONS}}, ""),
        window_us=read.duration("window", "5m", least_us=MINUTE_US),
        for_us=read.duration("for", "0s"),
        keep_firing_for_us=read.duration("keep_firing_for", "0s"),
        repeat_us=read.duration("repeat", "0s"),
        by=meant_fields(read.texts("by")),
        where=read.text("where"),
        min_count=read.whole("min_count"),
        no_data=read.one_of("no_data", {one.value: one for one in NoData}, "ok"),
        notify=read.texts("notify") if read.has("notify") else None,
        labels=read.named_texts("labels"),
        title=read.text("title"),
        description=read.text("description"),
        runbook=read.text("runbook"),
        dashboard=read.text("dashboard"),
        levels=levels,
        inhibits=read.texts("inhibits", "names of rules"),
        anomaly=anomaly,
        basis=change,
    )
    _check(read, rule)
    return rule


def _levels(read: TomlTable, condition: str) -> tuple[tuple[AlertSeverity, float], ...]:
    """`levels = { warning = 5000, critical = 10000 }`, the mildest first; empty without it."""
    if not read.has("levels"):
        return ()
    for key in _NOT_OF_LEVELS:
        if read.has(key):
            read.fault(key, "cannot be combined with levels")
    table = read.table("levels")
    table.only(SEVERITIES)
    found = tuple((severity, table.number(name)) for name, severity in SEVERITIES.items() if table.has(name))
    limits = [limit for _, limit in found]
    rising = condition in {"gt", "ge"}
    if condition in {"eq", "ne"}:
        read.fault("levels", f"cannot be combined with condition = {condition!r}")
    elif not found or any((b <= a) if rising else (b >= a) for a, b in pairwise(limits)):
        how = "higher" if rising else "lower"
        read.fault("levels", f"must give each more severe level a {how} threshold, as {{ warning = 1, critical = 2 }}")
    return found


def check_link(read: TomlTable, key: str, template: str, rule: AlertRule) -> None:
    """Note what is wrong with the template of a link."""
    if not template:
        return

    read.check(key, lambda: check_url(re.sub(r"\{[\w.]+\}", "x", template)))
    for place in unknown_placeholders(template, rule):
        read.fault(key, f"unknown placeholder {{{place}}}")


def _change(read: TomlTable) -> Change | None:
    """The comparison of `change = "+50%"` and `versus`, None without them."""
    if not read.has("change"):
        if read.has("versus"):
            read.fault("versus", 'is only used together with change = "+50%"')
        return None
    for key in _NOT_OF_CHANGES:
        if read.has(key):
            read.fault(key, "cannot be combined with change")
    found = _CHANGE.fullmatch(read.text("change"))
    percent = float(found[1] + found[2]) if found else 0.0
    if not percent or percent <= -100:
        read.fault("change", f"must look like +50% or -30%, not {read.text('change')!r}")
    return Change(1 + percent / 100, _earlier(read))


def _earlier(read: TomlTable) -> int:
    """How long before the window the earlier time is, in microseconds; 0 for the same hour last week."""
    versus = read.text("versus")
    if versus == _SAME_HOUR:
        return 0
    try:
        found = duration_us(versus.removeprefix("previous "))
    except UsageError:
        found = 0
    if not versus.startswith("previous ") or not 0 < found <= LONGEST_US or found % HOUR_US:
        read.fault("versus", f'must be "previous 7d" (whole hours) or "{_SAME_HOUR}", not {versus!r}')
        return 7 * 24 * HOUR_US
    return found


def _check(read: TomlTable, rule: AlertRule) -> None:
    """Check the values of a rule together."""
    from llmmon.alerting.history import statistic_of
    from llmmon.metrics.filters import parse
    from llmmon.metrics.grouping import Grouping

    if not rule.name.strip():
        read.fault("name", "is missing: every rule needs a name of its own")
    if rule.window_us % MINUTE_US:
        read.fault("window", "must be whole minutes: rules are evaluated every minute")
    read.check("by", lambda: Grouping(rule.by))
    if rule.where:
        read.check("where", lambda: parse(rule.where))
    for key in ("title", "description"):
        for place in unknown_placeholders(getattr(rule, key), rule):
            read.fault(key, f"unknown placeholder {{{place}}}")
    for key in ("runbook", "dashboard"):
        check_link(read, key, getattr(rule, key), rule)
    if rule.anomaly:
        for key in _NOT_OF_ANOMALIES:
            if read.has(key):
                read.fault(key, "cannot be combined with anomaly = true")
        return
    if rule.metric_name == _MISSING:
        read.fault("metric", 'is missing, such as metric = "latency_ms"')
    elif _aggregates(read, rule):
        read.check("metric", lambda: statistic_of(rule))
    if not any(read.has(key) for key in ("threshold", "change", "levels")):
        read.fault("threshold", "is missing")


def _aggregates(read: TomlTable, rule: AlertRule) -> bool:
    from llmmon.metrics.definitions import ALIASES, METRICS, STATISTICS

    name = ALIASES.get(rule.metric_name, rule.metric_name)
    if rule.aggregation and name in STATISTICS and name not in METRICS:
        read.fault("aggregation", f"{rule.metric_name} is already a statistic")
        return False
    return True


_DEFAULT: Final = AlertRule("", "latency_ms")


def rule_toml(rule: AlertRule) -> str:
    """A rule about a threshold, a change or anomalies as a `[[rules]]` table; default values are left out."""
    lines = [f"{key} = {_value(value)}" for key, value in _keys(rule).items()]
    return "\n".join(["[[rules]]", *lines])


def _keys(rule: AlertRule) -> dict[str, Any]:
    keys: dict[str, Any] = {"name": rule.name}
    keys |= _unless_default(rule, metric="metric_name", aggregation="aggregation")
    if isinstance(rule.basis, Change):
        keys["change"] = f"{(rule.basis.factor - 1) * 100:+.10g}%"
        earlier = rule.basis.earlier_us
        keys["versus"] = f"previous {duration_text(earlier)}" if earlier else "same hour last week"
    elif rule.anomaly:
        keys["anomaly"] = True
    else:
        keys |= {"condition": rule.condition} if rule.condition != "gt" else {}
        if rule.levels:
            keys["levels"] = {severity.value: limit for severity, limit in rule.levels}
        else:
            keys["threshold"] = rule.threshold
    spans = {"window": "window_us", "for": "for_us", "keep_firing_for": "keep_firing_for_us", "repeat": "repeat_us"}
    keys |= {key: duration_text(us) for key, us in _unless_default(rule, **spans).items()}
    if rule.cooldown_minutes != _DEFAULT.cooldown_minutes:
        keys["cooldown"] = duration_text(round(rule.cooldown_minutes * MINUTE_US))
    keys |= _unless_default(rule, by="by", where="where", min_count="min_count")
    if not rule.levels and rule.severity is not (AlertSeverity.WARNING if rule.anomaly else _DEFAULT.severity):
        keys["severity"] = rule.severity.value
    if rule.no_data is not NoData.OK:
        keys["no_data"] = rule.no_data.value
    texts = ("notify", "labels", "title", "description", "runbook", "dashboard", "inhibits")
    return keys | _unless_default(rule, **{name: name for name in texts})


def _unless_default(rule: AlertRule, **fields: str) -> dict[str, Any]:
    found = {key: getattr(rule, field) for key, field in fields.items()}
    return {key: value for key, value in found.items() if value != getattr(_DEFAULT, fields[key])}


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case int():
            return str(value)
        case Mapping():
            return "{" + ", ".join(f"{_text(key)} = {_value(one)}" for key, one in value.items()) + "}"
        case str():
            return _text(value)
        case _:
            return "[" + ", ".join(_value(one) for one in value) + "]"


def _text(text: str) -> str:
    """A TOML basic string: it has the escapes of JSON, and escapes one character that JSON does not."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
