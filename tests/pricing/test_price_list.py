"""Prices by hand, for each kind of rate, and the mistakes that users report of other tools."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pytest

from llmmon.errors import ConfigError
from llmmon.pricing.costs import Quoted, charge, price
from llmmon.pricing.model_names import parse, provider_of
from llmmon.pricing.price_list import NEWEST_US, BundledPrices, _read_by_import, listing_of, stand_in
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.usage import usage_of
from tests.support.priced_calls import NOV_2026, OWN, NoPrices, calls, costs, us


def cost(row: Mapping[str, Any], table: PriceTable | None = None, mode: str = "auto") -> float | None:
    return costs(price(calls(row), table or PriceTable.of(), mode))[0]


# ---- each kind of rate, by hand ----


def test_input_and_output_are_priced_per_million() -> None:
    assert cost({"model": "big", "prompt_tokens": 1000, "completion_tokens": 200}, OWN) == 0.003 + 0.003


def test_cache_reads_are_part_of_the_prompt() -> None:
    row = {"model": "big", "prompt_tokens": 1000, "cached_tokens": 600, "completion_tokens": 0}
    assert cost(row, OWN) == pytest.approx((400 * 3 + 600 * 0.3) / 1e6)


def test_cache_writes_cost_more_for_an_hour_than_for_five_minutes() -> None:
    row = {"model": "big", "prompt_tokens": 1000, "cache_write_tokens": 500, "cache_write_1h_tokens": 200}
    assert cost({**row, "completion_tokens": 0}, OWN) == pytest.approx((500 * 3 + 300 * 3.75 + 200 * 6) / 1e6)


def test_reasoning_is_part_of_the_completion_and_may_have_its_own_price() -> None:
    row = {"model": "think", "prompt_tokens": 100, "completion_tokens": 50, "reasoning_tokens": 30}
    assert cost(row, OWN) == pytest.approx((100 * 2 + 20 * 8 + 30 * 3) / 1e6 + 5 / 1000)


def test_reasoning_without_its_own_price_costs_as_output() -> None:
    row = {"model": "big", "prompt_tokens": 100, "completion_tokens": 50, "reasoning_tokens": 30}
    assert cost(row, OWN) == pytest.approx((100 * 3 + 50 * 15) / 1e6)


def test_an_embedding_has_no_output_to_price() -> None:
    row = {"model": "text-embedding-3-small", "operation": "embedding", "prompt_tokens": 1_000_000}
    assert cost(row) == 0.02


def test_a_context_tier_is_a_cliff() -> None:
    row = {"model": "gemini-2.5-pro", "completion_tokens": 0, "at": datetime(2025, 8, 1, tzinfo=UTC)}
    assert cost({**row, "prompt_tokens": 200_000}) == pytest.approx(0.25)
    assert cost({**row, "prompt_tokens": 200_001}) == pytest.approx(200_001 * 2.5 / 1e6)


def test_the_context_tier_counts_cached_tokens_too() -> None:
    row = {"model": "claude-sonnet-4-5", "prompt_tokens": 300_000, "cached_tokens": 250_000, "completion_tokens": 10}
    at = datetime(2025, 11, 1, tzinfo=UTC)
    assert cost({**row, "at": at}) == pytest.approx((50_000 * 6 + 250_000 * 0.6 + 10 * 22.5) / 1e6)


@pytest.mark.parametrize(
    ("tier", "rates"), [("default", (1.25, 10)), ("flex", (0.625, 5)), ("priority", (2.5, 20)), (None, (1.25, 10))]
)
def test_service_tiers_have_their_own_prices(tier: str | None, rates: tuple[float, float]) -> None:
    row = {"model": "gpt-5", "service_tier": tier, "prompt_tokens": 1000, "completion_tokens": 1000}
    assert cost(row) == pytest.approx(sum(rates) / 1000)


def test_a_batch_costs_half() -> None:
    row = {"model": "claude-sonnet-4-5", "prompt_tokens": 1000, "completion_tokens": 1000}
    assert cost({**row, "service_tier": "batch"}) == pytest.approx(0.5 * (cost(row) or 0))


def test_a_batch_before_the_list_knows_batch_prices_costs_half_but_is_a_guess() -> None:
    listing = PriceTable.of().listing("gpt-4o", "openai")
    assert listing is not None
    quote = listing.at(us(datetime(2025, 7, 1, tzinfo=UTC)), "batch")
    assert quote is not None
    assert (quote.rates.of("input"), quote.certain) == (1250.0, False)


def test_a_price_that_changed_within_the_log_follows_each_call() -> None:
    used = {"model": "o3", "prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
    may, july = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
    priced = price(calls({**used, "at": july}, {**used, "at": may}, {**used, "at": july}), PriceTable.of())
    assert costs(priced) == [10, 50, 10]


def test_a_price_changes_at_midnight_utc() -> None:
    used = {"model": "o3", "prompt_tokens": 1_000_000, "completion_tokens": 0}
    listing = PriceTable.of().listing("o3", None)
    assert listing is not None
    (change,) = listing.breaks(us(datetime(2025, 5, 1, tzinfo=UTC)), us(datetime(2025, 7, 1, tzinfo=UTC)))
    moment = datetime.fromtimestamp(change // 1_000_000, UTC)
    before = calls({**used, "at": moment}, {**used, "at": moment})
    before.timestamp[0] -= 1
    assert costs(price(before, PriceTable.of())) == [10, 2]


def test_a_price_can_depend_on_the_hour() -> None:
    used = {"model": "deepseek-chat", "prompt_tokens": 1_000_000, "completion_tokens": 0}
    day, night = datetime(2025, 5, 1, 12, tzinfo=UTC), datetime(2025, 5, 1, 20, tzinfo=UTC)
    assert costs(price(calls({**used, "at": day}, {**used, "at": night}), PriceTable.of())) == [0.27, 0.135]


def test_calls_without_a_time_take_the_stated_date() -> None:
    undated = calls({"model": "o3", "prompt_tokens": 1_000_000, "completion_tokens": 0, "at": None})
    may = us(datetime(2025, 5, 1, tzinfo=UTC))
    assert costs(price(undated, PriceTable.of(), undated_us=may)) == [10]
    assert costs(price(undated, PriceTable.of())) == [2]


# ---- which cost counts ----


def test_a_logged_cost_wins() -> None:
    assert cost({"model": "big", "prompt_tokens": 1000, "completion_tokens": 200, "cost_usd": 1.5}, OWN) == 1.5


def test_mode_calculated_ignores_the_log() -> None:
    row = {"model": "big", "prompt_tokens": 1000, "completion_tokens": 0, "cost_usd": 1.5}
    assert cost(row, OWN, "calculated") == 0.003


def test_mode_logged_calculates_nothing_and_takes_zeros_as_they_are() -> None:
    rows = [{"model": "big", "prompt_tokens": 9, "completion_tokens": 9, "cost_usd": c} for c in (None, 0, 2)]
    priced = price(calls(*rows), OWN, "logged")
    assert costs(priced) == [None, 0, 2]
    assert priced.number("unpriced").tolist() == [1, 0, 0]


def test_mode_none_gives_no_cost_and_asks_no_question() -> None:
    priced = price(calls({"model": "big", "prompt_tokens": 9, "completion_tokens": 9, "cost_usd": 1}), OWN, "none")
    assert costs(priced) == [None]
    assert np.isnan(priced.number("unpriced")).all()


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ValueError, match="guess"):
        price(calls({"model": "big"}), OWN, "guess")


def test_an_error_without_usage_is_never_unpriced() -> None:
    priced = price(calls({"model": "nobody", "status": "error"}), OWN)
    assert costs(priced) == [None]
    assert np.isnan(priced.number("unpriced")).all()


def test_an_error_logged_at_zero_stays_at_zero() -> None:
    assert (
        cost({"model": "big", "prompt_tokens": 9, "completion_tokens": 0, "cost_usd": 0, "status": "error"}, OWN) == 0
    )


def test_a_successful_call_whose_usage_is_not_logged_is_unpriced() -> None:
    assert price(calls({"model": "big"}), OWN).number("unpriced").tolist() == [1]


def test_half_a_usage_is_not_priced_as_if_it_were_whole() -> None:
    priced = price(calls({"model": "big", "prompt_tokens": 1000}, {"model": "big", "completion_tokens": 10}), OWN)
    assert costs(priced) == [None, None]
    assert priced.number("unpriced").tolist() == [1, 1]


def test_the_missing_half_follows_from_the_total() -> None:
    assert cost({"model": "big", "prompt_tokens": 1000, "total_tokens": 1200}, OWN) == pytest.approx(0.006)


def test_a_free_model_costs_nothing_and_that_is_known() -> None:
    used = {"prompt_tokens": 1000, "completion_tokens": 10}
    priced = price(calls({"model": "free", **used}, {"model": "meta-llama/llama-3.1-8b-instruct:free", **used}), OWN)
    assert costs(priced) == [0, 0]
    assert priced.number("unpriced").tolist() == [0, 0]


def test_a_model_without_a_token_price_in_the_list_is_unpriced() -> None:
    assert cost({"model": "whisper-1", "prompt_tokens": 10, "completion_tokens": 10}) is None


def test_output_of_a_model_without_an_output_price_is_unpriced() -> None:
    assert cost({"model": "embed", "prompt_tokens": 10, "completion_tokens": 10}, OWN) is None


def test_nothing_is_calculated_and_nothing_imported_where_all_costs_are_logged() -> None:
    code = """
