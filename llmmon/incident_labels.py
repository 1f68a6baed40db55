"""Labelled incidents: what is known to have gone wrong in logs, and when, as `simulate` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from llmmon.alert import Group
from llmmon.durations import to_us
from llmmon.errors import InputError
from llmmon.history import statistic_of
from llmmon.metrics import METRICS, STATISTICS
from llmmon.names import nearest
from llmmon.rules import AlertRule, Burn

_KEYS: Final = frozenset({"kind", "start", "end", "metric", "group"})


class LabelledIncident(msgspec.Struct, frozen=True):
    """An incident over [start, end), the base metric that it shows in, the group it hits (empty: everything)."""

    kind: str
    start_us: int
    end_us: int
    metric: str
    group: Mapping[str, str] = msgspec.field(default_factory=dict)

    def concerns(self, group: Group) -> bool:
        """Whether an alert of a group can be about it: no field that both name differs."""
        return all(self.group.get(field, name) == name for field, name in group)


def labels_of(table: Mapping[str, Any], path: str) -> tuple[LabelledIncident, ...]:
    """The incidents of a labels file's table, in order of time; raises `InputError`."""
    rows = table.get("incidents", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: incidents must be tables, each as [[incidents]]")
    found = [_incident(row, f"{path}: incidents[{number}]") for number, row in enumerate(rows, 1)]
    return tuple(sorted(found, key=lambda one: one.start_us))


def _incident(row: Mapping[str, Any], place: str) -> LabelledIncident:
    for key in row:
        if key not in _KEYS:
            guess = nearest(key, _KEYS)
            raise InputError(f"{place}.{key}: unknown key" + (f", did you mean {guess!r}?" if guess else ""))
    group = row.get("group", {})
    if not isinstance(group, dict):
        raise InputError(f'{place}.group: must be a table, as {{ model = "gpt-4o" }}')
    start, end = _time(row, "start", place), _time(row, "end", place)
    if end <= start:
        raise InputError(f"{place}.end: must be after its start")
    names = {str(field): str(value) for field, value in group.items()}
    return LabelledIncident(
        str(row.get("kind", "incident")), start, end, base_metric(str(row.get("metric", ""))), names
    )


def _time(row: Mapping[str, Any], key: str, place: str) -> int:
    value = row.get(key)
    if not isinstance(value, datetime):
        raise InputError(f"{place}.{key}: must be a time, such as {key} = 2026-03-05T09:00:00Z")
    return to_us(value if value.tzinfo else value.replace(tzinfo=UTC))


def base_metric(name: str) -> str:
    """The base metric of a metric's or statistic's name; an unknown name stays."""
    if name in METRICS:
        return name
    return STATISTICS[name].metric.name if name in STATISTICS else name


def metric_of_rule(rule: AlertRule) -> str:
    """The base metric that a rule watches; failures for burn rates, empty for an anomaly rule of any metric."""
    if rule.measured:
        return statistic_of(rule).metric.name
    return "error" if isinstance(rule.basis, Burn) else base_metric(rule.metric_name)
