"""Attribution: the parts add up to the change, and the planted part comes first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.anomaly.attribution import FieldChange, PeriodSums, contributors, split

part = st.tuples(st.integers(0, 50), st.floats(-100, 100), st.integers(0, 50), st.floats(-100, 100))


@given(st.lists(part, min_size=1, max_size=6), st.floats(0.5, 10), st.floats(0.5, 10), st.booleans())
def test_the_parts_add_up_to_the_change(
    rows: list[tuple[int, float, int, float]], length0: float, length1: float, total: bool
) -> None:
    n0, m0, n1, m1 = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    if not n0.sum() or not n1.sum():
        return
    before, now = PeriodSums(n0, n0 * m0, length0), PeriodSums(n1, n1 * m1, length1)
    found = sum(float(piece.sum()) for piece in split(before, now, total=total))
    t0, t1 = float(before.total.sum()), float(now.total.sum())
    change = t1 / length1 - t0 / length0 if total else t1 / n1.sum() - t0 / n0.sum()
    assert found == pytest.approx(change, abs=1e-6)


def models(slow: float = 1.0, share: float = 0.5, now: int = 200, *, field: str = "model") -> FieldChange:
    """200 calls before, half of them of the model that takes 400 ms, and `now` calls in the incident."""
    fast = round(now * share)
    before, during = np.array([100.0, 100.0]), np.array([fast, now - fast], np.float64)
    latency = np.array([100.0, 400.0])
    parts = PeriodSums(before, before * latency, 1.0), PeriodSums(during, during * latency * [1.0, slow], 1.0)
    return FieldChange(field, ["fast", "large"], *parts)


def test_a_part_that_slowed_down_contributed_by_its_own_change() -> None:
    (first, *_) = contributors([models(slow=3.0)])
    assert (first.field, first.name) == ("model", "large")
    assert first.share == pytest.approx(1.0)
    assert first.mix == first.volume == 0.0
    assert "contributed" in first.sentence
    assert "caused" not in first.sentence


def test_a_part_with_more_of_the_calls_contributed_by_mix() -> None:
    (first, *_) = contributors([models(share=0.1)])
    assert abs(first.mix) > 0
    assert first.rate == 0.0
    assert "a different mix" in first.sentence


def test_more_calls_contribute_to_a_total_by_volume() -> None:
    found = contributors([models(now=800)], total=True)
    assert all(c.rate == pytest.approx(0) and c.volume > 0 for c in found)
    assert sum(c.share for c in found) == pytest.approx(1.0)


def test_parts_without_support_and_single_parts_are_not_named() -> None:
    whole = PeriodSums(np.array([200.0]), np.array([9.0]), 1.0)
    assert contributors([models(slow=3.0)], min_calls=1000) == []
    assert contributors([FieldChange("user", ["everyone"], whole, whole)]) == []


def test_no_change_has_no_contributors() -> None:
    assert contributors([models()]) == []


def test_calls_without_a_name_are_a_part() -> None:
    change = models(slow=3.0, field="feature")
    (first, *_) = contributors([FieldChange("feature", ["chat", None], change.before, change.now)])
    assert first.name is None
    assert "feature missing contributed" in first.sentence
