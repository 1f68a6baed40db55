"""Two sets of calls to compare: two logs, before and after a time, or two values of a field.

And what a fair comparison of them needs: which calls depend on each other, and what is to be matched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import InputError, UsageError
from llmmon.formats.mapping import Binding
from llmmon.ingest.query import Logs, Query, Read, read, wanted_of
from llmmon.ingest.report import SourceReport
from llmmon.ingest.reread import comes_once
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import EMPTY, MISSING_CODE, BoolArray, Columns, FloatArray, IntArray, Names, concat
from llmmon.metrics.grouping import to_wall
from llmmon.metrics.record import TAG_PREFIX
from llmmon.metrics.vocabulary import name_field
from llmmon.quality.scorers.flags import DEFAULT_THRESHOLDS
from llmmon.reports.differences import Calls
from llmmon.text.names import nearest
from llmmon.text.times import DAY_US, HOUR_US, MINUTE_US, TimePoint, at, local

_SIGNALS: Final = "signals"  # the key of a scored row under which its strengths by flag are
_BLOCKS_US: Final = (DAY_US, 4 * HOUR_US, HOUR_US, 15 * MINUTE_US, 5 * MINUTE_US, MINUTE_US)
_LEAST_BLOCKS: Final = 20
_LEAST_CLUSTERS: Final = 8.0  # of equal size that unequal ones come to, on either side
_MOST_CELLS: Final = 20  # calls a cell of the mix should have on average
_ALIKE_WEEKS: Final = 0.8  # of the hours of the week that both sides must share, to be matched by them
_ALIKE_DAYS: Final = 0.5
_HOURS, _WEEK_HOURS = 24, 48  # hours of the day; the same of weekdays and of weekends


class SplitKind(StrEnum):
    """What makes the two sides."""

    LOGS = "logs"
    TIME = "time"
    FIELD = "field"


class Split(msgspec.Struct, frozen=True):
    """How calls are divided: into two logs (nothing given), at a time, or by the values of a field."""

    at: TimePoint | None = None
    field: str = ""
    values: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None, moment: TimePoint | None) -> Split:
        """`model` or `model=gpt-4o,gpt-5` of `--split`; raises `UsageError`."""
        if text is not None and moment is not None:
            raise UsageError("--at and --split are two ways to divide the calls: give one of them")
        field, equals, values = (text or "").partition("=")
        named = tuple(value.strip() for value in values.split(",")) if equals else ()
        if equals and (len(named) != 2 or not all(named)):
            raise UsageError(f"--split {text!r} needs two values", hint=f"--split {field}=BEFORE,AFTER")
        return cls(moment, name_field(field, option="--split") if field else "", named)

    @property
    def kind(self) -> SplitKind:
        """What makes the two sides."""
        return SplitKind.TIME if self.at is not None else SplitKind.FIELD if self.field else SplitKind.LOGS


class SideInfo(msgspec.Struct, frozen=True):
    """One side: what it is called, how many calls, from the first to just after the last of them."""

    name: str
    calls: int
    start_us: int | None
    end_us: int | None


class Sides(msgspec.Struct, frozen=True, eq=False):
    """Both sides' calls in one table, which of them are after, and what was read."""

    split: Split
    columns: Columns
    after: BoolArray
    infos: tuple[SideInfo, SideInfo]
    source: SourceReport
    exit_code: int
    left_out: int = 0  # calls with another value of the field, or without a time
    at_us: int | None = None


def read_sides(query: Query, split: Split, fields: frozenset[str]) -> Sides:
    """Read the calls and divide them; raises `UsageError` where they cannot be divided, or a side has none."""
    match split.kind:
        case SplitKind.LOGS:
            found = _of_logs(query, split, fields)
        case SplitKind.TIME:
            found = _at_time(query, split, fields)
        case _:
            found = _by_field(query, split, fields | {split.field})
    if missing := [info.name for info in found.infos if not info.calls]:
        raise InputError(f"no call to compare: {', '.join(missing)}", hint=_where(found, query.tz))
    return found


def _where(found: Sides, tz: str) -> str:
    start, end = found.source.start_us, found.source.end_us
    if start is None or end is None:
        return "no call carries a time"
    return f"the log has calls from {local(start, tz, seconds=False)} to {local(end, tz, seconds=False)} {tz}"


