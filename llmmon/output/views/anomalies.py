"""What is shown of `anomalies`: incidents, each in a few lines, or the series that make them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmmon.anomaly.report import (
    ALIKE,
    DRIFT,
    FOUND,
    NO_CALLS,
    NO_SEARCH,
    AnomaliesReport,
    AnomalyReport,
    Cause,
    IncidentReport,
)
from llmmon.ingest.report import SourceReport
from llmmon.output.views import Column, Table, View
from llmmon.text.figures import MISSING, counted, key_text, metric_figure, sparkline
from llmmon.text.times import day_text, iso, local, period_text

_MOST_CAUSES: Final = 2
_MOST_SYMPTOMS: Final = 4
_ID_SHOWN: Final = 7  # characters; --explain takes a beginning
_CELLS: Final = 24
_ALL: Final = 0.95  # of the change, from which on it is all of it
_INDENT: Final = "  "


def view_anomalies(report: AnomaliesReport, source: SourceReport, *, flat: bool = False) -> View:
    """The incidents, or with `flat` their series; and what could not be judged."""
    tz = source.timezone
    tables = [_list(report, tz)] if report.anomalies and flat else []
    tables += [_explanation(report)] if report.explained else []
    stories = report.incidents if not flat else ()
    lines = [line for one in stories for line in ("", *_story(one, tz, full=bool(report.explained)))]
    return View(
        data=_data(report),
        rows=report.scores or [_anomaly(row) for row in report.anomalies],
        title=_title(report, source, flat=flat),
        tables=tuple(tables),
        lines=tuple(lines[1:]),
        notes=(*_contributions(report), *_unjudged(report)),
    )


def _data(report: AnomaliesReport) -> dict[str, Any]:
    window = report.window
    data: dict[str, Any] = {
        "window": {"start": iso(window.start_us), "end": iso(window.end_us), "minutes": window.minutes},
        "calls": report.calls,
        "sensitivity": report.sensitivity,
        "false_alarms_per_week": report.false_alarms_per_week,
        "incidents": [incident_data(one) for one in report.incidents],
        "anomalies": [_anomaly(row) for row in report.anomalies],
        "monitored": [
            {
                "metric_name": row.metric_name,
                "group": dict(row.group),
                "buckets": row.buckets,
                "season": row.season,
                "judged": row.judged,
                "reason": row.reason or None,
            }
            for row in report.monitored
        ],
    }
    if report.scores:
        data["scores"] = list(report.scores)
    if report.explained:
        data["explained"] = list(report.explained)
    return data


def incident_data(one: IncidentReport) -> dict[str, Any]:
    """An incident as an object in JSON."""
    return {
        "id": one.id,
        "kind": one.kind,
        "severity": one.severity,
        "status": one.status,
        "metric_name": one.metric_name,
        "group": dict(one.group),
        "timestamp": iso(one.timestamp_us),
        "start": iso(one.start_us),
        "end": iso(one.end_us),
        "description": one.sentence(),
        "usual": one.usual,
        "during": one.during,
        "factor": one.factor,
        "change_per_day": one.per_day,
        "calls": one.calls,
        "hits": one.hits,
        "lead": one.lead,
        "symptoms": [
            {"id": s.id, "metric_name": s.metric_name, "group": dict(s.group), "text": s.text} for s in one.symptoms
        ],
        "cause": one.cause,
        "causes": [
            {"field": c.field, "name": c.name, "share": c.share, "share_of_calls": c.of_calls, "calls": c.calls}
            for c in one.causes
        ],
        "error_message": one.error_message,
        "examples": [
            {
                "file": e.file,
                "line": e.line,
                "request_id": e.request_id,
                "timestamp": iso(e.timestamp_us),
                "value": e.value,
                "error_type": e.error_type,
                "status_code": e.status_code,
                "error_message": e.error_message,
            }
            for e in one.examples
        ],
        "course": {
            "start": iso(one.course_start_us) if one.course else None,
            "step_seconds": one.course_step_us / 1e6,
            "values": list(one.course),
        },
    }


def _anomaly(row: AnomalyReport) -> dict[str, Any]:
    return {
        "id": row.id,
        "incident_id": row.incident_id,
        "role": row.role,
        "metric_name": row.metric_name,
        "group": dict(row.group),
        "value": row.value,
        "expected_range": [row.low, row.high],
        "usual": row.usual,
        "during": row.during,
        "calls": row.calls,
        "severity": row.severity,
        "score": row.score,
        "detector": row.detector,
        "status": row.status,
        "timestamp": iso(row.timestamp_us),
        "start": iso(row.start_us),
        "end": iso(row.end_us),
        "description": row.description,
        "contributors": [dict(part) for part in row.contributors],
    }


def _title(report: AnomaliesReport, source: SourceReport, *, flat: bool) -> str:
    """How many, how grave, whether any is open, over which time."""
    window, tz = report.window, source.timezone
    span = ""
    if window.start_us is not None and window.end_us is not None:
        year = local(window.end_us, tz)[:4]
        span = f"{day_text(window.start_us, tz)} to {day_text(window.end_us, tz)} {year} {tz}"
    if not report.calls and not source.samples:
        ended = "" if source.end_us is None else f"; the log ends {local(source.end_us, tz, seconds=False)} {tz}"
        since = "" if window.start_us is None else f" since {local(window.start_us, tz, seconds=False)} {tz}"
        return f"no calls{since}, so nothing could be found{ended}"
    number = len(report.anomalies if flat else report.incidents)
    parts = [f"{number:,} anomalous series" if flat else counted(number, "incident") if number else "no incidents"]
    grave = sum(one.severity == "critical" for one in report.incidents)
    going = sum(one.end_us is None for one in report.incidents)
    if number and not flat:
        parts += [f"{grave} critical"] if grave else []
        parts += [f"{going} open" if going else "none open"]
    return ", ".join(parts) + (f" · {span}" if span else "")


def _story(one: IncidentReport, tz: str, *, full: bool) -> Iterator[str]:
    """What and how much; since when and why; what else moved, and where to look."""
    yield f"{one.severity.upper():8}  {one.headline}"
    parts = [one.figures, one.when(tz), cause_text(one), one.size]
    yield _INDENT + " · ".join(part for part in parts if part)
    if one.error_message:
        yield f"{_INDENT}error: {one.error_message}"
    texts = list(dict.fromkeys(symptom.text for symptom in one.symptoms))
    left = len(texts) - _MOST_SYMPTOMS
    also = ", ".join(texts[:_MOST_SYMPTOMS]) + (f" and {left} more" if left > 0 else "")
    if also:
        yield f"{_INDENT}also {also}"
    for example in one.examples if full else one.examples[:1]:
        yield f"{_INDENT}e.g. {_example(one, example)}"
    drawn = sparkline(one.course, _CELLS)
    yield _INDENT + "  ".join(
        part for part in (drawn, "" if full or one.kind == DRIFT else f"--explain {one.id[:_ID_SHOWN]}") if part
    )


def _example(one: IncidentReport, example: Any) -> str:
    place = example.file if example.line is None else f"{example.file}:{example.line}"
    figure_text = "" if one.hits is not None or example.value is None else metric_figure(one.metric_name, example.value)
    error = " ".join(str(part) for part in (example.status_code, example.error_type) if part is not None)
    return "  ".join(part for part in (place, example.request_id or "", figure_text, error) if part)


def cause_text(one: IncidentReport) -> str:
    """Why, as far as the calls say: the names that are over-represented, or that there are none."""
    if one.cause == FOUND:
        return "cause: " + ", ".join(_cause(part) for part in one.causes[:_MOST_CAUSES])
    if one.cause == ALIKE:
        return "cause: all calls alike"
    if one.cause == NO_CALLS:
        return "cause: unknown (metric samples)"
    if one.cause == NO_SEARCH:
        return ""
    return "cause: not searched (no time left), see --explain"


def _cause(part: Cause) -> str:
    name = f"{part.field.removeprefix('tag.').replace('_', ' ')} {part.name if part.name is not None else '(none)'}"
    return name if part.share >= _ALL else f"{name} ({part.share * 100:.0f} %)"


def _list(report: AnomaliesReport, tz: str) -> Table:
    columns = (
        Column("when", right=False),
        Column("severity", right=False),
        Column("metric", right=False),
        Column("group", right=False),
        Column("usual", rank=1),
        Column("during", rank=1),
        Column("calls", rank=2),
        Column("value", rank=3),
        Column("expected", rank=4),
        Column("around it", right=False, rank=6),
        Column("contributed", right=False, rank=5),
        Column("incident", right=False, rank=2),
        Column("id", right=False),
    )
    rows = tuple(
        (
            period_text(row.start_us, row.end_us, tz),
            row.severity,
            row.metric_name,
            key_text(row.group),
            figure(row.metric_name, row.usual),
            figure(row.metric_name, row.during),
            MISSING if row.calls is None else f"{row.calls:,}",
            figure(row.metric_name, row.value),
            f"{figure(row.metric_name, row.low)} to {figure(row.metric_name, row.high)}",
            sparkline(row.course, 16),
            _contributed(row),
            row.incident_id[:_ID_SHOWN],
            row.id[:_ID_SHOWN],
        )
        for row in report.anomalies
    )
    return Table("anomalous series", columns, rows, "details: --explain ID")


def figure(metric: str, value: float | None) -> str:
    """A value of a metric as people read it."""
    return metric_figure(metric, value)


def _contributions(report: AnomaliesReport) -> list[str]:
    """What contributed to the one that was asked to be explained."""
    if not report.explained:
        return []
    return [f"{part['text']}{_ids(part)}" for row in report.anomalies for part in row.contributors]


def _ids(part: Mapping[str, Any]) -> str:
    return f"; e.g. {', '.join(part['examples'])}" if part["examples"] else ""


def _contributed(row: AnomalyReport) -> str:
    """The largest contributions in a few words: `model gpt-4o 97 %`."""
    parts = [f"{part['field']} {part['name'] or '(none)'} {part['share'] * 100:.0f} %" for part in row.contributors]
    return ", ".join(parts[:2]) or MISSING


def _explanation(report: AnomaliesReport) -> Table:
    metric = report.anomalies[0].metric_name
    columns = (
        Column("bucket", right=False),
        Column("value"),
        Column("expected"),
        Column("z"),
        Column("score"),
        Column("", right=False),
    )
    rows = tuple(
        (
            str(row["start"]).replace("T", " ").rstrip("Z"),
            figure(metric, row["value"]),
            f"{figure(metric, row['low'])} to {figure(metric, row['high'])}",
            MISSING if row["z"] is None else f"{row['z']:.1f}",
            _plain(row["score"]),
            "alarm" if row["alarm"] else "",
        )
        for row in report.explained
    )
    return Table("bucket by bucket", columns, rows)


def _plain(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _unjudged(report: AnomaliesReport) -> list[str]:
    """What could not be judged and why, where anything could; else the command says so."""
    missing = [row for row in report.monitored if not row.judged]
    if not missing or len(missing) == len(report.monitored):
        return []
    names: dict[str, set[str]] = {}
    for row in missing:
        names.setdefault(_short(row.reason), set()).add(row.metric_name)
    why = "; ".join(f"{reason} ({', '.join(sorted(those))})" for reason, those in sorted(names.items()))
    return [f"{len(missing)} of {len(report.monitored)} series could not be judged: {why}"]


def _short(reason: str) -> str:
    """`needs 24 hours`: how long each series goes back differs a little."""
    _, needs, length = reason.partition(", needs ")
    return f"needs {length}" if needs else reason


def nothing_judged(report: AnomaliesReport) -> str | None:
    """Why nothing at all could be judged, of the series that had anything to judge; None where something was."""
    if any(row.judged for row in report.monitored):
        return None
    reasons = sorted((row.reason for row in report.monitored), key=lambda reason: reason == "no values")
    return f"nothing could be judged: {reasons[0] if reasons else 'no calls with a time'}"