import sys, numpy as np
from llmmon.metrics.columns import Columns
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.costs import Quoted, charge, price
from llmmon.pricing.usage import usage_of
price(Columns(2, np.zeros(2, np.int64), {'cost_usd': np.array([1., 2.]), 'prompt_tokens': np.ones(2)}), PriceTable.of())
loaded = [name for name in sys.modules if name.startswith(('genai_prices', 'pydantic', 'httpx'))]
from llmmon.pricing.price_list import _providers
print(loaded, _providers.cache_info().misses)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 0"


# ---- the user's own prices ----


def test_an_own_price_wins_over_the_list() -> None:
    table = PriceTable.of({"gpt-4o": {"input": 1, "output": 2}})
    assert cost({"model": "gpt-4o", "prompt_tokens": 1_000_000, "completion_tokens": 0}, table) == 1


def test_an_exact_own_price_wins_over_a_pattern_and_a_long_pattern_over_a_short_one() -> None:
    table = PriceTable.of({"*": {"input": 1, "output": 1}, "my-*": {"input": 2, "output": 1}, "my-a": {"input": 3}})
    rows = [{"model": name, "prompt_tokens": 1_000_000, "completion_tokens": 0} for name in ("x", "my-b", "my-a")]
    assert costs(price(calls(*rows), table)) == [1, 2, 3]


