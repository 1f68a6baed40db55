"""Requests that are the same, and cached prompts that were paid for in vain: rows compared with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmmon.metrics.columns import MISSING_TIME, BoolArray, FloatArray, IntArray
from llmmon.pricing.waste import (
    AGAIN_US,
    CLASSES,
    EVIDENCE,
    FOUND,
    RETRY_US,
    UNKNOWN,
    Evidence,
    Rows,
    Waste,
)

_SLACK: Final = 1.2  # times are those of the start of calls, and providers keep prompts a little longer
_MOST_STEPS: Final = 256  # calls of a session in which a later read is looked for
_LOST: Final = 0.1  # the share of a cached prompt that must be missing to be a miss


def settle(parts: Sequence[Rows]) -> Rows:
    """All that was found, each call once: in the first of its classes."""
    found = np.concatenate([np.zeros(0, FOUND), *parts])
    found = found[np.lexsort((-found["amount"], found["waste"], found["rank"], found["position"]))]
    fresh = (found["position"][1:] != found["position"][:-1]) | (found["rank"][1:] != found["rank"][:-1])
    once: Rows = found[np.append(True, fresh)[: len(found)]]
    return once


def same_requests(rows: Rows) -> tuple[Rows, int]:
    """What is found among requests, and how many repeated attempts there are whose earlier ones are not logged."""
    exact = np.isin(rows["evidence"], [EVIDENCE.index(Evidence.TEXT), EVIDENCE.index(Evidence.HASH)])
    sized = rows[rows["evidence"] == EVIDENCE.index(Evidence.SIZE)]
    attempts, orphans = _attempts(rows[rows["evidence"] == EVIDENCE.index(Evidence.ATTEMPT)])
    found = [*_exact(rows[exact]), *attempts, *_asked_again(_in_order(sized, "key"), RETRY_US)]
    return np.concatenate([np.zeros(0, FOUND), *found]), orphans


def _in_order(rows: Rows, *keys: str) -> Rows:
    """By the keys, then in the order of time."""
    order = np.lexsort((rows["rank"], rows["position"], rows["time"], *(rows[key] for key in reversed(keys))))
    ordered: Rows = rows[order]
    return ordered


def _follows(rows: Rows, *keys: str) -> BoolArray:
    """Whether each row has the same keys as the one before it; shape (rows,)."""
    same = np.ones(max(0, len(rows) - 1), np.bool_)
    for key in keys:
        same &= rows[key][1:] == rows[key][:-1]
    return np.append(False, same)[: len(rows)]


def _gap(rows: Rows) -> IntArray:
    """Microseconds since the row before; beyond all bounds where a time is missing; shape (rows,)."""
    times = rows["time"]
    known = (times[1:] != MISSING_TIME) & (times[:-1] != MISSING_TIME)
    gaps = np.where(known, times[1:] - np.where(known, times[:-1], 0), np.iinfo(np.int64).max)
    found: IntArray = np.append(np.iinfo(np.int64).max, gaps)[: len(rows)]
    return found


def _found(rows: Rows, waste: Waste, partners: NDArray[np.int64]) -> Rows:
    found = np.zeros(len(rows), FOUND)
    for name in ("position", "rank", "time", "amount", "group"):
        found[name] = rows[name]
    found["evidence"] = rows["evidence"] if "evidence" in (rows.dtype.names or ()) else EVIDENCE.index(Evidence.CACHE)
    found["waste"], found["partner"] = CLASSES.index(waste), partners
    return found


def _asked_again(rows: Rows, within_us: int, *keys: str) -> Iterator[Rows]:
    """Answers that were cut off, of which the next row of the same keys, soon after, is the same request."""
    again = np.flatnonzero(_follows(rows, "key", *keys) & (_gap(rows) <= within_us))
    again = again[rows["cut"][again - 1]]
    yield _found(rows[again - 1], Waste.CUT_OFF, rows["position"][again])


def _exact(rows: Rows) -> Iterator[Rows]:
    """Requests with the same text: asked again, retried, or answered before."""
    by_asker = _in_order(rows, "key", "asker")
    yield from _asked_again(by_asker, AGAIN_US, "asker")
    whole = by_asker[~by_asker["cut"]]
    retried = np.flatnonzero(_follows(whole, "key", "asker") & (_gap(whole) <= RETRY_US))
    yield _found(whole[retried], Waste.RETRIED, whole["position"][retried - 1])
    whole = _in_order(rows[~rows["cut"]], "key")
    follows = _follows(whole, "key")
    first = np.maximum.accumulate(np.where(follows, 0, np.arange(len(whole))))
    before = np.flatnonzero(follows & (whole["end"][first] <= whole["time"]))
    yield _found(whole[before], Waste.ANSWERED_BEFORE, whole["position"][first[before]])


def _attempts(rows: Rows) -> tuple[list[Rows], int]:
    """Attempts after one that was answered; and later attempts that follow no other in the log."""
    rows = _in_order(rows, "key")
    later = _follows(rows, "key") & (_gap(rows) <= AGAIN_US)
    later[1:] &= rows["attempt"][1:] > rows["attempt"][:-1]
    places = np.flatnonzero(later)
    before = rows[places - 1]
    sound = ~before["lost"] & ~before["cut"] & (before["amount"] != 0) & ~rows["lost"][places]
    cut = ~before["lost"] & before["cut"] & (before["amount"] != 0)
    retried = _found(rows[places[sound]], Waste.RETRIED, before["position"][sound])
    again = _found(before[cut], Waste.CUT_OFF, rows["position"][places[cut]])
    repeated = rows[rows["attempt"] > 1]
    known = set(zip(rows["position"][later].tolist(), rows["rank"][later].tolist(), strict=True))
    orphans = set(zip(repeated["position"].tolist(), repeated["rank"].tolist(), strict=True)) - known
    return [retried, again], len(orphans)


Readers = tuple[NDArray[np.uint64], IntArray, FloatArray]  # model, time and tokens read


def first_reads(rows: Rows) -> Rows:
    """The steps that tell who reads what others wrote: the first of a session, and those without a session."""
    rows = _in_order(rows, "key")
    first: Rows = rows[(~_follows(rows, "key") | rows["alone"]) & (rows["read"] > 0)]
    return first


def caching(rows: Rows, readers: Rows, end_us: int) -> tuple[Rows, int]:
    """What is found among the steps of sessions; and how many writes are too near the end of the log to be judged.

    `readers` are the `first_reads` of all steps.
    """
    rows = _in_order(rows, "key")
    readers = readers[np.lexsort((readers["time"], readers["model"]))]
    unread, open_ends = _unread(rows, readers, end_us)
    return np.concatenate([_missed(rows), unread]), open_ends


def _missed(rows: Rows) -> Rows:
    """Calls after a pause that paid again for a prompt that had been cached."""
    follows = _follows(rows, "key") & ~rows["alone"]
    places = np.flatnonzero(follows)
    before, now = rows[places - 1], rows[places]
    kept = before["read"].astype(np.float64) + before["written"]
    lost = kept - now["read"]
    ttl = _longest(rows)[places]
    missed = (now["time"] - before["time"] > ttl) & (kept > 0) & (now["prompt"] >= kept) & (lost > _LOST * kept)
    before, now, lost = before[missed], now[missed], lost[missed]
    rewritten = np.minimum(lost, now["written"])
    paid = rewritten * now["write_price"] + (lost - rewritten) * now["input_price"]
    found = _found(now, Waste.CACHE_MISSED, before["position"])
    found["amount"] = _rounded(paid - lost * now["read_price"])
    missed_rows: Rows = found[found["amount"] != 0]
    return missed_rows


def _longest(rows: Rows) -> IntArray:
    """How long the cached prompts of each row's session last: the longest time that was paid for; shape (rows,)."""
    starts = np.flatnonzero(~_follows(rows, "key"))
    if not len(starts):
        return np.zeros(0, np.int64)
    longest = np.maximum.reduceat(rows["ttl"], starts)
    found: IntArray = np.repeat(longest, np.diff(np.append(starts, len(rows))))
    return found


