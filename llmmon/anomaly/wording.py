"""What happened, in the words of the people who run the service: headlines and sentences about anomalies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmmon.anomaly.detectors.detector import Change
from llmmon.anomaly.series import GroupLabels
from llmmon.text.figures import counted, metric_figure
from llmmon.text.times import period_text

_TIMES: Final = 1.95  # from here on a change is "2 times" instead of "95 %"
# metric -> (subject, verb with "times as", verb with "% more", verb with "% less"); {who} is replaced
_CHANGED: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "latency_ms": ("{who}answers", "took {n} times as long", "took {p} longer", "took {p} less time"),
    "latency_p99_ms": (
        *("the slowest 1 % of {who}answers", "took {n} times as long"),
        *("took {p} longer", "took {p} less time"),
    ),
    "time_to_first_token_ms": (
        *("the first token of {who}answers", "took {n} times as long"),
        *("took {p} longer", "took {p} less time"),
    ),
    "output_tokens_per_second": ("{who}answers", "were written {n} times as fast", "were written {p} faster", ""),
    "prompt_tokens": ("{who}prompts", "were {n} times as long", "were {p} longer", "were {p} shorter"),
    "completion_tokens": (
        *("{who}answers", "had {n} times as many tokens"),
        *("had {p} more tokens", "had {p} fewer tokens"),
    ),
    "cost_per_request_usd": ("{who}calls", "cost {n} times as much", "cost {p} more", "cost {p} less"),
    "cost_per_token_usd": ("{who}tokens", "cost {n} times as much", "cost {p} more", "cost {p} less"),
    "cost_usd": ("{who}spend", "was {n} times as high", "was {p} higher", "was {p} lower"),
    "requests": ("{who}traffic", "was {n} times as high", "was {p} higher", "fell by {p}"),
}
_SHARES: Final = {
    "error_rate": "{p} of {who}calls failed",
    "truncated_rate": "{p} of {who}answers were cut off",
    "refused_rate": "{p} of {who}answers were refusals",
    "empty_rate": "{p} of {who}answers were empty",
}
_SLOWER: Final = "output_tokens_per_second"
_SHORT: Final = {
    "latency_ms": "latency",
    "latency_p99_ms": "slowest 1 %",
    "time_to_first_token_ms": "first token",
    "output_tokens_per_second": "output speed",
    "prompt_tokens": "prompt length",
    "completion_tokens": "answer length",
    "cost_per_request_usd": "cost per call",
    "cost_per_token_usd": "cost per token",
    "cost_usd": "spend",
    "requests": "traffic",
    "error_rate": "errors",
    "truncated_rate": "cut-off answers",
    "refused_rate": "refusals",
    "empty_rate": "empty answers",
    "quality_score": "quality",
}


def subject(group: GroupLabels) -> str:
    """Who: the names of a group, ready to stand before a noun (`gpt-4o `); empty for all calls."""
    names = [
        name if name is not None and field == "model" else f"{field.removeprefix('tag.').replace('_', ' ')} {name or '(none)'}"
        for field, name in group
        if field != "error_type"
    ]
    return ", ".join(names) + " " if names else ""


def short_name(metric: str) -> str:
    """A metric in one or two words."""
    return _SHORT.get(metric, metric)


def headline(metric: str, group: GroupLabels, change: Change) -> str:
    """What changed, of whom and by how much: `gpt-4o answers took 2.7 times as long`."""
    who = subject(group)
    kind = next((name for field, name in group if field == "error_type"), None)
    if metric in _SHARES and change.during is not None:
        text = _SHARES[metric].format(p=metric_figure(metric, change.during), who=who)
        return f"{text} with {kind}" if kind is not None else text
    if metric == "quality_score":
        way = "fell" if (change.usual or 0.0) > (change.during or 0.0) else "rose"
        return f"the quality of {who}answers {way}"
    if metric == "requests" and change.calls == 0:
        return f"no {who}calls came"
    factor = change.factor
    if factor is None or factor <= 0:
        return f"{who}{short_name(metric)} is unlike anything before"
    if metric == _SLOWER and factor < 1:
        return f"{who}answers were written {_slower(factor)}"
    subject_text, times, more, less = _CHANGED.get(
        metric, ("{who}" + metric, "was {n} times as high", "was {p} higher", "was {p} lower")
    )
    if factor >= _TIMES:
        verb = times.format(n=f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}")
    else:
        verb = (more if factor >= 1 else less).format(p=f"{abs(factor - 1) * 100:.0f} %")
    return f"{subject_text.format(who=who)} {verb}"


def _slower(factor: float) -> str:
    return f"at {1 / factor:.1f} times lower speed" if factor <= 1 / _TIMES else f"{(1 - factor) * 100:.0f} % slower"


def figures_text(metric: str, change: Change) -> str:
    """`4.2 s → 11.5 s`; what is not known is left out."""
    if change.during is None:
        return ""
    unit = "/h" if metric in {"requests", "cost_usd"} else ""
    during = metric_figure(metric, change.during) + unit
    return during if change.usual is None else f"{metric_figure(metric, change.usual)}{unit} → {during}"


def calls_text(change: Change) -> str:
    """`38 calls`, or `20 of 62 calls` of a share."""
    if change.hits is not None:
        return f"{change.hits:,} of {counted(change.calls, 'call')}"
    return counted(change.calls, "call")


def sentence(
    metric: str, group: GroupLabels, change: Change, when: tuple[int, int | None, bool], tz: str = "UTC"
) -> str:
    """The answer in one line: what, usual → during, when, over how many calls.

    `when` is its start and end in microseconds (end None while it lasts), and whether it stays at a new level.
    """
    start_us, end_us, stays = when
    parts = [headline(metric, group, change), figures_text(metric, change), when_text(start_us, end_us, tz, stays=stays)]
    return ", ".join(part for part in [*parts, calls_text(change)] if part)


def when_text(start_us: int, end_us: int | None, tz: str, *, stays: bool = False) -> str:
    """`5 Mar 11:30-14:30 (3 h)`, `since 5 Mar 11:30`, or `has stayed at the new level since 5 Mar 11:30`."""
    text = period_text(start_us, end_us, tz)
    return f"has stayed at the new level {text}" if stays else text
