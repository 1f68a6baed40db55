"""Rates: what a token of each kind costs."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Final

import msgspec

NANO_PER_TOKEN: Final = 1000.0  # nano-dollars a token, of a dollar per million tokens
NANO_PER_REQUEST: Final = 1_000_000.0  # nano-dollars a request, of a dollar per thousand requests

# kind of token -> (key of an override, keys of the price list, kind whose price stands in)
KINDS: Final[dict[str, tuple[str, tuple[str, ...], str | None]]] = {
    "input": ("input", ("input_mtok",), None),
    "cache_read": ("cache_read", ("cache_read_mtok",), "input"),
    "cache_write": ("cache_write", ("cache_write_5m_mtok", "cache_write_mtok"), "input"),
    "cache_write_1h": ("cache_write_1h", ("cache_write_1h_mtok",), "cache_write"),
    "output": ("output", ("output_mtok",), None),
    "reasoning": ("reasoning", ("output_reasoning_mtok",), "output"),
    "request": ("request", ("requests_kcount",), None),
}


class Rates(msgspec.Struct, frozen=True):
    """What each kind of token costs.

    `rows` has one row per context tier, in the order of `KINDS`, in nano-dollars a token (a request); NaN where
    the kind has no price. Row i+1 replaces row i for calls with more than `starts[i]` prompt tokens: a cliff,
    the higher rate is paid for all of them.
    """

    rows: tuple[tuple[float, ...], ...]
    starts: tuple[int, ...] = ()

    def times(self, factor: float) -> Rates:
        """All prices, scaled."""
        return Rates(tuple(tuple(price * factor for price in row) for row in self.rows), self.starts)

    def of(self, kind: str) -> float:
        """The price of a kind for short prompts; NaN where it has none."""
        return self.rows[0][list(KINDS).index(kind)]


class Quote(msgspec.Struct, frozen=True):
    """The rates of one model, tier and time; `certain` unless a name, region, date or tier had to be guessed."""

    rates: Rates
    certain: bool
    model: str  # as the price list names it


FREE: Final = Rates(((0.0,) * len(KINDS),))


def with_stand_ins(prices: Mapping[str, float]) -> tuple[float, ...]:
    """Prices of all kinds, in the order of `KINDS`, in nano-dollars; a kind without one takes its stand-in's."""
    filled: dict[str, float] = {}
    for kind, (_, _, stand_in) in KINDS.items():
        scale = NANO_PER_REQUEST if kind == "request" else NANO_PER_TOKEN
        default = 0.0 if kind == "request" else filled[stand_in] if stand_in else nan
        filled[kind] = prices[kind] * scale if kind in prices else default
    return tuple(filled.values())
