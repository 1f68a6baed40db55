"""The live display of `llmmon watch`: one screen of a given size, and one plain line for where there is no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.cells import cell_len, set_cell_size

from llmmon.anomaly.detectors.detector import AnomalyStatus
from llmmon.anomaly.report import IncidentReport
from llmmon.live.watcher import COURSE, LiveReport
from llmmon.reports.summary import GroupRow
from llmmon.text.figures import (
    aligned,
    count,
    key_text,
    milliseconds,
    money_text,
    name,
    percent,
    plain,
    rate,
    sparkline,
)
from llmmon.text.times import MINUTE_US, SECOND_US, age_text, duration_text, iso, local


def line_of(report: LiveReport) -> str:
    """The window's figures on one line, as `name=value`."""
    total = report.totals
    parts = [
        ("window", duration_text(report.window_us)),
        ("new", str(report.new)),
        ("requests", count(total["request_count"])),
        ("per_min", rate(total["requests_per_minute"] or 0.0)),
        ("errors", percent(total["error_rate"])),
        ("p50", milliseconds(total["latency_p50_ms"])),
        ("p95", milliseconds(total["latency_p95_ms"])),
        ("p99", milliseconds(total["latency_p99_ms"])),
        ("cost", cost_text(report)),
        ("cost_per_h", money_text(report.cost_per_hour_usd)),
        ("alerts", "-" if report.alerts is None else str(len(report.alerts))),
        ("last", "-" if report.last_us is None else age(max(0, report.now_us - report.last_us))),
        ("rejected", count(report.source.rejected)),
    ]
    stamp = local(report.now_us, report.tz)
    return f"{stamp} " + " ".join(f"{label}={text.replace(' ', '')}" for label, text in parts)


def row_of(report: LiveReport) -> dict[str, Any]:
    """The window's figures as one JSON object."""
    return {
        "now": iso(report.now_us),
        "start": iso(report.start_us),
        "new": report.new,
        "last": iso(report.last_us),
        "totals": dict(report.totals),
        "cost_per_hour_usd": report.cost_per_hour_usd,
        "groups": [{"key": dict(row.key), **row.statistics} for row in report.groups],
        "alerts": None if report.alerts is None else [
            {"title": a.title, "severity": a.severity, "state": a.state, "since": iso(a.since_us)}
            for a in report.alerts
        ],
        "lines": report.source.lines,
        "rejected": report.source.rejected,
        "pending": report.pending,
    }  # fmt: skip


def age(us: int) -> str:
    """How long ago something was, to the second where that is short."""
    return f"{us // SECOND_US} s" if us < MINUTE_US else age_text(us)


def cost_text(report: LiveReport) -> str:
    """The window's cost; `~` where some calls have no price."""
    return money_text(report.totals["cost_total_usd"], complete=not report.totals["unpriced_requests"])


Piece = tuple[str, str]  # text, style or ""
Line = list[Piece]

_GAP: Final = 2
_NARROWEST_NAME, _WIDEST_NAME = 12, 40
# title, statistic, how it is written, rank (the highest goes first where the terminal is narrow)
_COLUMNS: Final = (
    ("requests", "request_count", count, 0),
    ("/min", "requests_per_minute", rate, 3),
    ("errors", "error_rate", percent, 0),
    ("p50", "latency_p50_ms", milliseconds, 1),
    ("p95", "latency_p95_ms", milliseconds, 0),
    ("p99", "latency_p99_ms", milliseconds, 2),
    ("ttft p50", "ttft_p50_ms", milliseconds, 4),
    ("tokens in", "prompt_tokens", count, 5),
    ("tokens out", "completion_tokens", count, 5),
)


