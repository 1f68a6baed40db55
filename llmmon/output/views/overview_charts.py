"""The charts of the report: statistics over time with their incidents, cost by model, distributions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil, floor, log10
from typing import Final

import msgspec

from llmmon.anomaly.report import IncidentReport
from llmmon.output.views.page import Band, Chart, Drawn, Layer, Tick, Write
from llmmon.reports.overview_fold import Course, Histogram, Overview, SeriesValues
from llmmon.reports.summary import Statistics
from llmmon.text.figures import count, milliseconds, money_text, name, percent, rate, score
from llmmon.text.times import MINUTE_US, duration_text, local, zone

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_UP: Final = 5
_MOST_ACROSS: Final = 10
_MOST_DIGITS: Final = 12
_LAST: Final = 0.98  # where a label would run out of the axis
_S: Final = 1_000_000
_DAY_S: Final = 86_400
_STEPS_S: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200)
_STEPS_D: Final = (1, 2, 7, 14, 28, 91, 182, 364, 728)
_MS_UNITS: Final = ((1.0, "ms"), (1000.0, "s"), (60_000.0, "min"), (3_600_000.0, "h"))
_COUNT_UNITS: Final = ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))


def nice_step(span: float, most: int, *, whole: bool = False) -> float:
    """The smallest step of 1, 2, 2.5 or 5 times a power of ten that makes at most `most` steps of the span."""
    raw = span / most
    power = 10.0 ** floor(log10(raw))
    step = next(n * power for n in _NICE if n * power >= raw * 0.999999)
    return max(1.0, ceil(step)) if whole else step


def value_axis(low: float, high: float, unit: str) -> tuple[float, float, tuple[Tick, ...]]:
    """The ends and the ticks of an axis that holds low to high; `unit` is ms, count, share, usd, score or rate."""
    if high <= low:
        high = low + 1.0
    scale, sign = _unit(high, unit)
    step = nice_step((high - low) / scale, _MOST_UP, whole=unit == "count" and scale == 1.0)
    first, last = floor(low / scale / step + 1e-9), ceil(high / scale / step - 1e-9)
    values = [n * step for n in range(first, max(last, first + 1) + 1)]
    digits = max(_digits(step), 2) if unit == "usd" and step < 1 else _digits(step)
    ends = values[0] * scale, values[-1] * scale
    reach = values[-1] - values[0]
    ticks = tuple(Tick((v - values[0]) / reach, _text(v, digits, unit, sign)) for v in values)
    return ends[0], ends[1], ticks


_FROM: Final = {"s": 1.0, "M": 1.0, "G": 1.0}  # of these units an axis takes one from one on, of others from two


def _unit(high: float, unit: str) -> tuple[float, str]:
    if unit == "share":
        return 0.01, "%"
    table = {"ms": _MS_UNITS, "count": _COUNT_UNITS}.get(unit, ((1.0, ""),))
    return next(((size, sign) for size, sign in reversed(table) if high >= _FROM.get(sign, 2) * size), table[0])


def _digits(step: float) -> int:
    """How many decimals distinguish multiples of a step."""
    for digits in range(_MOST_DIGITS):
        scaled = step * 10**digits
        if round(scaled) and abs(scaled - round(scaled)) < 1e-6:
            return digits
    return _MOST_DIGITS


def _text(value: float, digits: int, unit: str, sign: str) -> str:
    text = f"{value:,.{digits}f}" if value else "0"
    if unit == "usd":
        return f"${text}"
    return f"{text} {sign}" if unit in {"ms", "share"} else f"{text}{sign if value else ''}"


def time_axis(start_us: int, end_us: int, tz: str) -> tuple[Tick, ...]:
    """Ticks at round times of the zone: days, or hours within them."""
    span_s = (end_us - start_us) / _S
    if span_s <= 0:
        return ()
    step = next((s for s in _STEPS_S if span_s / s <= _MOST_ACROSS), None)
    if step is not None:
        moments = _within_days(start_us, end_us, step, tz)
    else:
        days = next((d for d in _STEPS_D if span_s / _DAY_S / d <= _MOST_ACROSS), _STEPS_D[-1])
        moments = _whole_days(start_us, end_us, days, tz)
    years = span_s > 300 * _DAY_S
    places = [((us - start_us) / (end_us - start_us), us) for us in moments]
    inside = [(place, us) for place, us in places if 0 <= place <= _LAST]
    return tuple(Tick(place, _label(us, tz, step, years=years), i % 2 == 1) for i, (place, us) in enumerate(inside))


def _at(us: int, tz: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).astimezone(zone(tz))


def _us(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _whole_days(start_us: int, end_us: int, days: int, tz: str) -> list[int]:
    first = _at(start_us, tz).date()
    if days % 7 == 0:
        first -= timedelta(days=first.weekday())
    reach = (end_us - start_us) // (_DAY_S * _S) + 9
    dates = [first + timedelta(days=n) for n in range(0, reach, days)]
    return [_us(datetime(d.year, d.month, d.day, tzinfo=zone(tz))) for d in dates]


def _within_days(start_us: int, end_us: int, step_s: int, tz: str) -> list[int]:
    found: set[int] = set()
    for midnight in _whole_days(start_us, end_us, 1, tz):
        first = max(0, (start_us - midnight) // (step_s * _S))
        last = min(_DAY_S // step_s - 1, (end_us - midnight) // (step_s * _S))
        found.update(midnight + n * step_s * _S for n in range(first, last + 1))
    return sorted(found)


def _label(us: int, tz: str, step_s: int | None, *, years: bool) -> str:
    when = _at(us, tz)
    day = f"{when.day} {when:%b}"
    if step_s is None:
        return f"{day} {when.year}" if years else day
    if when.hour == when.minute == when.second == 0:
        return day
    return f"{when:%H:%M:%S}" if step_s < 60 else f"{when:%H:%M}"


def bin_ticks(edges: Sequence[float], texts: Mapping[float, str]) -> tuple[Tick, ...]:
    """Ticks at values of an axis on which every bin is equally wide, logarithmic within a bin."""
    inside = [(value, text) for value, text in texts.items() if edges[0] <= value <= edges[-1]]
    return tuple(Tick(_share(edges, value), text, i % 2 == 1) for i, (value, text) in enumerate(inside))


def _share(edges: Sequence[float], value: float) -> float:
    at = min(bisect_right(edges, value), len(edges) - 1) - 1
    within = log10(value / edges[at]) / log10(edges[at + 1] / edges[at])
    return (at + within) / (len(edges) - 1)


_WRITE: Final[dict[str, Write]] = {
    "ms": milliseconds,
    "count": count,
    "share": percent,
    "usd": money_text,
    "score": score,
    "rate": rate,
}
_GRAVE: Final = {"high", "critical"}


class Split(msgspec.Struct, frozen=True):
    """The same chart by model or feature: one statistic, a layer a name."""

    title: str
    drawn: Drawn
    unit: str
    statistic: str


class Spec(msgspec.Struct, frozen=True):
    """A chart over time: its layers are statistics, its incidents those of the metrics named."""

    key: str
    title: str
    drawn: Drawn
    unit: str
    layers: tuple[tuple[str, str], ...]  # name, statistic
    metrics: tuple[str, ...]
    split: Split


_BARS, _LINES = Drawn.BARS, Drawn.LINES
SPECS: Final = (
    Spec(
        *("requests", "Requests", _BARS, "count", (("requests", "request_count"),), ("requests",)),
        Split("Requests", _BARS, "count", "request_count"),
    ),
    Spec(
        *("errors", "Error rate", _BARS, "share", (("errors", "error_rate"),), ("error_rate",)),
        Split("Failed calls", _BARS, "count", "error_count"),
    ),
    Spec(
        *("latency", "Latency", _LINES, "ms"),
        (("p50", "latency_p50_ms"), ("p95", "latency_p95_ms"), ("p99", "latency_p99_ms")),
        ("latency_ms", "latency_p99_ms"),
        Split("Latency p50", _LINES, "ms", "latency_p50_ms"),
    ),
    Spec(
        *("ttft", "Time to first token", _LINES, "ms"),
        (("p50", "ttft_p50_ms"), ("p95", "ttft_p95_ms")),
        ("time_to_first_token_ms",),
        Split("Time to first token p50", _LINES, "ms", "ttft_p50_ms"),
    ),
    Spec(
        *("speed", "Output speed, tokens a second", _LINES, "rate"),
        (("p50", "output_tokens_per_second_p50"),),
        ("output_tokens_per_second",),
        Split("Output speed p50, tokens a second", _LINES, "rate", "output_tokens_per_second_p50"),
    ),
    Spec(
        *("tokens", "Tokens", _BARS, "count", (("in", "prompt_tokens"), ("out", "completion_tokens"))),
        ("prompt_tokens", "completion_tokens"),
        Split("Tokens", _BARS, "count", "tokens_total"),
    ),
    Spec(
        *("cost", "Cost", _BARS, "usd", (("cost", "cost_total_usd"),)),
        ("cost_usd", "cost_per_request_usd", "cost_per_token_usd"),
        Split("Cost", _BARS, "usd", "cost_total_usd"),
    ),
    Spec(
        *("quality", "Quality, from 0 to 1", _LINES, "score", (("average", "quality_avg"),)),
        ("quality_score", "refused_rate", "empty_rate"),
        Split("Quality, from 0 to 1", _LINES, "score", "quality_avg"),
    ),
    Spec(
        *("truncated", "Answers cut off", _BARS, "share", (("cut off", "truncated_rate"),), ("truncated_rate",)),
        Split("Answers cut off", _BARS, "count", "truncated_count"),
    ),
)
ALL: Final = "all"  # the view in which calls are not split
_COLOURS: Final = 7
_FEW_CALLS: Final = 20  # a share of fewer is hatched


def views(overview: Overview) -> tuple[tuple[str, str], ...]:
    """The ways in which the charts over time can be shown, as key and name."""
    course = overview.course
    fields = () if course is None else tuple(course.by)
    return (("all", "All calls"), *((field, f"By {field}") for field in fields)) if fields else ()


def charts_over_time(overview: Overview) -> tuple[Chart, ...]:
    """A chart for each statistic that the log has, with its incidents shaded, of all calls and by each field."""
    course = overview.course
    if course is None:
        return ()
    found = []
    for spec in SPECS:
        layers = [Layer(title, course.statistics[statistic]) for title, statistic in spec.layers]
        layers = [layer for layer in layers if any(layer.values)]
        if not layers:
            continue
        drawing = _Drawing(spec.key, spec.title, spec.drawn, spec.unit, spec.metrics, ALL if course.by else "")
        found.append(_over_time(drawing, layers, overview))
        for field in course.by:
            split = spec.split
            drawing = _Drawing(f"{spec.key}-by-{field}", split.title, split.drawn, split.unit, spec.metrics, field)
            if parts := _parts(course, field, split.statistic):
                found.append(_over_time(drawing, parts, overview))
    return tuple(found)


def _parts(course: Course, field: str, statistic: str) -> list[Layer]:
    if statistic == "cost_total_usd":
        found = dict(course.costs[field])
    else:
        found = {one: statistics[statistic] for one, statistics in course.by[field].items()}
    return [Layer(name(one), values, _series_of(course, field, one)) for one, values in found.items() if any(values)]


def _series_of(course: Course, field: str, one: str | None) -> int | None:
    """The colour of a name, by its place among all that are shown of a field: those with most calls, then by cost."""
    known = [
        *course.by.get(field, {}),
        *(other for other in course.costs[field] if other not in course.by.get(field, {})),
    ]
    return known.index(one) % _COLOURS if one in known else None


def cost_by_model(overview: Overview) -> Chart | None:
    """Cost over time, models on top of each other."""
    course = overview.course
    if course is None or not course.costs["model"]:
        return None
    layers = [Layer(name(one), v, _series_of(course, "model", one)) for one, v in course.costs["model"].items()]
    drawing = _Drawing("cost-by-model", "Cost by model over time", Drawn.BARS, "usd", ("cost_usd",), "")
    return _over_time(drawing, layers, overview)


def errors_by_type(overview: Overview) -> Chart | None:
    """Errors over time, types on top of each other."""
    course = overview.course
    if course is None or not course.errors_by_type:
        return None
    layers = [Layer(name(one), values) for one, values in course.errors_by_type.items()]
    drawing = _Drawing("errors-by-type", "Errors by type over time", Drawn.BARS, "count", ("error_rate",), "")
    return _over_time(drawing, layers, overview)


class _Drawing(msgspec.Struct, frozen=True):
    """What a chart over time is called, how it is drawn, whose incidents it shades, and the view it belongs to."""

    key: str
    title: str
    drawn: Drawn
    unit: str
    metrics: tuple[str, ...]
    view: str


def _over_time(drawing: _Drawing, layers: Sequence[Layer], overview: Overview) -> Chart:
    course, tz = overview.course, overview.source.timezone
    assert course is not None  # noqa: S101 - the callers have looked
    drawn, unit = drawing.drawn, drawing.unit
    start, end = course.edges_us[0], course.edges_us[-1]
    low, high, up = _values_axis(layers, drawn, unit)
    seconds = bool(course.every_us % MINUTE_US)
    calls = course.statistics["request_count"] if unit == "share" else ()
    split = drawing.view if drawing.view not in ("", ALL) else None
    return Chart(
        key=drawing.key,
        title=drawing.title,
        drawn=drawn,
        layers=tuple(layers),
        places=tuple(local(us, tz, seconds=seconds) for us in course.edges_us[:-1]),
        place_title=f"from ({tz})",
        write=_WRITE[unit],
        low=low,
        high=high,
        across=time_axis(start, end, tz),
        up=up,
        bands=bands(overview.anomalies.incidents, drawing.metrics, (start, end), split),
        note=f"per {duration_text(course.every_us)}",
        summary=_summary(drawing.title, layers, course, tz, _WRITE[unit]),
        calls=calls,
        hatched=_hatched(calls, course) if drawn is Drawn.BARS else frozenset(),
        view=drawing.view,
    )


def _hatched(calls: Sequence[float | None], course: Course) -> frozenset[int]:
    """The places whose share rests on few calls, and the last one where it is not over."""
    few = {at for at, number in enumerate(calls) if number is not None and number < _FEW_CALLS}
    return frozenset(few | ({len(course.edges_us) - 2} if course.incomplete else set()))


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


def bands(
    incidents: Sequence[IncidentReport], metrics: Sequence[str], span_us: tuple[int, int], split: str | None = None
) -> tuple[Band, ...]:
    """The incidents of these metrics as stretches of the width; those that overlap are one, with all their numbers.

    An incident is partial where it concerns a group that the chart, which is by `split`, does not show apart.
    """
    found: list[Band] = []
    chosen = [(one, n) for n, one in enumerate(numbered(incidents), 1) if _concerns(one, metrics)]
    for one, number in sorted(chosen, key=lambda item: item[0].start_us):
        band = place_of(one, number, span_us, split)
        if band is None:
            continue
        before = found[-1] if found else None
        if before is None or band.start > before.end:
            found.append(band)
            continue
        numbers = tuple(sorted({*before.numbers, number}))
        ends = before.start, max(before.end, band.end)
        found[-1] = Band(*ends, numbers, before.grave or band.grave, before.partial and band.partial)
    return tuple(found)


def place_of(one: IncidentReport, number: int, span_us: tuple[int, int], split: str | None = None) -> Band | None:
    """Where an incident is within a stretch of time; None where it is outside."""
    start_us, end_us = span_us
    low = max(one.start_us, start_us)
    high = end_us if one.end_us is None else min(max(one.end_us, one.start_us), end_us)
    if high < low:
        return None
    span = max(1, end_us - start_us)
    partial = any(field != split for field in one.group)
    return Band((low - start_us) / span, (high - start_us) / span, (number,), one.severity in _GRAVE, partial)


def _concerns(incident: IncidentReport, metrics: Sequence[str]) -> bool:
    return any(name in metrics for name in (incident.metric_name, *(one.metric_name for one in incident.symptoms)))


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
    values: SeriesValues = tuple(float(n) for n in histogram.counts)
    low, high, up = value_axis(0.0, max(histogram.counts), "count")
    marks: dict[float, str] = {}
    for q in quantiles:
        if value := totals[f"{stem}_{q}_ms"]:
            marks[value] = f"{marks[value]}, {q}" if value in marks else q
    places = tuple(f"{milliseconds(a)} to {milliseconds(b)}" for a, b in pairwise(edges))
    quantile_text = ", ".join(f"{q} {milliseconds(value)}" for value, q in marks.items())
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
        summary=f"{title}: {quantile_text}; from {milliseconds(edges[0])} to {milliseconds(edges[-1])}.",
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