def test_an_own_price_matches_with_or_without_the_prefix() -> None:
    used = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    assert cost({"model": "local/llama", **used}, OWN) == 0.5
    assert cost({"model": "hosted_vllm/big", **used}, PriceTable.of({"hosted_vllm/*": {"input": 1, "output": 1}})) == 1


def test_all_faults_of_own_prices_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        PriceTable.of({"a": {"inptu": 1}, "b": {"input": -1}, "c": 5, "d": {"output": float("nan")}})
    text = str(caught.value)
    assert "did you mean 'input'?" in text
    assert all(f"prices.'{model}'" in text for model in "abcd")


def test_the_hash_changes_with_the_own_prices_and_with_nothing_else() -> None:
    one, two = PriceTable.of({"a": {"input": 1}}), PriceTable.of({"a": {"input": 2}})
    assert one.hash == PriceTable.of({"a": {"input": 1}}).hash != two.hash


# ---- names ----


@pytest.mark.parametrize(
    ("model", "provider", "expected"),
    [
        ("openai/gpt-4o", None, "openai/gpt-4o"),
        ("azure/gpt-4o", None, "azure/gpt-4o"),
        ("azure/eu/gpt-4o-mini", None, "azure/gpt-4o-mini"),
        ("prod-gpt-4o-mini-eu", "azure", "azure/gpt-4o-mini"),
        ("gpt-35-turbo", "azure", "azure/gpt-3.5-turbo"),
        ("bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0", None, "aws/regional.anthropic.claude-3-5-sonnet"),
        ("bedrock/us-east-1/anthropic.claude-3-haiku-20240307-v1:0", None, "aws/regional.anthropic.claude-3-haiku"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0", None, "aws/"),
        ("vertex_ai/gemini-2.5-pro", None, "google/gemini-2.5-pro"),
        ("publishers/google/models/gemini-2.5-flash", None, "google/gemini-2.5-flash"),
        ("projects/p/locations/eu/publishers/anthropic/models/claude-sonnet-4", None, "google/claude-4-sonnet"),
        ("models/gemini-2.5-flash", None, "google/gemini-2.5-flash"),
        ("text-embedding-3-small", None, "openai/text-embedding-3-small"),
        ("text-embedding-3-small", "openai", "openai/text-embedding-3-small"),
        ("gpt-4o-2024-08-06", None, "openai/gpt-4o"),
        ("GPT-4o", "OpenAI", "openai/gpt-4o"),
        ("gpt-5.2-20251211", None, "openai/gpt-5.2"),
        ("openai/gpt-4o", "openrouter", "openrouter/openai/gpt-4o"),
        ("gpt-4o", "some-gateway", "openai/gpt-4o"),
        ("claude-sonnet-4-5", "aws.bedrock", "anthropic/claude-sonnet-4-5"),
        ("claude-haiku-3.5", None, "anthropic/claude-3-5-haiku"),
        ("anthropic/claude-sonnet-4.5", None, "anthropic/claude-sonnet-4-5"),
        ("llama-3.1-8b-instant", "groq", "groq/llama-3.1-8b-instant"),
    ],
)
def test_a_model_is_found_however_it_is_spelt(model: str, provider: str | None, expected: str) -> None:
    listing = PriceTable.of().listing(model, provider)
    assert listing is not None
    assert listing.model.startswith(expected)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("deepseek-r1", "vllm"),
        ("ollama/llama3", None),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("mistralai/Mistral-7B-Instruct-v0.3", None),
        ("<synthetic>", None),
        ("my-finetune", None),
        ("", None),
    ],
)
def test_weights_of_ones_own_and_unknown_names_have_no_price(model: str, provider: str | None) -> None:
    assert PriceTable.of().listing(model, provider) is None


