"""`cost`: the calls of a query -> a `CostReport`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from llmmon.ingest.query import Query, Read, read
from llmmon.metrics.columns import MISSING_TIME, Columns, FloatArray
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.quantiles import quantiles
from llmmon.metrics.record import NANO_DOLLARS
from llmmon.pricing.audit import COST_UNIT, FIGURES, CostFold, CostPlan, CostTally, Disagreement, Totals, merge_tallies
from llmmon.pricing.cost_modes import AS_READ, PRICED_BY
from llmmon.pricing.costs import calculate
from llmmon.pricing.disagreements import EXPLANATIONS, Cause
from llmmon.pricing.doubts import REASONS, Doubt
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.what_if import SPREAD, Alternative, check_models
from llmmon.reports.bill import Bill, bill_of
from llmmon.reports.forecast import Forecast, forecast_of
from llmmon.text.times import DAY_US


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
    certain_tokens_share: float | None
    certain_calls_share: float | None
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
    """Calls without a cost, or without a part of it.

    `why` is `no price`, `no model`, `no usage`, `incomplete usage` or `no price for a part`.
    """

    model: str | None
    provider: str | None
    why: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


class UncertainRow(msgspec.Struct, frozen=True):
    """Calls whose cost is uncertain for one reason; `cost_usd` is what is known of it, None for nothing."""

    reason: Doubt
    explanation: str
    calls: int
    tokens: int
    cost_usd: float | None


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

    `certain_share` is the part of what was spent that is certain. A logged cost is, unless prices that needed no guess
    contradict it (by more than 1 % and a millionth of a dollar); a calculated one is if the call has a time and its
    model, tier and all of its usage are in the price list as they are named, unless the log says 0; and so is a
    gateway's cache hit. Calls without a price count as uncertain, with what the others cost a token (or, without
    tokens, a call). `certain_tokens_share` and `certain_calls_share` are the same by tokens and calls. None without
    any call that costs something. `uncertain` has the rest by reason.
    """

    price_table: str
    price_hash: str
    by: tuple[str, ...]
    totals: CostRow
    models: tuple[CostRow, ...]  # the groups of `by`, the most expensive first
    certain_share: float | None
    uncertain: tuple[UncertainRow, ...]
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
    bill: Bill | None = None


__all__ = ("CostPlan", "CostReport", "check_models", "duplicates_of", "merge_tallies", "report")

_PROBABILITIES: Final = (0.5, 0.9, 0.95, 0.99)


def duplicates_of(columns: Columns, plan: CostPlan) -> DuplicateRow:
    """What repeated calls would have added, had they been counted."""
    cost = calculate(columns, plan.table, plan.undated_us)
    logged = columns.number("cost_usd")
    cost = np.where(logged > 0, logged, cost)
    known = ~np.isnan(cost)
    return DuplicateRow(columns.size, _usd(int(cost[known].sum()), bool(known.any())))


def report(tallied: CostTally, plan: CostPlan, duplicates: DuplicateRow | None = None) -> CostReport:
    """The report of all tallies merged."""
    groups = [_row(dict(zip(plan.by, group, strict=True)), sums) for group, sums in tallied.groups.items()]
    sums = tuple(map(sum, zip(*tallied.groups.values(), strict=True))) or (0,) * len(FIGURES)
    totals = _row({}, sums)
    return CostReport(
        price_table=plan.table.version,
        price_hash=plan.table.hash,
        by=plan.by,
        totals=totals,
        models=tuple(
            sorted(groups, key=lambda row: (-(row.cost_usd or 0.0), [str(name) for name in row.key.values()]))
        ),
        certain_share=totals.certain_share,
        uncertain=_uncertain_rows(tallied),
        causes=_cause_rows(tallied),
        disagreements=tuple(_disagreement_row(row) for row in tallied.largest),
        unpriced=_unpriced_rows(tallied),
        zero_cost=_zero_rows(tallied),
        duplicates=duplicates,
        caching=_caching(dict(zip(FIGURES, sums, strict=True))),
        per_request=_per_request(tallied),
        per_user=_per_user(tallied),
        exact=tallied.costs.exact,
        bill=bill_of(tallied, plan) if plan.every_us else None,
        what_if=tuple(_what_if(model, sums_of) for model, sums_of in tallied.alternatives.items()),
    )


