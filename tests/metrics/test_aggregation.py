"""The folds: blocks in any number add up to what one block gives."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.metrics import aggregation
from llmmon.metrics.aggregates import Aggregates, normalised
from llmmon.metrics.aggregation import AggregatesFold, Measures, aggregate
from llmmon.metrics.grouping import Grouping
from tests.support.columns_factory import columns_of

MEASURES = Measures(sums=("requests", "latency_ms"), values=("latency_ms", "total_tokens"))


@pytest.mark.parametrize("few_groups", [1, 40, 4096])
@pytest.mark.parametrize("merge_every", [2, 64])
@pytest.mark.parametrize("by", [(), ("user",), ("model", "user")])
def test_blocks_add_up_however_many_groups_there_are(
    few_groups: int, merge_every: int, by: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregation, "_FEW_GROUPS", few_groups)
    dice = np.random.default_rng(3)
    rows = [
        {"model": f"m{dice.integers(3)}", "user": f"u{dice.integers(60)}", "latency_ms": float(dice.integers(900))}
        for _ in range(400)
    ]
    columns, grouping = columns_of(rows), Grouping(by)
    fold = AggregatesFold([(MEASURES, grouping)], 10**9, merge_every)
    for start in range(0, 400, 37):
        fold.add(columns.take(np.arange(start, min(start + 37, 400))), [])
    (found,) = fold.result()
    runs = [run for values in found.values.values() for run in values.runs]
    assert all((np.diff(run.keys.astype(np.int64)) >= 0).all() for run in runs if run.ordered)
    assert all(run.ordered for run in runs) or len(found.groups) <= few_groups
    whole = normalised(aggregate(columns, MEASURES, grouping))
    assert described(normalised(found)) == described(whole)


def described(aggregates: Aggregates) -> object:
    values = {name: [run.keys.tolist() for run in v.runs] for name, v in aggregates.values.items() if len(v)}
    sums = {name: (s.count.tolist(), s.total.tolist()) for name, s in aggregates.sums.items()}
    return aggregates.groups, sums, values
