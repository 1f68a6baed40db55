"""What is on the screen can be typed: headings, keys and everyday words mean metrics, fields and values with units."""

from __future__ import annotations

import pytest

from llmmon.errors import UsageError
from llmmon.metrics.definitions import METRICS, STATISTICS, SUMMARY, metric_called, statistic_called
from llmmon.metrics.filters import checks_of, parse
from llmmon.metrics.record import NAMES
from llmmon.metrics.vocabulary import _FIELDS, _METRICS, _STATISTICS, meant_fields, name_field, number_field, value_of

FIGURES = {
    "error_rate": 0.02,
    "latency_p95_ms": 5400.0,
    "cost_total_usd": 0.25,
    "request_count": 60,
    "ttft_p50_ms": None,
}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("p95", "latency_p95_ms"), ("median", "latency_p50_ms"), ("latency", "latency_p95_ms")),
        *(("p95 latency", "latency_p95_ms"), ("latency-p99", "latency_p99_ms"), ("ttft p50", "ttft_p50_ms")),
        *(("cost", "cost_total_usd"), ("avg cost", "cost_per_request_usd"), ("cost_usd_p95", "cost_p95_usd")),
        *(
            ("errors", "error_count"),
            ("error", "error_rate"),
            ("calls", "request_count"),
        ),
        *(
            ("tokens in", "prompt_tokens"),
            ("Tokens Out", "completion_tokens"),
            ("tok/s", "output_tokens_per_second_p50"),
        ),
        *(("quality", "quality_avg"), ("cut off", "truncated_count"), ("unpriced_calls", "unpriced_requests")),
    ],
)
def test_headings_and_everyday_words_name_statistics(said: str, meant: str) -> None:
    assert statistic_called(said).name == meant


@pytest.mark.parametrize("name", [*STATISTICS, *METRICS])
def test_exact_names_win(name: str) -> None:
    found = statistic_called(name)
    assert found.name == name or found.metric.name == name


def test_every_word_leads_to_something_that_exists() -> None:
    assert set(_STATISTICS.values()) <= STATISTICS.keys()
    assert set(_METRICS.values()) <= METRICS.keys()
    assert {word for word, field in _FIELDS.items() if field in NAMES and name_field(word) != field} <= set(NAMES)
    assert {"latency_ms", "cost_usd"} == {metric_called("latency").name, metric_called("spend").name}


def test_fields_and_tags_are_named_as_people_say_them() -> None:
    assert meant_fields(["error", "Model", "users", "stream", "tag.a"]) == (
        "error_type", "model", "user", "tag.stream", "tag.a",
    )  # fmt: skip
    assert (number_field("ttft"), number_field("time")) == ("time_to_first_token_ms", "timestamp")


@pytest.mark.parametrize("name", ["modle", "latency", "prompt_tokens", "what is this?"])
def test_what_looks_like_a_field_is_no_tag(name: str) -> None:
    with pytest.raises(UsageError, match="unknown field"):
        name_field(name)


def test_a_time_is_no_field_to_group_by() -> None:
    with pytest.raises(UsageError, match="day is a time") as raised:
        name_field("day")
    assert raised.value.hint == "--every day groups by time"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        *(("2000", "latency_ms", 2000), ("2s", "latency_ms", 2000), ("1.5 min", "latency_ms", 90_000)),
        *(("$0.10", "cost_usd", 0.1), ("2usd", "cost_usd", 2), ("-$1", "cost_usd", -1), ("1e-3", "cost_usd", 0.001)),
        *(("1%", "error_rate", 0.01), ("150k", "prompt_tokens", 150_000), ("1,000", "requests", 1000)),
    ],
)
def test_values_may_have_units(text: str, name: str, value: float) -> None:
    assert value_of(text, name) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "name"), [("$1", "latency_ms"), ("2s", "cost_usd"), ("1%", "latency_ms"), ("2s", "error_rate"), ("x", "a")]
)
def test_units_that_do_not_fit_are_refused(text: str, name: str) -> None:
    assert value_of(text, name) is None


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("error_rate>1%", "error_rate is 2 %"),
        ("p95>5s", "latency_p95_ms is 5.40 s"),
        ("cost_usd > $0.20", "cost_total_usd is $0.25"),
        ("calls=60", "request_count is 60"),
    ],
)
def test_a_condition_that_holds_is_said_with_its_figure(condition: str, said: str) -> None:
    (check,) = checks_of([condition], FIGURES, {})
    assert (check.failed, check.message) == (True, said)


def test_what_is_not_known_meets_no_condition() -> None:
    assert not any(check.failed for check in checks_of(["ttft p50>0", "error_rate>5%"], FIGURES, {}))


@pytest.mark.parametrize("said", ["latency>2s and cost<$1", "tokens in > 5k", "errors or cut_off=1", "stream=true"])
def test_conditions_on_calls_take_the_same_words(said: str) -> None:
    assert parse(said).fields


def test_suggestions_are_three_at_most_and_never_a_wall() -> None:
    for name in ("latency_p97_ms", "cost_zzz", "zzz"):
        with pytest.raises(UsageError) as raised:
            statistic_called(name)
        assert len(str(raised.value)) < 200
    assert len(SUMMARY) > 12
