"""The user's own prices: what `[prices]` of the configuration may hold, and what it means beside the price list.

What an own price leaves out keeps its proportion in the list: a cached token that the list sells at a tenth costs a
tenth of the own price, a batch that it sells at half costs half. A model with own prices for requests, searches or the
like alone is sold by these: its tokens cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import lru_cache
from math import isfinite, nan
from typing import Any, Final

import msgspec

from llmmon.pricing.doubts import Doubt
from llmmon.pricing.price_list import BATCH, BATCH_SHARE, FREE, KINDS, STANDARD_TIERS, Listing, Quote, Rates
from llmmon.pricing.units import BASE
from llmmon.text.names import unknown

Prices = Mapping[str, float]  # by kind, in USD for what `[prices]` says
TIERS: Final = ("batch", "flex", "priority", "fast")
KEYS: Final = (*(unit.key for unit in KINDS.values()), *TIERS, "above", "from", "currency", "usd_rate")
DAY_US: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1)


class Own(msgspec.Struct, frozen=True):
    """Own prices from a time on; `above` holds other prices for prompts of more tokens, `tiers` factors or prices."""

    prices: Prices
    above: tuple[tuple[int, Prices], ...] = ()
    tiers: Mapping[str, float | Prices] = {}
    from_us: int = -(1 << 62)


class OwnListing(Listing, frozen=True, eq=False):
    """Own prices over time, the earliest first, beside what the list has of the model."""

    steps: tuple[Own, ...] = ()
    listed: Listing | None = None

    def breaks(self, start_us: int, end_us: int) -> list[int]:
        """The times in (start, end] at which the price may change, in microseconds, ascending."""
        own = (step.from_us for step in self.steps if start_us < step.from_us <= end_us)
        return sorted({*own, *(self.listed.breaks(start_us, end_us) if self.listed else ())})

    def at(self, time_us: int, tier: str) -> Quote | None:
        """The rates at a time in a service tier; before the first own price those of the list."""
        if self.own is not None:
            return super().at(time_us, tier)
        current = [step for step in self.steps if step.from_us <= time_us]
        if not current:
            return self.listed.at(time_us, tier) if self.listed else None
        standard = self.listed.at(time_us, "") if self.listed and not self.listed.guessed else None
        tiered = self.listed.at(time_us, tier) if standard and self.listed else None
        return _quote(self, len(current) - 1, tier, standard, tiered)


@lru_cache(maxsize=4096)
def _quote(own: OwnListing, step: int, tier: str, standard: Quote | None, tiered: Quote | None) -> Quote:
    prices = own.steps[step]
    sizes = (prices.prices, *({**prices.prices, **more} for _, more in prices.above))
    rows = [_filled(each, standard) for each in sizes]
    doubt = None
    if tier not in STANDARD_TIERS:
        known = prices.tiers.get("batch" if tier in BATCH else tier)
        if isinstance(known, Mapping):
            rows = [_filled({**each, **known}, standard) for each in sizes]
        elif known is not None:
            rows = [_scaled(row, known) for row in rows]
        else:
            doubt = Doubt.DISCOUNT_GUESSED
            rows = [_discounted(row, tier, standard, tiered) for row in rows]
    starts = tuple(start for start, _ in prices.above)
    return Quote(Rates(tuple(tuple(row.values()) for row in rows), starts), doubt, own.model)


def _filled(prices: Prices, listed: Quote | None) -> dict[str, float]:
    """Nano-dollars of all kinds; what has no own price keeps its proportion in the list, or takes its stand-in's."""
    row: dict[str, float] = {}
    for kind, unit in KINDS.items():
        wider = unit.stand_in or next(iter(unit.inside), None)
        theirs = listed.rates.of(kind) if listed else nan
        if kind in prices:
            row[kind] = prices[kind] * unit.nano
        elif wider is None:
            row[kind] = theirs if kind not in ("input", "output") else nan
        else:
            whole = listed.rates.of(wider) if listed else nan
            share = theirs / whole if whole > 0 else nan
            row[kind] = row[wider] * share if share == share else row[wider] if unit.stand_in else nan
    if row["request"] != row["request"]:
        row["request"] = 0.0
    if prices and row["input"] != row["input"] and row["output"] != row["output"]:
        row |= {kind: 0.0 for kind, price in row.items() if _is_tokens(kind) and price != price}  # sold by other units
    return row