@pytest.mark.parametrize("model", ["prod-gpt-4o-eu", "gpt-4o-2031-01-01", "gpt-4o:online"])
def test_a_guessed_price_is_not_certain(model: str) -> None:
    listing = PriceTable.of().listing(model, "azure" if "prod" in model else None)
    assert listing is not None
    assert listing.guessed


def test_an_unknown_service_tier_is_not_certain() -> None:
    listing = PriceTable.of().listing("gpt-4o", None)
    assert listing is not None
    assert [getattr(listing.at(NEWEST_US, tier), "certain", None) for tier in ("", "turbo")] == [True, False]


def test_provider_spellings_of_the_semantic_conventions_are_known() -> None:
    spelt = ("aws.bedrock", "az.ai.openai", "azure.ai.inference", "gcp.vertex_ai", "gcp.gemini", "x_ai", "mistral_ai")
    assert [provider_of(text) for text in spelt] == ["aws", "azure", "azure", "google", "google", "x-ai", "mistral"]


def test_a_name_is_only_taken_apart_where_its_prefixes_are_known() -> None:
    assert parse("acme/gpt-4o", None).bare == "acme/gpt-4o"


# ---- the list itself ----


def test_reading_the_list_alone_gives_the_same_prices_as_importing_it() -> None:
    from genai_prices.data import providers

    alone = {p.id: p for p in BundledPrices().providers()}
    assert [p.id for p in providers] == list(alone)
    for provider in providers:
        for model, same in zip(provider.models, alone[provider.id].models, strict=True):
            left, right = (listing_of(p, m, guessed=False) for p, m in ((provider, model), (alone[provider.id], same)))
            for tier in ("", "batch", "flex"):
                quotes = [listing and listing.at(us(NOV_2026), tier) for listing in (left, right)]
                assert str(quotes[0]) == str(quotes[1])


# usage in the words of the list -> in those of the record
_USED = {
    "input_tokens": ("prompt_tokens", 250_000),
    "cache_read_tokens": ("cached_tokens", 2_000),
    "cache_write_tokens": ("cache_write_tokens", 1_000),
    "cache_write_1h_tokens": ("cache_write_1h_tokens", 300),
    "output_tokens": ("completion_tokens", 5_000),
    "output_reasoning_tokens": ("reasoning_tokens", 400),
    "input_audio_tokens": ("input_audio_tokens", 1_500),
    "cache_audio_read_tokens": ("cache_audio_read_tokens", 700),
    "input_image_tokens": ("input_image_tokens", 1_100),
    "cache_image_read_tokens": ("cache_image_read_tokens", 600),
    "output_audio_tokens": ("output_audio_tokens", 350),
    "output_image_tokens": ("output_image_tokens", 450),
    "web_searches": ("web_searches", 3),
    "storage_searches": ("storage_searches", 2),
    "input_document_pages": ("input_document_pages", 7),
    "input_annotated_document_pages": ("input_annotated_document_pages", 2),
}


