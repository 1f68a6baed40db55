"""Where the costs of calls come from: `--cost auto`, `logged`, `calculated` or `none`, or left as they were read.

The price table is loaded when the first call needs a price, so that a log with all its costs does without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.metrics.columns import BoolArray, Columns
from llmmon.metrics.record import USAGE, Status

AS_READ: Final = "as read"  # for those who do the pricing themselves
PRICED_BY: Final = frozenset(
    {"model", "provider", "service_tier", "speed", "advisor_model", "status", *USAGE, "cache_hit"}
    | {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "reasoning_tokens",
        "cost_usd",
    }
)
Pricing = Callable[[Columns], Columns]


class CostMode(StrEnum):
    """Where costs come from."""

    AUTO = "auto"  # logged; calculated where nothing (or a 0 that cannot be) is logged
    LOGGED = "logged"  # only as logged, zeros included
    CALCULATED = "calculated"  # only from prices
    NONE = "none"  # no costs


def needs_costs(fields: AbstractSet[str]) -> bool:
    """Whether one of the fields is a cost."""
    return any("cost" in name for name in fields)


def pricing_fields(mode: str, fields: AbstractSet[str]) -> frozenset[str]:
    """The fields that costs are made from, where `fields` ask for costs."""
    return PRICED_BY if mode != CostMode.NONE and needs_costs(fields) else frozenset()


def pricing(mode: str, fields: AbstractSet[str], prices: Mapping[str, Any], undated_us: int) -> Pricing | None:
    """What gives calls their costs in a mode, None where they stay as they are.

    `prices` are the user's own (`[prices]`); calls without a time take the prices of `undated_us` (microseconds UTC).
    """
    if mode == CostMode.NONE:
        return _without_costs
    if mode == AS_READ or not needs_costs(fields):
        return None
    return _FromPrices(mode, prices, undated_us)


def _without_costs(columns: Columns) -> Columns:
    kept = {name: values for name, values in columns.numbers.items() if name != "cost_usd"}
    return msgspec.structs.replace(columns, numbers=kept)


class _FromPrices:
    """Gives calls their costs, from the log where that settles them, else from the price table."""

    def __init__(self, mode: str, prices: Mapping[str, Any], undated_us: int) -> None:
        self._mode = mode
        self._prices = prices
        self._undated_us = undated_us
        self._table: Any = None

    def __call__(self, columns: Columns) -> Columns:
        settled = _as_logged(columns) if self._mode in {CostMode.AUTO, CostMode.LOGGED} else None
        return self._calculated(columns) if settled is None else settled

    def _calculated(self, columns: Columns) -> Columns:
        from llmmon.pricing.costs import price
        from llmmon.pricing.price_table import PriceTable

        if self._table is None:
            self._table = PriceTable.of(self._prices)
        return price(columns, self._table, self._mode, self._undated_us)


def _as_logged(columns: Columns) -> Columns | None:
    """The calls with cost columns (see `pricing.costs.price`) where each call that owes something has a logged cost.

    None where some call needs a price: it used tokens, or succeeded, and its cost is missing or 0.
    """
    logged = columns.number("cost_usd")
    settled = logged > 0
    if not settled.all() and bool((_owing(columns) & ~settled).any()):
        return None
    missing = np.isnan(logged)
    return columns.with_numbers(
        cost_usd=logged,
        cost_logged_usd=logged,
        cost_calculated_usd=np.full(columns.size, np.nan),
        unpriced=np.where(missing, np.nan, 0.0),
    )


def _owing(columns: Columns) -> BoolArray:
    """Calls that may have cost something: tokens were used, or the call did not fail; shape (calls,)."""
    used = sum(np.nan_to_num(columns.number(f"{kind}_tokens")) for kind in ("prompt", "completion", "total"))
    status = columns.name("status")
    failed = np.isin(status.codes, [code for code, value in enumerate(status.values) if value == Status.ERROR])
    owing: BoolArray = (used > 0) | ~failed
    return owing
