"""A block of calls under examination: what was logged, what prices say, and what each call adds to the sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from llmmon.columns import BoolArray, Columns, FloatArray
from llmmon.disagreements import differ
from llmmon.prices import PriceTable
from llmmon.pricing import calculate, charge, doubtful_zeros, price
from llmmon.quoting import Quoted, quote
from llmmon.usage import Usage, failed, gateway_hits, usage_of

# sums of a group, costs in nano-dollars; the order of a group's numbers
FIGURES: Final = (
    *("calls", "prompt_tokens", "completion_tokens", "cached_tokens", "priced_calls", "logged_calls", "logged"),
    *("calculated_calls", "calculated", "unpriced_calls", "certain", "compared_calls", "compared_logged"),
    *("compared_recalculated", "disagreeing_calls", "gateway_hits", "gateway_saved", "read_saved", "write_extra"),
)


class CostPlan(msgspec.Struct, frozen=True):
    """What to find out: fields to group by, models to compare with, how many of the largest disagreements to keep."""

    table: PriceTable
    by: tuple[str, ...] = ("model",)
    as_models: tuple[str, ...] = ()
    undated_us: int | None = None
    largest: int = 10


class Block(msgspec.Struct, frozen=True, eq=False):
    """A block of calls with what pricing says about them; costs in nano-dollars, all of shape (calls,)."""

    plan: CostPlan
    columns: Columns
    usage: Usage
    quoted: Quoted
    hits: BoolArray
    doubtful: BoolArray
    logged: FloatArray  # as the log has it
    recalculated: FloatArray
    priced: Columns

    @property
    def cost(self) -> FloatArray:
        """What each call counts for in the total."""
        return self.priced.number("cost_usd")

    @property
    def compared(self) -> BoolArray:
        """Calls whose logged cost can be checked: not those that nobody bills."""
        nobody = self.hits | (failed(self.columns) & (self.logged == 0))
        compared: BoolArray = ~np.isnan(self.logged) & ~np.isnan(self.recalculated) & ~nobody
        return compared

    @property
    def disagreeing(self) -> BoolArray:
        """Calls whose logged cost is not the recalculated one."""
        return self.compared & differ(self.logged, self.recalculated)

    @property
    def certain(self) -> BoolArray:
        """Calls whose cost is certain, see `costs.CostReport.certain_share`."""
        as_logged = ~np.isnan(self.priced.number("cost_logged_usd"))
        contradicted = self.disagreeing & self.quoted.certain
        calculated = ~np.isnan(self.priced.number("cost_calculated_usd"))
        sure = self.hits | (self.quoted.certain & self.columns.dated & ~self.doubtful)
        certain: BoolArray = (as_logged & ~contradicted) | (calculated & sure)
        return certain


def block_of(columns: Columns, plan: CostPlan) -> Block:
    """Price a block; `columns` carry `cost_usd` as logged, not yet priced."""
    return Block(
        plan=plan,
        columns=columns,
        usage=usage_of(columns),
        quoted=quote(columns, plan.table, plan.undated_us),
        hits=gateway_hits(columns),
        doubtful=doubtful_zeros(columns),
        logged=columns.number("cost_usd"),
        recalculated=calculate(columns, plan.table, plan.undated_us),
        priced=price(columns, plan.table, undated_us=plan.undated_us),
    )


def figures(block: Block) -> Iterator[tuple[str, FloatArray | BoolArray]]:
    """The figures of each call, NaN for none."""
    logged, calculated = block.priced.number("cost_logged_usd"), block.priced.number("cost_calculated_usd")
    compared, cost = block.compared, block.cost
    yield "calls", np.ones(block.columns.size)
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        yield name, block.columns.number(name)
    yield "priced_calls", ~np.isnan(cost)
    yield "logged_calls", ~np.isnan(logged)
    yield "logged", logged
    yield "calculated_calls", ~np.isnan(calculated)
    yield "calculated", calculated
    yield "unpriced_calls", block.priced.number("unpriced")
    yield "certain", np.where(block.certain, cost, 0.0)
    yield "compared_calls", compared
    yield "compared_logged", np.where(compared, block.logged, 0.0)
    yield "compared_recalculated", np.where(compared, block.recalculated, 0.0)
    yield "disagreeing_calls", block.disagreeing
    yield "gateway_hits", block.hits
    full = charge(block.usage, block.quoted)
    yield "gateway_saved", np.where(block.hits, full, 0.0)
    yield "read_saved", _difference(block, full, _uncached(block.usage, reads=True), sign=1.0)
    yield "write_extra", _difference(block, full, _uncached(block.usage, reads=False), sign=-1.0)


def _difference(block: Block, full: FloatArray, otherwise: Usage, *, sign: float) -> FloatArray:
    """How much more (times `sign`) other usage would have cost; 0 for gateway hits, which are counted apart."""
    if otherwise is block.usage:
        return np.zeros(len(full))
    return np.where(block.hits, 0.0, sign * (charge(otherwise, block.quoted) - full))


def _uncached(usage: Usage, *, reads: bool) -> Usage:
    """The same usage if the cache had not been read from (or not written to)."""
    if reads:
        if usage.cache_read is None:
            return usage
        return msgspec.structs.replace(usage, uncached=usage.uncached + usage.cache_read, cache_read=None)
    written = [tokens for tokens in (usage.cache_write, usage.cache_write_1h) if tokens is not None]
    if not written:
        return usage
    uncached = usage.uncached + sum(written[1:], written[0])
    return msgspec.structs.replace(usage, uncached=uncached, cache_write=None, cache_write_1h=None)
