"""Costs that the log settles by itself, so that no price has to be looked up (nor the price table loaded)."""

from __future__ import annotations

import numpy as np

from llmmon.metrics.columns import BoolArray, Columns
from llmmon.metrics.record import Status


def as_logged(columns: Columns) -> Columns | None:
    """The calls with cost columns (see `pricing.price`) where each call that owes something has a logged cost.

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
    """Calls that may have cost something: tokens were used, or it did not fail; shape (calls,)."""
    used = sum(np.nan_to_num(columns.number(f"{kind}_tokens")) for kind in ("prompt", "completion", "total"))
    status = columns.name("status")
    failed = np.isin(status.codes, [code for code, value in enumerate(status.values) if value == Status.ERROR])
    owing: BoolArray = (used > 0) | ~failed
    return owing