@pytest.mark.parametrize("tier", ["", "batch", "priority"])
def test_our_prices_are_those_of_the_package(tier: str) -> None:
    from genai_prices import Usage
    from genai_prices.data import providers

    usage = usage_of(calls(dict(_USED.values())))
    theirs_used = Usage(**{name: count for name, (_, count) in _USED.items()})
    context = {"": None, "batch": {"processing": "batch"}, "priority": {"service_tier": "priority"}}[tier]
    compared = 0
    for provider in providers:
        for model in provider.models:
            listing = listing_of(provider, model, guessed=False)
            for when in (datetime(2025, 5, 1, 3, tzinfo=UTC), NOV_2026):
                quote = listing.at(us(when), tier) if listing else None
                if quote is None or not quote.certain or "gemini-2" in model.id:
                    continue
                try:
                    theirs = model.calc_price(
                        theirs_used, provider, genai_request_timestamp=when, price_context=context
                    ).total_price
                except ValueError:
                    continue
                ours = charge(usage, Quoted(np.zeros(1, np.int64), (quote,)))[0]
                if ours == ours:
                    assert ours == pytest.approx(float(theirs) * 1e9, abs=1), f"{provider.id}/{model.id}"
                    compared += 1
    assert compared > (1000 if not tier else 20)


def test_a_list_in_another_layout_is_imported_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmmon.pricing.price_list._CLASSES", ())
    from llmmon.pricing import price_list

    with pytest.raises(NameError):
        price_list._read_alone()
    assert len(_read_by_import()) == len(BundledPrices().providers())


class Listed:
    """A price list made by hand."""

    def __init__(self, *providers: Any) -> None:
        self._providers = providers

    def providers(self) -> Sequence[Any]:
        return self._providers

    def version(self) -> str:
        return "by hand"

    def digest(self) -> str:
        return "0"


def hand_made(prices: Any, **fields: Any) -> PriceTable:
    clause = stand_in(or_=[stand_in(equals="m"), stand_in(and_=[stand_in(starts_with="m-"), stand_in(ends_with="-x")])])
    model = stand_in(id="m", match=clause, prices=prices, **fields)
    return PriceTable.of({}, Listed(stand_in(id="maker", model_match=stand_in(regex="^m"), models=[model])))


def test_a_later_entry_wins_and_an_unknown_condition_never_holds() -> None:
    entries = [
        stand_in(prices=stand_in(input_mtok=1, output_mtok=1)),
        stand_in(constraint=stand_in(start_date=date(2026, 1, 1)), prices=stand_in(input_mtok=2, output_mtok=1)),
        stand_in(constraint=stand_in(moon="full"), prices=stand_in(input_mtok=9, output_mtok=9)),
    ]
    used = {"model": "m-1-x", "prompt_tokens": 1_000_000, "completion_tokens": 0}
    rows = [{**used, "at": datetime(year, 1, 1, tzinfo=UTC)} for year in (2025, 2026)]
    assert costs(price(calls(*rows), hand_made(entries))) == [1, 2]


def test_an_interval_of_the_day_may_span_midnight() -> None:
    night = stand_in(start_time=time(22), end_time=time(6))
    entries = [stand_in(prices=stand_in(input_mtok=2)), stand_in(constraint=night, prices=stand_in(input_mtok=1))]
    used = {"model": "m", "prompt_tokens": 1_000_000}
    rows = [{**used, "at": datetime(2026, 1, 2, hour, tzinfo=UTC)} for hour in (21, 22, 0, 5, 6)]
    assert costs(price(calls(*rows), hand_made(entries))) == [2, 1, 1, 1, 2]


def test_times_that_make_no_sense_do_not_take_the_memory() -> None:
    columns = calls(*[{"model": "deepseek-chat", "prompt_tokens": 1, "completion_tokens": 1}] * 2)
    columns.timestamp[:] = [-(1 << 62), (1 << 62) - 1]
    assert not np.isnan(price(columns, PriceTable.of()).number("cost_usd")).any()


# ---- what users report of other tools (numbers as in the issue list) ----


def test_b1_cached_tokens_are_not_counted_on_top_of_the_input() -> None:
    row = {"model": "big", "prompt_tokens": 17_903, "cached_tokens": 17_817, "completion_tokens": 0}
    assert cost(row, OWN) == pytest.approx((86 * 3 + 17_817 * 0.3) / 1e6, abs=1e-9)