def _usd(nano: int, known: bool = True) -> float | None:
    return nano / NANO_DOLLARS if known else None


def _dollars(nano: int) -> float:
    return nano / NANO_DOLLARS


def _row(key: Mapping[str, str | None], sums: Totals) -> CostRow:
    found = dict(zip(FIGURES, sums, strict=True))
    cost = found["logged"] + found["calculated"]
    compared = found["compared_calls"] > 0
    return CostRow(
        key=key,
        calls=found["calls"],
        prompt_tokens=found["prompt_tokens"],
        completion_tokens=found["completion_tokens"],
        cached_tokens=found["cached_tokens"],
        cost_usd=_usd(cost, found["priced_calls"] > 0),
        complete=not found["unpriced_calls"],
        logged_usd=_usd(found["logged"], found["logged_calls"] > 0),
        calculated_usd=_usd(found["calculated"], found["calculated_calls"] > 0),
        unpriced_calls=found["unpriced_calls"],
        certain_share=_certain_share(found, cost),
        certain_tokens_share=found["certain_tokens"] / found["tokens"] if found["tokens"] else None,
        certain_calls_share=_share_of_calls(found),
        compared_calls=found["compared_calls"],
        compared_logged_usd=_usd(found["compared_logged"], compared),
        recalculated_usd=_usd(found["compared_recalculated"], compared),
        difference_usd=_usd(found["compared_logged"] - found["compared_recalculated"], compared),
        disagreeing_calls=found["disagreeing_calls"],
    )


def _certain_share(found: Mapping[str, int], cost: int) -> float | None:
    """The certain part of what was spent, where calls without a price count at what the others cost a token."""
    unpriced, silent = found["unpriced_tokens"], found["unpriced_silent_calls"]
    priced_tokens, priced_calls = found["tokens"] - unpriced, found["priced_calls"]
    if not cost:
        return _share_of_calls(found) if found["unpriced_without_cost"] else None
    unknown = (cost * unpriced / priced_tokens if priced_tokens else 0.0) + cost * silent / priced_calls
    return found["certain"] / (cost + unknown)


def _share_of_calls(found: Mapping[str, int]) -> float | None:
    billed = found["priced_calls"] + found["unpriced_without_cost"]
    return found["certain_calls"] / billed if billed else None


def _uncertain_rows(tallied: CostTally) -> tuple[UncertainRow, ...]:
    rows = (
        UncertainRow(doubt, REASONS[doubt], calls, tokens, _usd(cost, cost > 0))
        for doubt, (calls, tokens, cost) in tallied.doubts.items()
    )
    return tuple(sorted(rows, key=lambda row: (-(row.cost_usd or 0.0), -row.tokens, -row.calls, row.reason)))


def _cause_rows(tallied: CostTally) -> tuple[CauseRow, ...]:
    rows = (
        CauseRow(cause, EXPLANATIONS[cause], calls, _dollars(was), _dollars(should), _dollars(was - should))
        for cause, (calls, was, should) in tallied.causes.items()
    )
    return tuple(sorted(rows, key=lambda row: (-abs(row.difference_usd), row.cause)))


def _disagreement_row(row: Disagreement) -> DisagreementRow:
    return DisagreementRow(
        request_id=row.request_id,
        model=row.model,
        provider=row.provider,
        timestamp_us=None if row.timestamp_us == MISSING_TIME else row.timestamp_us,
        logged_usd=_dollars(row.logged),
        recalculated_usd=_dollars(row.recalculated),
        difference_usd=_dollars(row.logged - row.recalculated),
        cause=row.cause,
        explanation=EXPLANATIONS[row.cause],
        position=row.position,
    )


def _unpriced_rows(tallied: CostTally) -> tuple[UnpricedRow, ...]:
    rows = (UnpricedRow(*key, *sums) for key, sums in tallied.unpriced.items())
    return tuple(
        sorted(
            rows,
            key=lambda r: (-r.prompt_tokens - r.completion_tokens, -r.calls, r.model or "", r.why, r.provider or ""),
        )
    )


