"""The charts of the report: statistics over time with their incidents, cost by model, distributions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log10
from typing import Final

import msgspec

from llmmon.durations import duration_text, local
from llmmon.money import money_text
from llmmon.overview import Course, Histogram, Overview, Values
from llmmon.reports import IncidentReport, Statistics
from llmmon.views.axes import bin_ticks, time_axis, value_axis
from llmmon.views.figures import count, milliseconds, name, percent, rate, score
from llmmon.views.page import Band, Chart, Drawn, Layer, Tick, Write

_WRITE: Final[dict[str, Write]] = {
    "ms": milliseconds,
    "count": count,
    "share": percent,
    "usd": money_text,
    "score": score,
    "rate": rate,
}
_GRAVE: Final = {"high", "critical"}


class Spec(msgspec.Struct, frozen=True):
    """A chart over time: its layers are statistics, its incidents those of the metrics named."""

    key: str
    title: str
    drawn: Drawn
    unit: str
    layers: tuple[tuple[str, str], ...]  # name, statistic
    metrics: tuple[str, ...]


SPECS: Final = (
    Spec("requests", "Requests", Drawn.BARS, "count", (("requests", "request_count"),), ("requests",)),
    Spec("errors", "Error rate", Drawn.BARS, "share", (("errors", "error_rate"),), ("error_rate",)),
    Spec(
        *("latency", "Latency", Drawn.LINES, "ms"),
        (("p50", "latency_p50_ms"), ("p95", "latency_p95_ms"), ("p99", "latency_p99_ms")),
        ("latency_ms", "latency_p99_ms"),
    ),
    Spec(
        *("ttft", "Time to first token", Drawn.LINES, "ms"),
        (("p50", "ttft_p50_ms"), ("p95", "ttft_p95_ms")),
        ("time_to_first_token_ms",),
    ),
    Spec(
        *("speed", "Output speed, tokens a second", Drawn.LINES, "rate"),
        (("p50", "output_tokens_per_second_p50"),),
        ("output_tokens_per_second",),
    ),
    Spec(
        *("tokens", "Tokens", Drawn.BARS, "count"),
        (("in", "prompt_tokens"), ("out", "completion_tokens")),
        ("prompt_tokens", "completion_tokens"),
    ),
    Spec(
        *("cost", "Cost", Drawn.BARS, "usd"),
        (("cost", "cost_total_usd"),),
        ("cost_usd", "cost_per_request_usd", "cost_per_token_usd"),
    ),
    Spec(
        *("quality", "Quality, from 0 to 1", Drawn.LINES, "score"),
        (("average", "quality_avg"),),
        ("quality_score", "refused_rate", "empty_rate"),
    ),
    Spec(
        *("truncated", "Answers cut off", Drawn.BARS, "share"),
        (("cut off", "truncated_rate"),),
        ("truncated_rate",),
    ),
)


def charts_over_time(overview: Overview) -> tuple[Chart, ...]:
    """A chart for each statistic that the log has, with its incidents shaded."""
    course = overview.course
    if course is None:
        return ()
    found = []
    for spec in SPECS:
        layers = [Layer(title, course.statistics[statistic]) for title, statistic in spec.layers]
        layers = [layer for layer in layers if any(layer.values)]
        if layers:
            found.append(_over_time(spec.key, spec.title, spec.drawn, spec.unit, layers, overview, spec.metrics))
    return tuple(found)


def cost_by_model(overview: Overview) -> Chart | None:
    """Cost over time, models on top of each other."""
    return _layered(overview, "cost-by-model", "Cost by model over time", "usd", "cost")


def errors_by_type(overview: Overview) -> Chart | None:
    """Errors over time, types on top of each other."""
    return _layered(overview, "errors-by-type", "Errors by type over time", "count", "errors")


def _layered(overview: Overview, key: str, title: str, unit: str, what: str) -> Chart | None:
    course = overview.course
    if course is None:
        return None
    by_name = course.cost_by_model if what == "cost" else course.errors_by_type
    if not by_name:
        return None
    metrics = ("cost_usd",) if what == "cost" else ("error_rate",)
    layers = [Layer(name(one), values) for one, values in by_name.items()]
    return _over_time(key, title, Drawn.BARS, unit, layers, overview, metrics)


def _over_time(
    key: str,
    title: str,
    drawn: Drawn,
    unit: str,
    layers: Sequence[Layer],
    overview: Overview,
    metrics: Sequence[str],
) -> Chart:
    course, tz = overview.course, overview.source.timezone
    assert course is not None  # noqa: S101 - the callers have looked
    start, end = course.edges_us[0], course.edges_us[-1]
    low, high, up = _values_axis(layers, drawn, unit)
    seconds = bool(course.every_us % 60_000_000)
    return Chart(
        key=key,
        title=title,
        drawn=drawn,
        layers=tuple(layers),
        places=tuple(local(us, tz, seconds=seconds) for us in course.edges_us[:-1]),
        place_title=f"from ({tz})",
        write=_WRITE[unit],
        low=low,
        high=high,
        across=time_axis(start, end, tz),
        up=up,
        bands=bands(overview.anomalies.incidents, metrics, start, end),
        note=f"per {duration_text(course.every_us)}",
        summary=_summary(title, layers, course, tz, _WRITE[unit]),
    )


def _values_axis(layers: Sequence[Layer], drawn: Drawn, unit: str) -> tuple[float, float, tuple[Tick, ...]]:
    """Amounts start at 0; scores show the part of [0, 1] in which they move."""
    if drawn is Drawn.BARS:
        columns = zip(*(layer.values for layer in layers), strict=True)
        return value_axis(0.0, max((sum(v or 0.0 for v in column) for column in columns), default=0.0), unit)
    known = [value for layer in layers for value in layer.values if value is not None]
    if unit == "score":
        low, high = min(known), max(known)
        return value_axis(max(0.0, min(low, high - 0.1)), min(1.0, max(high, low + 0.1)), unit)
    return value_axis(0.0, max(known), unit)


def _summary(title: str, layers: Sequence[Layer], course: Course, tz: str, write: Write) -> str:
    """What someone who does not see the chart should know of it."""
    parts = []
    for layer in layers:
        known = [(value, i) for i, value in enumerate(layer.values) if value is not None]
        if known:
            top, at = max(known, key=lambda item: (item[0], -item[1]))
            low = write(min(value for value, _ in known))
            when = local(course.edges_us[at], tz, seconds=False)
            parts.append(f"{layer.name} from {low} to {write(top)}, highest at {when} {tz}")
    return f"{title}: {'; '.join(parts)}."


def bands(incidents: Sequence[IncidentReport], metrics: Sequence[str], start_us: int, end_us: int) -> tuple[Band, ...]:
    """The incidents of these metrics as stretches of the width; those that overlap are one, with all their numbers."""
    found: list[tuple[int, int, list[int], bool]] = []
    chosen = [(one, n) for n, one in enumerate(numbered(incidents), 1) if one.metric_name in metrics]
    for one, number in sorted(chosen, key=lambda item: item[0].start_us):
        low, high = max(one.start_us, start_us), min(max(one.end_us, one.start_us), end_us)
        if high < low:
            continue
        grave = one.severity in _GRAVE
        if found and low <= found[-1][1]:
            before = found[-1]
            found[-1] = (before[0], max(before[1], high), [*before[2], number], before[3] or grave)
        else:
            found.append((low, high, [number], grave))
    span = max(1, end_us - start_us)
    return tuple(
        Band((low - start_us) / span, (high - start_us) / span, ", ".join(map(str, sorted(numbers))), grave)
        for low, high, numbers, grave in found
    )


def numbered(incidents: Sequence[IncidentReport]) -> list[IncidentReport]:
    """The incidents in the order of their numbers, which is that of their beginnings."""
    return sorted(incidents, key=lambda one: (one.start_us, one.timestamp_us, one.metric_name, one.id))


_NAMED: Final = {
    "latency_ms": ("latency-distribution", "How long calls took", "latency", ("p50", "p95", "p99")),
    "time_to_first_token_ms": ("ttft-distribution", "How long until the first token", "ttft", ("p50", "p95")),
}


def distribution(histogram: Histogram, totals: Statistics) -> Chart:
    """A histogram over a logarithmic axis of time, with its quantiles marked."""
    key, title, stem, quantiles = _NAMED[histogram.metric]
    edges = histogram.edges
    values: Values = tuple(float(n) for n in histogram.counts)
    low, high, up = value_axis(0.0, max(histogram.counts), "count")
    marks: dict[float, str] = {}
    for q in quantiles:
        if value := totals[f"{stem}_{q}_ms"]:
            marks[value] = f"{marks[value]}, {q}" if value in marks else q
    places = tuple(f"{milliseconds(a)} to {milliseconds(b)}" for a, b in pairwise(edges))
    told = ", ".join(f"{q} {milliseconds(value)}" for value, q in marks.items())
    return Chart(
        key=key,
        title=title,
        drawn=Drawn.BARS,
        layers=(Layer("calls", values),),
        places=places,
        place_title="time",
        write=count,
        low=low,
        high=high,
        across=bin_ticks(edges, _decade_texts(edges)),
        up=up,
        marks=bin_ticks(edges, marks),
        note="logarithmic scale",
        summary=f"{title}: {told}; from {milliseconds(edges[0])} to {milliseconds(edges[-1])}.",
    )


def _decade_texts(edges: Sequence[float]) -> dict[float, str]:
    """1, 2 and 5 times each power of ten; only the powers where the axis is long."""
    decades = range(int(log10(edges[0])) - 1, int(log10(edges[-1])) + 2)
    steps = (1, 2, 5) if log10(edges[-1] / edges[0]) < 3 else (1,)
    return {step * 10.0**d: _short(step * 10.0**d) for d in decades for step in steps}


def _short(ms: float) -> str:
    for size, unit in ((3_600_000.0, "h"), (60_000.0, "min"), (1000.0, "s")):
        if ms >= size:
            return f"{ms / size:.3g} {unit}"
    return f"{ms:.3g} ms"