def _rounded(nano: FloatArray) -> IntArray:
    found: IntArray = np.nan_to_num(np.rint(nano), nan=UNKNOWN).astype(np.int64)
    return found


def _unread(rows: Rows, readers: Rows, end_us: int) -> tuple[Rows, int]:
    """Writes to the cache that nothing read before they expired."""
    costly = (rows["written"] > 0) & ~(rows["premium"] <= 0)
    window = (rows["ttl"] * _SLACK).astype(np.int64)
    writers = np.flatnonzero(costly & ~rows["alone"])
    unread = writers[~_read_later(rows, writers, window)]
    lone = np.flatnonzero(costly & rows["alone"])
    unread = np.append(unread, lone[_next_reader(rows[lone], readers, window[lone]) < 0])
    decided = rows["time"][unread] + window[unread] <= end_us
    unread = unread[decided]
    found = _found(rows[unread], Waste.CACHE_UNREAD, np.full(len(unread), UNKNOWN))
    shared = _shared(rows[unread], readers, window[unread])
    found["amount"] = _rounded(rows["premium"][unread] * (1 - shared))
    return found[found["amount"] != 0], int(np.count_nonzero(~decided))


def _read_later(rows: Rows, writers: IntArray, window: IntArray) -> BoolArray:
    """Whether a later call of the session reads more than each writer did, while its cache lasts; shape (writers,)."""
    key, time, read = rows["key"], rows["time"], rows["read"]
    found = np.zeros(len(writers), np.bool_)
    left = np.arange(len(writers))
    for step in range(1, _MOST_STEPS + 1):
        here, there = writers[left], writers[left] + step
        inside = there < len(rows)
        left, here, there = left[inside], here[inside], there[inside]
        inside = (key[there] == key[here]) & (time[there] - time[here] <= window[here])
        left, here, there = left[inside], here[inside], there[inside]
        hit = read[there] > read[here]
        found[left[hit]] = True
        left = left[~hit]
        if not len(left):
            return found
    found[left] = True  # too many to follow: not counted
    return found


def _next_reader(rows: Rows, readers: Rows, window: IntArray) -> IntArray:
    """The place of the first reader of each row's model after it, -1 for none while the cache lasts; shape (rows,)."""
    found = np.full(len(rows), -1, np.int64)
    for model in np.unique(rows["model"]).tolist():
        mine = np.flatnonzero(readers["model"] == model)
        asking = np.flatnonzero(rows["model"] == model)
        at = np.searchsorted(readers["time"][mine], rows["time"][asking], side="right")
        there = np.append(mine, -1)[at]
        times = np.append(readers["time"], np.iinfo(np.int64).max)[there]
        soon = times - rows["time"][asking] <= window[asking]
        found[asking[soon]] = there[soon]
    return found


def _shared(rows: Rows, readers: Rows, window: IntArray) -> FloatArray:
    """Which share of what each row wrote another session began with: a prompt that they have in common."""
    shared = np.zeros(len(rows))
    first = np.flatnonzero((rows["read"] == 0) & ~rows["alone"])
    reader = _next_reader(rows[first], readers, window[first])
    known = first[reader >= 0]
    tokens = readers["read"][reader[reader >= 0]].astype(np.float64)
    part = tokens / rows["written"][known]
    shared[known] = np.where(part <= 1, part, 0.0)
    return shared
