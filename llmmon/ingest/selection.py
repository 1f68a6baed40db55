"""Which calls count: those in the time range that the filter keeps, each once in its most complete row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats.mapping import CALL_COPY, CALL_KEY, CALL_KEYS, CALL_PARENT, JOIN_KEY
from llmmon.metrics.columns import MISSING_CODE, MISSING_TIME, BoolArray, Columns, FloatArray, IntArray, Names
from llmmon.metrics.filters import Filter


class Selection(msgspec.Struct, frozen=True):
    """Which calls count: those in [start, end), dated, that the filter keeps. None is open."""

    start_us: int | None = None
    end_us: int | None = None
    where: Filter | None = None

    @property
    def timed(self) -> bool:
        """Whether calls without a time are left out."""
        return self.start_us is not None or self.end_us is not None

    def inside(self, columns: Columns) -> BoolArray:
        """Which calls fall in the time range; shape (calls,)."""
        kept: BoolArray = columns.timestamp != MISSING_TIME
        if self.start_us is not None:
            kept = kept & (columns.timestamp >= self.start_us)
        return kept if self.end_us is None else kept & (columns.timestamp < self.end_us)


EVERY_CALL: Final = Selection()


class Tally(msgspec.Struct):
    """What became of the calls that were read: `calls == requests + duplicates + outside + filtered`."""

    requests: int = 0
    duplicates: int = 0
    outside: int = 0
    filtered: int = 0
    undated: int = 0
    samples: int = 0
    start_us: int | None = None
    end_us: int | None = None

    def dated(self, columns: Columns) -> None:
        """Count calls without a time, and extend the time that is covered."""
        if columns.size and columns.timestamp.min() == MISSING_TIME:
            self.undated += columns.size - int(np.count_nonzero(columns.dated))
        if bounds := columns.bounds():
            low, high = bounds
            self.start_us = low if self.start_us is None else min(low, self.start_us)
            self.end_us = high if self.end_us is None else max(high, self.end_us)

    def add(self, other: Tally) -> None:
        """Count another's calls too."""
        for name in ("requests", "duplicates", "outside", "filtered", "undated", "samples"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        starts = [t for t in (self.start_us, other.start_us) if t is not None]
        ends = [t for t in (self.end_us, other.end_us) if t is not None]
        self.start_us, self.end_us = min(starts, default=None), max(ends, default=None)

    def select(self, columns: Columns, selection: Selection) -> Columns:
        """The calls in the time range; the others are counted."""
        if not selection.timed:
            return columns
        inside = selection.inside(columns)
        self.outside += int(columns.size - np.count_nonzero(inside))
        return columns if inside.all() else columns.take(inside)

    def filter(self, columns: Columns, selection: Selection) -> Columns:
        """The calls that the filter keeps; the others are counted, and so are they."""
        if selection.where is not None and columns.size:
            kept = selection.where.mask(columns)
            self.filtered += int(columns.size - np.count_nonzero(kept))
            columns = columns if kept.all() else columns.take(kept)
        self.requests += columns.size
        return columns


def keep_once(columns: Columns) -> Columns:
    """Each call once, in the order of the log: of repeated ones the most complete, of nested ones the inner.

    Only calls with a key can be of one: those of dialects that may hold a call more than once. A call around
    others is left out where these carry tokens; where only it does, those within are left out.
    """
    keys = columns.numbers.get(CALL_KEY)
    if keys is None:
        return columns
    known = ~np.isnan(keys)
    codes = np.full(columns.size, MISSING_CODE, np.int64)
    codes[known] = np.unique(keys[known], return_inverse=True)[1]
    single, _ = keep_most_complete(columns, codes, pieces=True)
    return without_keys(_leaves(single))


def _leaves(columns: Columns) -> Columns:
    """The calls without those around or within others that count the same tokens."""
    parents = columns.number(CALL_PARENT)
    keys = np.where(columns.number(CALL_KEY) == parents, np.nan, columns.number(CALL_KEY))
    if not np.isin(keys, parents).any():
        return columns
    counted = ~np.isnan(columns.number("total_tokens"))
    around = np.isin(keys, parents[counted]) | (np.isin(keys, parents) & ~counted)
    within = ~counted & np.isin(parents, keys[counted & ~around])
    return columns.take(~(around | within))


def keep_most_complete(columns: Columns, codes: IntArray, *, pieces: bool = False) -> tuple[Columns, int]:
    """The calls without repeated ones, in their order, and how many were dropped.

    Rows with the same code (none where it is negative) are of one call. Of them the one with the most tokens
    stays; among equals an original, then one with a latency, then one with a time, then the last. With `pieces`
    it has the texts of those that count fewer tokens, too.
    """
    keyed = np.flatnonzero(codes != MISSING_CODE)
    codes = codes[keyed]
    order = np.lexsort(
        (
            keyed,
            columns.timestamp[keyed] != MISSING_TIME,
            ~np.isnan(columns.number("latency_ms")[keyed]),
            columns.number(CALL_COPY)[keyed] != 1,
            np.nan_to_num(columns.number("total_tokens")[keyed], nan=-1.0),
            codes,
        )
    )
    last = np.append(codes[order][1:] != codes[order][:-1], True)[: len(order)]
    dropped = keyed[order[~last]]
    if not len(dropped):
        return columns, 0
    kept = np.ones(columns.size, np.bool_)
    kept[dropped] = False
    if pieces and "output" in columns.texts:
        columns = _with_pieces(columns, keyed, codes, kept)
    return columns.take(kept), len(dropped)


_PIECE: Final = 32  # characters: a piece of a stream that comes twice running is shorter


def _with_pieces(columns: Columns, keyed: IntArray, codes: IntArray, kept: BoolArray) -> Columns:
    """The calls, those that came in pieces with their whole answer: rows before the last that count fewer tokens."""
    outputs, totals = list(columns.text("output")), columns.number("total_tokens")
    last = dict(zip(codes[kept[keyed]].tolist(), keyed[kept[keyed]].tolist(), strict=True))
    wholes: dict[int, str] = {}
    for row, code in zip(keyed.tolist(), codes.tolist(), strict=True):
        text = outputs[row]
        if text is None or (row != last[code] and totals[row] == totals[last[code]]):
            continue  # a block of an answer, or a copy of it
        known = wholes.get(code, "")
        if text == known and len(text) > _PIECE:
            continue  # said again
        wholes[code] = text if text.startswith(known) and len(text) > len(known) > 0 else known + text
    for code, whole in wholes.items():
        outputs[last[code]] = whole
    return msgspec.structs.replace(columns, texts={**columns.texts, "output": outputs})


def joined_halves(columns: Columns) -> Columns:
    """The calls with those that were logged as a request line and a response line put together.

    A call begins with its earliest line; what one line does not say is taken from the other, and without a logged
    latency it lasts from the first line to the last. What then names no model and counts no tokens is no call.
    """
    names = columns.names.get(JOIN_KEY)
    if names is None:
        return columns
    columns = msgspec.structs.replace(columns, names={k: v for k, v in columns.names.items() if k != JOIN_KEY})
    keyed = np.flatnonzero(names.codes != MISSING_CODE)
    if not len(keyed):
        return columns
    codes = codes_of(names)[keyed]
    order = keyed[np.lexsort((keyed, columns.timestamp[keyed], codes))]
    codes = np.sort(codes)
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    kept = order[starts + sizes - 1]
    joined = columns.take(np.arange(columns.size))

    def last_known(known: BoolArray) -> IntArray:
        """For each call the row that says something last, its kept row where none does."""
        places = np.maximum.reduceat(np.where(known[order], np.arange(len(order)), -1), starts)
        return np.where(places >= 0, order[np.maximum(places, 0)], kept)

    first, end = columns.timestamp[order[starts]], columns.timestamp[kept]
    for field, values in joined.numbers.items():
        values[kept] = columns.numbers[field][last_known(~np.isnan(columns.numbers[field]))]
    for field, column in joined.names.items():
        column.codes[kept] = columns.names[field].codes[last_known(columns.names[field].codes != MISSING_CODE)]
    if "output" in joined.texts:  # of a stream each line may hold a piece
        joined = _with_pieces(joined, order, codes, np.isin(np.arange(columns.size), kept))
    for field, texts in joined.texts.items():
        if field == "output":
            continue
        known = last_known(np.array([text is not None for text in columns.texts[field]], np.bool_))
        for row, source in zip(kept.tolist(), known.tolist(), strict=True):
            texts[row] = columns.texts[field][source]
    lasted = (sizes > 1) & (first != MISSING_TIME) & (end > first)
    if lasted.any():
        latency = joined.number("latency_ms")
        joined = msgspec.structs.replace(joined, numbers={**joined.numbers, "latency_ms": latency})
        gaps = lasted & np.isnan(latency[kept])
        latency[kept[gaps]] = (end - first)[gaps]
    joined.timestamp[kept[first != MISSING_TIME]] = first[first != MISSING_TIME]
    stays: BoolArray = np.ones(columns.size, np.bool_)
    stays[np.setdiff1d(order, kept)] = False
    stays &= _has_evidence(joined)
    return joined.take(stays)


def _has_evidence(columns: Columns) -> BoolArray:
    shown: BoolArray = ~np.isnan(columns.number("total_tokens"))
    if "model" in columns.names:
        shown |= columns.names["model"].codes != MISSING_CODE
    return shown


def codes_of(names: Names) -> IntArray:
    """Codes that are the same for the same name: names joined from several sources may hold one twice."""
    first: dict[str, int] = {}
    codes = np.array([*(first.setdefault(value, code) for code, value in enumerate(names.values)), -1], np.int64)
    return codes[names.codes]


def without_keys(columns: Columns) -> Columns:
    """The calls without the columns that only tell which are one."""
    if columns.numbers.keys().isdisjoint(CALL_KEYS):
        return columns
    numbers = {name: column for name, column in columns.numbers.items() if name not in CALL_KEYS}
    return msgspec.structs.replace(columns, numbers=numbers)


Keys = tuple[FloatArray, FloatArray]  # of calls, and of the calls around them


class OnceFold:
    """Another fold, and the keys of the calls that it was given: 16 bytes for each that has one."""

    def __init__(self, fold: Any) -> None:
        self._fold = fold
        self._keys: list[FloatArray] = []
        self._parents: list[FloatArray] = []

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if CALL_KEY in columns.numbers:
            for into, name in ((self._keys, CALL_KEY), (self._parents, CALL_PARENT)):
                found = columns.number(name)
                into.append(found[~np.isnan(found)])
        self._fold.add(without_keys(columns), samples)

    def result(self) -> tuple[Any, Keys]:
        """What the other fold made of the calls, and the keys."""
        return self._fold.result(), (_joined(self._keys), _joined(self._parents))


def any_repeated(found: Sequence[Keys]) -> bool:
    """Whether a call came twice, or stands around another."""
    keys, parents = (_joined([part[which] for part in found]) for which in (0, 1))
    if not len(keys):
        return False
    keys = np.sort(keys)
    return bool((keys[1:] == keys[:-1]).any()) or bool(np.isin(np.unique(parents), keys, assume_unique=True).any())


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate(parts) if parts else np.empty(0)
