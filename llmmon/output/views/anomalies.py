"""What is shown of `anomalies`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmmon.anomaly.anomalies import AnomaliesReport, AnomalyReport
from llmmon.ingest.report import SourceReport
from llmmon.output.views import Column, Table, View
from llmmon.text.figures import MISSING, count, counted, key_text, milliseconds, percent, sparkline
from llmmon.text.times import iso, local

_MOST_SENTENCES: Final = 6
_ID_SHOWN: Final = 7  # characters; --explain takes a beginning


def view_anomalies(report: AnomaliesReport, source: SourceReport) -> View:
    """A short list of incidents, what contributed to each, and what could not be judged."""
    tz = source.timezone
    tables = [_list(report, tz)] if report.incidents else []
    tables += [_explanation(report)] if report.explained else []
    return View(
        data=_data(report),
        rows=report.scores or [_incident(row) for row in report.incidents],
        title=_title(report, tz),
        tables=tuple(tables),
        notes=(*_sentences(report), *_unjudged(report)),
    )


def _data(report: AnomaliesReport) -> dict[str, Any]:
    window = report.window
    data: dict[str, Any] = {
        "window": {"start": iso(window.start_us), "end": iso(window.end_us), "minutes": window.minutes},
        "sensitivity": report.sensitivity,
        "false_alarms_per_week": report.false_alarms_per_week,
        "anomalies": [_incident(row) for row in report.incidents],
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


def _incident(row: AnomalyReport) -> dict[str, Any]:
    return {
        "id": row.id,
        "metric_name": row.metric_name,
        "group": dict(row.group),
        "value": row.value,
        "expected_range": [row.low, row.high],
        "severity": row.severity,
        "score": row.score,
        "detector": row.detector,
        "timestamp": iso(row.timestamp_us),
        "start": iso(row.start_us),
        "end": iso(row.end_us),
        "description": row.description,
        "contributors": [dict(part) for part in row.contributors],
    }


def _title(report: AnomaliesReport, tz: str) -> str:
    number = len(report.incidents)
    what = counted(number, "incident") if number else "no incidents"
    window = report.window
    if window.start_us is None or window.end_us is None:
        return what
    return f"{what}, {local(window.start_us, tz, seconds=False)} to {local(window.end_us, tz, seconds=False)} {tz}"


def _list(report: AnomaliesReport, tz: str) -> Table:
    columns = (
        Column("from", right=False),
        Column("to", right=False, rank=2),
        Column("severity", right=False),
        Column("metric", right=False),
        Column("group", right=False),
        Column("value", rank=1),
        Column("expected", rank=3),
        Column("around it", right=False, rank=5),
        Column("contributed", right=False, rank=4),
        Column("id", right=False),
    )
    rows = tuple(
        (
            local(row.start_us, tz, seconds=False)[5:],
            local(row.end_us, tz, seconds=False)[11:],
            row.severity,
            row.metric_name,
            key_text(row.group),
            figure(row.metric_name, row.value),
            f"{figure(row.metric_name, row.low)} to {figure(row.metric_name, row.high)}",
            sparkline(row.course, 16),
            _contributed(row),
            row.id[:_ID_SHOWN],
        )
        for row in report.incidents
    )
    return Table("incidents", columns, rows, "details of one incident: --explain ID")


def figure(metric: str, value: float | None) -> str:
    """A value of a metric as people read it."""
    if value is None:
        return MISSING
    if metric.endswith("_ms"):
        return milliseconds(value)
    if metric.endswith("_rate"):
        return percent(value)
    if metric.endswith("_usd"):
        return f"${value:.3g}"
    return count(value) if abs(value) >= 1000 else f"{value:.3g}"


def _sentences(report: AnomaliesReport) -> list[str]:
    """A sentence an incident, and what contributed where one was asked to be explained."""
    if report.explained:
        parts = [f"{part['text']}{_examples(part)}" for row in report.incidents for part in row.contributors]
        return [*(row.description for row in report.incidents), *parts]
    if len(report.incidents) > _MOST_SENTENCES:
        return []
    return [row.description for row in report.incidents]


def _examples(part: Mapping[str, Any]) -> str:
    return f"; e.g. {', '.join(part['examples'])}" if part["examples"] else ""


def _contributed(row: AnomalyReport) -> str:
    """The largest contributions in a few words: `model gpt-4o 97 %`."""
    parts = [f"{part['field']} {part['name'] or '(none)'} {part['share']:.0%}" for part in row.contributors]
    return ", ".join(parts[:2]) or MISSING


def _explanation(report: AnomaliesReport) -> Table:
    metric = report.incidents[0].metric_name
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
            "incident" if row["alarm"] else "",
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
