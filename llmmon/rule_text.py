"""Rules as the TOML that they are read from; what is as usual is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from llmmon.durations import duration_text
from llmmon.rules import MINUTE_US, AlertRule, AlertSeverity, Change, NoData

_USUAL: Final = AlertRule("")


def rule_toml(rule: AlertRule) -> str:
    """A `[[rules]]` table of a rule on a threshold, a change or anomalies."""
    lines = [f"{key} = {_value(value)}" for key, value in _keys(rule).items()]
    return "\n".join(["[[rules]]", *lines])


def _keys(rule: AlertRule) -> dict[str, Any]:
    keys: dict[str, Any] = {"name": rule.name}
    keys |= _unless_usual(rule, metric="metric_name", aggregation="aggregation")
    if isinstance(rule.basis, Change):
        keys["change"] = f"{(rule.basis.factor - 1) * 100:+.10g}%"
        earlier = rule.basis.earlier_us
        keys["versus"] = f"previous {duration_text(earlier)}" if earlier else "same hour last week"
    elif rule.anomaly:
        keys["anomaly"] = True
    else:
        keys |= {"condition": rule.condition} if rule.condition != "gt" else {}
        keys["threshold"] = rule.threshold
    spans = {"window": "window_us", "for": "for_us", "keep_firing_for": "keep_firing_for_us", "repeat": "repeat_us"}
    keys |= {key: duration_text(us) for key, us in _unless_usual(rule, **spans).items()}
    if rule.cooldown_minutes != _USUAL.cooldown_minutes:
        keys["cooldown"] = duration_text(round(rule.cooldown_minutes * MINUTE_US))
    keys |= _unless_usual(rule, by="by", where="where", min_count="min_count")
    if rule.severity is not (AlertSeverity.WARNING if rule.anomaly else _USUAL.severity):
        keys["severity"] = rule.severity.value
    if rule.no_data is not NoData.OK:
        keys["no_data"] = rule.no_data.value
    return keys | _unless_usual(rule, notify="notify", labels="labels", description="description")


def _unless_usual(rule: AlertRule, **fields: str) -> dict[str, Any]:
    found = {key: getattr(rule, field) for key, field in fields.items()}
    return {key: value for key, value in found.items() if value != getattr(_USUAL, fields[key])}


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
    """A basic string: JSON's escapes are TOML's, but for the one character that JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
