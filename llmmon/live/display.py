"""The live display of `llmmon watch`: one screen of a given size, and one plain line for where there is no screen.

A figure has a colour only where an open incident, or the threshold of a rule, says that it is out of the ordinary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from rich.cells import cell_len, set_cell_size

from llmmon.alerting.rules import CONDITIONS
from llmmon.anomaly.detectors.detector import AnomalyStatus
from llmmon.anomaly.report import IncidentReport
from llmmon.live.graphs import Line, Piece, graphs, shares
from llmmon.live.line import age, cost_text
from llmmon.live.watcher import COURSE, FailedCall, LiveReport
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
    shortened,
    sparkline,
)
from llmmon.text.times import MINUTE_US, duration_text, local

_GAP: Final = 2
_NARROWEST_NAME, _WIDEST_NAME = 12, 60
_TREND: Final = "requests over time"
_TREND_WIDTHS: Final = (8, 40)
_TREND_RANK, _SURE_OF_TREND = 2, 70  # columns of this rank go for a trend; from this width on there is one
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
_STATISTICS: Final = {title: statistic for title, statistic, _, _ in _COLUMNS} | {"cost": "cost_total_usd"}


class Screen(msgspec.Struct, frozen=True):
    """How large the terminal is, whether it has colour, and what is being looked at.

    `selected` is the row of the table that Enter opens, `filter` what names must hold, `typing` whether it is being
    typed; `errors` shows the failing calls on the whole screen.
    """

    width: int
    height: int
    colour: bool = True
    help: bool = False
    selected: int | None = None
    filter: str = ""
    typing: bool = False
    errors: bool = False


def matching(report: LiveReport, wanted: str) -> list[GroupRow]:
    """The groups whose names hold a text, in any case."""
    return [row for row in report.groups if wanted.lower() in key_text(row.key).lower()]


def table(report: LiveReport, screen: Screen, rows: int) -> list[Line]:
    """The column names and at most `rows` lines of groups, the last one saying how many are left out."""
    every = matching(report, screen.filter)
    shown, first = _around(every, rows, screen.selected)
    names = [plain(key_text(row.key)) for row in shown]
    columns = [column for column in _COLUMNS if any(row.statistics[column[1]] is not None for row in shown)]
    cells = {title: [write(row.statistics[key]) for row in shown] for title, key, write, _ in columns}
    cells["cost"] = [_group_cost(row) for row in shown]
    cells = {title: aligned(texts) for title, texts in cells.items()}
    ranks = {title: rank for title, _, _, rank in columns} | {"cost": 0}
    widths = {title: max(map(cell_len, [title, *texts])) for title, texts in cells.items()}
    heading = "by " + ", ".join(report.by)
    kept, name_width = _fitting(widths, ranks, [*names, heading], screen.width - 1)
    room = screen.width - 2 - name_width - sum(widths[title] + _GAP for title in kept) - _GAP
    trend = max(0, min(room, _TREND_WIDTHS[1]))
    trend = trend if trend >= _TREND_WIDTHS[0] else 0
    head: Line = [(" " + _padded(heading, name_width), "bold")]
    for title in kept:
        chosen = _STATISTICS[title] == report.sorted_by
        head += [(" " * (_GAP + widths[title] - cell_len(title)), ""), (title, "bold" if chosen else "dim")]
    head += [(" " * _GAP + (_TREND if trend >= len(_TREND) else "requests"), "dim")] if trend else []
    lines = [head]
    for at, (row, text) in enumerate(zip(shown, names, strict=True)):
        mark, style = (">", "title") if first + at == screen.selected else (" ", "")
        line: Line = [(mark + _padded(text, name_width), style)]
        for title in kept:
            cell, statistic = cells[title][at], _STATISTICS[title]
            out = _out(report, statistic, row.statistics.get(statistic), row.key)
            line.append((" " * (_GAP + widths[title] - cell_len(cell)) + cell, out))
        line += [(" " * _GAP + _trend(report, row, trend), "")] if trend else []
        lines.append(line)
    if len(shown) < len(every):
        lines.append([(f" and {len(every) - len(shown):,} more", "dim")])
    nothing = f" no group holds {plain(screen.filter)!r}" if report.groups else " no calls in this window"
    return lines if shown else [head, [(nothing, "dim")]]


def _around(every: list[GroupRow], rows: int, selected: int | None) -> tuple[list[GroupRow], int]:
    """The rows that fit, with the selected one among them, and the number of the first."""
    if len(every) <= rows:
        return every, 0
    most = max(1, rows - 1)
    first = min(max(0, (selected or 0) - most + 1), len(every) - most)
    return every[first : first + most], first


def _trend(report: LiveReport, row: GroupRow, width: int) -> str:
    values = [value or 0.0 for value in report.trends.get(tuple(row.key.values()), ())]
    return sparkline(values[:-1] if len(values) > 1 else values, width)


def _fitting(widths: dict[str, int], ranks: dict[str, int], names: Sequence[str], width: int) -> tuple[list[str], int]:
    """The columns that stay, and how wide names may be."""
    longest = min(_WIDEST_NAME, max(map(cell_len, names)))
    kept = list(widths)

    trend = _TREND_WIDTHS[0] + _GAP + 1

    def left() -> int:
        """What is left for names; of columns that matter less than a trend, that has its room first."""
        spared = trend if any(ranks[title] >= _TREND_RANK for title in kept) or width >= _SURE_OF_TREND else 0
        return width - sum(widths[title] + _GAP for title in kept) - spared

    while left() < min(longest, 24) and (rank := max(ranks[title] for title in kept)) > 0:
        kept.remove([title for title in kept if ranks[title] == rank][-1])
    return kept, min(longest, max(_NARROWEST_NAME, left()))


def _padded(text: str, width: int) -> str:
    return set_cell_size(text if cell_len(text) <= width else shortened(text, width), width)


def _group_cost(row: GroupRow) -> str:
    return money_text(row.statistics["cost_total_usd"], complete=not row.statistics["unpriced_requests"])


# the metrics of incidents whose figures a statistic is
_OF_METRIC: Final = {
    "request_count": ("requests",),
    "requests_per_minute": ("requests",),
    "error_rate": ("error_rate",),
    "error_count": ("error_rate",),
    "latency_p50_ms": ("latency_ms",),
    "latency_p95_ms": ("latency_ms",),
    "latency_p99_ms": ("latency_ms", "latency_p99_ms"),
    "ttft_p50_ms": ("time_to_first_token_ms",),
    "ttft_p95_ms": ("time_to_first_token_ms",),
    "prompt_tokens": ("prompt_tokens",),
    "completion_tokens": ("completion_tokens",),
    "cost_total_usd": ("cost_usd", "cost_per_request_usd", "cost_per_token_usd"),
}
_GRAVE: Final = {"critical", "high", "error"}


def _out(report: LiveReport, statistic: str, value: float | None, key: Mapping[str, str | None]) -> str:
    """The style of a figure: red or yellow where it is out of the ordinary, else none."""
    found = [
        limit.grave
        for limit in report.limits
        if value is not None
        and limit.statistic == statistic
        and limit.by == tuple(key)
        and CONDITIONS[limit.condition](value, limit.threshold)
    ]
    found += [
        one.severity in _GRAVE
        for one in report.incidents
        if one.end_us is None and dict(one.group) == dict(key) and _moved(one, statistic)
    ]
    return "red" if any(found) else "yellow" if found else ""


def _moved(incident: IncidentReport, statistic: str) -> bool:
    mine = [one.metric_name for one in incident.symptoms if dict(one.group) == dict(incident.group)]
    return any(metric in _OF_METRIC.get(statistic, ()) for metric in (incident.metric_name, *mine))


KEYS: Final = (
    ("g", "group by the next field"),
    ("s", "sort by the next column"),
    ("w + -", "longer, shorter window"),
    ("↑ ↓", "select a group"),
    ("Enter", "show the figures of the selected group; Esc goes back"),
    ("/", "show only groups and failing calls that hold a text"),
    ("e", "failing calls on the whole screen, or back"),
    ("p", "pause or resume"),
    ("?", "this help"),
    ("q", "quit"),
)
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "yellow": "33", "title": "7", "bar": "1;7;31", "mild": "1;7;33"}
_STALE_US: Final = MINUTE_US


def frame(report: LiveReport, screen: Screen) -> list[str]:
    """At most `height` lines of at most `width` cells."""
    head = [_title(report, screen), *_bar(report, max(1, screen.height // 12)), *_headline(report, screen)]
    foot = [_accounting(report), _keys(report, screen)]
    room = screen.height - len(head) - len(foot)
    body = (
        _help() if screen.help else _errors_view(report, screen, room) if screen.errors else _body(report, screen, room)
    )
    lines = [*head, *body[: max(0, room)]]
    lines += [[] for _ in range(screen.height - len(foot) - len(lines))]
    return [_written(line, screen) for line in [*lines, *foot][: screen.height]]


def _title(report: LiveReport, screen: Screen) -> Line:
    width = screen.width
    what = f"{', '.join(report.opened)} {key_text(report.opened)}" if report.opened else report.logs
    left = f" llmmon watch  {plain(what)}"
    right = f"last {duration_text(report.window_us)}  {local(report.now_us, report.tz)} {report.tz} "
    if report.paused:
        right = "PAUSED  " + right
    if cell_len(left) + cell_len(right) + 1 > width:
        left = shortened(left, max(0, width - cell_len(right) - 1))
    return [(left + " " * max(1, width - cell_len(left) - cell_len(right)) + right, "title")]


def _bar(report: LiveReport, most: int) -> list[Line]:
    """A line an open incident, in a bar; those that do not fit are counted."""
    going = [one for one in report.incidents if one.end_us is None]
    shown = going[:most]
    lines: list[Line] = []
    for at, one in enumerate(shown):
        left = len(going) - len(shown) if at + 1 == len(shown) else 0
        text = (
            f" {one.severity.upper()}  {_when(one, report)} {plain(_said(one))}{f'  and {left} more' if left else ''} "
        )
        lines.append([(text, "bar" if one.severity in _GRAVE else "mild")])
    return lines


def _headline(report: LiveReport, screen: Screen) -> list[Line]:
    total, key = report.totals, report.opened or {}
    about = "" if report.exact else "~"

    def out(statistic: str) -> str:
        return _out(report, statistic, total[statistic], key)

    first = _pairs(
        (
            "requests",
            f"{count(total['request_count'])} ({rate(total['requests_per_minute'] or 0.0)}/min)",
            out("request_count"),
        ),
        ("errors", f"{count(total['error_count'])} ({percent(total['error_rate'])})", out("error_rate")),
        ("cost", f"{cost_text(report)} ({money_text(report.cost_per_hour_usd)}/h)", out("cost_total_usd")),
    )
    second = _pairs(
        *((f"p{n}", about + milliseconds(total[f"latency_p{n}_ms"]), out(f"latency_p{n}_ms")) for n in (50, 95, 99)),
        ("ttft p50", milliseconds(total["ttft_p50_ms"]), out("ttft_p50_ms")),
        ("p95", milliseconds(total["ttft_p95_ms"]), out("ttft_p95_ms")),
    )
    third = [*_last(report), *_tokens(report)]
    return [[*first, *second], third] if screen.width >= 140 else [first, second, third]


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


_ROOMY: Final = 20  # lines


def _body(report: LiveReport, screen: Screen, room: int) -> list[Line]:
    """Graphs, the table, what failed of late; then the errors by type, alerts and incidents that are over."""
    quiet = room >= _ROOMY  # room for what is not wrong
    wrong = _errors(report, screen.width)
    wrong += _alerts(report, 2 if quiet else 1) if report.alerts or quiet else []
    wrong += _incidents(report) if quiet or not any(one.end_us is None for one in report.incidents) else []
    wrong = wrong if room >= 12 else wrong[: max(0, room - 4)]
    failing = _failing(report, screen.filter)
    groups = max(1, len(matching(report, screen.filter)))
    parts = shares(screen.width, room - len(wrong), groups, len(failing))
    styles = {name: _out(report, name, report.totals.get(name), report.opened or {}) for name in COURSE}
    lines = graphs(report, screen.width, parts, styles) if parts.graph_rows else []
    lines += table(report, screen, max(1, parts.table - 1))[: max(2, parts.table)]
    if parts.feed > 1 and failing:
        lines += _feed(report, failing, screen.width, parts.feed)
    return [*lines[: max(0, room - len(wrong))], *[[] for _ in range(room - len(wrong) - len(lines))], *wrong]


def _failing(report: LiveReport, wanted: str) -> list[FailedCall]:
    """The failing calls of the opened group whose names or messages hold a text."""
    key = report.opened or {}
    calls = [call for call in report.failing if all(call.names.get(field) == value for field, value in key.items())]
    low = wanted.lower()
    return [call for call in calls if low in " ".join(str(v) for v in (*call.names.values(), call.message)).lower()]


def _feed(report: LiveReport, failing: Sequence[FailedCall], width: int, lines: int) -> list[Line]:
    """The latest failing calls: when, whose, which error, what was said, where."""
    shown = failing[: max(0, lines - 1)]
    models = [plain(name(call.names.get("model"))) for call in shown]
    kinds = [_kind(call) for call in shown]
    wide = [min(24, max(map(cell_len, texts), default=0)) for texts in (models, kinds)]
    found: list[Line] = [[(" failing calls", "bold"), (f"  {len(failing):,} of late, the newest first", "dim")]]
    for call, model, kind in zip(shown, models, kinds, strict=True):
        left = f" {local(call.at_us, report.tz)[11:]}  {_padded(model, wide[0])}  {_padded(kind, wide[1])}  "
        place = plain(call.place)
        room = width - cell_len(left) - cell_len(place) - 3
        message = plain(call.message or "")
        if room < 12 and place:
            place, room = plain(call.place.rpartition("/")[2]), width - cell_len(left) - 26
        text = message if cell_len(message) <= room else set_cell_size(message, max(0, room - 1)) + "…"
        found.append([(left, ""), (f"{set_cell_size(text, max(0, room))}  ", ""), (place, "dim")])
    return found


def _kind(call: FailedCall) -> str:
    code = "" if call.status_code is None else f"{call.status_code} "
    return plain(f"{code}{name(call.names.get('error_type'))}")


def _errors_view(report: LiveReport, screen: Screen, room: int) -> list[Line]:
    """Everything about what failed, on the whole screen."""
    failing = _failing(report, screen.filter)
    lines: list[Line] = [[], *_errors(report, screen.width), []]
    if not failing:
        return [*lines, [(" no failing calls in this window", "dim")]]
    return [*lines, *_feed(report, failing, screen.width, room - len(lines))]


def _errors(report: LiveReport, width: int) -> list[Line]:
    if report.opened:
        return []
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
    return [[(line, "dim"), ("  ".join(taken), _out(report, "error_rate", report.totals["error_rate"], {}))]]


def _alerts(report: LiveReport, most: int) -> list[Line]:
    label = " alerts     "
    if report.alerts is None:
        return [[(label, "dim"), ("`llmmon check` has not run yet", "dim")]]
    if not report.alerts:
        return [[(label, "dim"), ("none open", "")]]
    texts = [
        (f"{a.severity} {plain(a.title)} ({a.state} for {age(max(0, report.now_us - a.since_us))})",
         "red" if a.severity in _GRAVE else "yellow" if a.severity == "warning" else "")
        for a in report.alerts
    ]  # fmt: skip
    return _listed(label, texts, most)


def _incidents(report: LiveReport) -> list[Line]:
    """The latest incident that is over; open ones are in the bar."""
    label = " incidents  "
    past = [one for one in report.incidents if one.end_us is not None]
    going = len(report.incidents) - len(past)
    if not report.incidents:
        return [[(label, "dim"), (plain(report.learning) or "none found", "dim" if report.learning else "")]]
    texts: list[Piece] = [(f"{i.severity} {_when(i, report)} {plain(_said(i))}", "dim") for i in past]
    return _listed(label, texts, 1) if texts else [[(label, "dim"), (f"{going} open, none before", "")]]


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
    parts = [f"{count(source.lines)} {'line' if source.lines == 1 else 'lines'} read"]
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


def _keys(report: LiveReport, screen: Screen) -> Line:
    if screen.typing:
        return [(" filter: ", "bold"), (plain(screen.filter) + "▏", ""), ("   Enter keeps it, Esc clears it", "dim")]
    if screen.filter and not (report.opened or screen.errors):
        return [(" filter: ", "bold"), (plain(screen.filter), ""), ("   / changes it, Esc clears it", "dim")]
    parts = [("g", "group"), ("w", "window"), ("s", "sort"), ("/", "filter"), ("⏎", "open"), ("e", "errors")]
    if report.opened or screen.errors:
        parts = [("Esc", "back"), *parts[:3]]
    found: Line = [(" ", "")]
    for key, what in (*parts, ("p", "resume" if report.paused else "pause"), ("?", "help"), ("q", "quit")):
        found += [(key, "bold"), (f" {what}  ", "dim")]
    return found


def _help() -> list[Line]:
    lines: list[Line] = [[(f"   {key:<6}", "bold"), (text, "")] for key, text in KEYS]
    notes = (
        "",
        "Now is the wall clock; a call counts when it started. Figures cover the whole",
        "window; the figure over a graph is its last complete bucket. ~: within 1 %, or",
        "some calls have no price. Red and yellow: an open incident or a rule's threshold.",
        "Alerts are those of `llmmon check`; incidents are looked for every 5 min, as by",
        "`llmmon anomalies`, with what the logs hold of the last 28 days.",
    )
    return [[], *lines, *([(f"   {note}", "dim")] for note in notes)]


def _written(line: Line, screen: Screen) -> str:
    """A line of at most the width, with its styles where there is colour."""
    left = screen.width
    found: list[str] = []
    for text, style in line:
        fits = cell_len(text.rstrip()) <= left
        shown = text if cell_len(text) <= left else set_cell_size(text, max(0, left - (not fits))) + "…" * (not fits)
        shown = shown if left > 0 else ""
        left -= cell_len(shown)
        code = _STYLES.get(style, "")
        if not screen.colour and style in ("red", "yellow"):
            code = "1"
        elif not screen.colour and style in ("bar", "mild"):
            code = "7"
        found.append(f"\x1b[{code}m{shown}\x1b[0m" if code and shown else shown)
    return "".join(found)
