"""`cost --prices`: what a call of a model costs at a time, and where that comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from llmmon.pricing.doubts import REASONS, Doubt
from llmmon.pricing.model_names import parse
from llmmon.pricing.own_prices import TIERS, OwnListing
from llmmon.pricing.price_list import KINDS, Listing, Quote
from llmmon.pricing.price_table import PriceTable


class KindPrice(msgspec.Struct, frozen=True):
    """The price of one kind of usage, by `[prices]` key: US dollars for `per` units of it."""

    kind: str
    per: float
    usd: float
    above_tokens: int  # for prompts of more tokens than this
    tiers: Mapping[str, float]  # in service tiers where it differs


class ModelPrices(msgspec.Struct, frozen=True):
    """The prices of a model at a time; `listed_as` is None and `prices` empty where there are none.

    `source` is "own prices", "price list" or "none"; `doubt` says what was guessed.
    """

    model: str
    listed_as: str | None
    source: str
    doubt: Doubt | None
    explanation: str | None
    time_us: int
    prices: tuple[KindPrice, ...]


def prices_of(model: str, prices: Mapping[str, Any], time_us: int) -> ModelPrices:
    """What a model costs at a time, with the user's own `prices` before the list's."""
    table = PriceTable.of(prices)
    listing = table.listing(model, None)
    quoted = None if listing is None else listing.at(time_us, "")
    if listing is None or quoted is None:
        doubt = Doubt.SELF_HOSTED if parse(model, None).self_hosted else Doubt.NO_PRICE
        return ModelPrices(model, None, "none", doubt, REASONS[doubt], time_us, ())
    source = "own prices" if isinstance(listing, OwnListing) or listing.own is not None else "price list"
    why = REASONS[quoted.doubt] if quoted.doubt else None
    found = tuple(_kinds(listing, quoted, time_us))
    return ModelPrices(model, quoted.model, source, quoted.doubt, why, time_us, found)


_OF_ITSELF: Final = frozenset({"input", "output"})


def _kinds(listing: Listing, quoted: Quote, time_us: int) -> Iterator[KindPrice]:
    in_tiers = {tier: listing.at(time_us, tier) for tier in TIERS}
    for row, start in enumerate((0, *quoted.rates.starts)):
        for place, (kind, unit) in enumerate(KINDS.items()):
            price = quoted.rates.rows[row][place]
            if math.isnan(price) or (kind == "request" and not price):
                continue
            stand_in = unit.stand_in and price == quoted.rates.rows[row][list(KINDS).index(unit.stand_in)]
            if stand_in and kind not in _OF_ITSELF:
                continue
            tiers = {
                tier: theirs.rates.rows[row][place] / unit.nano
                for tier, theirs in in_tiers.items()
                if theirs is not None
                and len(theirs.rates.rows) > row
                and _differs(theirs.rates.rows[row][place], price)
            }
            yield KindPrice(unit.key, unit.per, price / unit.nano, start, tiers)


def _differs(one: float, other: float) -> bool:
    return not math.isnan(one) and abs(one - other) > 1e-9 * max(one, other)
