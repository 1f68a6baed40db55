"""Counters that continue: whatever is appended in whatever pieces, no number falls and none is lost."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmmon.ingest.checkpoints import Checkpoint
from llmmon.metrics.collector import columns_of
from llmmon.metrics.recording import RequestMetrics
from llmmon.output.export.metrics import Snapshot, advanced, minutes_since, name_of, packed, unpacked
from llmmon.output.export.otlp import INSTRUMENTS as OTEL_INSTRUMENTS
from llmmon.output.export.prometheus import INSTRUMENTS, Histogram, Moment, families
from llmmon.output.export.tallies import OTHER, Tally, tally

CALLS = st.lists(
    st.builds(
        lambda model, latency, failed: RequestMetrics(
            *("r", model, 10, 5, 15, latency),
            success=not failed,
            error_type=model * failed,
        ),
        st.sampled_from(["a", "b", "c", "d", "e", ""]),
        st.floats(0, 100_000),
        st.booleans(),
    ),
    max_size=12,
)


def tally_of(calls: list[RequestMetrics]) -> Tally:
    return tally(columns_of(calls), INSTRUMENTS) if calls else Tally()


def counters(snapshot: Snapshot) -> dict[Any, float]:
    """Everything that must not fall, by name and labels; of histograms each bucket."""
    found: dict[Any, float] = {}
    for family in families(snapshot.tally, Moment()):
        for point in family.points:
            if isinstance(point.value, Histogram):
                found |= {(family.name, point.labels, n): count for n, count in enumerate(point.value.counts)}
            elif family.kind == "counter":
                found[family.name, point.labels] = point.value
    return found


@given(parts=st.lists(CALLS, min_size=1, max_size=5), limit=st.integers(1, 4))
def test_no_counter_falls_and_none_is_lost(parts: list[list[RequestMetrics]], limit: int) -> None:
    snapshots: list[Snapshot] = []
    before: Snapshot | None = None
    for number, calls in enumerate(parts):
        before, _ = advanced(before, tally_of(calls), 1, number, INSTRUMENTS, limit)
        before, _ = unpacked(packed(before, []), Checkpoint)
        assert before is not None
        snapshots.append(before)
    for earlier, later in pairwise(map(counters, snapshots)):
        assert all(later[name] >= value for name, value in earlier.items())
    counted = [n for (name, *_), n in counters(snapshots[-1]).items() if name == "llm_requests_total"]
    assert sum(counted) == sum(map(len, parts))
    assert snapshots[-1].rejected == len(parts)


def test_a_value_that_was_other_stays_so_and_a_named_one_keeps_its_name() -> None:
    def calls(text: str) -> Tally:
        return tally_of([RequestMetrics("r", model, 1, 1, 2, 1.0) for model in text])

    first, _ = advanced(None, calls("aab"), 0, 0, INSTRUMENTS, 1)
    second, part = advanced(first, calls("bbbbba"), 0, 1, INSTRUMENTS, 1)
    assert {labels[0]: n[1] for labels, n in second.tally.points["requests"].items()} == {"a": 3, OTHER: 6}
    assert {labels[0]: n[1] for labels, n in part.points["requests"].items()} == {"a": 1, OTHER: 5}


def test_a_part_covers_the_time_since_the_last_snapshot() -> None:
    before, _ = advanced(None, Tally(), 0, 60_000_000, INSTRUMENTS, 9)
    assert minutes_since(before, Tally(), 180_000_000) == 2
    assert minutes_since(before, Tally(), 60_000_000) is None
    assert minutes_since(None, Tally({}, 0, 120_000_000), 9) == 2
    assert minutes_since(None, Tally(), 9) is None


def test_other_instruments_or_questions_are_counters_of_their_own() -> None:
    names = {name_of(INSTRUMENTS, ["a"]), name_of(INSTRUMENTS, ["b"]), name_of(OTEL_INSTRUMENTS, ["a"])}
    assert len(names) == 3
    assert name_of(INSTRUMENTS, ["a"]) in names
    assert unpacked(None, Checkpoint) == (None, ())
