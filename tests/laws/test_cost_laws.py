"""Laws of prices and costs: they hold for every log, split and order."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmmon.metrics.columns import concat
from llmmon.pricing.audit import CostPlan, merge_tallies, tally
from llmmon.pricing.cost_modes import CostMode
from llmmon.pricing.costs import price
from llmmon.reports.costs import CostReport, report
from tests.support.priced_calls import OWN, calls

TOKENS = st.one_of(st.none(), st.integers(0, 400_000))
CALL = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["big", "think", "embed", "free", "nobody-knows", "local/x"]),
        "provider": st.sampled_from(["openai", "vllm"]),
        "user": st.sampled_from(["ann", "bob"]),
        "status": st.sampled_from(["ok", "error", "cancelled", "unknown"]),
        "service_tier": st.sampled_from(["default", "batch", "turbo"]),
        "prompt_tokens": TOKENS,
        "completion_tokens": TOKENS,
        "total_tokens": TOKENS,
        "cached_tokens": TOKENS,
        "cache_write_tokens": TOKENS,
        "cache_write_1h_tokens": TOKENS,
        "reasoning_tokens": TOKENS,
        "cost_usd": st.one_of(st.none(), st.just(0.0), st.floats(0, 50)),
        "cache_hit": st.sampled_from([0, 1]),
    },
)
LOG = st.lists(CALL, min_size=1, max_size=20)
MODES = st.sampled_from(list(CostMode))


def total(columns: Any, name: str = "cost_usd") -> int:
    """The sum in nano-dollars."""
    return int(np.nansum(columns.number(name)))


@given(LOG, MODES, st.integers(0, 20))
def test_costs_add_up_over_any_split_of_a_log(log: list[dict[str, Any]], mode: CostMode, at: int) -> None:
    whole = calls(*log)
    rows = np.arange(whole.size)
    parts = [price(whole.take(part), OWN, mode) for part in (rows[:at], rows[at:])]
    for name in ("cost_usd", "cost_logged_usd", "cost_calculated_usd", "unpriced"):
        assert np.array_equal(concat(parts).number(name), price(whole, OWN, mode).number(name), equal_nan=True)


@given(LOG, MODES)
def test_a_priced_call_is_either_logged_or_calculated(log: list[dict[str, Any]], mode: CostMode) -> None:
    priced = price(calls(*log), OWN, mode)
    cost, logged, calculated = (priced.number(f"cost_{name}usd") for name in ("", "logged_", "calculated_"))
    assert not (~np.isnan(logged) & ~np.isnan(calculated)).any()
    assert np.array_equal(np.isnan(cost), np.isnan(logged) & np.isnan(calculated))
    assert total(priced) == total(priced, "cost_logged_usd") + total(priced, "cost_calculated_usd")


@given(LOG, MODES)
def test_unpriced_is_asked_of_every_call_with_a_cost_and_answered_by_it(
    log: list[dict[str, Any]], mode: CostMode
) -> None:
    priced = price(calls(*log), OWN, mode)
    unpriced, cost = priced.number("unpriced"), priced.number("cost_usd")
    if mode is CostMode.NONE:
        assert np.isnan(unpriced).all()
    else:
        assert np.array_equal(unpriced == 0, ~np.isnan(cost))


@given(LOG)
def test_auto_is_never_surer_than_what_it_takes_its_costs_from(log: list[dict[str, Any]]) -> None:
    columns = calls(*log)
    auto, logged, calculated = (
        price(columns, OWN, mode).number("cost_usd") for mode in ("auto", "logged", "calculated")
    )
    known = ~np.isnan(auto)
    assert (~np.isnan(logged[known]) | ~np.isnan(calculated[known])).all()
    assert ((auto[known] == logged[known]) | (auto[known] == calculated[known])).all()


@given(LOG)
def test_costs_are_whole_nano_dollars_and_not_negative(log: list[dict[str, Any]]) -> None:
    cost = price(calls(*log), OWN, "calculated").number("cost_usd")
    cost = cost[~np.isnan(cost)]
    assert (cost >= 0).all()
    assert (cost == np.rint(cost)).all()


@given(LOG)
def test_pricing_leaves_everything_else_as_it_was(log: list[dict[str, Any]]) -> None:
    columns, untouched = calls(*log), calls(*log)
    priced = price(columns, OWN)
    for name in columns.numbers:
        assert np.array_equal(columns.number(name), untouched.number(name), equal_nan=True)
        if name != "cost_usd":
            assert priced.numbers[name] is columns.numbers[name]


def made(*parts: Any) -> CostReport:
    plan = CostPlan(OWN, by=("model", "user"), as_models=("big", "embed"))
    return report(merge_tallies([tally(part, plan) for part in parts]), plan)


@given(LOG, st.integers(0, 20))
def test_the_report_of_parts_is_the_report_of_the_whole(log: list[dict[str, Any]], at: int) -> None:
    whole = calls(*log)
    rows = np.arange(whole.size)
    one, other = whole.take(rows[:at]), whole.take(rows[at:])
    assert made(whole) == made(one, other) == made(other, one)


@given(LOG)
def test_the_report_has_the_totals_of_pricing(log: list[dict[str, Any]]) -> None:
    priced, found = price(calls(*log), OWN), made(calls(*log))
    assert round((found.totals.cost_usd or 0) * 1e9) == total(priced)
    assert found.totals.complete == (not (priced.number("unpriced") == 1).any())
    assert sum(row.calls for row in found.models) == found.totals.calls == len(log)


@given(LOG)
def test_the_certain_share_is_a_share(log: list[dict[str, Any]]) -> None:
    found = made(calls(*log))
    assert all(row.certain_share is None or 0 <= row.certain_share <= 1 for row in (found.totals, *found.models))


@given(LOG)
def test_a_report_can_be_written_as_json(log: list[dict[str, Any]]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(made(calls(*log))))["totals"]["calls"] == len(log)