def _zero_rows(tallied: CostTally) -> tuple[ZeroRow, ...]:
    rows = (
        ZeroRow(model, calls, tokens, _usd(cost, known > 0))
        for model, (calls, tokens, known, cost) in tallied.zeros.items()
    )
    return tuple(sorted(rows, key=lambda row: (-(row.recalculated_usd or 0.0), -row.tokens, row.model or "")))


def _caching(sums: Mapping[str, int]) -> CachingRow:
    prompt, cached = sums["prompt_tokens"], sums["cached_tokens"]
    return CachingRow(
        cached_tokens=cached,
        cached_share=cached / prompt if prompt else None,
        read_saved_usd=_dollars(sums["read_saved"]),
        write_extra_usd=_dollars(sums["write_extra"]),
        gateway_hits=sums["gateway_hits"],
        gateway_saved_usd=_dollars(sums["gateway_saved"]),
    )


def _per_request(tallied: CostTally) -> Spread:
    found = quantiles(tallied.costs, 1, _PROBABILITIES, pooled=False)[0] * COST_UNIT
    return _spread(len(tallied.costs), found, tallied.highest)


def _per_user(tallied: CostTally) -> Spread:
    costs = np.array([cost for user, (_, cost) in tallied.users.items() if user is not None], np.float64)
    found = np.quantile(costs, _PROBABILITIES) if len(costs) else np.full(len(_PROBABILITIES), np.nan)
    return _spread(len(costs), found, int(costs.max(initial=0)))


def _spread(count: int, found: FloatArray, highest: int) -> Spread:
    if not count:
        return Spread(0, None, None, None, None, None)
    p50, p90, p95, p99 = (found / NANO_DOLLARS).tolist()
    return Spread(count, p50, p90, p95, p99, _dollars(highest))


def _what_if(model: str, sums: Alternative) -> WhatIfRow:
    off = sums.foreign * SPREAD
    return WhatIfRow(
        model=model,
        calls=sums.calls,
        left_out=sums.left_out,
        actual_usd=_dollars(sums.actual),
        cost_usd=_dollars(sums.cost),
        low_usd=(sums.cost - off) / NANO_DOLLARS,
        high_usd=(sums.cost + off) / NANO_DOLLARS,
        spread=SPREAD,
    )


_FIELDS: Final = PRICED_BY | {"user", "request_id"}


def audit_costs(
    query: Query, *, by: tuple[str, ...], as_models: tuple[str, ...] = (), largest: int = 10, every_us: int = 0
) -> tuple[CostReport, Read]:
    """What the calls cost and how sure that is; raises `UsageError` for models or fields that do not exist."""
    Grouping(by)  # checks the fields
    table = PriceTable.of(query.prices)
    check_models(as_models, table)
    plan = CostPlan(
        table=table,
        by=by,
        as_models=as_models,
        largest=largest,
        undated_us=query.wall_us,
        every_us=every_us,
        tz=query.tz,
    )
    as_logged = msgspec.structs.replace(query, cost=AS_READ)  # the fold does the pricing
    timed = {"timestamp"} if every_us else set()
    found = read(as_logged, _FIELDS | set(by) | timed, lambda: CostFold(plan))
    repeated = duplicates_of(found.repeated, plan) if found.repeated.size else None
    return report(merge_tallies(found.results, largest), plan, repeated), found


def forecast_costs(
    query: Query, *, by: tuple[str, ...], width_us: int, budget_usd: float | None = None
) -> tuple[Forecast, Read, str]:
    """What the period of `width_us` that the log ends in will come to; and the name of the price list."""
    Grouping(by)  # checks the fields
    plan = CostPlan(
        table=PriceTable.of(query.prices), by=by, undated_us=query.wall_us, every_us=DAY_US, tz=query.tz, largest=0
    )
    as_logged = msgspec.structs.replace(query, cost=AS_READ)
    found = read(as_logged, _FIELDS | set(by) | {"timestamp"}, lambda: CostFold(plan))
    found.source.need_calls()
    tallied = merge_tallies(found.results, 0)
    return forecast_of(tallied, plan, width_us, found.window.end_us, budget_usd), found, plan.table.version
