"""Attribution: the parts add up to the change, and the planted part comes first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.attribution import Dimension, Parts, contributors, split

part = st.tuples(st.integers(0, 50), st.floats(-100, 100), st.integers(0, 50), st.floats(-100, 100))


@given(st.lists(part, min_size=1, max_size=6), st.floats(0.5, 10), st.floats(0.5, 10), st.booleans())
def test_the_parts_add_up_to_the_change(
    rows: list[tuple[int, float, int, float]], length0: float, length1: float, total: bool
) -> None:
    n0, m0, n1, m1 = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    if not n0.sum() or not n1.sum():
        return
    before, now = Parts(n0, n0 * m0, length0), Parts(n1, n1 * m1, length1)
    found = sum(float(piece.sum()) for piece in split(before, now, total=total))
    t0, t1 = float(before.total.sum()), float(now.total.sum())
    change = t1 / length1 - t0 / length0 if total else t1 / n1.sum() - t0 / n0.sum()
    assert found == pytest.approx(change, abs=1e-6)


def calls(slow: float = 1.0, share: float = 0.5, now_calls: int = 200) -> tuple[Dimension, np.ndarray, np.ndarray]:
    """(model of each call, latency, in the incident): 200 calls before, `now_calls` in it."""
    before = np.repeat([0, 1], 100)
    first = round(now_calls * share)
    codes = np.concatenate([before, np.repeat([0, 1], [first, now_calls - first])])
    during = np.arange(len(codes)) >= 200
    latency = np.where(codes == 0, 100.0, 400.0) * np.where(during & (codes == 1), slow, 1.0)
    return Dimension("model", codes, ["fast", "large"]), latency, during


def test_a_part_that_slowed_down_contributed_by_its_own_change() -> None:
    model, latency, now = calls(slow=3.0)
    (first, *_) = contributors([model], np.ones(len(now)), latency, ~now, now, (1.0, 1.0))
    assert (first.field, first.name) == ("model", "large")
    assert first.share == pytest.approx(1.0)
    assert first.mix == first.volume == 0.0
    assert "contributed" in first.sentence
    assert "caused" not in first.sentence


def test_a_part_with_more_of_the_calls_contributed_by_mix() -> None:
    model, latency, now = calls(share=0.1)
    (first, *_) = contributors([model], np.ones(len(now)), latency, ~now, now, (1.0, 1.0))
    assert abs(first.mix) > 0
    assert first.rate == 0.0
    assert "a different mix" in first.sentence


def test_more_calls_contribute_to_a_total_by_volume() -> None:
    model, latency, now = calls(now_calls=800)
    found = contributors([model], np.ones(len(now)), latency, ~now, now, (1.0, 1.0), total=True)
    assert all(c.rate == pytest.approx(0) and c.volume > 0 for c in found)
    assert sum(c.share for c in found) == pytest.approx(1.0)


def test_the_examples_are_the_most_telling_calls_of_the_incident() -> None:
    model, latency, now = calls(slow=3.0)
    latency[-7] = 9000.0
    ids = [f"req-{k}" for k in range(len(now))]
    (first, *_) = contributors([model], np.ones(len(now)), latency, ~now, now, (1.0, 1.0), request_ids=ids)
    assert first.examples[0] == f"req-{len(now) - 7}"
    assert len(first.examples) == 3
    assert first.to_dict()["examples"] == list(first.examples)


def test_parts_without_support_and_single_parts_are_not_named() -> None:
    model, latency, now = calls(slow=3.0)
    one = Dimension("user", np.zeros(len(now), np.int64), ["everyone"])
    args = (np.ones(len(now)), latency, ~now, now, (1.0, 1.0))
    assert contributors([model], *args, min_calls=1000) == []
    assert contributors([one], *args) == []


def test_no_change_has_no_contributors() -> None:
    model, latency, now = calls()
    assert contributors([model], np.ones(len(now)), latency, ~now, now, (1.0, 1.0)) == []


def test_calls_without_the_metric_do_not_count_and_missing_names_are_a_part() -> None:
    model, latency, now = calls(slow=3.0)
    latency[:5] = np.nan
    missing = Dimension("feature", np.where(model.codes == 1, -1, 0), ["chat"])
    (first, *_) = contributors([missing], np.ones(len(now)), latency, ~now, now, (1.0, 1.0))
    assert first.name is None
    assert "feature missing contributed" in first.sentence
