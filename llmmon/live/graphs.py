"""Graphs of several rows, made of characters of two by four dots, and how a screen is shared out among its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any, Final

import msgspec

from llmmon.live.watcher import COURSE, LiveReport
from llmmon.text.figures import milliseconds, money_text, percent, rate
from llmmon.text.times import MINUTE_US, local

Piece = tuple[str, str]  # text, style or ""
Line = list[Piece]
Values = Sequence[float | None]
_EMPTY: Final = 0x2800  # the character without dots
_LEFT: Final = (0x40, 0x44, 0x46, 0x47)  # the dots of the left half, from the lowest up
_RIGHT: Final = (0x80, 0xA0, 0xB0, 0xB8)
_DOTS: Final = 4  # of a row


def graph(values: Values, width: int, rows: int, high: float) -> list[str]:
    """An area from 0 to `high` as `rows` lines of `width` characters; a gap is empty, what is small one dot high."""
    levels = [_level(value, rows * _DOTS, high) for value in fitted(values, 2 * width)]
    lines = []
    for row in range(rows - 1, -1, -1):
        inside = [min(max(level - row * _DOTS, 0), _DOTS) for level in levels]
        pairs = zip(inside[::2], inside[1::2], strict=True)
        lines.append("".join(_character(left, right) for left, right in pairs))
    return lines


def _level(value: float | None, dots: int, high: float) -> int:
    if value is None or value <= 0 or high <= 0:
        return 0
    return max(1, min(dots, round(value / high * dots)))


def _character(left: int, right: int) -> str:
    code = _EMPTY
    if left:
        code |= _LEFT[left - 1]
    if right:
        code |= _RIGHT[right - 1]
    return chr(code)


def fitted(values: Values, width: int) -> list[float | None]:
    """The values over `width` places: the largest of those that share one, each several times where they are few."""
    count = len(values)
    if not count or width <= 0:
        return [None] * max(0, width)
    found: list[float | None] = []
    for at in range(width):
        first = at * count // width
        part = values[first : max(first + 1, (at + 1) * count // width)]
        found.append(max((value for value in part if value is not None), default=None))
    return found


_ROUND: Final = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def ceiling(values: Values) -> float:
    """The round end of a scale that holds the values, at most twice the largest; 0 where there are none."""
    high = max((value for value in values if value is not None), default=0.0)
    if high < 1e-9:
        return max(high, 0.0)
    power = 10.0 ** floor(log10(high))
    return next((step * power for step in _ROUND if step * power >= high * 0.999999), 10 * power)


class Shares(msgspec.Struct, frozen=True):
    """How many lines the parts of a screen have: graphs side by side, rows of each, the table, the feed of failures."""

    graphs_across: int
    graph_rows: int  # without its title; 0: no graphs
    table: int
    feed: int


_GRAPHS: Final = 4
_MOST_TABLE: Final = 0.45  # of the lines, while the graphs are small


def shares(width: int, room: int, groups: int, failures: int) -> Shares:
    """How `room` lines of `width` columns are shared out, so that none is left over where there is something to show.

    The table and the feed have a line more, their heads; graphs one more each, and one for the clock below the last.
    """
    across = 4 if width >= 160 else 2 if width >= 60 else 1
    down = _GRAPHS // across
    least = down * 2 + 1  # one row each
    if room < least + 4:
        return Shares(across, 0, max(0, min(groups + 1, room)), max(0, room - groups - 1))
    table = min(groups + 1, max(2, round(room * _MOST_TABLE)), room - least)
    feed = min(failures + 1, max(2, (room - table) // 3)) if room - table - least >= 2 else 0
    graph_rows = min((room - table - feed - 1) // down - 1, max(3, room // 3))
    left = room - table - feed - down * (graph_rows + 1) - 1
    more = min(left, max(0, groups + 1 - table))
    feed += left - more
    spare = max(0, feed - (failures + 1 if failures else 0)) // down * down
    return Shares(across, graph_rows + spare // down, table + more, feed - spare)


_LABELS: Final = {
    "requests_per_minute": "requests/min",
    "error_rate": "errors",
    "latency_p95_ms": "latency p95",
    "cost_total_usd": "cost/h",
}


def graphs(report: LiveReport, width: int, parts: Shares, styles: Mapping[str, str]) -> list[Line]:
    """The course of the window in graphs side by side, each with its scale; the clock below the last.

    `styles` are those of statistics that are out of the ordinary.
    """
    across, rows = parts.graphs_across, parts.graph_rows
    each = width // across
    complete = report.course[:-1] if len(report.course) > 1 else report.course
    now = _figures(complete[-1] if complete else {}, report.every_us)
    blocks = [_graph(report, name, complete, (now[name], styles[name]), each, rows) for name in COURSE]
    lines: list[Line] = []
    for first in range(0, len(blocks), across):
        lines += [
            [piece for line in side for piece in line] for side in zip(*blocks[first : first + across], strict=True)
        ]
    clock = _clock(report, each - _SCALE)
    lines.append([piece for _ in range(across) for piece in ((" " * _SCALE, ""), (clock, "dim"))])
    return lines


_SCALE: Final = 9  # characters of the scale beside a graph


def _graph(
    report: LiveReport,
    statistic: str,
    course: Sequence[Mapping[str, float | None]],
    now: Piece,
    width: int,
    rows: int,
) -> list[Line]:
    """A title with the figure of the last complete bucket, and the graph with the ends of its scale."""
    figure, style = now
    gap = None if statistic == "latency_p95_ms" else 0.0
    values = [bucket.get(statistic, gap) for bucket in course]
    if statistic == "cost_total_usd":
        values = [None if value is None else value * 3600e6 / report.every_us for value in values]
    high = ceiling(values)
    label = f"{_LABELS[statistic]} "
    lines: list[Line] = [
        [
            (" " * _SCALE, ""),
            (label, "dim"),
            (f"{figure:<{width - _SCALE - len(label)}}"[: max(0, width - _SCALE - len(label))], style or "bold"),
        ]
    ]
    writes: dict[str, Any] = {
        "error_rate": percent, "latency_p95_ms": milliseconds, "cost_total_usd": money_text
    }  # fmt: skip
    top = writes.get(statistic, rate)(high) if high else ""
    for at, line in enumerate(graph(values, max(1, width - _SCALE - 1), rows, high)):
        scale = top if at == 0 else "0" if at == rows - 1 else ""
        lines.append([(f"{scale:>{_SCALE - 1}} "[-_SCALE:], "dim"), (line + " ", style)])
    return lines


def _clock(report: LiveReport, width: int) -> str:
    """The times at the beginning, in the middle and at the end of the graphs."""
    seconds = report.window_us < 10 * MINUTE_US
    start, end = report.start_us, report.now_us
    times = [local(us, report.tz, seconds=seconds)[11:] for us in (start, (start + end) // 2, end)]
    room = width - 1
    if room < 3 * len(times[0]) + 4:
        return f"{times[0]}{times[2]:>{max(1, room - len(times[0]))}}"[:width].ljust(width)
    left = room // 2 - len(times[0]) - len(times[1]) // 2
    right = room - len(times[0]) - left - len(times[1])
    return f"{times[0]}{' ' * left}{times[1]}{times[2]:>{right}}".ljust(width)


def _figures(bucket: Mapping[str, float | None], every_us: int) -> dict[str, str]:
    """The figures of one bucket."""
    cost = bucket.get("cost_total_usd")
    an_hour = None if cost is None else cost * 3600e6 / every_us
    return {
        "requests_per_minute": rate(bucket.get("requests_per_minute") or 0.0),
        "error_rate": percent(bucket.get("error_rate")),
        "latency_p95_ms": milliseconds(bucket.get("latency_p95_ms")),
        "cost_total_usd": money_text(an_hour),
    }
