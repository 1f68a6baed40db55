"""Cost of calls: usage times the prices of the model at that time, in nano-dollars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray, Names
from llmmon.metrics.record import USAGE
from llmmon.pricing.cost_modes import CostMode
from llmmon.pricing.doubts import Doubt
from llmmon.pricing.price_list import KINDS, NEWEST_US, STANDARD_TIERS, Listing, Quote
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.units import BASE
from llmmon.pricing.usage import Usage, failed, gateway_hits, succeeded, usage_of

PRICED_BY: Final = ("model", "provider", "service_tier", "speed")
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

    def doubted(self, doubt: Doubt) -> BoolArray:
        """Calls whose price is uncertain for a reason; shape (calls,)."""
        table = np.array([quote.doubt is doubt for quote in self.quotes] + [False])
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
        model, provider, tier, speed = (
            names.values[code] if code >= 0 else None for names, code in zip(fields, reversed(codes), strict=True)
        )
        faster = (speed or "").strip().casefold()
        yield (
            model,
            provider,
            (tier or "").strip().casefold() if faster in STANDARD_TIERS or not faster.isalpha() else faster,
        )


_REQUEST: Final = list(KINDS).index("request")
_OUTPUT: Final = list(KINDS).index("output")
_INPUT: Final = list(KINDS).index("input")


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
    partial = np.zeros(columns.size, np.bool_)
    if mode is not CostMode.LOGGED:
        calculated, partial = _calculate_where(needed, columns, table, undated_us)
    unpriced = _unpriced(columns, np.isnan(logged) & np.isnan(calculated))
    unpriced[partial & np.isnan(logged)] = 1.0
    return _with_costs(columns, logged, calculated, unpriced)


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


def _calculate_where(
    rows: BoolArray, columns: Columns, table: PriceTable, undated_us: int | None
) -> tuple[FloatArray, BoolArray]:
    if rows.all():
        return calculate_known(columns, table, undated_us)
    costs, partial = np.full(columns.size, np.nan), np.zeros(columns.size, np.bool_)
    costs[rows], partial[rows] = calculate_known(for_pricing(columns).take(rows), table, undated_us)
    return costs, partial


def for_pricing(columns: Columns) -> Columns:
    """The calls with only the fields that prices depend on."""
    numbers = {name: values for name, values in columns.numbers.items() if name.endswith("_tokens") or name in USAGE}
    if "cache_hit" in columns.numbers:
        numbers["cache_hit"] = columns.numbers["cache_hit"]
    names = {name: column for name, column in columns.names.items() if name in (*PRICED_BY, "advisor_model", "status")}
    return Columns(columns.size, columns.timestamp, numbers, names)


def calculate(columns: Columns, table: PriceTable, undated_us: int | None = None) -> FloatArray:
    """The cost of each call from prices, whole nano-dollars; NaN where unknown or nothing was used; shape (calls,)."""
    costs, partial = calculate_known(columns, table, undated_us)
    costs[partial] = np.nan
    return costs


def calculate_known(columns: Columns, table: PriceTable, undated_us: int | None = None) -> tuple[FloatArray, BoolArray]:
    """As `calculate`, but also what is known of a cost of which a part has no price; and which calls that is so of."""
    usage = usage_of(columns)
    hits = gateway_hits(columns)
    quoted = quote(columns, table, undated_us)
    by_call = _priced_by_call(quoted) & ~failed(columns)
    if not (usage.used | by_call).any():
        return np.where(hits, 0.0, np.nan), np.zeros(columns.size, np.bool_)
    costs, partial = charge(usage, quoted), without_price(usage, quoted)
    if "advisor_model" in columns.names:
        partial |= _add_advice(costs, columns, table, undated_us)
    costs[~usage.used & ~by_call] = np.nan
    costs[partial & (costs == 0)] = np.nan
    costs[hits] = 0.0
    return costs, partial & ~hits & ~np.isnan(costs)


def _priced_by_call(quoted: Quoted) -> BoolArray:
    """Calls of models that are sold by the call and not by tokens: no usage is needed to price them; shape (calls,)."""
    table = [each.rates.of("request") > 0 and not each.rates.of("input") > 0 for each in quoted.quotes]
    found: BoolArray = np.array([*table, False], np.bool_)[quoted.index]
    return found


def _add_advice(costs: FloatArray, columns: Columns, table: PriceTable, undated_us: int | None) -> BoolArray:
    """Add what the advisors of calls cost at their own models' prices; which calls' advisors have no price."""
    tokens = {name: np.nan_to_num(columns.number(f"advisor_{name}_tokens")) for name in _ADVICE}
    read, write = tokens["cached"], tokens["cache_write"]
    prompt = tokens["input"] + read + write
    numbers = {"prompt_tokens": prompt, "completion_tokens": tokens["output"], "cached_tokens": read}
    numbers["cache_write_tokens"] = write
    names = {name: column for name, column in columns.names.items() if name in PRICED_BY}
    asked = Columns(columns.size, columns.timestamp, numbers, {**names, "model": columns.name("advisor_model")})
    advice = calculate(asked, table, undated_us)
    costs += np.nan_to_num(advice)
    unpriced: BoolArray = np.isnan(advice) & (prompt + tokens["output"] > 0)
    return unpriced


_ADVICE: Final = ("input", "cached", "cache_write", "output")


def charge(usage: Usage, quoted: Quoted) -> FloatArray:
    """Usage times rates, rounded to whole nano-dollars; NaN where used tokens have no price; shape (calls,).

    Other things than tokens that have no price are left out (see `without_price`).
    """
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
    if usage.apart:
        costs += _surcharge(usage.apart, rates, row)
    for kind, left_open in ((_INPUT, usage.prompt_open), (_OUTPUT, usage.output_open)):
        if left_open is not None:
            costs[left_open & (known[:, kind].take(row) > 0)] = np.nan
    costs[quoted.index < 0] = np.nan
    return np.rint(costs, out=costs)


def token_prices(usage: Usage, quoted: Quoted) -> FloatArray:
    """Nano-dollars for a token of each of the base kinds, NaN without a price; shape (calls, kinds)."""
    if not quoted.quotes:
        return np.full((len(usage.prompt), len(BASE)), np.nan)
    starts, rates = _tables(quoted.quotes)
    found: FloatArray = rates[:, : len(BASE)][_rows(usage, quoted, starts)]
    found[quoted.index < 0] = np.nan
    return found


def _surcharge(apart: Mapping[str, FloatArray], rates: FloatArray, row: IntArray) -> FloatArray:
    """What usage that is billed apart costs more than as part of the tokens that hold it; shape (calls,)."""
    extra = np.zeros(len(row))
    more = _surcharges(rates)
    for name, amounts in apart.items():
        extra += amounts * more[name].take(row)
    return extra


def _surcharges(rates: FloatArray) -> dict[str, FloatArray]:
    """The price of each kind less what the kinds that hold it charge already; 0 without a price; shape (rows,).

    So a cached audio token pays the price of input, and what cached, audio and cached audio cost more than that.
    """
    more: dict[str, FloatArray] = {}
    for column, (name, unit) in enumerate(KINDS.items()):
        charged = sum((more[wider] for wider in unit.inside), np.zeros(len(rates)))
        more[name] = np.where(np.isnan(rates[:, column]), 0.0, rates[:, column] - charged)
    return more


def without_price(usage: Usage, quoted: Quoted) -> BoolArray:
    """Calls that used something that their model has no price for, beside tokens that have one; shape (calls,).

    Audio at the price of text is no price.
    """
    found: BoolArray = np.zeros(len(usage.prompt), np.bool_)
    for name, amounts in usage.apart.items():
        kinds = (name,) if KINDS[name].differs else (name, *KINDS[name].inside)
        priced = np.array([_is_priced(each, kinds) for each in quoted.quotes] + [False])
        found |= (amounts > 0) & ~priced[quoted.index] & (quoted.index >= 0)
    return found


def _is_priced(quoted: Quote, kinds: Iterable[str]) -> bool:
    return not all(np.isnan(quoted.rates.of(kind)) for kind in kinds)


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