def table(report: LiveReport, width: int, rows: int) -> list[Line]:
    """The column names and at most `rows` lines of groups, the last one saying how many are left out."""
    shown = report.groups if len(report.groups) <= rows else report.groups[: max(1, rows - 1)]
    names = [plain(key_text(row.key)) for row in shown]
    columns = [column for column in _COLUMNS if any(row.statistics[column[1]] is not None for row in shown)]
    cells = {title: [write(row.statistics[key]) for row in shown] for title, key, write, _ in columns}
    cells["cost"] = [_group_cost(row) for row in shown]
    cells = {title: aligned(texts) for title, texts in cells.items()}
    ranks = {title: rank for title, _, _, rank in columns} | {"cost": 0}
    widths = {title: max(map(cell_len, [title, *texts])) for title, texts in cells.items()}
    kept, name_width = _fitting(widths, ranks, [*names, "by " + ", ".join(report.by)], width - 1)
    sorted_title = {"request_count": "requests", "error_rate": "errors", "latency_p95_ms": "p95"}.get(report.sorted_by)
    head: Line = [(" " + _cut("by " + ", ".join(report.by), name_width), "bold")]
    for title in kept:
        chosen = title == (sorted_title or "cost")
        head.append((" " * (_GAP + widths[title] - cell_len(title)), ""))
        head.append((title, "bold" if chosen else "dim"))
    lines = [head]
    for at, (row, text) in enumerate(zip(shown, names, strict=True)):
        line: Line = [(" " + _cut(text, name_width), "")]
        for title in kept:
            cell = cells[title][at]
            failing = title == "errors" and (row.statistics["error_rate"] or 0) > 0
            line.append((" " * (_GAP + widths[title] - cell_len(cell)) + cell, "red" if failing else ""))
        lines.append(line)
    if len(shown) < len(report.groups):
        lines.append([(f" and {len(report.groups) - len(shown):,} more", "dim")])
    return lines if shown else [head, [(" no calls in this window", "dim")]]


def _fitting(widths: dict[str, int], ranks: dict[str, int], names: Sequence[str], width: int) -> tuple[list[str], int]:
    """The columns that stay, and how wide names may be."""
    longest = min(_WIDEST_NAME, max(map(cell_len, names)))
    kept = list(widths)

    def left() -> int:
        return width - sum(widths[title] + _GAP for title in kept)

    while left() < longest and (rank := max(ranks[title] for title in kept)) > 0:
        kept.remove([title for title in kept if ranks[title] == rank][-1])
    return kept, min(longest, max(_NARROWEST_NAME, left()))


def _cut(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _group_cost(row: GroupRow) -> str:
    return money_text(row.statistics["cost_total_usd"], complete=not row.statistics["unpriced_requests"])


KEYS: Final = (
    ("g", "group by the next field"),
    ("w +", "longer window"),
    ("-", "shorter window"),
    ("s", "sort by the next column"),
    ("p", "pause or resume"),
    ("?", "this help"),
    ("q", "quit"),
)
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "yellow": "33", "green": "32", "title": "7"}
_SEVERE: Final = {"critical": "red", "high": "red", "error": "red", "medium": "yellow", "warning": "yellow"}
_STALE_US: Final = MINUTE_US


class Screen(msgspec.Struct, frozen=True):
    """How large the terminal is, whether it has colour, and whether the help is shown."""

    width: int
    height: int
    colour: bool = True
    help: bool = False


def frame(report: LiveReport, screen: Screen) -> list[str]:
    """At most `height` lines of at most `width` cells."""
    head = [_title(report, screen.width), *_headline(report), []]
    foot = [_accounting(report), _keys(report)]
    room = screen.height - len(head) - len(foot)
    body = _help() if screen.help else _body(report, screen.width, room)
    lines = [*head, *body[: max(0, room)]]
    lines += [[] for _ in range(screen.height - len(foot) - len(lines))]
    return [_written(line, screen) for line in [*lines, *foot][: screen.height]]


def _title(report: LiveReport, width: int) -> Line:
    left = f" llmmon watch  {plain(report.logs)}"
    right = f"last {duration_text(report.window_us)}  {local(report.now_us, report.tz)} {report.tz} "
    if report.paused:
        right = "PAUSED  " + right
    if cell_len(left) + cell_len(right) + 1 > width:
        left = set_cell_size(left, max(0, width - cell_len(right) - 2)) + "…"
    return [(left + " " * max(1, width - cell_len(left) - cell_len(right)) + right, "title")]


