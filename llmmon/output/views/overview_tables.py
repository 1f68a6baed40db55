"""The tables of the report: incidents, groups, errors, single calls, flags, alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmmon.anomaly.report import IncidentReport
from llmmon.output.views import Table
from llmmon.output.views.anomalies import cause_text, figure
from llmmon.output.views.overview_charts import numbered
from llmmon.output.views.page import Cell, Grid, Head
from llmmon.reports.overview_fold import AlertEpisode, Breakdown, ErrorKind, Overview
from llmmon.reports.summary import Statistics
from llmmon.text.figures import (
    MISSING,
    clipped,
    count,
    key_text,
    milliseconds,
    money_text,
    name,
    percent,
    rate,
    score,
    shortened,
)
from llmmon.text.times import iso, local, moment_us

_GRAVE: Final = {"high", "critical"}
_RANKS: Final = ("info", "low", "warning", "medium", "error", "high", "critical")
_LONGEST: Final = 80
_LONGEST_MESSAGE: Final = 240
_MOST_SYMPTOMS: Final = 4
_Column = tuple[Head, str, Callable[[Any], str]]


def _short_name(text: str | None) -> str:
    return shortened(name(text), _LONGEST)


_GROUPS: Final[tuple[_Column, ...]] = (
    (Head("requests"), "request_count", count),
    (Head("errors"), "error_rate", percent),
    (Head("p50", explained="median latency"), "latency_p50_ms", milliseconds),
    (Head("p95", explained="95 % of calls took at most this long"), "latency_p95_ms", milliseconds),
    (Head("p99", explained="99 % of calls took at most this long"), "latency_p99_ms", milliseconds),
    (Head("TTFT", explained="median time to the first token"), "ttft_p50_ms", milliseconds),
    (Head("tok/s", explained="median output tokens per second"), "output_tokens_per_second_p50", rate),
    (Head("tokens in"), "prompt_tokens", count),
    (Head("tokens out"), "completion_tokens", count),
    (Head("cut off"), "truncated_rate", percent),
    (Head("quality"), "quality_avg", score),
    (Head("cost / call"), "cost_per_request_usd", money_text),
    (Head("cost"), "cost_total_usd", money_text),
)


def groups(breakdown: Breakdown, totals: Statistics) -> Grid:
    """One row a group, with its share of the cost (of the requests where there is no cost)."""
    rows = [row.statistics for row in breakdown.groups]
    shown = [column for column in _GROUPS if any(row[column[1]] is not None for row in rows)]
    of = "cost_total_usd" if totals["cost_total_usd"] else "request_count"
    share = Head("of cost" if of == "cost_total_usd" else "of requests")
    cells = tuple(
        (
            _name(row.key[breakdown.by]),
            *(_group_cell(row.statistics, statistic, write) for _, statistic, write in shown),
            _share(row.statistics[of], totals[of]),
        )
        for row in breakdown.groups
    )
    heads = (Head(breakdown.by, number=False), *(head for head, _, _ in shown), share)
    note = f"The {len(rows)} with the most requests; {breakdown.more:,} more are not shown." if breakdown.more else ""
    return Grid(f"By {breakdown.by}", heads, cells, 1, note)


def _group_cell(row: Statistics, statistic: str, write: Callable[[Any], str]) -> Cell:
    text = write(row[statistic])
    partial = statistic == "cost_total_usd" and row["unpriced_requests"] and row[statistic] is not None
    return Cell(f"~{text}" if partial else text, row[statistic])


def _share(part: float | None, whole: float | None) -> Cell:
    if part is None or not whole:
        return Cell(MISSING)
    return Cell(percent(part / whole), part / whole, part / whole)


def _name(text: str | None) -> Cell:
    return Cell(_short_name(text), text)


def incidents(found: Sequence[IncidentReport], tz: str) -> Grid:
    """The incidents in order of time, numbered as in the charts."""
    heads = (
        Head("no."),
        Head("severity", number=False),
        Head("what", number=False, wide=True),
        Head("when", number=False),
        Head("usual"),
        Head("during"),
        Head("calls"),
        Head("cause", number=False, wide=True),
        Head("also", number=False, wide=True),
    )
    rows = tuple(
        (
            Cell(str(number), number),
            _severity(one.severity),
            Cell(one.headline, None),
            Cell(one.when(tz), iso(one.start_us)),
            Cell(figure(one.metric_name, one.usual), one.usual),
            Cell(figure(one.metric_name, one.during), one.during),
            Cell(one.size, one.calls),
            Cell(cause_text(one).removeprefix("cause: "), None),
            Cell(also(one) or MISSING, None),
        )
        for number, one in enumerate(numbered(found), 1)
    )
    return Grid(f"Incidents ({tz})", heads, rows)


def also(one: IncidentReport) -> str:
    """What else moved, the first few."""
    texts = list(dict.fromkeys(symptom.text for symptom in one.symptoms))
    more = [f"{len(texts) - _MOST_SYMPTOMS} more"] if len(texts) > _MOST_SYMPTOMS else []
    return ", ".join([*texts[:_MOST_SYMPTOMS], *more])


def _severity(severity: str) -> Cell:
    return Cell(severity, float(_RANKS.index(severity)) if severity in _RANKS else None, grave=severity in _GRAVE)


def _moment(us: int | None, tz: str) -> Cell:
    return Cell(MISSING) if us is None else Cell(local(us, tz, seconds=False), iso(us))


def errors(kinds: Sequence[ErrorKind]) -> Grid:
    """The types of error, most frequent first, with the model that has most of each."""
    heads = (Head("error", number=False), Head("count"), Head("share"), Head("most by model", number=False))
    rows = tuple(
        (
            _name(kind.name),
            Cell(count(kind.count), kind.count),
            Cell(percent(kind.share), kind.share, kind.share),
            Cell(f"{_short_name(kind.model)} ({percent(kind.model_share)})", kind.model),
        )
        for kind in kinds
    )
    return Grid("Errors by type", heads, rows, 1)


def finish_reasons(found: Sequence[tuple[str, int]]) -> Grid:
    """Why answers ended."""
    whole = sum(number for _, number in found)
    rows = tuple(
        (_name(reason), Cell(count(number), number), Cell(percent(number / whole), number / whole, number / whole))
        for reason, number in found
    )
    return Grid("Finish reasons", (Head("reason", number=False), Head("answers"), Head("share")), rows, 1)


_CALLS: Final[tuple[_Column, ...]] = (
    (Head("model", number=False), "model", _short_name),
    (Head("latency"), "latency_ms", milliseconds),
    (Head("TTFT"), "time_to_first_token_ms", milliseconds),
    (Head("tokens in"), "prompt_tokens", count),
    (Head("tokens out"), "completion_tokens", count),
    (Head("cost"), "cost_usd", money_text),
    (Head("error", number=False), "error_type", _short_name),
    (Head("user", number=False), "user", _short_name),
    (Head("feature", number=False), "feature", _short_name),
    (Head("request", number=False), "request_id", _short_name),
)


def calls(title: str, rows: Sequence[Mapping[str, Any]], key: str, tz: str) -> Grid:
    """Single calls, largest first, each with its place in the log; never their texts."""
    shown = [column for column in _CALLS if any(row[column[1]] is not None for row in rows)]
    cells = tuple(
        (_time(row, tz), *(_call_cell(row[field], write) for _, field, write in shown), Cell(_place(row)))
        for row in rows
    )
    heads = (
        Head(f"time ({tz})", number=False),
        *(head for head, _, _ in shown),
        Head("where", number=False, wide=True),
    )
    at = next((i for i, (_, field, _) in enumerate(shown, 1) if field == key), -1)
    return Grid(title, heads, cells, at)


_FAILING: Final[tuple[_Column, ...]] = (
    (Head("model", number=False), "model", _short_name),
    (Head("status"), "status_code", str),
    (Head("error", number=False), "error_type", _short_name),
    (Head("message", number=False, wide=True), "error_message", lambda text: clipped(text, _LONGEST_MESSAGE)),
    (Head("latency"), "latency_ms", milliseconds),
    (Head("user", number=False), "user", _short_name),
    (Head("feature", number=False), "feature", _short_name),
    (Head("request", number=False), "request_id", _short_name),
)


def failing(rows: Sequence[Mapping[str, Any]], found: int, tz: str) -> Grid:
    """The latest calls that failed, with what was said of them, and their places in the log."""
    shown = [column for column in _FAILING if any(row[column[1]] is not None for row in rows)]
    cells = tuple(
        (_time(row, tz), *(_call_cell(row[field], write) for _, field, write in shown), Cell(_place(row)))
        for row in rows
    )
    heads = (
        Head(f"time ({tz})", number=False),
        *(head for head, _, _ in shown),
        Head("where", number=False, wide=True),
    )
    left = found - len(rows)
    note = f"The latest {len(rows)} of {found:,}; all of them: llmmon requests --where error" if left > 0 else ""
    return Grid("Failing calls", heads, cells, note=note)


def _call_cell(value: Any, write: Callable[[Any], str]) -> Cell:
    return Cell(MISSING) if value is None else Cell(write(value), value)


def _time(row: Mapping[str, Any], tz: str) -> Cell:
    stamp = row["timestamp"]
    return Cell(MISSING) if stamp is None else Cell(local(moment_us(stamp, 0, "UTC"), tz), stamp)


def _place(row: Mapping[str, Any]) -> str:
    return str(row["file"]) if row["line"] is None else f"{row['file']}:{row['line']}"


def flags(found: Mapping[str, int], scored: int) -> Grid:
    """How many answers carry each flag."""
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple(
        (Cell(flag.replace("_", " "), flag), Cell(count(number), number), _share(number, scored))
        for flag, number in ranked
    )
    return Grid("Flags", (Head("flag", number=False), Head("answers"), Head("share")), rows, 1)


def worst_answers(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """The answers with the lowest scores, without their texts."""
    cells = tuple(
        (
            Cell(score(row["overall"]), row["overall"]),
            Cell(", ".join(flag.replace("_", " ") for flag in row["flags"])),
            _name(row["model"]),
            _name(row["user"]),
            _name(row["request_id"]),
            Cell(_place(row)),
        )
        for row in rows
    )
    heads = (
        Head("score"),
        *(Head(title, number=False) for title in ("flags", "model", "user", "request")),
        Head("where", number=False, wide=True),
    )
    return Grid("Worst answers", heads, cells)


def alerts(overview: Overview) -> Grid:
    """Episodes of alerts, latest first."""
    tz = overview.source.timezone
    ranked = sorted(overview.alerts, key=lambda one: (-one.start_us, one.rule, key_text(one.group)))
    titles = ("from", "to", "state", "rule", "group")
    heads = (
        *(Head(title, number=False) for title in titles),
        Head("severity", number=False),
        Head("value"),
        Head("threshold"),
    )
    return Grid(f"Alerts ({tz})", heads, tuple(_alert(one, tz) for one in ranked))


def _alert(one: AlertEpisode, tz: str) -> tuple[Cell, ...]:
    return (
        _moment(one.start_us, tz),
        _moment(one.end_us, tz),
        Cell(one.state, one.state),
        _name(one.rule),
        _name(key_text(one.group)),
        _severity(one.severity),
        Cell(figure(one.metric_name, one.value), one.value),
        Cell(figure(one.metric_name, one.threshold), one.threshold),
    )


def plain_grid(table: Table) -> Grid:
    """A table of ready texts."""
    heads = tuple(Head(column.title, number=column.right) for column in table.columns)
    rows = tuple(tuple(Cell(text, None if text == MISSING else text) for text in row) for row in table.rows)
    return Grid(table.title.capitalize(), heads, rows, note=table.note)
