"""What alerts say: titles, the sentence of their figures, and links, from templates or by default.

A template takes placeholders in braces, such as `{model}`; no code is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from llmmon.alerting.rules import SIGNS, AlertRule, group_text, number_text
from llmmon.errors import UsageError
from llmmon.text.figures import counted, milliseconds, money_text, percent
from llmmon.text.times import HOUR_US, MINUTE_US, duration_text, iso

if TYPE_CHECKING:
    from llmmon.metrics.definitions import Statistic

Group = Sequence[tuple[str, str | None]]

PLACEHOLDERS: Final = (
    *("rule", "metric", "value", "threshold", "count", "window", "severity", "group", "note"),
    *("figures", "start", "start_ms", "end_ms"),
)
_PLACEHOLDER: Final = re.compile(r"\{([\w.]+)\}")
_AROUND_US: Final = HOUR_US  # what a link shows before and after the beginning of an alert
_NOTHING_BEHIND: Final = re.compile(r"\.0+(?=\D|$)|(?<=\.\d)0(?=\D|$)")


class Figures(msgspec.Struct, frozen=True):
    """What was observed: the value, the limit that applied (None: the rule's own), calls, since when, and a note.

    The note, a sentence, says what the value alone does not: no data, an incident, a burn rate. `headline` is what it
    is about, where the group does not say it.
    """

    value: float | None
    limit: float | None = None
    count: int | None = None
    note: str = ""
    since_us: int = 0
    headline: str = ""


def title_of(rule: AlertRule, group: Group, figures: Figures | None = None) -> str:
    """`slow: model gpt-4o`, or what the rule's template makes of it."""
    if rule.title and figures is not None:
        return filled(rule.title, rule, group, figures)
    if figures is not None and figures.headline:
        return f"{rule.name}: {figures.headline}"
    return f"{rule.name}: {group_text(group)}" if group else rule.name


def description_of(rule: AlertRule, group: Group, figures: Figures) -> str:
    """The rule's description with its placeholders filled in, or the sentence of the figures."""
    return filled(rule.description, rule, group, figures) if rule.description else sentence_of(rule, group, figures)


def sentence_of(rule: AlertRule, group: Group, figures: Figures) -> str:
    """`p95 latency of gpt-4o is 10.3 s, limit 5 s, over 5 min, 120 calls`, or the note where there is one."""
    if figures.note:
        return figures.note
    limit = rule.threshold if figures.limit is None else figures.limit
    name, how = rule.metric_name, rule.aggregation
    parts = [
        f"{statistic_words(name, how)}{of_whom(group)} is {figure(name, figures.value, how)}",
        f"{_limit_word(rule.condition)} {brief(figure(name, limit, how))}",
        f"over {_span(rule.window_us)}",
    ]
    parts += [counted(figures.count, "call")] if figures.count is not None else []
    return ", ".join(parts)


def _span(us: int) -> str:
    """`5 min`, `1 h`, `2 days`: the length of a window."""
    for size, unit in ((24 * HOUR_US, "day"), (HOUR_US, "h")):
        if us % size == 0:
            return counted(us // size, unit) if unit == "day" else f"{us // size} {unit}"
    return f"{us / MINUTE_US:g} min"


def _limit_word(condition: str) -> str:
    return {"gt": "limit", "ge": "limit", "lt": "at least", "le": "more than"}.get(condition, SIGNS[condition])


def of_whom(group: Group) -> str:
    """` of gpt-4o, user ann`: a model is known by its name, other fields are named; empty for all calls."""
    named = [
        (name if name is not None else f"calls without {field}") if field == "model" else group_text([(field, name)])
        for field, name in group
    ]
    return f" of {', '.join(named)}" if named else ""


def link_of(template: str, rule: AlertRule, group: Group, figures: Figures) -> str:
    """A link with its placeholders filled in, quoted so that no name can change where it leads."""
    if not template:
        return ""
    from urllib.parse import quote

    return filled(template, rule, group, figures, lambda text: quote(text, safe=""))


def filled(
    template: str, rule: AlertRule, group: Group, figures: Figures, quoted: Callable[[str], str] = lambda text: text
) -> str:
    """A template with its placeholders filled in; unknown ones stay."""
    limit = rule.threshold if figures.limit is None else figures.limit
    known = {
        "rule": rule.name,
        "metric": rule.metric_name,
        "value": number_text(figures.value),
        "threshold": number_text(limit),
        "count": number_text(figures.count),
        "window": duration_text(rule.window_us),
        "severity": rule.severity.value,
        "group": group_text(group),
        "note": figures.note,
        "start": iso(figures.since_us) or "",
        "start_ms": str((figures.since_us - _AROUND_US) // 1000),
        "end_ms": str((figures.since_us + _AROUND_US) // 1000),
        **rule.labels,
        **{field: name if name is not None else "(none)" for field, name in group},
    }

    def value(place: re.Match[str]) -> str:
        if place[1] == "figures":
            return quoted(sentence_of(rule, group, figures))
        return quoted(known[place[1]]) if place[1] in known else place[0]

    return _PLACEHOLDER.sub(value, template)


def unknown_placeholders(template: str, rule: AlertRule) -> list[str]:
    """The placeholders of a template that are unknown."""
    known = {*PLACEHOLDERS, *rule.labels, *rule.by, *(("model", "provider", "feature") if rule.anomaly else ())}
    return [name for name in _PLACEHOLDER.findall(template) if name not in known]


def statistic_of_name(metric: str, aggregation: str = "") -> Statistic | None:
    """The statistic of a rule's metric and aggregation; None for other names, such as `burn_rate`."""
    from llmmon.metrics.definitions import STATISTICS, metric_called, statistic_called, statistic_name

    try:
        if not aggregation:
            return statistic_called(metric)
        return STATISTICS[statistic_name(metric_called(metric), aggregation)]
    except (UsageError, KeyError):
        return None


# what a metric is called, where that is not its name without its unit
_WORDS: Final[Mapping[str, str]] = {
    "time_to_first_token_ms": "time to first token",
    "total_tokens": "tokens",
    "requests": "calls",
    "error": "error",
    "output_tokens_per_second": "output speed",
    "cost_logged_usd": "logged cost",
    "cost_calculated_usd": "calculated cost",
    "quality_score": "quality",
    "refused": "refusal",
    "truncated": "cut-off",
    "empty": "empty answer",
    "unpriced": "unpriced call",
    "cache_hit": "cache hit",
}


def statistic_words(metric: str, aggregation: str = "") -> str:
    """`latency p95`, `error rate`, `average cost`: what a statistic is called."""
    found = statistic_of_name(metric, aggregation)
    if found is None:
        return f"{aggregation} {metric}".strip()
    name = found.metric.name
    word = _WORDS.get(name) or name.removesuffix("_ms").removesuffix("_usd").replace("_", " ")
    event = found.metric.kind == "event"
    match found.aggregation:
        case "avg":
            return f"{word} rate" if event else f"average {word}"
        case "sum":
            return f"total {word}"
        case "min":
            return f"lowest {word}"
        case "max":
            return f"highest {word}"
        case "rate":
            return f"{word} rate" if event else f"{word} per minute"
        case "count":
            return "number of calls" if name == "requests" else f"number of {word}s" if event else f"calls with {word}"
        case how:
            return f"{word} {how}"


def figure(metric: str, value: float | None, aggregation: str = "") -> str:
    """A value in the unit of its statistic: `6.20 s`, `$1.23`, `35.0 %`."""
    if value is None or value != value:
        return "-"
    found = statistic_of_name(metric, aggregation)
    if found is None:
        return number_text(value)
    per_minute = found.aggregation == "rate" and found.metric.kind != "event"
    if found.aggregation == "count":
        return number_text(value)
    if found.metric.kind == "event" and found.aggregation in {"rate", "avg"}:
        return percent(value)
    if found.metric.unit == "usd":
        return money_text(value) + "/min" * per_minute
    if found.metric.unit == "ms" and not per_minute:
        return milliseconds(value)
    return number_text(value) + "/min" * per_minute


def brief(text: str) -> str:
    """A figure without zeros behind the point: `5 s` for `5.00 s`; amounts of money stay."""
    return text if text.startswith(("$", "~$", "-$")) else _NOTHING_BEHIND.sub("", text)