def _of_logs(query: Query, split: Split, fields: frozenset[str]) -> Sides:
    if len(query.logs) != 2:
        hint = "llmmon compare BEFORE AFTER (files or folders); --at TIME or --split FIELD divide any number of logs"
        raise UsageError(f"two logs are needed, not {len(query.logs)}", hint=hint)
    parts = [_read_whole(msgspec.structs.replace(query, logs=(log,)), fields) for log in query.logs]
    columns = concat([columns for columns, _ in parts])
    after = np.arange(columns.size) >= parts[0][0].size
    source = msgspec.structs.replace(
        SourceReport.joined([found.source for _, found in parts]), timezone=query.tz, now_us=parts[1][1].source.now_us
    )
    return _sides(split, columns, after, query.logs[:2], source, max(found.exit_code for _, found in parts))


def _at_time(query: Query, split: Split, fields: frozenset[str]) -> Sides:
    columns, found = _read_whole(query, fields)
    moment = at(split.at or 0, found.source.now_us or query.wall_us)
    dated = columns.take(columns.dated)
    when = local(moment, query.tz, seconds=False)
    names = (f"before {when}", f"from {when} on")
    after = dated.timestamp >= moment
    sides = _sides(split, dated, after, names, found.source, found.exit_code, columns.size - dated.size)
    return msgspec.structs.replace(sides, at_us=moment)


def _by_field(query: Query, split: Split, fields: frozenset[str]) -> Sides:
    columns, found = _read_whole(query, fields)
    names = columns.name(split.field)
    values = split.values or _two_values(names, columns, split.field, query)
    known = {value: code for code, value in enumerate(names.values)}
    for value in values:
        if value not in known:
            guess = nearest(value, known)
            hint = f"did you mean {guess!r}?" if guess else f"there are {', '.join(sorted(known)[:10]) or 'none'}"
            raise UsageError(f"--split: no call has {split.field} {value!r}", hint=hint)
    before, after = (names.codes == known[value] for value in values)
    kept = np.flatnonzero(before | after)
    left_out = columns.size - len(kept)
    return _sides(split, columns.take(kept), after[kept], values, found.source, found.exit_code, left_out)


def _two_values(names: Names, columns: Columns, field: str, query: Query) -> tuple[str, str]:
    """The two values of a field, the earlier one first; of more, those with the most calls."""
    counts = np.bincount(names.codes[names.codes >= 0], minlength=len(names.values))
    ranked = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], names.values[code]))
    if len(ranked) < 2:
        hint = "`llmmon inspect` shows which fields the calls carry" if not ranked else "name another field"
        only = f"only {names.values[ranked[0]]!r}" if ranked else "none"
        raise UsageError(f"--split {field} needs two values, the calls have {only}", hint=hint)
    chosen = ranked[:2]
    if len(ranked) > 2:
        query.say(
            f"{field} has {len(ranked)} values: the two with the most calls are compared"
            f" (--split {field}=BEFORE,AFTER names others)"
        )
    first, second = sorted((names.values[code] for code in chosen), key=_natural)
    codes = {names.values[code]: code for code in chosen}
    times = [columns.timestamp[(names.codes == codes[value]) & columns.dated] for value in (first, second)]
    if all(len(found) for found in times) and float(np.median(times[1])) < float(times[0].min()):
        first, second = second, first
    return first, second


