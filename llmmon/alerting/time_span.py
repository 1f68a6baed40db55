"""The minutes of a log that rules are evaluated at: those that were asked for, without stray timestamps.

A single call stamped 1970 or 2099 would make a replay go through decades in which nothing happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.history import Stream
from llmmon.ingest.report import SourceReport
from llmmon.metrics.aggregates import Aggregates, only
from llmmon.metrics.columns import IntArray
from llmmon.text.figures import counted
from llmmon.text.times import MINUTE_US

MOST_REPLAYED: Final = 400 * 1440  # minutes of a log's end that are replayed
_APART: Final = 30 * 1440  # minutes without any call that set stray calls apart
_STRAY_CALLS: Final = 3  # that many calls, or this share of all, can be stray
_STRAY_SHARE: Final = 0.001
_LEAST_MAIN: Final = 10  # times as many calls as stray ones

Histories = Mapping[Stream, Aggregates]


class Bulk(msgspec.Struct, frozen=True):
    """The minutes [first, last] in which nearly all calls of a log are, and the number of stray calls outside."""

    first: int
    last: int
    stray: int = 0


def bulk_of(histories: Histories) -> Bulk | None:
    """The minutes in which nearly all calls are; None without any call."""
    minutes, counts = _calls_by_minute(histories)
    if not len(minutes):
        return None
    starts = np.concatenate([[0], np.flatnonzero(np.diff(minutes) > _APART) + 1])
    sizes = np.add.reduceat(counts, starts)
    main = int(sizes.argmax())
    most = max(_STRAY_CALLS, int(counts.sum() * _STRAY_SHARE))
    low = high = main
    while low > 0 and not _is_stray(int(sizes[:low].sum()), int(sizes[main]), most):
        low -= 1
    while high < len(sizes) - 1 and not _is_stray(int(sizes[high + 1 :].sum()), int(sizes[main]), most):
        high += 1
    ends = np.append(starts[1:], len(minutes))
    stray = int(counts.sum() - sizes[low : high + 1].sum())
    return Bulk(int(minutes[starts[low]]), int(minutes[ends[high] - 1]), stray)


def _is_stray(calls: int, main: int, most: int) -> bool:
    return calls <= most and main >= _LEAST_MAIN * calls


def _calls_by_minute(histories: Histories) -> tuple[IntArray, IntArray]:
    """The minutes with calls, in order, and how many calls the stream that has most of them has."""
    found: dict[int, int] = {}
    for stream, part in histories.items():
        if not part.groups or not part.sums:
            continue
        bucket = np.array([group[0] for group in part.groups], np.int64)
        places, of = np.unique(bucket, return_inverse=True)
        totals = np.bincount(of, next(iter(part.sums.values())).count).astype(np.int64)
        width = stream.every_us // MINUTE_US
        for minute, calls in zip((places * width).tolist(), totals.tolist(), strict=True):
            if calls > found.get(minute, 0):
                found[minute] = calls
    minutes = np.array(sorted(found), np.int64)
    return minutes, np.array([found[minute] for minute in minutes.tolist()], np.int64)


def replayed_minutes(
    source: SourceReport,
    histories: Histories,
    say: Callable[[str], None],
    asked: tuple[int | None, int | None] = (None, None),
) -> IntArray:
    """Every minute that ends within the time range `asked`, from the first call of a log to the last.

    Stray calls do not count, and of a longer log the last 400 days are replayed.
    """
    if source.start_us is None or source.end_us is None:
        return np.empty(0, np.int64)
    first, last = source.start_us // MINUTE_US, source.end_us // MINUTE_US
    bulk = bulk_of(histories)
    if bulk is not None and (bulk.stray or first < bulk.first - _APART or last > bulk.last + _APART):
        first, last = max(first, bulk.first), min(last, bulk.last)
        calls = counted(bulk.stray, "call") if bulk.stray else "calls"
        say(f"{calls} more than 30 days away from all others: not replayed, is a timestamp wrong?")
    since_us, until_us = asked
    if since_us is not None:
        first = max(first, since_us // MINUTE_US)
    if until_us is not None:
        last = min(last, -(-until_us // MINUTE_US) - 1)
    if last - first >= MOST_REPLAYED:
        say(f"only the last {MOST_REPLAYED // 1440} days are replayed, of {(last - first) // 1440:,}")
    return np.arange(max(first, last - MOST_REPLAYED + 1) + 1, last + 2)


def within(histories: Histories, ends: IntArray, reach: int) -> dict[Stream, Aggregates]:
    """Histories without what is more than `reach` minutes before the evaluated ones, or after them."""
    if not len(ends):
        return dict(histories)
    found = {}
    for stream, part in histories.items():
        width = stream.every_us // MINUTE_US
        bucket = np.array([group[0] for group in part.groups], np.int64) * width
        kept = (bucket >= int(ends[0]) - reach - width) & (bucket < int(ends[-1]))
        found[stream] = part if kept.all() else only(part, kept)
    return found
