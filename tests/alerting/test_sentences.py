"""What alerts say: the sentence of their figures, and templates of titles, texts and links."""

from __future__ import annotations

import msgspec
import pytest

from llmmon.alerting.rules import AlertRule
from llmmon.alerting.sentences import Figures, brief, description_of, figure, link_of, statistic_words, title_of

MINUTE = 60_000_000
SLOW = AlertRule("Slow", "latency_ms", threshold=5000.0, aggregation="p95", by=("model",))
MODEL = (("model", "gpt-4o"),)


@pytest.mark.parametrize(
    ("rule", "group", "figures", "sentence"),
    [
        (
            SLOW,
            MODEL,
            Figures(10_300.0, count=120),
            "latency p95 of gpt-4o is 10.3 s, limit 5 s, over 5 min, 120 calls",
        ),
        (SLOW, (), Figures(10_300.0, count=1), "latency p95 is 10.3 s, limit 5 s, over 5 min, 1 call"),
        (
            AlertRule("Errors", "error_rate", threshold=0.1),
            (("user", "ann"), ("model", None)),
            Figures(0.35, count=40),
            "error rate of user ann, calls without model is 35.0 %, limit 10 %, over 5 min, 40 calls",
        ),
        (
            AlertRule("Quiet", "requests", "lt", 5.0, aggregation="count", window_us=120 * MINUTE),
            (),
            Figures(0.0, count=0),
            "number of calls is 0, at least 5, over 2 h, 0 calls",
        ),
        (
            AlertRule("Spend", "cost_usd", threshold=20.0, aggregation="sum", window_us=1440 * MINUTE),
            (),
            Figures(31.5, count=900),
            "total cost is $31.50, limit $20.00, over 1 day, 900 calls",
        ),
        (SLOW, MODEL, Figures(None, note="no data for 5m"), "no data for 5m"),
        (SLOW, MODEL, Figures(10_300.0, limit=8000.0), "latency p95 of gpt-4o is 10.3 s, limit 8 s, over 5 min"),
    ],
)
def test_the_sentence_of_the_figures(rule: AlertRule, group: object, figures: Figures, sentence: str) -> None:
    assert sentence == description_of(rule, group, figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "aggregation", "words"),
    [
        ("latency_ms", "avg", "average latency"),
        ("latency_p95_ms", "", "latency p95"),
        ("error_rate", "", "error rate"),
        ("error", "count", "number of errors"),
        ("ttft_p50_ms", "", "time to first token p50"),
        ("cost_usd", "rate", "cost per minute"),
        ("requests_per_minute", "", "calls per minute"),
        ("burn_rate", "", "burn_rate"),
        ("queue_depth", "max", "max queue_depth"),
    ],
)
def test_statistics_have_names_that_people_use(metric: str, aggregation: str, words: str) -> None:
    assert words == statistic_words(metric, aggregation)


def test_a_count_of_latencies_is_no_time() -> None:
    assert "12" == figure("latency_ms", 12.0, "count")


@pytest.mark.parametrize(
    ("text", "short"),
    [("5.00 s", "5 s"), ("2.50 s", "2.5 s"), ("10.0 %", "10 %"), ("$5.00", "$5.00"), ("1.05 s", "1.05 s")],
)
def test_limits_have_no_zeros_behind_the_point(text: str, short: str) -> None:
    assert short == brief(text)


def test_titles_and_texts_are_templates() -> None:

    rule = msgspec.structs.replace(
        SLOW,
        title="{severity}: {model} is slow ({value} ms)",
        description="{figures}. Call {team}.",
        labels={"team": "ops"},
    )
    figures = Figures(10_300.0, count=120)
    assert "error: gpt-4o is slow (10,300 ms)" == title_of(rule, MODEL, figures)
    assert description_of(rule, MODEL, figures).startswith("latency p95 of gpt-4o is 10.3 s, limit 5 s")
    assert description_of(rule, MODEL, figures).endswith("120 calls. Call ops.")
    assert "Slow: model gpt-4o" == title_of(SLOW, MODEL, figures)


def test_a_name_in_a_link_cannot_change_where_it_leads() -> None:
    template = "https://grafana.example.com/d/llm?model={model}&from={start_ms}&to={end_ms}"
    hostile = (("model", "a/../b?x=1&y=<>#"),)
    found = link_of(template, SLOW, hostile, Figures(1.0, since_us=7_200_000_000))
    assert (
        "https://grafana.example.com/d/llm?model=a%2F..%2Fb%3Fx%3D1%26y%3D%3C%3E%23&from=3600000&to=10800000" == found
    )
