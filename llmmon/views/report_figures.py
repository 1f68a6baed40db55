"""The headline figures of the report, each with its change against the period before."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Final

from llmmon.durations import duration_text
from llmmon.metrics import STATISTICS, Better
from llmmon.money import money_text
from llmmon.overview import Comparison, Overview
from llmmon.timeline import DAY_US
from llmmon.views.figures import MISSING, count, milliseconds, percent, rate, score
from llmmon.views.page import Figure, Write

_UNCHANGED: Final = 0.005  # relative changes below this are none
# label, statistic, how it is written
FIGURES: Final[tuple[tuple[str, str, Write], ...]] = (
    ("Requests", "request_count", count),
    ("Error rate", "error_rate", percent),
    ("Latency p50", "latency_p50_ms", milliseconds),
    ("Latency p95", "latency_p95_ms", milliseconds),
    ("First token p50", "ttft_p50_ms", milliseconds),
    ("Output speed p50", "output_tokens_per_second_p50", lambda value: f"{rate(value)} tok/s"),
    ("Cost", "cost_total_usd", money_text),
    ("Cost per request", "cost_per_request_usd", money_text),
    ("Tokens in", "prompt_tokens", count),
    ("Tokens out", "completion_tokens", count),
    ("Answers cut off", "truncated_rate", percent),
    ("Quality", "quality_avg", score),
)
_SMALL: Final = 0.05
_MANIFOLD: Final = 10.0  # growth by more than this is told as a factor
# statistics whose change is told in points: the size of a point, the least change worth telling
_POINTS: Final = {"error_rate": (0.01, 0.001), "truncated_rate": (0.01, 0.001), "quality_avg": (1.0, 0.005)}


def figures(overview: Overview) -> tuple[Figure, ...]:
    """A figure for each statistic that the log has."""
    return tuple(
        _figure(label, statistic, write, overview)
        for label, statistic, write in FIGURES
        if overview.totals[statistic] is not None
    )


def _figure(label: str, statistic: str, write: Write, overview: Overview) -> Figure:
    text = write(overview.totals[statistic])
    if statistic == "cost_total_usd" and overview.totals["unpriced_requests"]:
        text = f"~{text}"
    change, was, verdict = _change(statistic, write, overview.comparison)
    return Figure(label, text, change, was, verdict, _note(statistic, overview))


def _note(statistic: str, overview: Overview) -> str:
    totals = overview.totals
    notes: dict[str, tuple[str, Callable[[float | None], str], str]] = {
        "request_count": ("requests_per_minute", rate, "{} a minute"),
        "error_rate": ("error_count", count, "{} failed"),
        "cost_total_usd": ("unpriced_requests", count, "{} calls without a price"),
        "prompt_tokens": ("cached_tokens", count, "{} from cache"),
        "completion_tokens": ("reasoning_tokens", count, "{} for reasoning"),
        "latency_p95_ms": ("latency_p99_ms", milliseconds, "p99 {}"),
        "ttft_p50_ms": ("ttft_p95_ms", milliseconds, "p95 {}"),
        "truncated_rate": ("truncated_count", count, "{} answers"),
    }
    if statistic not in notes:
        return ""
    other, write, form = notes[statistic]
    text = write(totals[other])
    return form.format(text) if text != MISSING and totals[other] else ""


def _change(statistic: str, write: Write, comparison: Comparison | None) -> tuple[str, str, str]:
    """`▲ 12 %`, what to what, and whether that is better or worse; empty where there is nothing to compare."""
    if comparison is None:
        return "", "", ""
    later, before = comparison.later.get(statistic), comparison.before.get(statistic)
    if later is None or before is None:
        return "", "", ""
    was = f"{write(before)} → {write(later)}"
    difference = later - before
    if statistic in _POINTS:
        unit, least = _POINTS[statistic]
        unchanged, amount = abs(difference) < least, f"{abs(difference) / unit:.2g}{' pp' if unit < 1 else ''}"
    elif before:
        share = abs(difference / before)
        unchanged = share < _UNCHANGED
        amount = f"{share:.0%}".replace("%", " %") if share < _MANIFOLD else f"×{later / before:,.0f}"
    else:
        unchanged, amount = not difference, ""
    if unchanged:
        return "unchanged", was, ""
    told = _verdict(statistic, difference) if _telling(statistic, comparison) else ""
    return f"{'▲' if difference > 0 else '▼'} {amount}".strip(), was, told


def _telling(statistic: str, comparison: Comparison) -> bool:
    """Whether a change is more than chance: two proportions beyond two standard errors, other figures beyond 5 %."""
    later, before = comparison.later[statistic] or 0.0, comparison.before[statistic] or 0.0
    if not statistic.endswith("_rate"):
        return abs(later - before) > _SMALL * abs(before)
    n, m = comparison.later["request_count"] or 1, comparison.before["request_count"] or 1
    pooled = (later * n + before * m) / (n + m)
    return abs(later - before) > 2 * sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))


def _verdict(statistic: str, difference: float) -> str:
    better = STATISTICS[statistic].metric.better
    if better is Better.NEITHER or statistic == "cost_total_usd":  # more traffic costs more, which is no fault
        return ""
    return "better" if (difference > 0) == (better is Better.HIGHER) else "worse"


def compared(comparison: Comparison | None) -> str:
    """What the changes compare."""
    if comparison is None:
        return "There is no earlier period in the log to compare with."
    length = _length(comparison.length_us)
    if comparison.whole:
        return f"Changes are against the {length} before."
    if comparison.length_us % DAY_US:
        return "Figures are of the whole time; changes compare its second half with its first."
    return f"Figures are of the whole time; changes compare its last {length} with the {length} before."


def _length(us: int) -> str:
    seconds = us // 1_000_000
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % size == 0:
            return unit if seconds == size else f"{seconds // size} {unit}s"
    return duration_text(seconds * 1_000_000)
