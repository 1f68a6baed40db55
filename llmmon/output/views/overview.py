"""View of `report`: headline figures, and sections of charts and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import Final

from llmmon.anomaly.explanations import ExampleCall
from llmmon.anomaly.report import IncidentReport
from llmmon.metrics.definitions import STATISTICS, Direction
from llmmon.output.views import overview_tables as grids
from llmmon.output.views.anomalies import cause_text
from llmmon.output.views.compare import view_compare
from llmmon.output.views.overview_charts import (
    charts_over_time,
    cost_by_model,
    distribution,
    errors_by_type,
    numbered,
    place_of,
    time_axis,
    views,
)
from llmmon.output.views.page import Band, Chart, Figure, PageView, Section, Story, Tick, Write
from llmmon.quality.scorers.flags import DIMENSIONS
from llmmon.reports.overview_fold import Comparison, Overview
from llmmon.text.figures import (
    MISSING,
    brief_count,
    clipped,
    count,
    counted,
    from_to,
    many,
    metric_figure,
    milliseconds,
    money_text,
    percent,
    rate,
    score,
    size,
)
from llmmon.text.times import DAY_US, day_text, duration_text, local

# label, statistic, how it is written
FIGURES: Final[tuple[tuple[str, str, Write], ...]] = (
    ("Requests", "request_count", count),
    ("Errors", "error_rate", percent),
    ("Latency p50", "latency_p50_ms", milliseconds),
    ("Latency p95", "latency_p95_ms", milliseconds),
    ("First token p50", "ttft_p50_ms", milliseconds),
    ("Output speed p50", "output_tokens_per_second_p50", lambda value: f"{rate(value)} tok/s"),
    ("Cost", "cost_total_usd", money_text),
    ("Tokens in / out", "prompt_tokens", count),
    ("Cut off", "truncated_rate", percent),
    ("Quality", "quality_avg", score),
)
_SMALL: Final = 0.05
_MANIFOLD: Final = 10.0  # growth by more than this is shown as a factor
_POINTS: Final = {"error_rate": 0.01, "truncated_rate": 0.01, "quality_avg": 1.0}  # changes in points of this size


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
    if statistic == "prompt_tokens":
        text = f"{brief_count(overview.totals[statistic])} / {brief_count(overview.totals['completion_tokens'])}"
    change, was, verdict = _change(statistic, write, overview.comparison)
    return Figure(label, text, change, was, verdict, _note(statistic, overview))


def _note(statistic: str, overview: Overview) -> str:
    totals = overview.totals
    notes: dict[str, tuple[str, Callable[[float | None], str], str]] = {
        "request_count": ("requests_per_minute", rate, "{}/min"),
        "error_rate": ("error_count", count, f"{{}} of {many(totals['request_count'], 'call')}"),
        "cost_total_usd": ("cost_per_request_usd", money_text, "{} a call"),
        "prompt_tokens": ("cached_tokens", count, "{} from cache"),
        "latency_p95_ms": ("latency_p99_ms", milliseconds, "p99 {}"),
        "ttft_p50_ms": ("ttft_p95_ms", milliseconds, "p95 {}"),
        "truncated_rate": ("truncated_count", count, "{} answers"),
    }
    if statistic not in notes:
        return ""
    other, write, form = notes[statistic]
    text = write(totals[other])
    found = form.format(text) if text != MISSING and totals[other] else ""
    if statistic == "cost_total_usd" and totals["unpriced_requests"]:
        found = f"{found}, {counted(int(totals['unpriced_requests']), 'call')} without a price".lstrip(", ")
    return found


def _change(statistic: str, write: Write, comparison: Comparison | None) -> tuple[str, str, str]:
    """`▲ 12 %`, what to what, and whether that is better or worse; empty where there is nothing to compare."""
    if comparison is None:
        return "", "", ""
    later, before = comparison.later.get(statistic), comparison.before.get(statistic)
    if later is None or before is None:
        return "", "", ""
    was = from_to(write(before), write(later))
    difference = later - before
    if write(before) == write(later):
        return "unchanged", was, ""
    if statistic in _POINTS:
        unit = _POINTS[statistic]
        shown = abs(round(later / unit, 2 if unit == 1 else 1) - round(before / unit, 2 if unit == 1 else 1))
        amount = f"{shown:.2f}" if unit == 1 else f"{shown:.1f} pp"
    elif before:
        share = abs(difference / before)
        amount = _relative(share) if share < _MANIFOLD else f"×{later / before:,.0f}"
    else:
        amount = ""
    verdict = _verdict(statistic, difference) if _significant(statistic, comparison) else ""
    return f"{'▲' if difference > 0 else '▼'} {amount}".strip(), was, verdict


def _relative(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.01 else "<1 %"


def _significant(statistic: str, comparison: Comparison) -> bool:
    """Whether a change is more than chance: two proportions beyond two standard errors, other figures beyond 5 %."""
    later, before = comparison.later[statistic] or 0.0, comparison.before[statistic] or 0.0
    if not statistic.endswith("_rate"):
        return abs(later - before) > _SMALL * abs(before)
    n, m = comparison.later["request_count"] or 1, comparison.before["request_count"] or 1
    pooled = (later * n + before * m) / (n + m)
    return abs(later - before) > 2 * sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))


def _verdict(statistic: str, difference: float) -> str:
    better = STATISTICS[statistic].metric.better
    if better is Direction.NEITHER or statistic == "cost_total_usd":  # more traffic costs more, which is no fault
        return ""
    return "better" if (difference > 0) == (better is Direction.HIGHER) else "worse"


def compared(comparison: Comparison | None) -> str:
    """What the changes compare."""
    if comparison is None:
        return "The log has no earlier period to compare with."
    length = _length(comparison.length_us)
    if comparison.whole:
        return f"Changes are relative to the {length} before."
    if comparison.length_us % DAY_US:
        return "Totals cover the whole period; changes compare its second half with its first."
    return f"Totals cover the whole period; changes compare the last {length} with the {length} before."


def _length(us: int) -> str:
    seconds = us // 1_000_000
    for length, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % length == 0:
            return unit if seconds == length else f"{seconds // length} {unit}s"
    return duration_text(seconds * 1_000_000)


_MOST_REASONS = 3
_MOST_FILES = 30


def view_report(overview: Overview) -> PageView:
    """The page; a section without anything to show is left out."""
    return PageView(
        title=verdict(overview),
        subtitle=f"LLM requests · {_subtitle(overview)}",
        figures=figures(overview),
        compared=compared(overview.comparison),
        sections=tuple(_sections(overview)),
        footer=f"llmmon {overview.version}",
        strip=_strip(overview),
        strip_ticks=_strip_ticks(overview),
    )


_MOST_STORIES = 8  # cards; where there are more, a table has all


def _span(overview: Overview) -> tuple[int, int] | None:
    """From when to when the page shows, in microseconds; None where no call has a time."""
    if overview.course is not None:
        return overview.course.edges_us[0], overview.course.edges_us[-1]
    start, end = overview.window.start_us, overview.window.end_us
    return None if start is None or end is None or end <= start else (start, end)


def _strip(overview: Overview) -> tuple[Band, ...]:
    """The whole time, with every incident at its place."""
    span = _span(overview)
    if span is None:
        return ()
    places = (place_of(one, n, span) for n, one in enumerate(numbered(overview.anomalies.incidents), 1))
    return tuple(place for place in places if place is not None)


def _strip_ticks(overview: Overview) -> tuple[Tick, ...]:
    span = _span(overview)
    return () if span is None else time_axis(*span, overview.source.timezone)


def _stories(overview: Overview) -> Iterator[Story]:
    """The incidents, open ones first, then the newest, as cards."""
    found, span = overview.anomalies.incidents, _span(overview)
    numbers = {one.id: number for number, one in enumerate(numbered(found), 1)}
    shown = {key for key, _ in views(overview)}
    for one in found[:_MOST_STORIES]:
        yield _story(one, numbers[one.id], overview, span, shown)


def _story(
    one: IncidentReport, number: int, overview: Overview, span: tuple[int, int] | None, shown: set[str]
) -> Story:
    tz = overview.source.timezone
    length = max(1, len(one.course) * one.course_step_us)
    until = one.course_start_us + length
    start, end = (
        min(max((us - one.course_start_us) / length, 0.0), 1.0)
        for us in (one.start_us, until if one.end_us is None else one.end_us)
    )
    return Story(
        number=str(number),
        severity=one.severity,
        grave=one.severity in ("high", "critical"),
        headline=one.headline,
        figures=one.figures,
        facts=tuple(part for part in (one.when(tz), one.size, cause_text(one)) if part),
        also=grids.also(one),
        failure=next((_example(call) for call in one.examples if call.error_message), ""),
        examples=tuple(_example(example) for example in one.examples[:3]),
        command=f"{overview.anomalies_command} --explain {one.id[:7]}",
        course=one.course,
        start=start,
        end=end,
        usual=one.usual if one.metric_name not in _AN_HOUR else None,  # of these the course is per bucket
        usual_text=f"usual {metric_figure(one.metric_name, one.usual)}",
        place=None if span is None else place_of(one, number, span),
        view=next((field for field in one.group if field in shown), "all"),
        span=(day_text(one.course_start_us, tz), day_text(until, tz)) if one.course else ("", ""),
    )


_AN_HOUR: Final = {"requests", "cost_usd"}
_LONGEST_MESSAGE: Final = 160


def _example(call: ExampleCall) -> str:
    place = call.file if call.line is None else f"{call.file}:{call.line}"
    error = " ".join(str(part) for part in (call.status_code, call.error_type) if part is not None)
    message = f'"{clipped(call.error_message, _LONGEST_MESSAGE)}"' if call.error_message else ""
    return "  ".join(part for part in (place, call.request_id or "", error, message) if part)


def verdict(overview: Overview) -> str:
    """What the page amounts to: how many incidents, how grave, whether anything is wrong now."""
    found, tz = overview.anomalies.incidents, overview.source.timezone
    if not overview.source.requests:
        return "No calls in this time range."
    if not found:
        judged = any(one.judged for one in overview.anomalies.monitored)
        return "No incidents." if judged else "Not enough history to look for incidents."
    grave = sum(one.severity == "critical" for one in found)
    many = counted(len(found), "incident") + (f", {grave} critical" if grave else "")
    ends = [one.end_us for one in found if one.end_us is not None]
    if going := len(found) - len(ends):
        return f"{many}. {going} still {'goes' if going == 1 else 'go'} on."
    return f"{many}. The last ended {day_text(max(ends), tz)}; none is open."


def _subtitle(overview: Overview) -> str:
    window, tz = overview.window, overview.source.timezone
    requests = overview.source.requests
    calls = counted(requests, "request")
    files = overview.source.files
    where = files[0] if len(files) == 1 else f"{len(files)} files"
    if window.start_us is None or window.end_us is None:
        return f"{calls}, without times · {where}"
    start, end = (local(us, tz, seconds=False) for us in (window.start_us, window.end_us))
    return f"{start} to {end} {tz} · {calls} · {where}"


def _sections(overview: Overview) -> Iterator[Section]:
    yield _incidents(overview)
    if overview.compared is not None:
        view = view_compare(overview.compared, overview.source.timezone)
        yield Section("before-after", _capital(view.title), view.lines, grids=tuple(map(grids.plain_grid, view.tables)))
    if overview.alerts:
        yield Section("alerts", "Alerts", grids=(grids.alerts(overview),))
    if overview.slos:
        yield Section("objectives", "Objectives", tuple(f"{one.sentence}." for one in overview.slos))
    if charts := charts_over_time(overview):
        yield Section("over-time", "Over time", _legend(charts), charts, views=views(overview))
    if overview.breakdowns:
        found = tuple(grids.groups(one, overview.totals) for one in overview.breakdowns)
        yield Section("groups", "By model, user and feature" if len(found) > 2 else "Groups", grids=found)
    cost, certainty = cost_by_model(overview), _certainty(overview)
    if cost or certainty:
        yield Section("cost", "Cost", certainty, charts=_one(cost))
    if overview.histograms:
        charts = tuple(distribution(one, overview.totals) for one in overview.histograms)
        yield Section("latency", "Latency", charts=charts)
    if overview.errors:
        tables = [grids.errors(overview.errors)]
        if overview.failing:
            failed = int(overview.totals["error_count"] or 0)
            tables.append(grids.failing(overview.failing, failed, overview.source.timezone))
        yield Section("errors", "Errors", charts=_one(errors_by_type(overview)), grids=tuple(tables))
    yield from _calls(overview)
    yield from _quality(overview)
    yield _source(overview)


def _legend(charts: Sequence[Chart]) -> tuple[str, ...]:
    """What shades, outlines and hatches mean, of those that are there."""
    bands = [band for chart in charts for band in chart.bands]
    parts = ["Shaded: incidents, numbered as above. Red: high or critical."] if bands else []
    if any(band.partial for chart in charts if chart.view == "all" for band in chart.bands):
        parts.append("Only outlined: incidents of some of the calls shown; switch to see them apart.")
    if any(chart.hatched for chart in charts):
        parts.append("Hatched: shares of fewer than 20 calls, and time that is not over.")
    return (" ".join(parts),) if parts else ()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _one(chart: Chart | None) -> tuple[Chart, ...]:
    return () if chart is None else (chart,)


def _incidents(overview: Overview) -> Section:
    found, monitored = overview.anomalies.incidents, overview.anomalies.monitored
    judged = [one for one in monitored if one.judged]
    reasons = sorted({one.reason for one in monitored if not one.judged and one.reason})
    words = []
    if not judged:
        words.append(f"Nothing could be judged: {'; '.join(reasons[:_MOST_REASONS]) or 'no calls with a time'}.")
    elif not found:
        words.append(f"No incidents ({len(judged)} series monitored).")
    else:
        words.append(f"{len(judged)} series were monitored.")
    left = len(monitored) - len(judged)
    if judged and left:
        words.append(f"{left} more could not be judged: {'; '.join(reasons[:_MOST_REASONS])}.")
    tables = (grids.incidents(found, overview.source.timezone),) if len(found) > _MOST_STORIES else ()
    return Section("incidents", "Incidents", tuple(words), grids=tables, stories=tuple(_stories(overview)))


def _certainty(overview: Overview) -> tuple[str, ...]:
    """How much of the cost was logged, calculated, or is not known."""
    totals = overview.totals
    parts = [
        f"{money_text(totals[statistic])} {what}"
        for statistic, what in (("cost_logged_usd", "as logged"), ("cost_calculated_usd", "calculated from prices"))
        if totals[statistic]
    ]
    if totals["unpriced_requests"]:
        parts.append(f"{many(totals['unpriced_requests'], 'request')} without a price not included")
    return (f"{', '.join(parts)}.",) if parts else ()


def _calls(overview: Overview) -> Iterator[Section]:
    tz = overview.source.timezone
    found = tuple(
        grids.calls(title, rows, key, tz)
        for title, rows, key in (
            ("Slowest", overview.slowest, "latency_ms"),
            ("Most expensive", overview.most_expensive, "cost_usd"),
        )
        if rows
    )
    if found:
        title = " and ".join(grid.title.lower() for grid in found).capitalize() + " requests"
        yield Section("requests", title, grids=found)


def _quality(overview: Overview) -> Iterator[Section]:
    totals, scored = overview.totals, overview.quality
    tables = [grids.finish_reasons(overview.finish_reasons)] if overview.finish_reasons else []
    words = []
    if totals["quality_avg"] is not None and scored is None:
        words.append(f"Average quality {score(totals['quality_avg'])} (from 0 to 1), as logged.")
    counted = (("truncated_count", "cut off"), ("refused_count", "withheld"), ("empty_count", "empty"))
    if tables or any(totals[statistic] for statistic, _ in counted):
        known = [f"{count(totals[statistic])} {what}" for statistic, what in counted if totals[statistic] is not None]
        words.append(f"Answers by how they ended: {', '.join(known)}.")
    if scored is not None:
        answers = int(scored.summary["scored"] or 0)
        figures = [
            f"{name.replace('_', ' ')} {score(value)}"
            for name in ("overall", *DIMENSIONS)
            if (value := scored.summary.get(f"{name}_avg")) is not None
        ]
        words.append(f"{many(answers, 'answer')} scored from their texts: {', '.join(figures)}.")
        tables += [grids.flags(scored.flags, answers)] if scored.flags else []
        tables += [grids.worst_answers(scored.worst)] if scored.worst else []
    if words or tables:
        yield Section("quality", "Quality", tuple(words), grids=tuple(tables))


def _source(overview: Overview) -> Section:
    source = overview.source
    counted = (
        ("lines", source.lines),
        ("used", source.used),
        ("blank", source.blank),
        ("without a call", source.skipped),
        ("unreadable", source.rejected),
        ("requests", source.requests),
        ("metric samples", source.samples),
        ("duplicates", source.duplicates),
        ("outside the time range", source.outside),
        ("filtered out", source.filtered),
        ("without a time", source.undated),
    )
    pairs = [(what, f"{number:,}") for what, number in counted if number or what in {"lines", "requests", "unreadable"}]
    pairs += [("bytes read", size(source.bytes_read)), ("quantiles", "exact" if overview.exact else "within 1 %")]
    pairs += [("read as", ", ".join(f"{dialect} ({lines:,})" for dialect, lines in source.dialects.items()))]
    pairs += [("time zone", source.timezone)]
    left = len(source.files) - _MOST_FILES
    named = ", ".join(source.files[:_MOST_FILES]) + (f" and {left:,} more" if left > 0 else "")
    files = [("files" if len(source.files) > 1 else "file", named)]
    rejects = [("unreadable", f"{one.place}: {one.reason}") for one in source.rejects]
    failed = [("not read", f"{path}: {why}") for path, why in source.failed]
    return Section(
        "source",
        "Source",
        ("This page was created by:",),
        pairs=(*pairs, *files, *rejects, *failed),
        code=overview.command,
    )