def _natural(text: str) -> list[tuple[int, int, str]]:
    """The key that sorts v9 before v10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _sides(
    split: Split,
    columns: Columns,
    after: BoolArray,
    names: Sequence[str],
    source: SourceReport,
    exit_code: int,
    left_out: int = 0,
) -> Sides:
    infos = []
    for name, rows in zip(names, (~after, after), strict=True):
        bounds = columns.take(rows).only(frozenset()).bounds()
        start, end = (None, None) if bounds is None else (bounds[0], bounds[1] + 1)
        infos.append(SideInfo(name, int(rows.sum()), start, end))
    return Sides(split, columns, after, (infos[0], infos[1]), source, exit_code, left_out)


def _read_whole(query: Query, fields: frozenset[str]) -> tuple[Columns, Read]:
    """The calls of a query; those of a scored log with the strengths of its flags as number columns."""
    flags = _flags_in(query)
    tags = {f"{TAG_PREFIX}{_SIGNALS}.{flag}" for flag in flags}
    overrides = tuple(Binding(f"{TAG_PREFIX}{_SIGNALS}.{flag}", -1, (_SIGNALS, flag)) for flag in flags)
    asked = msgspec.structs.replace(query, overrides=(*query.overrides, *overrides)) if flags else query
    found = read(asked, fields | tags, ColumnsFold)
    columns = concat(found.results) if found.results else EMPTY
    return _with_flags(columns, flags), found


def _flags_in(query: Query) -> list[str]:
    """The flags whose strengths a log holds, because `llmmon score` wrote it; not looked for in a pipe."""
    if any(map(comes_once, query.logs)):
        return []
    logs = Logs(query.quiet(), wanted_of(query, frozenset({"model"})))
    keys = {path for plan in logs.plans for mapping in plan.mappings for path, _ in mapping.shape}
    return [flag for flag in DEFAULT_THRESHOLDS if (_SIGNALS, flag) in keys]


def _with_flags(columns: Columns, flags: Sequence[str]) -> Columns:
    numbers, names = dict(columns.numbers), dict(columns.names)
    for flag in flags:
        strengths = names.pop(f"{TAG_PREFIX}{_SIGNALS}.{flag}", None)
        if strengths is not None:
            table = np.array([*map(_number, strengths.values), np.nan])
            numbers[flag_column(flag)] = table[strengths.codes]
    return msgspec.structs.replace(columns, numbers=numbers, names=names)


def flag_column(flag: str) -> str:
    """The number column with the strengths of a flag, NaN where it cannot be judged."""
    return f"{_SIGNALS}.{flag}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


class Clustering(msgspec.Struct, frozen=True, eq=False):
    """Which calls depend on each other: `unit` is user, session or call, `count` how many there are of them.

    `passed_over` are fields that too few different names stand in for them to count as units.
    """

    unit: str
    count: int
    passed_over: tuple[str, ...]
    clusters: IntArray
    blocks: IntArray | None
    pairs: IntArray | None


def clustering(sides: Sides) -> Clustering:
    """The widest unit of which both sides have enough, and stretches of time beside it."""
    columns, passed_over = sides.columns, []
    unit, clusters = "call", np.arange(columns.size)
    for field in ("user", "session"):
        names = columns.name(field)
        if field == sides.split.field or not (names.codes >= 0).any():
            continue
        codes = _apart(names.codes.astype(np.int64), len(names.values))
        if min(_equal_clusters(codes[rows]) for rows in (~sides.after, sides.after)) >= _LEAST_CLUSTERS:
            unit, clusters = field, np.unique(codes, return_inverse=True)[1]
            break
        passed_over.append(field)
    blocks = _blocks(columns)
    pairs = None
    if blocks is not None:
        both = clusters * (int(blocks.max()) + 1) + blocks
        pairs = np.arange(columns.size) if unit == "call" else np.unique(both, return_inverse=True)[1]
    count = int(clusters.max(initial=-1)) + 1
    return Clustering(unit, count, tuple(passed_over), clusters, blocks, pairs)


def _apart(codes: IntArray, size: int) -> IntArray:
    """The codes, each missing one as a number of its own."""
    return np.where(codes == MISSING_CODE, size + np.arange(len(codes)), codes)


def _equal_clusters(codes: IntArray) -> float:
    """How many clusters of equal size weigh as much: (sum n)^2 / sum n^2 (Kish)."""
    counts = np.bincount(np.unique(codes, return_inverse=True)[1]).astype(np.float64)
    return float(counts.sum() ** 2 / (counts @ counts)) if len(counts) else 0.0


def _blocks(columns: Columns) -> IntArray | None:
    """Stretches of time by number: the longest of which the log has enough; None where calls lack a time."""
    bounds = columns.bounds()
    if bounds is None or not columns.dated.all():
        return None
    span = bounds[1] - bounds[0]
    width = next((one for one in _BLOCKS_US if span >= _LEAST_BLOCKS * one), None)
    return None if width is None else (columns.timestamp - bounds[0]) // width


class Margins(msgspec.Struct, frozen=True, eq=False):
    """What is matched: the fields of the mix, the hours ("hour of the day", "hour of the week" or none)."""

    fields: tuple[str, ...]
    hours: str
    margins: tuple[IntArray, ...]


def margins_of(sides: Sides, by: Sequence[str], tz: str) -> Margins:
    """The fields of the mix that calls of both sides carry, and the hours where both sides have the same."""
    columns, after = sides.columns, sides.after
    fields = [field for field in by if field != sides.split.field and len(columns.name(field).values) > 0]
    varied = [field for field in fields if len(np.unique(columns.name(field).codes)) > 1]
    parts = [columns.name(field).codes.astype(np.int64) + 1 for field in varied]
    margins = [_joint(parts)] if parts else []
    if len(parts) > 1 and int(margins[0].max()) + 1 > columns.size / _MOST_CELLS:
        margins = [_joint([part]) for part in parts]  # too many cells: each field by itself
    hours, seasons = _seasons(columns, after, tz)
    return Margins(tuple(varied), hours, (*margins, *(() if seasons is None else (seasons,))))


def _joint(parts: Sequence[IntArray]) -> IntArray:
    if len(parts) == 1:
        return np.unique(parts[0], return_inverse=True)[1]
    return np.unique(np.stack(parts), axis=1, return_inverse=True)[1].ravel()


def _seasons(columns: Columns, after: BoolArray, tz: str) -> tuple[str, IntArray | None]:
    if not columns.dated.all() or not columns.size:
        return "", None
    wall = to_wall(columns.timestamp, tz)
    hour, weekday = wall // HOUR_US % _HOURS, (wall // DAY_US + 3) % 7  # 1970-01-01 was a Thursday
    of_week = hour + _HOURS * (weekday >= 5)
    if _overlap(of_week, after, _WEEK_HOURS) >= _ALIKE_WEEKS:
        return "hour of the week", of_week
    if _overlap(hour, after, _HOURS) >= _ALIKE_DAYS:
        return "hour of the day", hour
    return "", None


def _overlap(codes: IntArray, after: BoolArray, size: int) -> float:
    """The share of calls that both sides have in the same cells."""
    a, b = (np.bincount(codes[rows], minlength=size) / max(1, int(rows.sum())) for rows in (~after, after))
    return float(np.minimum(a, b).sum())


def calls_of(sides: Sides, by: Sequence[str], tz: str) -> tuple[Calls, Clustering, Margins]:
    """What a comparison needs to know of each call."""
    units, margins = clustering(sides), margins_of(sides, by, tz)
    return Calls(sides.after, units.clusters, units.blocks, units.pairs, margins.margins), units, margins


def hourly(sides: Sides, tz: str) -> tuple[FloatArray, Calls] | None:
    """Calls a minute in each whole hour of both sides, clustered by day; None where the sides are no times."""
    if sides.split.kind is SplitKind.FIELD or not sides.columns.dated.all():
        return None
    values, after, hours = [], [], []
    for is_after, (info, rows) in enumerate(zip(sides.infos, (~sides.after, sides.after), strict=True)):
        if info.start_us is None or info.end_us is None:
            return None
        first, last = -(-info.start_us // HOUR_US), info.end_us // HOUR_US
        numbers = sides.columns.timestamp[rows] // HOUR_US - first
        inside = numbers[(numbers >= 0) & (numbers < last - first)]
        if last - first < _HOURS:
            return None
        values.append(np.bincount(inside, minlength=last - first) / 60.0)
        hours.append(np.arange(first, last))
        after.append(np.full(last - first, bool(is_after)))
    moments = np.concatenate(hours)
    wall = to_wall(moments * HOUR_US, tz)
    days = np.unique(wall // DAY_US, return_inverse=True)[1]
    of_week = wall // HOUR_US % _HOURS + _HOURS * ((wall // DAY_US + 3) % 7 >= 5)
    is_after_hour = np.concatenate(after)
    alike = _overlap(of_week, is_after_hour, _WEEK_HOURS) >= _ALIKE_WEEKS
    season = of_week if alike else wall // HOUR_US % _HOURS
    return np.concatenate(values), Calls(is_after_hour, days, margins=(season,))