def test_b2_cache_creation_is_taken_out_of_the_input_like_cache_reads() -> None:
    row = {"model": "big", "prompt_tokens": 1000, "cached_tokens": 300, "cache_write_tokens": 400}
    assert cost({**row, "completion_tokens": 0}, OWN) == pytest.approx((300 * 3 + 300 * 0.3 + 400 * 3.75) / 1e6)


def test_b3_cache_creation_is_billed_once() -> None:
    row = {"model": "big", "prompt_tokens": 100_000, "cache_write_tokens": 100_000, "completion_tokens": 0}
    assert cost(row, OWN) == pytest.approx(0.375)


def test_b4_the_more_is_cached_the_cheaper_it_gets() -> None:
    rows = [
        {"model": "big", "prompt_tokens": 1000, "cached_tokens": cached, "completion_tokens": 0}
        for cached in (0, 500, 1000)
    ]
    assert costs(price(calls(*rows), OWN)) == pytest.approx([0.003, 0.00165, 0.0003])


def test_b5_a_cache_larger_than_the_prompt_stands_beside_it() -> None:
    row = {"model": "big", "prompt_tokens": 100, "cached_tokens": 5000, "completion_tokens": 0}
    assert cost(row, OWN) == pytest.approx((100 * 3 + 5000 * 0.3) / 1e6)


def test_b6_an_unknown_model_is_unpriced_and_its_logged_cost_counts() -> None:
    used = {"model": "nobody-knows", "prompt_tokens": 10, "completion_tokens": 10}
    priced = price(calls(used, {**used, "cost_usd": 0.25}), OWN)
    assert costs(priced) == [None, 0.25]
    assert priced.number("unpriced").tolist() == [1, 0]


def test_b7_a_row_logged_at_zero_that_used_tokens_is_recalculated() -> None:
    row = {"model": "big", "prompt_tokens": 1_000_000, "completion_tokens": 0, "cost_usd": 0}
    assert cost(row, OWN) == 3


def test_b8_tokens_without_cost_are_seen_model_by_model() -> None:
    rows = [{"model": "nobody-knows", "prompt_tokens": 10, "completion_tokens": 1, "cost_usd": 0}] * 14
    assert np.nansum(price(calls(*rows), OWN).number("unpriced")) == 14


def test_b9_the_table_says_its_version_and_a_hash_of_its_data() -> None:
    table = PriceTable.of()
    assert table.version.startswith("genai-prices ")
    assert len(table.hash) == 64
    assert table.hash != PriceTable.of({}, NoPrices()).hash


def test_b10_a_model_that_a_stale_table_lacks_is_not_free() -> None:
    assert cost({"model": "claude-opus-99", "prompt_tokens": 10, "completion_tokens": 10}) is None


def test_b11_a_zero_with_tokens_and_without_a_price_is_unknown() -> None:
    priced = price(calls({"model": "nobody-knows", "prompt_tokens": 9, "completion_tokens": 9, "cost_usd": 0}), OWN)
    assert costs(priced) == [None]
    assert priced.number("unpriced").tolist() == [1]


def test_b13_pricing_opens_no_socket() -> None:
    code = """
import socket
def refuse(*a, **k): raise AssertionError('a socket was opened')
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from llmmon.pricing.price_table import PriceTable
table = PriceTable.of()
print(table.listing('gpt-4o', None).model, table.listing('nobody', None), len(table.hash), bool(table.version))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openai/gpt-4o None 64 True"


def test_b14_a_price_that_is_added_later_applies_to_the_whole_log() -> None:
    old = calls(
        {"model": "new", "prompt_tokens": 1_000_000, "completion_tokens": 0, "at": datetime(2024, 1, 1, tzinfo=UTC)}
    )
    assert costs(price(old, OWN)) == [None]
    assert costs(price(old, PriceTable.of({"new": {"input": 7, "output": 1}}))) == [7]


def test_b15_an_answer_from_the_gateways_cache_costs_nothing() -> None:
    used = {"model": "big", "prompt_tokens": 1000, "completion_tokens": 10, "cache_hit": 1}
    priced = price(calls(used, {**used, "cost_usd": 0}, {**used, "model": "nobody-knows"}), OWN)
    assert costs(priced) == [0, 0, 0]
    assert priced.number("unpriced").tolist() == [0, 0, 0]
