"""The price table: list prices and the user's own, looked up by the names that a log gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from llmmon.errors import ConfigError
from llmmon.pricing.model_names import ModelName, parse
from llmmon.pricing.own_prices import OwnListing, Reading
from llmmon.pricing.price_list import (
    FREE,
    BundledPrices,
    Listing,
    PriceSource,
    find,
    find_by_deployment,
    listing_of,
)


class Override(msgspec.Struct, frozen=True):
    """The user's own prices for the models that a pattern matches."""

    pattern: str
    prices: OwnListing

    def matches(self, name: ModelName) -> bool:
        """Whether the pattern is the name as logged or without prefixes; `*` stands for any text."""
        pattern = ".*".join(re.escape(part) for part in self.pattern.casefold().split("*"))
        return any(re.fullmatch(pattern, text, re.DOTALL) for text in (name.model, name.bare))


class PriceTable(msgspec.Struct, frozen=True):
    """List prices and the user's own, which win. Nothing is read before the first model is looked up."""

    overrides: tuple[Override, ...] = ()
    source: PriceSource = BundledPrices()

    @classmethod
    def of(cls, prices: Mapping[str, Any] | None = None, source: PriceSource | None = None) -> PriceTable:
        """A table with overrides as in the configuration's `[prices]`; raises `ConfigError` with all faults."""
        reading = Reading()
        overrides = tuple(Override(name, reading.listing(name, given)) for name, given in (prices or {}).items())
        if reading.faults:
            raise ConfigError(
                "\n".join(reading.faults), hint="prices are USD per million tokens: input, output, cache_read, ..."
            )
        # an exact name before patterns, a longer pattern before a shorter one
        ordered = tuple(sorted(overrides, key=lambda o: ("*" in o.pattern, -len(o.pattern))))
        return cls(ordered, source or BundledPrices())

    @property
    def version(self) -> str:
        """The price list and its version, and how many overrides there are."""
        own = f" + {len(self.overrides)} own" if self.overrides else ""
        return f"{self.source.version()}{own}"

    @property
    def hash(self) -> str:
        """64 hexadecimal digits that change with the list's data and with the overrides."""
        from hashlib import sha256  # only reports that show the hash need it

        return sha256(f"{self.source.digest()}{self.overrides!r}".encode()).hexdigest()

    def listing(self, model: str, provider: str | None) -> Listing | None:
        """The prices of a model as logged, or None where no price is known. The answer is remembered."""
        return _listing(self, model, provider)


@lru_cache(maxsize=16_384)
def _listing(table: PriceTable, model: str, provider: str | None) -> Listing | None:
    name = parse(model, provider)
    own = next((override.prices for override in table.overrides if override.matches(name)), None)
    if own is not None and own.own is not None:
        return own
    listed = _in_list(table, name, model, provider)
    return listed if own is None else msgspec.structs.replace(own, listed=listed)


def _in_list(table: PriceTable, name: ModelName, model: str, provider: str | None) -> Listing | None:
    if name.self_hosted:
        return None
    if name.free:
        return Listing(name.bare, guessed=False, own=FREE)
    return _listed(table.source.providers(), parse(model, provider, _ids(table)))


@lru_cache(maxsize=8)
def _ids(table: PriceTable) -> frozenset[str]:
    return frozenset(provider.id for provider in table.source.providers())


def _listed(providers: Sequence[Any], name: ModelName) -> Listing | None:
    for reference in name.references:
        found = find(providers, reference.provider, reference.model)
        if found is not None:
            return listing_of(*found, guessed=reference.guessed)
    if "azure" not in name.providers:
        return None
    found = find_by_deployment(providers, name.bare)
    return None if found is None else listing_of(*found, guessed=True)
