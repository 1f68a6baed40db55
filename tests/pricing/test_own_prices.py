"""The user's own prices beside the price list, and the names that no vendor bills."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from llmmon.errors import ConfigError
from llmmon.pricing.costs import price
from llmmon.pricing.price_table import PriceTable
from llmmon.reports.prices import prices_of
from tests.support.priced_calls import NOV_2026, calls, costs, us

MILLION = {"prompt_tokens": 1_000_000, "completion_tokens": 0}


def cost(prices: dict[str, Any], **row: Any) -> float | None:
    return costs(price(calls({**MILLION, **row}), PriceTable.of(prices)))[0]


OWN = {"gpt-4o": {"input": 2.0, "output": 10}}


def test_an_own_price_keeps_the_discount_of_a_batch() -> None:
    assert cost(OWN, model="gpt-4o", service_tier="batch") == pytest.approx(1.0)


def test_an_own_price_keeps_the_proportion_of_a_tier_and_of_the_cache() -> None:
    assert cost(OWN, model="gpt-4o", service_tier="priority") == pytest.approx(2.0 * 4.25 / 2.5)
    assert cost(OWN, model="gpt-4o", cached_tokens=1_000_000) == pytest.approx(2.0 * 1.25 / 2.5)


def test_what_is_not_billed_by_the_token_costs_what_the_list_says() -> None:
    assert cost(OWN, model="gpt-4o", web_searches=10) == pytest.approx(2.0 + 0.1)


def test_an_own_price_of_a_model_that_the_list_lacks_has_the_usual_batch_discount() -> None:
    own = {"mine": {"input": 2.0, "output": 10}}
    assert cost(own, model="mine", service_tier="batch") == 1.0
    quoted = PriceTable.of(own).listing("mine", None)
    assert quoted is not None
    found = quoted.at(us(NOV_2026), "batch")
    assert found is not None
    assert found.doubt == "discount_guessed"


@pytest.mark.parametrize(("batch", "usd"), [(0.25, 0.5), ({"input": 0.7}, 0.7), (1, 2.0)])
def test_a_tier_is_a_factor_or_prices(batch: Any, usd: float) -> None:
    own = {"mine": {"input": 2.0, "output": 10, "batch": batch}}
    assert cost(own, model="mine", service_tier="batch") == pytest.approx(usd)
    found = PriceTable.of(own).listing("mine", None)
    assert found is not None
    assert getattr(found.at(us(NOV_2026), "batch"), "certain", None) is True


def test_long_prompts_may_cost_more() -> None:
    own = {"mine": {"input": 2.0, "output": 10, "above": [{"tokens": 200_000, "input": 4.0}]}}
    assert cost(own, model="mine") == 4.0
    assert cost(own, model="mine", prompt_tokens=200_000) == pytest.approx(0.4)


def test_prices_change_on_their_day() -> None:
    own = {"mine": [{"input": 2.0}, {"from": date(2026, 7, 1), "input": 1.5}]}
    june, july = (datetime(2026, month, day, tzinfo=UTC) for month, day in ((6, 30), (7, 1)))
    rows = [{"model": "mine", **MILLION, "at": at} for at in (june, july)]
    assert costs(price(calls(*rows), PriceTable.of(own))) == [2.0, 1.5]


def test_before_the_first_day_the_list_counts() -> None:
    own = {"gpt-4o": {"from": date(2026, 12, 1), "input": 1.0}}
    assert cost(own, model="gpt-4o") == 2.5


def test_another_currency_needs_its_rate() -> None:
    assert cost({"mine": {"input": 2.0, "currency": "EUR", "usd_rate": 1.25}}, model="mine") == 2.5
    with pytest.raises(ConfigError, match="EUR needs `usd_rate`"):
        PriceTable.of({"mine": {"input": 2.0, "currency": "EUR"}})


def test_every_kind_may_have_a_price() -> None:
    own = {"mine": {"input": 1, "output": 2, "input_audio": 8, "web_searches_kcount": 5, "request": 3}}
    used = {"model": "mine", "input_audio_tokens": 500_000, "web_searches": 2}
    assert cost(own, **used) == pytest.approx(0.5 + 4 + 0.01 + 0.003)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"batch": -1}, "a number of at least 0"),
        ({"batch": {"inptu": 1}}, "did you mean 'input'"),
        ({"above": [{"input": 1}]}, "needs `tokens`"),
        ({"from": "soon", "input": 1}, "a date such as"),
        ([{"input": 1}, {"input": 2}], "a date of its own in `from`"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(given: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PriceTable.of({"mine": given})
    assert "prices.'mine'" in str(caught.value)
    assert text in str(caught.value)


# ---- names ----


@pytest.mark.parametrize(
    "name",
    ["deepseek-r1:14b", "llama3.2:latest", "mixtral-8x7b-instruct-awq", "deepseek-chat-gguf", "/srv/models/gpt-4o",
     "./deepseek-chat.gguf", "deepseek-r1-q4_k_m", "gemini-2.5-pro-weird", "vertex_ai/gemini-2.5-pro-weird",
     "claude-3-opus-mine", "deepseek-r1-distill-llama-70b"],
)  # fmt: skip
def test_names_that_only_look_like_a_vendors_are_not_billed_as_such(name: str) -> None:
    assert cost({}, model=name) is None


@pytest.mark.parametrize(
    ("name", "usd"),
    [("gemini-2.5-flash-preview-05-20", 0.15), ("claude-3-5-haiku-20241022", 0.8), ("deepseek-chat", None),
     ("us.anthropic.claude-sonnet-4-20250514-v1:0", None), ("gemini-2.0-flash-001", 0.1), ("gpt-4o-2024-08-06", 2.5)],
)  # fmt: skip
def test_versions_and_regions_of_a_model_are_the_model(name: str, usd: float | None) -> None:
    found = cost({}, model=name)
    assert found is not None
    assert usd is None or found == pytest.approx(usd)


def test_an_own_price_names_the_self_hosted() -> None:
    assert cost({"deepseek-r1:*": {"input": 0.1, "output": 0.2}}, model="deepseek-r1:14b") == 0.1


# ---- what a call costs now ----


def test_the_prices_of_a_model_say_where_they_come_from() -> None:
    listed, own = (prices_of("gpt-4o", prices, us(NOV_2026)) for prices in ({}, OWN))
    assert (listed.source, own.source) == ("price list", "own prices")
    assert {row.kind: row.usd for row in own.prices}["input"] == 2.0
    assert {row.kind: dict(row.tiers) for row in listed.prices}["output"]["batch"] == 5.0
    assert prices_of("deepseek-r1:14b", {}, us(NOV_2026)).doubt == "self_hosted"
    assert prices_of("nobody-knows", {}, us(NOV_2026)).prices == ()
