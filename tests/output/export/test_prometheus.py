"""Both text formats, read back by prometheus_client's two parsers (and by promtool, where it is installed)."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from llmmon.metrics.collector import columns_of
from llmmon.metrics.definitions import METRICS
from llmmon.metrics.recording import RequestMetrics
from llmmon.output.export.prometheus import (
    BUCKETS,
    INSTRUMENTS,
    Moment,
    families,
    openmetrics,
    prometheus,
    sample_families,
)
from llmmon.output.export.tallies import LONGEST_LABEL, OTHER, Tally, add, kept_labels, limited, shown, tally

READERS: list[tuple[Callable[..., str], Callable[..., Any]]] = [
    (prometheus, read_prometheus),
    (openmetrics, read_openmetrics),
]
HOSTILE = ["</script>", "[red]x[/]", "\x1b[31m\x07", 'a"b\n\\c\\n', "=cmd|' /C calc'!A0", "\u202e\ud800", "", "x" * 900]


def call(number: int, model: str | None = "m", **more: Any) -> RequestMetrics:
    known: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "latency_ms": 100.0}
    return RequestMetrics(f"r{number}", model, **{**known, **more})  # type: ignore[arg-type]


def tally_of(calls: list[RequestMetrics], limit: int = 100) -> Tally:
    whole = tally(columns_of(calls), INSTRUMENTS)
    return limited(whole, INSTRUMENTS, kept_labels(whole, INSTRUMENTS, limit))


def points(text: str, reader: Callable[..., Any]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample that a parser reads; each name and labels may stand there once."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in reader(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            assert sample.timestamp is None
            found[key] = sample.value
    return found


def value(found: Mapping[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


@pytest.mark.parametrize(("render", "reader"), READERS)
def test_every_number_is_read_back(render: Callable[..., str], reader: Callable[..., Any]) -> None:
    calls = [
        call(1, "a", latency_ms=10.0, cost_usd=0.25, time_to_first_token_ms=2.0),
        call(2, "a", latency_ms=20.5, cost_usd=0.5),
        call(3, "b", success=False, error_type="timeout", latency_ms=90_000.0, completion_tokens=None),
    ]
    found = points(render(families(tally_of(calls), Moment(2.0, 3))), reader)
    assert value(found, "llm_requests_total", model="a", status="ok") == 2
    assert value(found, "llm_errors_total", model="b", error_type="timeout") == 1
    assert value(found, "llm_cost_usd_total", model="a") == 0.75
    assert value(found, "llm_tokens_total", model="a", type="prompt") == 20
    assert value(found, "llm_tokens_total", model="a", type="completion") == 10
    assert value(found, "llm_request_duration_seconds_bucket", model="a", le="0.01") == 1
    assert value(found, "llm_request_duration_seconds_bucket", model="a", le="0.02") == 1
    assert value(found, "llm_request_duration_seconds_bucket", model="a", le="0.04") == 2
    assert value(found, "llm_request_duration_seconds_sum", model="a") == 0.0305
    assert value(found, "llm_request_duration_seconds_bucket", model="b", le="81.92") == 0
    assert value(found, "llm_request_duration_seconds_bucket", model="b", le="+Inf") == 1
    assert value(found, "llm_time_to_first_token_seconds_count", model="a") == 1
    assert value(found, "llm_error_rate", model="b") == 1
    assert value(found, "llm_requests_per_minute", model="a") == 1
    assert value(found, "llm_window_seconds") == 120
    assert value(found, "llm_rejected_lines") == 3


def test_what_is_missing_is_left_out_and_never_0() -> None:
    found = points(prometheus(families(tally_of([call(1, cost_usd=None)]), Moment())), read_prometheus)
    names = {name for name, _ in found}
    assert not names & {"llm_cost_usd_total", "llm_quality_score", "llm_cached_tokens_total", "llm_rejected_lines"}
    assert not {name for name in names if name.startswith(("llm_time_to_first_token", "llm_errors"))}


def test_the_types_of_tokens_add_up_to_all_tokens() -> None:
    """Cached and reasoning tokens are parts of others: they have families of their own."""
    calls = [call(1), call(2, prompt_tokens=None, completion_tokens=None, total_tokens=77)]
    found = points(prometheus(families(tally_of(calls), Moment())), read_prometheus)
    by_type = {dict(labels)["type"]: n for (name, labels), n in found.items() if name == "llm_tokens_total"}
    assert by_type == {"prompt": 10, "completion": 5, "unsplit": 77}
    assert METRICS["cached_tokens"].prometheus == "llm_cached_tokens_total"


@given(
    latencies=st.lists(
        st.one_of(st.sampled_from([0.0, 10.0, 20.0, 640.0, 81920.0]), st.floats(0, 200_000)), max_size=60
    )
)
def test_buckets_are_exact(latencies: list[float]) -> None:
    whole = [round(latency * 1000) / 1000 for latency in latencies]
    calls = [call(n, "ab"[n % 2], latency_ms=latency) for n, latency in enumerate(whole)]
    found = points(prometheus(families(tally_of(calls), Moment())), read_prometheus)
    for number, model in enumerate("ab"):
        mine = np.array(whole[number::2]) / 1000
        for bound in (*BUCKETS["latency_ms"], math.inf):
            le = "+Inf" if math.isinf(bound) else str(bound)
            counted = value(found, "llm_request_duration_seconds_bucket", model=model, le=le)
            assert counted == ((mine <= bound).sum() if len(mine) else None)


@pytest.mark.parametrize(("render", "reader"), READERS)
def test_hostile_labels_are_escaped_and_read_back(render: Callable[..., str], reader: Callable[..., Any]) -> None:
    calls = [call(n, text, success=False, error_type=text) for n, text in enumerate(HOSTILE)]
    text = render(families(tally_of(calls), Moment()))
    found = points(text, reader)
    models = {dict(labels).get("model") for (name, labels) in found if name == "llm_requests_total"}
    assert models == {shown(model) for model in HOSTILE}
    assert not any(ord(sign) < 32 and sign != "\n" for sign in text)
    assert text.encode()
    assert max(len(model or "") for model in models) <= LONGEST_LABEL


@given(models=st.lists(st.text(max_size=12), min_size=1, max_size=12), limit=st.integers(1, 6))
def test_any_text_is_a_label_and_nothing_is_lost(models: list[str], limit: int) -> None:
    calls = [call(n, model or None) for n, model in enumerate(models)]
    for render, reader in READERS:
        found = points(render(families(tally_of(calls, limit), Moment())), reader)
        counted = {labels: n for (name, labels), n in found.items() if name == "llm_requests_total"}
        assert sum(counted.values()) == len(models)
        assert len(counted) <= limit + 2  # and `other`, and those without a model


def test_beyond_the_limit_the_most_frequent_keep_their_names() -> None:
    calls = [call(n, model) for n, model in enumerate("a" * 5 + "b" * 3 + "cdefg")]
    found = points(prometheus(families(tally_of(calls, 2), Moment())), read_prometheus)
    by_model = {dict(labels)["model"]: n for (name, labels), n in found.items() if name == "llm_requests_total"}
    assert by_model == {"a": 5, "b": 3, OTHER: 5}


@given(cut=st.integers(0, 20))
def test_tallies_of_parts_add_up(cut: int) -> None:
    calls = [
        call(n, "abc"[n % 3], latency_ms=n * 37.0, success=n % 4 > 0, error_type="e" * (n % 4 == 0)) for n in range(20)
    ]
    parts = [tally(columns_of(part), INSTRUMENTS) for part in (calls[:cut], calls[cut:]) if part]
    whole, added = tally(columns_of(calls), INSTRUMENTS), add(parts)
    assert {m: dict(p) for m, p in whole.points.items()} == {m: dict(p) for m, p in added.points.items()}
    assert (whole.first_us, whole.last_us) == (added.first_us, added.last_us)


@pytest.mark.parametrize(("render", "reader"), READERS)
def test_nothing_is_an_empty_exposition(render: Callable[..., str], reader: Callable[..., Any]) -> None:
    assert points(render(families(Tally(), Moment())), reader) == {}


@pytest.mark.parametrize(("render", "reader"), READERS)
def test_metric_samples_are_gauges_under_names_that_are_free(
    render: Callable[..., str], reader: Callable[..., Any]
) -> None:
    taken = families(tally_of([call(1)]), Moment())
    samples = [
        {"name": "queue depth", "value": 3, "tags": {"host-name": 'a"b', "request_id": "r1"}},
        {"name": "queue depth", "value": 4, "tags": {"host-name": 'a"b', "request_id": "r2"}},
        {"name": "llm_tokens_total", "value": 1, "tags": {"le": "x", "0": 1}},
        {"name": "0", "value": math.inf, "tags": {}},
    ]
    found = points(render([*taken, *sample_families(samples, taken)]), reader)
    assert value(found, "queue_depth", host_name='a"b') == 4
    assert value(found, "sample_llm_tokens_total", tag_le="x", tag_0="1") == 1
    assert value(found, "_0") == math.inf


NAMES = st.sampled_from(
    ["a.b", "a_b", "a-b", "a_b_total", "sample_a_b", "llm_tokens_total", "llm_tokens", "", "é", "1"]
)
TAGS = st.dictionaries(st.sampled_from(["x.y", "x_y", "x-y", "x_y_2", "le", "tag_le", "name", "_name", ""]), NAMES)


@given(st.lists(st.tuples(NAMES, TAGS)))
def test_names_that_are_equal_once_written_are_told_apart(wanted: list[tuple[str, dict[str, str]]]) -> None:
    taken = families(tally_of([call(1)]), Moment())
    samples = [{"name": name, "value": n, "tags": tags} for n, (name, tags) in enumerate(wanted)]
    made = sample_families(samples, taken)
    last = {(name, frozenset(tags.items())): n for n, (name, tags) in enumerate(wanted)}
    for render, reader in READERS:
        found = [one for family in reader(render([*taken, *made])) for one in family.samples]
        series = [(one.name, frozenset(one.labels.items())) for one in found]
        assert len(series) == len(set(series))
    # tags whose names differ only in signs that cannot be written may be one series, names of metrics never are
    kept = {point.value for family in made for point in family.points}
    newest = {max(n for (other, _), n in last.items() if other == name) for name, _ in last}
    assert newest <= kept


def test_the_tables_names_are_well_formed() -> None:
    for metric in METRICS.values():
        if metric.prometheus:
            assert metric.prometheus.startswith("llm_")
            counts = metric.name not in BUCKETS and metric.name != "quality_score"
            assert metric.prometheus.endswith("_total") == counts


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_wrong() -> None:
    calls = [call(n, text, cost_usd=0.1, time_to_first_token_ms=3.0) for n, text in enumerate(["a", "b", *HOSTILE])]
    taken = families(tally_of(calls), Moment(5.0, 0))
    names = [
        ("pool.size", {}),
        ("pool_size", {}),
        ("pool-size", {"x.y": 1, "x_y": 2}),
        ("queue depth", {}),
        ("llm_error_rate", {}),
    ]
    samples = [{"name": name, "value": 1.0, "tags": tags} for name, tags in names]
    text = prometheus([*taken, *sample_families(samples, taken)])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