def _headline(report: LiveReport) -> list[Line]:
    total = report.totals
    about = "" if report.exact else "~"
    failed = bool(total["error_count"])
    first = _pairs(
        ("requests", f"{count(total['request_count'])} ({rate(total['requests_per_minute'] or 0.0)}/min)", ""),
        ("errors", f"{count(total['error_count'])} ({percent(total['error_rate'])})", "red" if failed else ""),
        ("cost", f"{cost_text(report)} ({money_text(report.cost_per_hour_usd)}/h)", ""),
    )
    second = _pairs(
        *((f"p{n}", about + milliseconds(total[f"latency_p{n}_ms"]), "") for n in (50, 95, 99)),
        ("ttft p50", milliseconds(total["ttft_p50_ms"]), ""),
        ("p95", milliseconds(total["ttft_p95_ms"]), ""),
    )
    return [first, second, [*_last(report), *_tokens(report)]]


def _pairs(*pairs: tuple[str, str, str]) -> Line:
    found: Line = []
    for label, text, style in pairs:
        found += [(f" {label} ", "dim"), (text, style or "bold"), ("  ", "")]
    return found


def _last(report: LiveReport) -> Line:
    if report.last_us is None:
        return [(" no log yet: waiting for it" if report.waiting else " no calls yet", "yellow")]
    past = max(0, report.now_us - report.last_us)
    return [(f" last event {age(past)} ago  ", "yellow" if past > _STALE_US else "dim")]


def _tokens(report: LiveReport) -> Line:
    total = report.totals
    return [(f" tokens {count(total['prompt_tokens'])} in, {count(total['completion_tokens'])} out", "dim")]


