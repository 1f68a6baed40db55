"""Recent calls in bounded buckets: the figures of a window are those of the calls in it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmmon.live.rolling import LONGEST_US, MOST_NAMES, OTHER, RINGS, Recent
from llmmon.metrics.aggregation import Measures, aggregate, evaluate
from llmmon.metrics.columns import MISSING_TIME, Columns, Names
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import MINUTE_US, SECOND_US

NOW_US = 1_780_000_123_456_789
STATISTICS = ("request_count", "latency_p50_ms", "latency_p95_ms", "requests_per_minute")
MEASURES = Measures.of(STATISTICS)
MODELS = ("a", "b", "c")
Call = tuple[int, int, int]  # microseconds ago, latency in microseconds, model


def columns_of(calls: list[Call]) -> Columns:
    ago, latency, model = (np.array(part, np.int64) for part in zip(*calls, strict=True))
    return Columns(
        size=len(calls),
        timestamp=NOW_US - ago,
        numbers={"latency_ms": latency.astype(np.float64)},
        names={"model": Names(model.astype(np.int32), MODELS)},
    )


CALLS = st.lists(
    st.tuples(st.integers(0, LONGEST_US), st.integers(1, 10**7), st.integers(0, 2)), min_size=1, max_size=60
)
WINDOWS = st.sampled_from([10 * SECOND_US, MINUTE_US, 15 * MINUTE_US, 60 * MINUTE_US, 180 * MINUTE_US, LONGEST_US])


@given(calls=CALLS, window_us=WINDOWS, cut=st.integers(0, 60))
def test_a_window_holds_what_the_calls_in_it_say(calls: list[Call], window_us: int, cut: int) -> None:
    recent = Recent([("model",)], MEASURES)
    recent.window(("model",), window_us, NOW_US)  # kept ready, and added to
    for part in (calls[:cut], calls[cut:]):
        if part:
            other = Recent([("model",)], MEASURES)
            other.add(columns_of(part), NOW_US)
            recent.absorb(other, NOW_US)
    start_us = recent.start_of(window_us, NOW_US)
    inside = [call for call in calls if NOW_US - call[0] >= start_us]
    found = recent.window(("model",), window_us, NOW_US)
    minutes = window_us / MINUTE_US
    for group in [(name,) for name in MODELS]:
        mine = [call for call in inside if MODELS[call[2]] == group[0]]
        assert (group in found.groups) == bool(mine)
    if inside:
        wanted = evaluate(aggregate(columns_of(inside), MEASURES, Grouping(("model",))), STATISTICS, minutes)
        shown = evaluate(found, STATISTICS, minutes)
        assert all(np.allclose(wanted[name][-1], shown[name][-1], equal_nan=True) for name in STATISTICS)
    counted = sum(row.get("request_count") or 0 for row in recent.course(STATISTICS, window_us, NOW_US))
    assert counted == len(inside)


def test_what_is_too_old_of_the_future_or_without_a_time_is_left_out() -> None:
    recent = Recent([], MEASURES)
    calls = columns_of([(0, 1, 0), (-3600 * SECOND_US, 1, 0), (3 * LONGEST_US, 1, 0), (0, 1, 0)])
    calls.timestamp[3] = MISSING_TIME
    recent.add(calls, NOW_US)
    assert evaluate(recent.window((), LONGEST_US, NOW_US), STATISTICS, 1)["request_count"][-1] == 1
    assert recent.ahead == 1


def test_buckets_are_forgotten_when_they_are_old() -> None:
    recent = Recent([], MEASURES)
    recent.add(columns_of([(0, 1, 0)]), NOW_US)
    later = NOW_US + LONGEST_US + 2 * RINGS[-1][0]
    recent.forget(later)
    assert evaluate(recent.window((), LONGEST_US, later), STATISTICS, 1)["request_count"][-1] == 0
    assert not any(buckets for ring in recent._rings for buckets in ring.values())


def test_names_beyond_a_number_are_counted_together() -> None:
    recent = Recent([("user",)], MEASURES)
    users = tuple(f"u{n}" for n in range(3 * MOST_NAMES))
    columns = Columns(
        size=len(users),
        timestamp=np.full(len(users), NOW_US),
        numbers={"latency_ms": np.ones(len(users))},
        names={"user": Names(np.arange(len(users), dtype=np.int32), users)},
    )
    recent.add(columns, NOW_US)
    found = recent.window(("user",), MINUTE_US, NOW_US)
    counts = dict(zip(found.groups, found.sums["requests"].count.tolist(), strict=True))
    assert counts[OTHER,] == 2 * MOST_NAMES
    assert len(counts) == MOST_NAMES + 1


def test_many_values_are_binned_within_one_percent() -> None:
    recent = Recent([], MEASURES)
    values = np.random.default_rng(1).lognormal(13, 1, 30_000).astype(np.int64)
    recent.add(columns_of([(0, int(value), 0) for value in values]), NOW_US)
    recent.add(columns_of([(0, int(values[0]), 0)]), NOW_US)
    found = recent.window((), MINUTE_US, NOW_US)
    p95 = evaluate(found, STATISTICS, 1)["latency_p95_ms"][-1]
    assert not found.exact
    assert abs(p95 / (np.quantile(values, 0.95) / 1000) - 1) < 0.01
