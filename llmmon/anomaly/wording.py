"""What happened, in the words of the people who run the service: headlines and sentences about anomalies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from llmmon.anomaly.detectors.detector import Change
from llmmon.anomaly.series import GroupLabels
from llmmon.text.figures import counted, metric_figure
from llmmon.text.times import period_text

_TIMES: Final = 1.95  # from here on a change is "2 times" instead of "95 %"
_LONGEST_NAME: Final = 36  # characters of a name in a sentence
# metric -> (subject, verb with "times as", verb with "% more", verb with "% less"); braces hold whose it is
_CHANGED: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "latency_ms": ("{answers}", "took {n} times as long", "took {p} longer", "took {p} less time"),
    "latency_p99_ms": (
        *("the slowest 1 % of {answers}", "took {n} times as long"),
        *("took {p} longer", "took {p} less time"),
    ),
    "time_to_first_token_ms": (
        *("the first token{of}", "took {n} times as long"),
        *("took {p} longer", "took {p} less time"),
    ),
    "output_tokens_per_second": ("{answers}", "were written {n} times as fast", "were written {p} faster", ""),
    "prompt_tokens": ("{prompts}", "were {n} times as long", "were {p} longer", "were {p} shorter"),
    "completion_tokens": (
        *("{answers}", "had {n} times as many tokens"),
        *("had {p} more tokens", "had {p} fewer tokens"),
    ),
    "cost_per_request_usd": ("{calls}", "cost {n} times as much", "cost {p} more", "cost {p} less"),
    "cost_per_token_usd": ("{tokens}", "cost {n} times as much", "cost {p} more", "cost {p} less"),
    "cost_usd": ("spend{of}", "was {n} times as high", "was {p} higher", "was {p} lower"),
    "requests": ("traffic{of}", "was {n} times as high", "was {p} higher", "fell by {p}"),
}
_SHARES: Final = {
    "error_rate": "{p} of {calls} failed",
    "truncated_rate": "{p} of {answers} were cut off",
    "refused_rate": "{p} of {answers} were refusals",
    "empty_rate": "{p} of {answers} were empty",
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


class _Whose(dict[str, str]):
    """Nouns with whose they are: `gpt-4o answers`, `answers of feature chat`; `of` is that alone."""

    def __init__(self, group: GroupLabels, **more: str) -> None:
        super().__init__(more)
        models = [_cut(name) for field, name in group if field == "model" and name is not None]
        others = [
            f"{field.removeprefix('tag.').replace('_', ' ')} {_cut(name or '(none)')}"
            for field, name in group
            if field != "error_type" and (field != "model" or name is None)
        ]
        self._model, self._of = " ".join(models), " and ".join(others)

    def __missing__(self, noun: str) -> str:
        if noun == "of":
            names = [name for name in (self._model, self._of) if name]
            return f" of {', '.join(names)}" if names else ""
        return " ".join(part for part in (self._model, noun, f"of {self._of}" if self._of else "") if part)


def _cut(name: str) -> str:
    """A name without its middle, where it is too long for a sentence."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"


def short_name(metric: str) -> str:
    """A metric in one or two words."""
    return _SHORT.get(metric, metric)


def topic(metric: str, group: GroupLabels) -> str:
    """What it is about, without how much: `latency of gpt-4o`."""
    return f"{short_name(metric)}{_Whose(group)['of']}"


def headline(metric: str, group: GroupLabels, change: Change) -> str:
    """What changed, of whom and by how much: `gpt-4o answers took 2.7 times as long`."""
    whose = _Whose(group)
    kind = next((name for field, name in group if field == "error_type"), None)
    if metric in _SHARES and change.during is not None:
        text = _SHARES[metric].format_map(_Whose(group, p=metric_figure(metric, change.during)))
        return text if kind is None else f"{text} with {kind}"
    factor = change.factor
    if metric == "quality_score":
        way = "fell" if (change.usual or 0.0) > (change.during or 0.0) else "rose"
        return f"the quality of {whose['answers']} {way}"
    if metric == "requests" and change.calls == 0:
        return f"no {whose['calls']} came"
    if factor is None or factor <= 0:
        return f"{short_name(metric)}{whose['of']} was unlike anything before"
    if metric == _SLOWER and factor < 1:
        return f"{whose['answers']} were written {_slower(factor)}"
    subject, *verbs = _CHANGED.get(metric, (f"{metric}{{of}}", *_CHANGED["cost_usd"][1:]))
    return f"{subject.format_map(whose)} {_verb(verbs, factor)}"


def _verb(verbs: Sequence[str], factor: float) -> str:
    times, more, less = verbs
    if factor >= _TIMES:
        return times.format(n=f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}")
    return (more if factor >= 1 else less).format(p=f"{abs(factor - 1) * 100:.0f} %")


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
    parts = [
        headline(metric, group, change),
        figures_text(metric, change),
        when_text(start_us, end_us, tz, stays=stays),
    ]
    return ", ".join(part for part in [*parts, calls_text(change)] if part)


def when_text(start_us: int, end_us: int | None, tz: str, *, stays: bool = False) -> str:
    """`5 Mar 11:30-14:30 (3 h)`, `since 5 Mar 11:30`, or `has stayed at the new level since 5 Mar 11:30`."""
    text = period_text(start_us, end_us, tz)
    return f"has stayed at the new level {text}" if stays else text
