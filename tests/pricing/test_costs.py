"""The cost analysis: what was spent, why the log disagrees with the prices, and how sure the total is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from llmmon.errors import UsageError
from llmmon.pricing.audit import CostFold, CostPlan, merge_tallies, tally
from llmmon.pricing.disagreements import EXPLANATIONS, Cause
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.what_if import check_models
from llmmon.reports.costs import CostReport, duplicates_of, report
from llmmon.text.figures import money_text
from tests.support.priced_calls import OWN, calls

USED = {"model": "big", "prompt_tokens": 10_000, "completion_tokens": 1000}  # 0.045 dollars
CACHED = {**USED, "cached_tokens": 6000, "cache_write_tokens": 1000}  # 0.0295 + 0.00255 dollars


def reported(*rows: Mapping[str, Any], table: PriceTable = OWN, **plan: Any) -> CostReport:
    made = CostPlan(table, **plan)
    return report(tally(calls(*rows), made), made)


# ---- totals ----


def test_logged_and_calculated_costs_add_up_to_the_total() -> None:
    found = reported({**USED, "cost_usd": 1}, USED, {**USED, "model": "think", "cost_usd": 0.5})
    totals = found.totals
    assert (totals.logged_usd, totals.calculated_usd) == (1.5, 0.045)
    assert totals.cost_usd == 1.545
    assert [(row.key["model"], row.cost_usd) for row in found.models] == [("big", 1.045), ("think", 0.5)]


def test_costs_can_be_grouped_by_any_names() -> None:
    found = reported({**USED, "user": "ann"}, {**USED, "user": "bob"}, USED, by=("user", "model"))
    assert {(row.key["user"], row.key["model"]) for row in found.models} == {
        ("ann", "big"),
        ("bob", "big"),
        (None, "big"),
    }


def test_no_calls_cost_an_unknown_amount() -> None:
    found = reported()
    assert (found.totals.calls, found.totals.cost_usd, found.certain_share, found.per_request.count) == (
        0,
        None,
        None,
        0,
    )


def test_the_report_names_its_price_table() -> None:
    found = reported(USED)
    assert (found.price_table, found.price_hash) == (OWN.version, OWN.hash)


# ---- disagreements and their causes ----


def log_of(cause: Cause) -> dict[str, Any]:
    """A call whose logged cost is wrong for the given reason; prices of `big`: 3, 15, 0.3, 3.75 and 6 for an hour."""
    hour = {**USED, "cache_write_tokens": 4000, "cache_write_1h_tokens": 4000}
    thinking = {**USED, "reasoning_tokens": 600}
    return {
        Cause.ZERO_LOGGED: {**USED, "cost_usd": 0},
        Cause.ROUNDED: {**USED, "prompt_tokens": 10_003, "completion_tokens": 0, "cost_usd": 0.03},
        Cause.CACHED_TWICE: {**CACHED, "cost_usd": (10_000 * 3 + 1000 * 15 + 6000 * 0.3 + 1000 * 3.75) / 1e6},
        Cause.CACHE_IGNORED: {**CACHED, "cost_usd": 0.045},
        Cause.CACHE_LEFT_OUT: {**CACHED, "cost_usd": (4000 * 3 + 1000 * 15) / 1e6 - 1000 * 3 / 1e6},
        Cause.WRITE_RETENTION: {**hour, "cost_usd": (6000 * 3 + 4000 * 3.75 + 1000 * 15) / 1e6},
        Cause.REASONING_TWICE: {**thinking, "cost_usd": (10_000 * 3 + 1600 * 15) / 1e6},
        Cause.REASONING_LEFT_OUT: {**thinking, "cost_usd": (10_000 * 3 + 400 * 15) / 1e6},
        Cause.OUTPUT_MISSING: {**USED, "cost_usd": 0.03},
        Cause.OTHER_UNIT: {**USED, "cost_usd": 4.5},
        Cause.MISSING_USAGE: {**USED, "completion_tokens": 0, "cost_usd": 0.0456},
        Cause.UNKNOWN: {**USED, "cost_usd": 0.0357},
    }[cause]


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.WRONG_TIER, Cause.STALE_PRICE, Cause.ROUNDED}))
def test_the_cause_of_a_disagreement_is_found(cause: Cause) -> None:
    found = reported(log_of(cause))
    assert [row.cause for row in found.causes] == [cause]
    assert found.disagreements[0].explanation == EXPLANATIONS[cause]


def test_a_cost_logged_with_few_digits_is_no_more_than_that() -> None:
    used = {"model": "big", "prompt_tokens": 60, "completion_tokens": 10}  # 0.00033 dollars
    assert [row.cause for row in reported({**used, "cost_usd": 0.0003}).causes] == [Cause.ROUNDED]


def test_a_batch_that_was_charged_in_full_is_a_wrong_tier() -> None:
    used = {"model": "claude-sonnet-4-5", "prompt_tokens": 10_000, "completion_tokens": 1000}
    found = reported({**used, "service_tier": "batch", "cost_usd": 0.045}, table=PriceTable.of())
    assert [row.cause for row in found.causes] == [Cause.WRONG_TIER]


def test_a_long_prompt_at_the_short_prompts_price_is_a_wrong_tier() -> None:
    used = {"model": "claude-sonnet-4-5", "prompt_tokens": 300_000, "completion_tokens": 1000}
    at = datetime(2025, 11, 1, tzinfo=UTC)
    found = reported({**used, "at": at, "cost_usd": 0.915}, table=PriceTable.of())
    assert [row.cause for row in found.causes] == [Cause.WRONG_TIER]


def test_a_price_of_another_date_is_stale() -> None:
    used = {"model": "o3", "prompt_tokens": 10_000, "completion_tokens": 1000, "at": datetime(2025, 7, 1, tzinfo=UTC)}
    found = reported({**used, "cost_usd": 0.14}, table=PriceTable.of())
    assert [row.cause for row in found.causes] == [Cause.STALE_PRICE]
    assert found.totals.difference_usd == pytest.approx(0.14 - 0.028)


def test_every_cause_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Cause)


def test_a_cost_within_a_hundredth_is_no_disagreement() -> None:
    found = reported({**USED, "cost_usd": 0.0453})
    assert (found.totals.compared_calls, found.totals.disagreeing_calls, found.causes) == (1, 0, ())


def test_what_nobody_bills_is_not_compared() -> None:
    found = reported({**USED, "cost_usd": 0, "cache_hit": 1}, {**USED, "cost_usd": 0, "status": "error"})
    assert found.totals.compared_calls == 0


def test_the_largest_disagreements_come_first_and_say_where_they_stand() -> None:
    rows = [{**USED, "cost_usd": 0.045 + extra, "request_id": f"r{extra}"} for extra in (1, 3, 2)]
    found = reported(*rows, largest=2)
    assert [(row.request_id, row.position) for row in found.disagreements] == [("r3", 1), ("r2", 2)]
    assert found.causes[0].calls == 3


# ---- what is not known ----


def test_b12_a_total_with_unpriced_calls_is_partial_and_the_models_are_listed() -> None:
    found = reported(USED, {**USED, "model": "nobody-knows", "provider": "acme"})
    assert money_text(found.totals.cost_usd, complete=found.totals.complete).startswith("~$")
    (row,) = found.unpriced
    assert (row.model, row.provider, row.why, row.calls) == ("nobody-knows", "acme", "no price", 1)
    assert (row.prompt_tokens, row.completion_tokens) == (10_000, 1000)


def test_the_reason_for_a_missing_cost_is_told() -> None:
    rows = ({"model": "big"}, {"model": "big", "prompt_tokens": 10}, {"prompt_tokens": 10, "completion_tokens": 1})
    assert {row.why for row in reported(*rows).unpriced} == {"no usage", "incomplete usage", "no model"}


def test_b8_zero_costs_with_tokens_are_listed_with_what_they_should_have_been() -> None:
    found = reported({**USED, "cost_usd": 0}, {**USED, "model": "nobody-knows", "cost_usd": 0})
    assert [(row.model, row.tokens, row.recalculated_usd) for row in found.zero_cost] == [
        ("big", 11_000, 0.045),
        ("nobody-knows", 11_000, None),
    ]


def test_b7_a_log_that_is_zero_almost_everywhere_shows_the_whole_amount() -> None:
    found = reported(*[{**USED, "cost_usd": 0}] * 1000)
    assert found.totals.cost_usd == pytest.approx(45)
    assert found.causes[0].calls == 1000


def test_b9_the_report_hash_changes_with_the_price_table() -> None:
    other = PriceTable.of({"big": {"input": 4, "output": 15}}, OWN.source)
    assert reported(USED).price_hash != reported(USED, table=other).price_hash


# ---- certain_share ----


@pytest.mark.parametrize(
    ("row", "share"),
    [
        ({**USED, "cost_usd": 0.045}, 1.0),
        ({**USED, "model": "nobody-knows", "cost_usd": 0.045}, 1.0),
        (USED, 1.0),
        ({**USED, "cost_usd": 0.0357}, 0.0),
        ({**USED, "cost_usd": 0}, 0.0),
        ({**USED, "at": None}, 0.0),
        ({**USED, "model": "nobody-knows"}, 0.0),
    ],
)
def test_certain_is_what_nothing_contradicts_and_nothing_guesses(row: dict[str, Any], share: float | None) -> None:
    assert reported(row).certain_share == share


def test_a_guessed_price_is_not_certain() -> None:
    used = {**USED, "model": "prod-gpt-4o-eu", "provider": "azure"}
    assert reported(used, table=PriceTable.of()).certain_share == 0


def test_a_guessed_price_cannot_contradict_the_log() -> None:
    used = {**USED, "model": "prod-gpt-4o-eu", "provider": "azure", "cost_usd": 9}
    assert reported(used, table=PriceTable.of()).certain_share == 1


def test_the_certain_share_is_by_money() -> None:
    found = reported({**USED, "cost_usd": 0.045}, {**USED, "cost_usd": 0.135})
    assert found.certain_share == pytest.approx(0.25)


# ---- caches and duplicates ----


def test_savings_of_the_providers_cache_are_what_its_tokens_would_have_cost() -> None:
    caching = reported(CACHED).caching
    assert caching.read_saved_usd == pytest.approx(6000 * 2.7 / 1e6)
    assert caching.write_extra_usd == pytest.approx(1000 * 0.75 / 1e6)
    assert caching.cached_share == 0.6


def test_savings_of_the_gateways_cache_are_whole_calls() -> None:
    caching = reported({**USED, "cache_hit": 1}, USED).caching
    assert (caching.gateway_hits, caching.gateway_saved_usd) == (1, 0.045)


def test_duplicates_say_what_they_would_have_added() -> None:
    plan = CostPlan(OWN)
    repeated = duplicates_of(calls(USED, {**USED, "cost_usd": 1}), plan)
    assert (repeated.calls, repeated.cost_usd) == (2, 1.045)
    assert report(tally(calls(USED), plan), plan, repeated).duplicates == repeated
    assert duplicates_of(calls({**USED, "model": "nobody-knows"}), plan).cost_usd is None


# ---- distributions ----


def test_cost_per_request_and_per_user_are_spread_out() -> None:
    rows = [{**USED, "user": f"u{i % 2}", "cost_usd": float(i)} for i in range(1, 102)]
    found = reported(*rows)
    assert (found.per_request.count, found.per_request.p50_usd, found.per_request.max_usd) == (101, 51, 101)
    assert found.per_request.p99_usd == 100
    assert (found.per_user.count, found.per_user.max_usd) == (2, 2601)
    assert found.per_user.p50_usd == pytest.approx((2601 + 2550) / 2)


def test_calls_without_a_user_are_nobodys() -> None:
    assert reported(USED).per_user.count == 0


# ---- what if ----


def test_what_if_prices_every_row_as_the_other_model() -> None:
    (row,) = reported({**CACHED, "model": "think"}, table=OWN, as_models=("big",)).what_if
    assert row.cost_usd == pytest.approx((3000 * 3 + 6000 * 0.3 + 1000 * 3.75 + 1000 * 15) / 1e6)
    assert row.actual_usd == pytest.approx((10_000 * 2 + 1000 * 8) / 1e6 + 5 / 1000)


def test_what_if_follows_context_tiers_row_by_row() -> None:
    at = datetime(2025, 8, 1, tzinfo=UTC)
    rows = [{"model": "gpt-4o", "prompt_tokens": size, "completion_tokens": 1, "at": at} for size in (1000, 300_000)]
    (row,) = reported(*rows, table=PriceTable.of(), as_models=("gemini-2.5-pro",)).what_if
    assert row.cost_usd == pytest.approx((1000 * 1.25 + 300_000 * 2.5 + 10 + 15) / 1e6)


def test_another_tokenizer_gives_a_spread_and_the_same_one_none() -> None:
    used = {**USED, "model": "gpt-4o"}
    same, other = reported(used, table=PriceTable.of(), as_models=("gpt-4.1", "claude-sonnet-4-5")).what_if
    assert same.low_usd == same.cost_usd == same.high_usd
    assert (other.low_usd, other.high_usd) == pytest.approx((other.cost_usd * 0.8, other.cost_usd * 1.2))


def test_what_if_leaves_out_calls_of_another_kind() -> None:
    embedding = {"model": "embed", "prompt_tokens": 1000}
    big, embed = reported(USED, embedding, as_models=("big", "embed")).what_if
    assert (big.calls, big.left_out, embed.calls, embed.left_out) == (1, 1, 1, 1)


def test_a_model_without_a_price_cannot_be_compared_with() -> None:
    check_models(("big",), OWN)
    with pytest.raises(UsageError, match="nobody-knows"):
        check_models(("big", "nobody-knows"), OWN)


# ---- merging ----


def test_a_fold_over_blocks_gives_the_report_of_the_whole() -> None:
    rows = [log_of(cause) for cause in sorted(set(Cause) - {Cause.WRONG_TIER, Cause.STALE_PRICE})] * 20
    plan = CostPlan(OWN, as_models=("think",))
    fold = CostFold(plan)
    columns = calls(*rows)
    for start in range(0, columns.size, 3):
        fold.add(columns.take(columns.positions[start : start + 3]), [])
    assert report(fold.result(), plan) == report(merge_tallies([tally(columns, plan)]), plan)


@pytest.mark.parametrize(
    ("usd", "complete", "text"),
    [
        (12.34, True, "$12.34"),
        (12.34, False, "~$12.34"),
        (None, True, "-"),
        (0, True, "$0.00"),
        (1234.5, True, "$1,234.50"),
    ],
)
def test_money_says_whether_it_is_complete(usd: float | None, complete: bool, text: str) -> None:
    assert money_text(usd, complete=complete) == text
