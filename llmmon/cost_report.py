"""What `cost` reports: amounts in US dollars, None where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmmon.disagreements import Cause


class CostRow(msgspec.Struct, frozen=True):
    """A group of calls (or all), in US dollars; None where nothing is known.

    `cost_usd` is the effective cost: `logged_usd` + `calculated_usd`. The `compared` figures are over the calls
    whose logged cost could be recalculated: `difference_usd` is what was logged too much.
    """

    key: Mapping[str, str | None]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float | None
    complete: bool
    logged_usd: float | None
    calculated_usd: float | None
    unpriced_calls: int
    certain_share: float | None
    compared_calls: int
    compared_logged_usd: float | None
    recalculated_usd: float | None
    difference_usd: float | None
    disagreeing_calls: int


class CauseRow(msgspec.Struct, frozen=True):
    """Disagreements with one likely cause; `difference_usd` is what was logged too much."""

    cause: Cause
    explanation: str
    calls: int
    logged_usd: float
    recalculated_usd: float
    difference_usd: float


class DisagreementRow(msgspec.Struct, frozen=True):
    """One of the largest disagreements; `position` tells where in the log."""

    request_id: str | None
    model: str | None
    provider: str | None
    timestamp_us: int | None
    logged_usd: float
    recalculated_usd: float
    difference_usd: float
    cause: Cause
    explanation: str
    position: int | None


class UnpricedRow(msgspec.Struct, frozen=True):
    """Calls without a cost: `why` is `no price`, `no model`, `no usage` or `incomplete usage`."""

    model: str | None
    provider: str | None
    why: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


class ZeroRow(msgspec.Struct, frozen=True):
    """Successful calls logged at 0 that used tokens; `recalculated_usd` is None where the model has no price."""

    model: str | None
    calls: int
    tokens: int
    recalculated_usd: float | None


class CachingRow(msgspec.Struct, frozen=True):
    """Provider caching saved `read_saved_usd` and cost `write_extra_usd`; a gateway's cache saved whole calls."""

    cached_tokens: int
    cached_share: float | None  # of the prompt tokens
    read_saved_usd: float
    write_extra_usd: float
    gateway_hits: int
    gateway_saved_usd: float


class Spread(msgspec.Struct, frozen=True):
    """Quantiles in US dollars over `count` requests or users; None without any."""

    count: int
    p50_usd: float | None
    p90_usd: float | None
    p95_usd: float | None
    p99_usd: float | None
    max_usd: float | None


class DuplicateRow(msgspec.Struct, frozen=True):
    """Repeated calls that were left out, and what they would have added (None: not known)."""

    calls: int
    cost_usd: float | None


class WhatIfRow(msgspec.Struct, frozen=True):
    """The comparable calls with another model; low to high is how far another tokenizer may be off."""

    model: str
    calls: int
    left_out: int
    actual_usd: float
    cost_usd: float
    low_usd: float
    high_usd: float
    spread: float


class CostReport(msgspec.Struct, frozen=True):
    """What was spent, and how sure that is.

    `certain_share` is the part of the effective total (by money) that is certain, None where the total is 0 or
    unknown. Certain is a logged cost unless prices that needed no guess contradict it (by more than 1 % and a
    millionth of a dollar); a calculated cost if the call has a time and its model and tier are in the price list
    as they are named, unless the log says 0; and a gateway's cache hit. Unpriced calls have no part in the total
    and therefore none in the share: `totals.complete` says whether there are any.
    """

    price_table: str
    price_hash: str
    by: tuple[str, ...]
    totals: CostRow
    models: tuple[CostRow, ...]  # the groups of `by`, the most expensive first
    certain_share: float | None
    causes: tuple[CauseRow, ...]
    disagreements: tuple[DisagreementRow, ...]
    unpriced: tuple[UnpricedRow, ...]
    zero_cost: tuple[ZeroRow, ...]
    duplicates: DuplicateRow | None
    caching: CachingRow
    per_request: Spread
    per_user: Spread
    exact: bool  # whether the quantiles per request are
    what_if: tuple[WhatIfRow, ...]
