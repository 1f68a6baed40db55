"""What is shown of `report`: headline figures, and sections of charts and tables."""

from __future__ import annotations

from collections.abc import Iterator

from llmmon.durations import local
from llmmon.money import money_text
from llmmon.overview import Overview
from llmmon.scorers.flags import DIMENSIONS
from llmmon.views import report_grids as grids
from llmmon.views.figures import count, score, size
from llmmon.views.page import Chart, PageView, Section
from llmmon.views.report_charts import charts_over_time, cost_by_model, distribution, errors_by_type
from llmmon.views.report_figures import compared, figures

_MOST_REASONS = 3
_MOST_FILES = 30


def view_report(overview: Overview) -> PageView:
    """The page; a section without anything to show is left out."""
    return PageView(
        title="LLM requests",
        subtitle=_subtitle(overview),
        figures=figures(overview),
        compared=compared(overview.comparison),
        sections=tuple(_sections(overview)),
        footer=f"llmmon {overview.version}",
    )


def _subtitle(overview: Overview) -> str:
    window, tz = overview.window, overview.source.timezone
    requests = overview.source.requests
    calls = f"{requests:,} request{'s' * (requests != 1)}"
    files = overview.source.files
    where = files[0] if len(files) == 1 else f"{len(files)} files"
    if window.start_us is None or window.end_us is None:
        return f"{calls}, without times · {where}"
    start, end = (local(us, tz, seconds=False) for us in (window.start_us, window.end_us))
    return f"{start} to {end} {tz} · {calls} · {where}"


def _sections(overview: Overview) -> Iterator[Section]:
    yield _incidents(overview)
    if overview.alerts:
        yield Section("alerts", "Alerts", grids=(grids.alerts(overview),))
    if overview.slos:
        yield Section("objectives", "Objectives", tuple(f"{one.sentence}." for one in overview.slos))
    if charts := charts_over_time(overview):
        shaded = any(chart.bands for chart in charts)
        words = (
            ("Shaded stretches are incidents, under their numbers in the table above; red ones are high or critical.",)
            if shaded
            else ()
        )
        yield Section("over-time", "Over time", words, charts)
    if overview.breakdowns:
        found = tuple(grids.groups(one, overview.totals) for one in overview.breakdowns)
        yield Section("groups", "By model, user and feature" if len(found) > 2 else "Groups", grids=found)
    if cost := cost_by_model(overview):
        yield Section("cost", "Cost", _certainty(overview), charts=(cost,))
    if overview.histograms:
        charts = tuple(distribution(one, overview.totals) for one in overview.histograms)
        yield Section("latency", "Latency", charts=charts)
    if overview.errors:
        yield Section("errors", "Errors", charts=_one(errors_by_type(overview)), grids=(grids.errors(overview.errors),))
    yield from _calls(overview)
    yield from _quality(overview)
    yield _source(overview)


def _one(chart: Chart | None) -> tuple[Chart, ...]:
    return () if chart is None else (chart,)


def _incidents(overview: Overview) -> Section:
    found, monitored = overview.anomalies.incidents, overview.anomalies.monitored
    judged = [one for one in monitored if one.judged]
    reasons = sorted({one.reason for one in monitored if not one.judged and one.reason})
    words = []
    if not judged:
        words.append(
            f"Nothing could be judged: {'; '.join(reasons[:_MOST_REASONS]) or 'there are no calls with a time'}."
        )
    elif not found:
        words.append(f"None found in {len(judged)} series of metrics.")
    else:
        metrics = sorted({one.metric_name for one in found})
        many = f"{len(found)} incident{'s' * (len(found) > 1)}"
        words.append(f"{many} in {', '.join(metrics)}; {len(judged)} series were watched.")
    left = len(monitored) - len(judged)
    if judged and left:
        words.append(f"{left} more could not be judged: {'; '.join(reasons[:_MOST_REASONS])}.")
    tables = (grids.incidents(found, overview.source.timezone),) if found else ()
    return Section("incidents", "Incidents", tuple(words), grids=tables)


def _certainty(overview: Overview) -> tuple[str, ...]:
    """How much of the cost was logged, calculated, or is not known."""
    totals = overview.totals
    parts = [
        f"{money_text(totals[statistic])} {what}"
        for statistic, what in (("cost_logged_usd", "as logged"), ("cost_calculated_usd", "calculated from prices"))
        if totals[statistic]
    ]
    if totals["unpriced_requests"]:
        parts.append(f"{count(totals['unpriced_requests'])} requests without a price, which the sum leaves out")
    return (f"{', '.join(parts)}.",) if parts else ()


def _calls(overview: Overview) -> Iterator[Section]:
    tz = overview.source.timezone
    found = tuple(
        grids.calls(title, rows, key, tz)
        for title, rows, key in (
            ("Slowest", overview.slowest, "latency_ms"),
            ("Dearest", overview.dearest, "cost_usd"),
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
        words.append(f"{answers:,} answers scored from their texts: {', '.join(figures)}.")
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
        ("outside the time", source.outside),
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
        ("This page was made by:",),
        pairs=(*pairs, *files, *rejects, *failed),
        code=overview.command,
    )
