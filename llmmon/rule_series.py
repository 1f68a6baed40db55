"""Calls made of series of values, one a minute, in the compact notation: the input of a rule's test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.columns import MISSING_CODE, Columns, FloatArray, IntArray, Names, concat
from llmmon.errors import UsageError
from llmmon.metrics import ALIASES, METRICS, Statistic, metric_called, statistic_called
from llmmon.names import unknown
from llmmon.record import FIELDS
from llmmon.rules import MINUTE_US

MOST_VALUES: Final = 60 * 24 * 400
USUAL_CALLS: Final = 60
_NUMBER: Final = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE: Final = re.compile(rf"(?P<start>{_NUMBER})(?:(?P<step>[-+](?:\d+(?:\.\d*)?|\.\d+)))?x(?P<times>\d+)")
_GAP: Final = re.compile(r"_(?:x(?P<times>\d+))?")
_EVENTS: Final = {"error": ("status", "error", "ok"), "truncated": ("finish_reason", "length", "stop")} | {
    "refused": ("finish_reason", "content_filter", "stop")
}


class GivenSeries(msgspec.Struct, frozen=True):
    """One metric of one group: a value a minute (None: missing), of so many calls a minute.

    The value of a base metric is that of every call, for errors and the like their share of the calls; that of
    a count or sum (`cost_total_usd`, `error_count`, `requests`) is the whole minute's.
    """

    metric: str
    values: tuple[float | None, ...]
    group: Mapping[str, str] = msgspec.field(default_factory=dict)
    calls: int = USUAL_CALLS


def expanded(text: str) -> tuple[float | None, ...]:
    """`0+10x5 _x3 500` as values, None for missing, as promtool's unit tests write them; raises `UsageError`.

    `a` is one value, `a+bxn` are a, a+b ... a+n*b, `axn` is a and n more of it, `_xn` are n missing ones.
    """
    found: list[float | None] = []
    for word in text.split():
        if (gap := _GAP.fullmatch(word)) is not None:
            found += [None] * _times(gap["times"] or "1", text)
        elif (part := _RANGE.fullmatch(word)) is not None:
            start, step = float(part["start"]), float(part["step"] or 0)
            found += [start + step * i for i in range(_times(part["times"], text) + 1)]
        elif re.fullmatch(_NUMBER, word):
            found.append(float(word))
        else:
            raise UsageError(f"{word!r} is no value", hint="write 500, 0+10x5 (0 10 20 30 40 50), 7x3 or _x3 (missing)")
    if len(found) > MOST_VALUES:
        raise UsageError(f"{len(found):,} values are too many, there can be {MOST_VALUES:,}")
    return tuple(found)


def _times(text: str, whole: str) -> int:
    if len(text) > len(str(MOST_VALUES)):
        raise UsageError(f"{whole!r} has too many values, there can be {MOST_VALUES:,}")
    return int(text)


def measured(name: str) -> tuple[str, str]:
    """The base metric that a series gives, and its aggregation ("" for the calls' own); raises `UsageError`."""
    name = ALIASES.get(name, name)
    if name in METRICS:
        metric, aggregation = metric_called(name).name, ""
    else:
        statistic: Statistic = statistic_called(name)
        metric, aggregation = statistic.metric.name, statistic.aggregation
    if metric != "requests" and metric not in _EVENTS and (metric not in FIELDS or aggregation == "count"):
        known = {"requests", *_EVENTS, *(name for name in METRICS if name in FIELDS)}
        raise UsageError(f"no calls can be made of {name}: {unknown('field', name, known)}")
    return metric, aggregation


def calls_of(series: Sequence[GivenSeries], start_us: int) -> Columns:
    """The calls that series of values stand for, from `start_us` on; series of one group are of the same calls."""
    groups: dict[tuple[tuple[str, str], ...], list[GivenSeries]] = {}
    for one in series:
        groups.setdefault(tuple(sorted(one.group.items())), []).append(one)
    return concat([_calls(those, start_us) for those in groups.values()])


def _calls(series: Sequence[GivenSeries], start_us: int) -> Columns:
    """The calls of one group."""
    size = max((len(one.values) for one in series), default=0)
    table = np.full((len(series), size), np.nan)
    for row, one in enumerate(series):
        table[row, : len(one.values)] = [np.nan if value is None else value for value in one.values]
    names = [measured(one.metric) for one in series]
    numbers = [i for i, (metric, _) in enumerate(names) if metric == "requests"]
    if numbers:
        calls = np.nan_to_num(table[numbers[0]]).astype(np.int64)
    else:
        calls = np.where(np.isnan(table).all(axis=0), 0, max(one.calls for one in series))
    minute = np.repeat(np.arange(size), np.maximum(calls, 0))
    place = np.arange(len(minute)) - np.repeat(np.cumsum(calls) - calls, calls)
    columns = Columns(len(minute), start_us + minute * MINUTE_US + place * MINUTE_US // np.maximum(calls[minute], 1))
    columns = _named(columns, {"status": "ok", **series[0].group})
    for row, (metric, aggregation) in enumerate(names):
        columns = _with(columns, metric, aggregation, table[row], calls, (minute, place))
    return columns


def _with(
    columns: Columns, metric: str, aggregation: str, values: FloatArray, calls: IntArray, at: tuple[IntArray, IntArray]
) -> Columns:
    minute, place = at
    if metric == "requests":
        return columns
    if metric in _EVENTS:
        field, yes, no = _EVENTS[metric]
        hits = values if aggregation == "count" else np.rint(values * calls)
        codes = np.where(np.isnan(hits[minute]), MISSING_CODE, (place >= hits[minute]).astype(np.int64))
        return msgspec.structs.replace(
            columns, names={**columns.names, field: Names(codes.astype(np.int32), [yes, no])}
        )
    each = values / np.maximum(calls, 1) if aggregation == "sum" else values
    return columns.with_numbers(**{metric: np.rint(each[minute] * FIELDS[metric].scale)})


def _named(columns: Columns, names: Mapping[str, str]) -> Columns:
    codes = np.zeros(columns.size, np.int32)
    return msgspec.structs.replace(columns, names={field: Names(codes, [name]) for field, name in names.items()})