def _discounted(row: dict[str, float], tier: str, standard: Quote | None, tiered: Quote | None) -> dict[str, float]:
    """The prices in a tier of which the user said nothing: in the list's proportion, else as batches are sold."""
    if standard is None or tiered is None or tiered.doubt is not None:
        return _scaled(row, BATCH_SHARE) if tier in BATCH else row
    found = {}
    for kind, price in row.items():
        before, after = standard.rates.of(kind), tiered.rates.of(kind)
        found[kind] = price * (after / before) if before > 0 and after == after else price
    return found


def _scaled(row: Mapping[str, float], factor: float) -> dict[str, float]:
    """The prices with those of tokens scaled."""
    return {kind: price * factor if _is_tokens(kind) else price for kind, price in row.items()}


def _is_tokens(kind: str) -> bool:
    return kind != "request" and (kind in BASE or KINDS[kind].name.endswith("_tokens"))


class Reading:
    """Reads `[prices]`; `faults` collects all that is wrong, each with its place."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def listing(self, pattern: str, given: Any) -> OwnListing:
        """The prices of one pattern: a table, several tables with `from`, or 0 for a free model."""
        place = f"prices.{pattern!r}"
        if given == 0 and not isinstance(given, (bool, Mapping, Sequence)):
            return OwnListing(pattern, guessed=False, own=FREE)
        tables = given if isinstance(given, list) else [given]
        if not tables or not all(isinstance(table, Mapping) and table for table in tables):
            self.faults.append(f"{place}: a table of prices or 0 is needed, not {given!r}")
            return OwnListing(pattern, guessed=False)
        steps = sorted((self._step(place, table) for table in tables), key=lambda step: step.from_us)
        if len({step.from_us for step in steps}) < len(steps):
            self.faults.append(f"{place}: of several tables each needs a date of its own in `from`, but for the first")
        return OwnListing(pattern, guessed=False, steps=tuple(steps))

    def _step(self, place: str, table: Mapping[str, Any]) -> Own:
        for key in table:
            if key not in KEYS:
                self.faults.append(f"{place}: {unknown('price', str(key), KEYS)}")
        rate = self._rate(place, table)
        tiers: dict[str, float | Prices] = {}
        for tier in (tier for tier in TIERS if tier in table):
            value = table[tier]
            if isinstance(value, Mapping):
                tiers[tier] = self._prices(f"{place}.{tier}", value, rate)
            else:
                tiers[tier] = self._number(f"{place}.{tier}", value)
        above = tuple(sorted(self._above(place, table.get("above", ()), rate), key=lambda pair: pair[0]))
        prices = self._prices(place, {key: value for key, value in table.items() if key in _KINDS_BY_KEY}, rate)
        start = self._from(place, table["from"]) if "from" in table else Own({}).from_us
        return Own(prices, above, tiers, start)

    def _prices(self, place: str, given: Mapping[str, Any], rate: float) -> Prices:
        found: dict[str, float] = {}
        for key, value in given.items():
            if key in _KINDS_BY_KEY:
                found[_KINDS_BY_KEY[key]] = self._number(f"{place}.{key}", value) * rate
            else:
                self.faults.append(f"{place}: {unknown('price', str(key), _KINDS_BY_KEY)}")
        return found

    def _above(self, place: str, given: Any, rate: float) -> Iterator[tuple[int, Prices]]:
        for entry in given if isinstance(given, (list, tuple)) else [given]:
            tokens = entry.get("tokens") if isinstance(entry, Mapping) else None
            if type(tokens) is not int or tokens <= 0:
                self.faults.append(f"{place}.above: needs `tokens`, the size of the prompt, and prices; not {entry!r}")
            else:
                prices = {key: value for key, value in entry.items() if key != "tokens"}
                yield tokens, self._prices(f"{place}.above", prices, rate)

    def _number(self, place: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
            self.faults.append(f"{place}: a number of at least 0 is needed, not {value!r}")
            return 0.0
        return float(value)

    def _rate(self, place: str, table: Mapping[str, Any]) -> float:
        """What one unit of the table's currency is in USD."""
        currency = table.get("currency", "USD")
        if "usd_rate" in table:
            return self._number(f"{place}.usd_rate", table["usd_rate"])
        if currency != "USD":
            self.faults.append(f"{place}.currency: {currency} needs `usd_rate`, what one of it is in USD")
        return 1.0

    def _from(self, place: str, value: Any) -> int:
        day = value.date() if isinstance(value, datetime) else value
        if isinstance(day, str):
            with suppress(ValueError):
                day = date.fromisoformat(day)
        if not isinstance(day, date):
            self.faults.append(f"{place}.from: a date such as 2026-07-01 is needed, not {value!r}")
            return 0
        return (day - _EPOCH).days * DAY_US


_KINDS_BY_KEY: Final = {unit.key: kind for kind, unit in KINDS.items()}
