"""Which price each call has: resolved once per distinct (model, provider, service tier, price period)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from llmmon.columns import BoolArray, Columns, IntArray, Names
from llmmon.pricelist import NEWEST_US, Listing
from llmmon.prices import PriceTable
from llmmon.rates import Quote

PRICED_BY: Final = ("model", "provider", "service_tier")
_SPARSE: Final = 4_000_000  # combinations of names beyond which a table of all of them is too large


class Quoted(msgspec.Struct, frozen=True, eq=False):
    """The quote of each call: `index` into `quotes`, -1 without a price; shape (calls,)."""

    index: IntArray
    quotes: tuple[Quote, ...]

    @property
    def certain(self) -> BoolArray:
        """Calls whose price needed no guess; shape (calls,)."""
        table = np.array([quote.certain for quote in self.quotes] + [False])
        found: BoolArray = table[self.index]
        return found


def quote(columns: Columns, table: PriceTable, undated_us: int | None = None) -> Quoted:
    """The price of each call's model at its provider, tier and time; each distinct one is resolved once."""
    keys, combinations = _combinations(columns)
    times = _times(columns, NEWEST_US if undated_us is None else undated_us)
    ends = _ends(times)
    found: dict[Quote, int] = {}
    index = np.full(len(combinations) + 1, -1, np.int64)
    changing: list[tuple[int, Listing, str, list[int]]] = []
    for place, (model, provider, tier) in enumerate(combinations):
        listing = table.listing(model, provider) if model else None
        if listing is None:
            continue
        breaks = [time for start, end in pairwise(ends) for time in listing.breaks(start, end)]
        if breaks:
            changing.append((place, listing, tier, breaks))
        else:
            index[place] = _number(listing.at(ends[0], tier), found)
    rows = index[keys]
    for place, listing, tier, breaks in changing:
        here = np.flatnonzero(keys == place)
        rows[here] = _by_period(times[here], listing, tier, breaks, found)
    return Quoted(rows, tuple(found))


def _by_period(times: IntArray, listing: Listing, tier: str, breaks: list[int], found: dict[Quote, int]) -> IntArray:
    """The quote numbers of calls of one model whose price changes between them; shape (calls,)."""
    periods = np.searchsorted(np.array(breaks), times, side="right")
    numbers = np.full(len(breaks) + 1, -1, np.int64)
    for period in np.unique(periods).tolist():
        start = breaks[period - 1] if period else int(times.min())
        numbers[period] = _number(listing.at(start, tier), found)
    return numbers[periods]


def _number(quoted: Quote | None, found: dict[Quote, int]) -> int:
    return -1 if quoted is None else found.setdefault(quoted, len(found))


def _times(columns: Columns, undated_us: int) -> IntArray:
    dated = columns.dated
    return columns.timestamp if dated.all() else np.where(dated, columns.timestamp, undated_us)


def _ends(times: IntArray) -> list[int]:
    """First and last time, and the last but `NEWEST_US` between them: a price that depends on the hour ends there."""
    if not len(times):
        return [0]
    known = times[times < NEWEST_US]
    return sorted({int(times.min()), int(times.max()), *([int(known.max())] if len(known) else [])})


def _combinations(columns: Columns) -> tuple[IntArray, list[tuple[str | None, str | None, str]]]:
    """The distinct (model, provider, tier) and which one each call has; shape (calls,)."""
    fields = [columns.name(name) for name in PRICED_BY]
    sizes = [len(names.values) + 1 for names in fields]
    keys = fields[0].codes.astype(np.int64) + 1
    for names, size in zip(fields[1:], sizes[1:], strict=True):
        if size > 1:
            keys = keys * size + (names.codes + 1)
    total = int(np.prod(sizes, dtype=object))
    if total > _SPARSE:
        present, places = np.unique(keys, return_inverse=True)
    else:
        seen = np.zeros(total, np.bool_)
        seen[keys] = True
        present = np.flatnonzero(seen)
        place_of = np.empty(total, np.int64)
        place_of[present] = np.arange(len(present))
        places = place_of[keys]
    return places, list(_spelt_out(present, fields, sizes))


def _spelt_out(keys: IntArray, fields: list[Names], sizes: list[int]) -> Iterator[tuple[str | None, str | None, str]]:
    for key in keys.tolist():
        codes: list[int] = []
        rest = key
        for size in reversed(sizes):
            rest, code = divmod(rest, size)
            codes.append(code - 1)
        model, provider, tier = (
            names.values[code] if code >= 0 else None for names, code in zip(fields, reversed(codes), strict=True)
        )
        yield model, provider, (tier or "").strip().casefold()
