"""The folds: blocks in any number add up to what one block gives."""

from __future__ import annotations

import numpy as np
import pytest

from llmmon.metrics.aggregation import AggregatesFold, Measures, aggregate
from llmmon.metrics.grouping import Grouping
from tests.support.aggregates import contents_of
from tests.support.columns_factory import columns_of

MEASURES = Measures(sums=("requests", "latency_ms"), values=("latency_ms", "total_tokens"))


@pytest.mark.parametrize("few_groups", [1, 40, 4096])
@pytest.mark.parametrize("merge_every", [2, 64])
@pytest.mark.parametrize("by", [(), ("user",), ("model", "user")])
def test_blocks_add_up_however_many_groups_there_are(few_groups: int, merge_every: int, by: tuple[str, ...]) -> None:
    dice = np.random.default_rng(3)
    rows = [
        {"model": f"m{dice.integers(3)}", "user": f"u{dice.integers(60)}", "latency_ms": float(dice.integers(900))}
        for _ in range(400)
    ]
    columns, grouping = columns_of(rows), Grouping(by)
    fold = AggregatesFold([(MEASURES, grouping)], 10**9, merge_every, few_groups)
    for start in range(0, 400, 37):
        fold.add(columns.take(np.arange(start, min(start + 37, 400))), [])
    (found,) = fold.result()
    runs = [run for values in found.values.values() for run in values.runs]
    assert all((np.diff(run.keys.astype(np.int64)) >= 0).all() for run in runs if run.ordered)
    assert all(run.ordered for run in runs) or len(found.groups) <= few_groups
    assert contents_of(found) == contents_of(aggregate(columns, MEASURES, grouping))
