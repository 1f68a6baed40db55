"""What calls cost: as logged where the log can be trusted, else from a `PriceTable`; missing is never 0.

A price is resolved once per distinct (model, provider, service tier, price period) and multiplied over columns.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np

from llmmon.columns import BoolArray, Columns, FloatArray, IntArray
from llmmon.prices import PriceTable
from llmmon.quoting import PRICED_BY, Quoted, quote
from llmmon.rates import KINDS, Quote
from llmmon.usage import Usage, failed, gateway_hits, succeeded, usage_of

_REQUEST: Final = list(KINDS).index("request")
_OUTPUT: Final = list(KINDS).index("output")
_INPUT: Final = list(KINDS).index("input")


class CostMode(StrEnum):
    """Where costs come from."""

    AUTO = "auto"  # logged; calculated where nothing (or a 0 that cannot be) is logged
    LOGGED = "logged"  # only as logged, zeros included
    CALCULATED = "calculated"  # only from prices
    NONE = "none"  # no costs


def price(columns: Columns, table: PriceTable, mode: str = CostMode.AUTO, undated_us: int | None = None) -> Columns:
    """The calls with `cost_usd`, `cost_logged_usd`, `cost_calculated_usd` (nano-dollars) and `unpriced` (1, 0, NaN).

    A priced call has exactly one of logged and calculated cost, and `cost_usd` is that one. `unpriced` is 1 where a
    call that used tokens (or a successful call of a model whose log leaves the usage out) has no cost, NaN where
    the question does not arise: an error without usage, no tokens, a gateway's cache hit, mode `none`.
    Calls without a time take the prices of `undated_us` (microseconds; None: the newest listed).
    Prices are looked up only if a call needs one. Raises `ValueError` for an unknown mode.
    """
    mode = CostMode(mode)
    logged, calculated = np.full(columns.size, np.nan), np.full(columns.size, np.nan)
    if mode is CostMode.NONE:
        return _with_costs(columns, logged, calculated, np.full(columns.size, np.nan))
    if mode is not CostMode.CALCULATED:
        logged = columns.number("cost_usd")
    needed = np.isnan(logged)
    if mode is CostMode.AUTO:
        doubtful = doubtful_zeros(columns)
        if doubtful.any():
            logged, needed = np.where(doubtful, np.nan, logged), needed | doubtful
    if not needed.any():
        return _with_costs(columns, logged, calculated, np.zeros(columns.size))
    if mode is not CostMode.LOGGED:
        calculated = _calculate_where(needed, columns, table, undated_us)
    return _with_costs(columns, logged, calculated, _unpriced(columns, np.isnan(logged) & np.isnan(calculated)))


def _unpriced(columns: Columns, unknown: BoolArray) -> FloatArray:
    """1, 0 or NaN for calls, given which have no cost; shape (calls,)."""
    unpriced = np.zeros(columns.size)
    if unknown.any():
        unpriced[unknown] = np.where(owes(for_pricing(columns).take(unknown)), 1.0, np.nan)
    return unpriced


def _with_costs(columns: Columns, logged: FloatArray, calculated: FloatArray, unpriced: FloatArray) -> Columns:
    effective = np.where(np.isnan(logged), calculated, logged)
    return columns.with_numbers(
        cost_usd=effective, cost_logged_usd=logged, cost_calculated_usd=calculated, unpriced=unpriced
    )


def doubtful_zeros(columns: Columns) -> BoolArray:
    """Calls logged at 0 that used tokens, did not fail and were no gateway cache hit; shape (calls,)."""
    zero: BoolArray = columns.number("cost_usd") == 0
    if not zero.any():
        return zero
    asked = for_pricing(columns).take(zero)
    zero[zero] = usage_of(asked).used & ~failed(asked) & ~gateway_hits(asked)
    return zero


def owes(columns: Columns) -> BoolArray:
    """Calls that must have cost something: tokens were used, or it succeeded and the usage is left out; (calls,)."""
    tokens = [columns.number(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    silent = succeeded(columns) & (columns.name("model").codes >= 0) & np.all(np.isnan(tokens), axis=0)
    owing: BoolArray = (usage_of(columns).used | silent) & ~gateway_hits(columns)
    return owing


def _calculate_where(rows: BoolArray, columns: Columns, table: PriceTable, undated_us: int | None) -> FloatArray:
    if rows.all():
        return calculate(columns, table, undated_us)
    costs = np.full(columns.size, np.nan)
    costs[rows] = calculate(for_pricing(columns).take(rows), table, undated_us)
    return costs


def for_pricing(columns: Columns) -> Columns:
    """The calls with only the fields that prices depend on."""
    numbers = {name: values for name, values in columns.numbers.items() if name.endswith("_tokens")}
    if "cache_hit" in columns.numbers:
        numbers["cache_hit"] = columns.numbers["cache_hit"]
    names = {name: column for name, column in columns.names.items() if name in (*PRICED_BY, "status")}
    return Columns(columns.size, columns.timestamp, numbers, names)


def calculate(columns: Columns, table: PriceTable, undated_us: int | None = None) -> FloatArray:
    """The cost of each call from prices, whole nano-dollars; NaN where unknown or nothing was used; shape (calls,)."""
    usage = usage_of(columns)
    hits = gateway_hits(columns)
    if not usage.used.any():
        return np.where(hits, 0.0, np.nan)
    costs = charge(usage, quote(columns, table, undated_us))
    costs[~usage.used] = np.nan
    costs[hits] = 0.0
    return costs


def charge(usage: Usage, quoted: Quoted) -> FloatArray:
    """Tokens times rates, rounded to whole nano-dollars; NaN where a used kind has no price; shape (calls,)."""
    if not quoted.quotes:
        return np.full(len(usage.prompt), np.nan)
    starts, rates = _tables(quoted.quotes)
    row = _rows(usage, quoted, starts)
    unknown = np.isnan(rates)
    known = np.where(unknown, 0.0, rates)
    costs = known[:, _REQUEST].take(row)
    for kind, tokens in enumerate(usage.kinds):
        if tokens is not None:
            costs += tokens * known[:, kind].take(row)
            if unknown[:, kind].any():
                costs[unknown[:, kind].take(row) & (tokens > 0)] = np.nan
    for kind, left_open in ((_INPUT, usage.prompt_open), (_OUTPUT, usage.output_open)):
        if left_open is not None:
            costs[left_open & (known[:, kind].take(row) > 0)] = np.nan
    costs[quoted.index < 0] = np.nan
    return np.rint(costs, out=costs)


def _rows(usage: Usage, quoted: Quoted, starts: FloatArray) -> IntArray:
    """The row of rates of each call: those of its quote and context tier; shape (calls,)."""
    tiers = starts.shape[1]
    if not tiers:
        return quoted.index
    rows: IntArray = quoted.index * (tiers + 1)
    for tier in range(tiers):
        rows += usage.prompt > starts[:, tier].take(quoted.index)
    return rows


def _tables(quotes: tuple[Quote, ...]) -> tuple[FloatArray, FloatArray]:
    """Tier starts, shape (quotes, tiers), and rates, shape (quotes x (tiers + 1), kinds); short ones are padded."""
    tiers = max(len(quote.rates.starts) for quote in quotes)
    starts = np.full((len(quotes), tiers), np.inf)
    rates = np.full((len(quotes), tiers + 1, len(KINDS)), np.nan)
    for i, quoted in enumerate(quotes):
        starts[i, : len(quoted.rates.starts)] = quoted.rates.starts
        rates[i, : len(quoted.rates.rows)] = quoted.rates.rows
    return starts, rates.reshape(-1, len(KINDS))
