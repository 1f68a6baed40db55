"""Logged costs that the prices contradict, and why: each cause is tested by pricing the calls as if it were true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import BoolArray, Columns, FloatArray, Names
from llmmon.pricing.costs import calculate, charge, quote
from llmmon.pricing.price_list import NEWEST_US
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.usage import Usage, usage_of
from llmmon.text.times import DAY_US

TOLERANCE: Final = 0.01  # of the larger amount
LEAST: Final = 1000.0  # nano-dollars: logs round to millionths of a dollar
_FIT: Final = 0.003  # how near a cause must bring the recalculated cost to the logged one
_MOST_DATES: Final = 40


class Cause(StrEnum):
    """Why a logged cost differs from the recalculated one."""

    ZERO_LOGGED = "zero_logged"
    ROUNDED = "rounded"
    CACHED_TWICE = "cached_tokens_counted_twice"
    CACHE_IGNORED = "cache_prices_ignored"
    CACHE_LEFT_OUT = "cached_tokens_left_out"
    WRITE_RETENTION = "cache_write_retention"
    REASONING_TWICE = "reasoning_counted_twice"
    REASONING_LEFT_OUT = "reasoning_left_out"
    OUTPUT_MISSING = "output_missing"
    WRONG_TIER = "wrong_tier"
    STALE_PRICE = "stale_price"
    OTHER_UNIT = "other_unit"
    MISSING_USAGE = "missing_usage"
    UNKNOWN = "unknown"


EXPLANATIONS: Final[dict[Cause, str]] = {
    Cause.ZERO_LOGGED: "logged as 0 although tokens were used",
    Cause.ROUNDED: "logged with few digits",
    Cause.CACHED_TWICE: "cached tokens were counted on top of the prompt that includes them",
    Cause.CACHE_IGNORED: "cached tokens were charged like any other prompt token",
    Cause.CACHE_LEFT_OUT: "cached tokens were not charged at all",
    Cause.WRITE_RETENTION: "cache writes were charged for another retention (5 minutes or 1 hour)",
    Cause.REASONING_TWICE: "reasoning tokens were counted on top of the completion that includes them",
    Cause.REASONING_LEFT_OUT: "reasoning tokens were not charged",
    Cause.OUTPUT_MISSING: "only the prompt was charged, as when a stream ends without its usage",
    Cause.WRONG_TIER: "charged at another service or context tier",
    Cause.STALE_PRICE: "charged at the price of another date",
    Cause.OTHER_UNIT: "in another unit, such as cents",
    Cause.MISSING_USAGE: "the log misses usage that was charged, as a stream without its last event",
    Cause.UNKNOWN: "no cause found; a negotiated price, perhaps",
}


class Case(msgspec.Struct, frozen=True, eq=False):
    """Calls whose logged and recalculated cost (nano-dollars, shape (calls,)) differ."""

    columns: Columns
    table: PriceTable
    undated_us: int | None
    logged: FloatArray
    recalculated: FloatArray

    def priced(self, columns: Columns) -> FloatArray:
        """What changed calls would cost; shape (calls,)."""
        return calculate(columns, self.table, self.undated_us)

    def with_tokens(self, **tokens: FloatArray) -> FloatArray:
        """What the calls would cost with other token counts, given without `_tokens`; shape (calls,)."""
        changed = {f"{name}_tokens": values for name, values in tokens.items()}
        numbers = {name: values for name, values in self.columns.numbers.items() if name != "total_tokens"}
        return self.priced(msgspec.structs.replace(self.columns, numbers={**numbers, **changed}))

    def tokens(self, name: str) -> FloatArray:
        """Token counts with 0 for missing; shape (calls,)."""
        return np.nan_to_num(self.columns.number(f"{name}_tokens"))


Hypothesis = Callable[[Case], Iterator[FloatArray]]


def differ(left: FloatArray, right: FloatArray) -> BoolArray:
    """Where two costs are further apart than rounding explains; not where one is missing; shape (calls,)."""
    allowed = np.maximum(np.maximum(np.abs(left), np.abs(right)) * TOLERANCE, LEAST)
    apart: BoolArray = np.abs(left - right) > allowed
    return apart


def causes_of(case: Case) -> Names:
    """The likeliest cause of each difference: the first that explains the logged cost; shape (calls,)."""
    ordered = list(Cause)
    found = np.full(case.columns.size, ordered.index(Cause.UNKNOWN), np.int32)
    still_open = np.ones(case.columns.size, np.bool_)
    for cause, test in _TESTS.items():
        if not still_open.any():
            break
        hit = still_open & test(case)
        found[hit] = ordered.index(cause)
        still_open &= ~hit
    return Names(found, [cause.value for cause in ordered])


def _fits(hypothesis: Hypothesis) -> Callable[[Case], BoolArray]:
    """A test that holds where one of a hypothesis's costs is the logged one."""

    def test(case: Case) -> BoolArray:
        hit = np.zeros(case.columns.size, np.bool_)
        for cost in hypothesis(case):
            hit |= np.abs(case.logged - cost) <= np.maximum(cost * _FIT, LEAST / 2)
        return hit

    return test


def _zero(case: Case) -> BoolArray:
    zero: BoolArray = (case.logged == 0) & (case.recalculated > 0)
    return zero


