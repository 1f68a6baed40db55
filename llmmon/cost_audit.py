"""`cost`: the calls of a query -> a `CostReport`."""

from __future__ import annotations

from typing import Final

import msgspec

from llmmon.cost_tally import CostFold
from llmmon.costs import CostPlan, CostReport, check_models, duplicates_of, merge_tallies
from llmmon.costs import report as report_of
from llmmon.grouping import Grouping
from llmmon.pipeline import AS_READ, PRICED_BY, Query, Read, read
from llmmon.prices import PriceTable

_FIELDS: Final = PRICED_BY | {"user", "request_id"}


def audit_costs(
    query: Query, *, by: tuple[str, ...], as_models: tuple[str, ...] = (), largest: int = 10
) -> tuple[CostReport, Read]:
    """What the calls cost and how sure that is; raises `UsageError` for models or fields that do not exist."""
    Grouping(by)  # checks the fields
    table = PriceTable.of(query.config.prices)
    check_models(as_models, table)
    plan = CostPlan(table=table, by=by, as_models=as_models, largest=largest, undated_us=query.wall_us)
    as_logged = msgspec.structs.replace(query, cost=AS_READ)  # the fold does the pricing
    found = read(as_logged, _FIELDS | set(by), lambda: CostFold(plan))
    repeated = duplicates_of(found.repeated, plan) if found.repeated.size else None
    return report_of(merge_tallies(found.results, largest), plan, repeated), found