def _body(report: LiveReport, width: int, room: int) -> list[Line]:
    """Sparklines, the table, and below it what is wrong; the table takes what the others leave."""
    course = [*_course(report, width), []]
    wrong = max(3, (room - len(course)) // 2)
    below = [*_errors(report, width), *_alerts(report, wrong // 3 + 1), *_incidents(report, wrong // 3 + 1)]
    rows = max(1, room - len(course) - len(below) - 2)
    return [*course, *table(report, width, rows), [], *below]


def _course(report: LiveReport, width: int) -> list[Line]:
    room = max(10, width - 26)
    labels = dict(zip(COURSE, ("requests", "errors", "p95", "cost"), strict=True))
    complete = report.course[:-1] if len(report.course) > 1 else report.course
    now = _figures(complete[-1] if complete else {}, report.every_us)
    lines: list[Line] = []
    for statistic, label in labels.items():
        values = [bucket.get(statistic, 0.0 if statistic != "latency_p95_ms" else None) for bucket in complete]
        bars = sparkline(_stretched(values, room), room)
        style = "red" if statistic == "error_rate" and report.totals["error_count"] else "green"
        lines.append([(f" {label:<9}", "dim"), (set_cell_size(bars, room), style), (f" {now[statistic]}", "")])
    return lines


def _figures(bucket: Mapping[str, float | None], every_us: int) -> dict[str, str]:
    """The figures of one bucket."""
    cost = bucket.get("cost_total_usd")
    an_hour = None if cost is None else cost * 3600e6 / every_us
    return {
        "requests_per_minute": f"{rate(bucket.get('requests_per_minute') or 0.0)}/min",
        "error_rate": percent(bucket.get("error_rate")),
        "latency_p95_ms": milliseconds(bucket.get("latency_p95_ms")),
        "cost_total_usd": f"{money_text(an_hour)}/h",
    }


def _stretched(values: Sequence[float | None], room: int) -> list[float | None]:
    """Few values over the whole room, each several times."""
    few = 0 < len(values) < room
    return [values[at * len(values) // room] for at in range(room)] if few else list(values)


def _errors(report: LiveReport, width: int) -> list[Line]:
    if not report.errors:
        return [[(" errors     ", "dim"), ("none", "")]]
    parts = [f"{plain(name(share.name))} {count(share.count)} ({percent(share.share)})" for share in report.errors]
    line = " errors     "
    taken: list[str] = []
    for number, part in enumerate(parts):
        more = f"  and {len(parts) - number} more" if number + 1 < len(parts) else ""
        if taken and cell_len("  ".join([*taken, part])) + len(line) + len(more) > width:
            taken.append(f"and {len(parts) - number} more")
            break
        taken.append(part)
    return [[(line, "dim"), ("  ".join(taken), "red")]]


def _alerts(report: LiveReport, most: int) -> list[Line]:
    label = " alerts     "
    if report.alerts is None:
        return [[(label, "dim"), ("`llmmon check` has not run yet", "dim")]]
    if not report.alerts:
        return [[(label, "dim"), ("none open", "")]]
    texts = [
        (f"{a.severity} {plain(a.title)} ({a.state} for {age(max(0, report.now_us - a.since_us))})",
         _SEVERE.get(a.severity, ""))
        for a in report.alerts
    ]  # fmt: skip
    return _listed(label, texts, most)


def _incidents(report: LiveReport, most: int) -> list[Line]:
    label = " incidents  "
    if not report.incidents:
        return [[(label, "dim"), (plain(report.learning) or "none found", "dim" if report.learning else "")]]
    texts = [
        (f"{i.severity} {_when(i, report)} {plain(_said(i))}", _SEVERE.get(i.severity, "")) for i in report.incidents
    ]
    return _listed(label, texts, most)


def _said(incident: IncidentReport) -> str:
    return ", ".join(part for part in (incident.headline, incident.figures, incident.size) if part)


def _when(incident: IncidentReport, report: LiveReport) -> str:
    """How long it has been going on, or how long ago it was over."""
    if incident.end_us is None:
        stays = ", at a new level" if incident.status == AnomalyStatus.NEW_LEVEL else ""
        return f"open for {age(max(0, report.now_us - incident.start_us))}{stays}:"
    return f"over {age(max(0, report.now_us - incident.end_us))} ago:"


def _listed(label: str, texts: Sequence[Piece], most: int) -> list[Line]:
    shown = texts if len(texts) <= most else texts[: max(1, most)]
    lines: list[Line] = [[(label if not at else " " * len(label), "dim"), text] for at, text in enumerate(shown)]
    if len(shown) < len(texts):
        lines[-1].append((f"  and {len(texts) - len(shown)} more", "dim"))
    return lines


def _accounting(report: LiveReport) -> Line:
    source = report.source
    parts = [f"{count(source.lines)} lines read"]
    for number, what in (
        (source.filtered, "filtered out"),
        (source.undated, "without a time"),
        (report.ahead, "in the future"),
        (source.duplicates, "duplicates"),
        (source.skipped, "without a call"),
    ):
        if number:
            parts.append(f"{count(number)} {what}")
    if report.pending:
        parts.append(f"{count(report.pending)} bytes without a newline yet")
    line: Line = [(" " + ", ".join(parts), "dim")]
    if source.rejected:
        line.append((f", {count(source.rejected)} unreadable", "yellow"))
    if source.failed:
        line.append((f"  {plain(source.failed[0][0])}: {plain(source.failed[0][1])}", "red"))
    return line


def _keys(report: LiveReport) -> Line:
    parts = (("g", "group"), ("w +/-", "window"), ("s", "sort"), ("p", "resume" if report.paused else "pause"))
    found: Line = [(" ", "")]
    for key, what in (*parts, ("?", "help"), ("q", "quit")):
        found += [(key, "bold"), (f" {what}   ", "dim")]
    return found


def _help() -> list[Line]:
    lines: list[Line] = [[(f"   {key:<6}", "bold"), (text, "")] for key, text in KEYS]
    notes = (
        "",
        "Now is the wall clock; a call counts when it started.",
        "Figures cover the whole window; next to each line is its last complete bar.",
        "~ before a quantile: within 1 %. Before a cost: some calls have no price.",
        "Alerts are those of `llmmon check`. Anomalies are looked for every 5 min,",
        "as by `llmmon anomalies`, with what the logs hold of the last 28 days.",
    )
    return [*lines, *([(f"   {note}", "dim")] for note in notes)]


def _written(line: Line, screen: Screen) -> str:
    """A line of at most the width, with its styles where there is colour."""
    left = screen.width
    found: list[str] = []
    for text, style in line:
        shown = text if cell_len(text) <= left else set_cell_size(text, left)
        left -= cell_len(shown)
        code = _STYLES.get(style, "") if screen.colour or style in {"bold", "dim", "title"} else ""
        found.append(f"\x1b[{code}m{shown}\x1b[0m" if code and shown else shown)
    return "".join(found)
