"""`cost`: what was spent, and how sure that figure is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from llmmon.columns import MISSING_TIME, Columns, FloatArray
from llmmon.cost_block import FIGURES, CostPlan
from llmmon.cost_report import (
    CachingRow,
    CauseRow,
    CostReport,
    CostRow,
    DisagreementRow,
    DuplicateRow,
    Spread,
    UnpricedRow,
    WhatIfRow,
    ZeroRow,
)
from llmmon.cost_tally import COST_UNIT, CostTally, Disagreement, Sums, merge_tallies, tally
from llmmon.disagreements import EXPLANATIONS
from llmmon.pricing import calculate
from llmmon.quantiles import quantiles
from llmmon.record import NANO_DOLLARS
from llmmon.whatif import SPREAD, Alternative, check_models

__all__ = ("CostPlan", "CostReport", "check_models", "duplicates_of", "merge_tallies", "report", "tally")

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
        causes=_cause_rows(tallied),
        disagreements=tuple(_disagreement_row(row) for row in tallied.largest),
        unpriced=_unpriced_rows(tallied),
        zero_cost=_zero_rows(tallied),
        duplicates=duplicates,
        caching=_caching(dict(zip(FIGURES, sums, strict=True))),
        per_request=_per_request(tallied),
        per_user=_per_user(tallied),
        exact=tallied.costs.exact,
        what_if=tuple(_what_if(model, sums_of) for model, sums_of in tallied.alternatives.items()),
    )


def _usd(nano: int, known: bool = True) -> float | None:
    return nano / NANO_DOLLARS if known else None


def _dollars(nano: int) -> float:
    return nano / NANO_DOLLARS


def _row(key: Mapping[str, str | None], sums: Sums) -> CostRow:
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
        certain_share=found["certain"] / cost if cost else None,
        compared_calls=found["compared_calls"],
        compared_logged_usd=_usd(found["compared_logged"], compared),
        recalculated_usd=_usd(found["compared_recalculated"], compared),
        difference_usd=_usd(found["compared_logged"] - found["compared_recalculated"], compared),
        disagreeing_calls=found["disagreeing_calls"],
    )


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