def _rounded(case: Case) -> BoolArray:
    hit = np.zeros(case.columns.size, np.bool_)
    for step in (1e5, 1e6, 1e7):  # nano-dollars: four, three, two digits
        hit |= (case.logged % step == 0) & (np.abs(case.logged - case.recalculated) <= step / 2)
    return hit


def _cached_twice(case: Case) -> Iterator[FloatArray]:
    prompt, read, write = case.tokens("prompt"), case.tokens("cached"), case.tokens("cache_write")
    for extra in (read, write, read + write):
        yield case.with_tokens(prompt=prompt + extra)
    usage, quoted = usage_of(case.columns), quote(case.columns, case.table, case.undated_us)
    for extra in (read, write, read + write):  # without making a long prompt of a short one
        yield charge(msgspec.structs.replace(usage, uncached=usage.uncached + extra), quoted)


def _cache_ignored(case: Case) -> Iterator[FloatArray]:
    none = np.zeros(case.columns.size)
    yield case.with_tokens(cached=none, cache_write=none, cache_write_1h=none)
    yield case.with_tokens(cached=none)
    yield case.with_tokens(cache_write=none, cache_write_1h=none)


def _cache_left_out(case: Case) -> Iterator[FloatArray]:
    none = np.zeros(case.columns.size)
    prompt, read, write = case.tokens("prompt"), case.tokens("cached"), case.tokens("cache_write")
    yield case.with_tokens(prompt=prompt - read, cached=none)
    yield case.with_tokens(prompt=prompt - write, cache_write=none, cache_write_1h=none)
    yield case.with_tokens(prompt=prompt - read - write, cached=none, cache_write=none, cache_write_1h=none)


def _write_retention(case: Case) -> Iterator[FloatArray]:
    yield case.with_tokens(cache_write_1h=np.zeros(case.columns.size))
    yield case.with_tokens(cache_write_1h=case.tokens("cache_write"))


def _reasoning_twice(case: Case) -> Iterator[FloatArray]:
    yield case.with_tokens(completion=case.tokens("completion") + case.tokens("reasoning"))


def _reasoning_left_out(case: Case) -> Iterator[FloatArray]:
    left = np.maximum(case.tokens("completion") - case.tokens("reasoning"), 0.0)
    yield case.with_tokens(completion=left, reasoning=np.zeros(case.columns.size))


def _output_missing(case: Case) -> Iterator[FloatArray]:
    none = np.zeros(case.columns.size)
    yield case.with_tokens(completion=none, reasoning=none)


def _other_tier(case: Case) -> Iterator[FloatArray]:
    codes = np.zeros(case.columns.size, np.int32)
    for tier in ("default", "batch", "flex", "priority"):
        names = {**case.columns.names, "service_tier": Names(codes, [tier])}
        yield case.priced(msgspec.structs.replace(case.columns, names=names))
    usage, quoted = usage_of(case.columns), quote(case.columns, case.table, case.undated_us)
    for size in (0.0, np.inf):  # as if the prompt were short, and very long
        yield charge(_with_context(usage, size), quoted)


def _with_context(usage: Usage, prompt_tokens: float) -> Usage:
    return msgspec.structs.replace(usage, prompt=np.full(len(usage.prompt), prompt_tokens))


def _other_date(case: Case) -> Iterator[FloatArray]:
    for time in _price_dates(case):
        yield case.priced(msgspec.structs.replace(case.columns, timestamp=np.full(case.columns.size, time)))


def _price_dates(case: Case) -> list[int]:
    """One time in every price period of the models, the latest first."""
    pairs = set(zip(case.columns.name("model").texts(), case.columns.name("provider").texts(), strict=True))
    listings = [case.table.listing(model, provider) for model, provider in pairs if model]
    changes = {time for listing in listings if listing for time in listing.breaks(-NEWEST_US, NEWEST_US)}
    return sorted({NEWEST_US, *changes, *(time - DAY_US for time in changes)}, reverse=True)[:_MOST_DATES]


def _other_unit(case: Case) -> Iterator[FloatArray]:
    for factor in (100.0, 1000.0, 1e6, 0.01, 0.001, 1e-6):
        yield case.recalculated * factor


def _missing_usage(case: Case) -> BoolArray:
    silent: BoolArray = (case.tokens("completion") == 0) | (case.tokens("prompt") == 0)
    return silent & (case.logged > case.recalculated)


_TESTS: Final[dict[Cause, Callable[[Case], BoolArray]]] = {
    Cause.ZERO_LOGGED: _zero,
    Cause.ROUNDED: _rounded,
    Cause.CACHED_TWICE: _fits(_cached_twice),
    Cause.CACHE_IGNORED: _fits(_cache_ignored),
    Cause.CACHE_LEFT_OUT: _fits(_cache_left_out),
    Cause.WRITE_RETENTION: _fits(_write_retention),
    Cause.REASONING_TWICE: _fits(_reasoning_twice),
    Cause.REASONING_LEFT_OUT: _fits(_reasoning_left_out),
    Cause.OUTPUT_MISSING: _fits(_output_missing),
    Cause.WRONG_TIER: _fits(_other_tier),
    Cause.STALE_PRICE: _fits(_other_date),
    Cause.OTHER_UNIT: _fits(_other_unit),
    Cause.MISSING_USAGE: _missing_usage,
}
