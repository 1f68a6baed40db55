"""Statistics of the exported metrics in PromQL, and alert rules as a rule file of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from llmmon.alerting.evaluation.windows import least_count
from llmmon.alerting.history import statistic_of
from llmmon.alerting.rules import AlertRule
from llmmon.metrics.definitions import METRICS, QUANTILES, MetricKind, Statistic
from llmmon.output.export.prometheus import BUCKETS
from llmmon.output.renderers.json import dumps
from llmmon.text.figures import counted, plain

CALLS: Final = "llm_requests_total"
LABELS: Final = {"model": "model"}  # fields that every exported metric has as a label
_OPERATORS: Final = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
_TYPES: Final = {"prompt_tokens": 'type="prompt"', "completion_tokens": 'type="completion"'}


def duration(us: int) -> str:
    """A duration as Prometheus writes it: `5m`, `90s`."""
    seconds = max(1, round(us / 1e6))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def increase(name: str, window: str, by: Sequence[str] = (), selector: str = "") -> str:
    """How much a counter grew in a window, summed by labels."""
    grouped = f"sum by ({', '.join(by)}) " if by else "sum"
    return f"{grouped}(increase({name}{f'{{{selector}}}' if selector else ''}[{window}]))"


def quantile(q: float, name: str, window: str, by: Sequence[str] = (), selector: str = "") -> str:
    """A quantile of a histogram over a window."""
    return f"histogram_quantile({q:g}, {increase(f'{name}_bucket', window, ('le', *by), selector)})"


def expression(statistic: Statistic, window_us: int, by: Sequence[str] = (), selector: str = "") -> str | None:
    """A statistic over a window, in the unit in which it is exported; None where the exported metrics lack it."""
    metric, how, window = statistic.metric, statistic.aggregation, duration(window_us)
    name = metric.prometheus
    if not name:
        return None
    calls = increase(CALLS, window, by, selector)
    if metric.name in BUCKETS:
        if how in QUANTILES and how not in ("min", "max"):
            return quantile(QUANTILES[how], name, window, by, selector)
        total, number = (increase(f"{name}_{part}", window, by, selector) for part in ("sum", "count"))
        return {"avg": f"{total} / {number}", "sum": total, "count": number}.get(how)
    if metric.kind is MetricKind.GAUGE:
        return f"avg by ({', '.join(by)}) ({name})" if how == "avg" and by else f"avg({name})" if how == "avg" else None
    chosen = ", ".join(text for text in (selector, _TYPES.get(metric.name, "")) if text)
    grown = increase(name, window, by, chosen)
    if how == "avg":
        return f"{grown} / {calls}"
    if metric.kind is MetricKind.EVENT:
        return {"count": grown, "sum": grown, "rate": f"{grown} / {calls}"}.get(how)
    per_minute = f"{grown} / {window_us / 60e6:g}"
    return {"sum": grown, "count": calls if metric.name == "requests" else None, "rate": per_minute}.get(how)


class Untranslated(msgspec.Struct, frozen=True):
    """A rule that Prometheus cannot evaluate on the exported metrics, and why."""

    rule: str
    reason: str


def rule_file(rules: Sequence[AlertRule]) -> tuple[str, list[Untranslated]]:
    """A rule file (YAML) of the rules that the exported metrics can express, and those that they cannot."""
    made: list[dict[str, Any]] = []
    left: list[Untranslated] = []
    for rule in rules:
        found = _alert(rule)
        if isinstance(found, Untranslated):
            left.append(found)
        else:
            made.append(found)
    lines = [f"# {counted(len(made), 'rule')} for the metrics that `llmmon export --cumulative` keeps"]
    lines += [f"# left out: {plain(one.rule)}: {plain(one.reason)}" for one in left]
    lines += ["groups:", "  - name: llmmon", f"    rules:{'' if made else ' []'}"]
    for alert in made:
        keys = [(name, value) for name, value in alert.items() if value]
        lines += [f"      {'  ' if at else '- '}{name}: {dumps(value)}" for at, (name, value) in enumerate(keys)]
    return "\n".join(lines) + "\n", left


def _alert(rule: AlertRule) -> dict[str, Any] | Untranslated:
    if reason := _reason(rule):
        return Untranslated(rule.name, reason)
    statistic = statistic_of(rule)
    by = tuple(LABELS[field] for field in rule.by)
    found = expression(statistic, rule.window_us, by)
    if found is None:
        return Untranslated(rule.name, f"{statistic.name} is not among the exported metrics")
    threshold = rule.threshold / 1000 if METRICS[statistic.metric.name].unit == "ms" else rule.threshold
    text = f"{found} {_OPERATORS[str(rule.condition)]} {threshold!r}"
    if (least := least_count(rule, statistic)) > 1:
        text += f" and {increase(CALLS, duration(rule.window_us), by)} >= {least}"
    about = f"{statistic.name} over {duration(rule.window_us)}"
    return {
        "alert": rule.name,
        "expr": text,
        "for": duration(rule.for_us) if rule.for_us else "",
        "keep_firing_for": duration(rule.keep_firing_for_us) if rule.keep_firing_for_us else "",
        "labels": {"severity": rule.severity.value, **_literal(rule.labels)},
        "annotations": _literal(
            {
                "summary": f"{rule.name}: {about}",
                **({"description": rule.description} if rule.description else {}),
                **({"runbook_url": rule.runbook} if rule.runbook else {}),
            }
        ),
    }


def _literal(texts: Mapping[str, str]) -> dict[str, str]:
    """Texts that Prometheus does not take for templates."""
    return {name: text.replace("{{", '{{"{{"}}') for name, text in texts.items()}


def _reason(rule: AlertRule) -> str:
    """Why Prometheus cannot evaluate a rule; "" where it may."""
    if rule.anomaly:
        return "incidents are found by `llmmon check`"
    if rule.basis is not None:
        return "changes, objectives and budgets are evaluated by `llmmon check`"
    if rule.where:
        return "the exported metrics cannot be filtered by `where`"
    if others := [field for field in rule.by if field not in LABELS]:
        return f"the exported metrics have no label {', '.join(others)}"
    return "levels are evaluated by `llmmon check`" if rule.levels else ""
