"""`--fail-on`: conditions on the figures of a result."""

from __future__ import annotations

import pytest

from llmmon.errors import UsageError
from llmmon.metrics.filters import checks_of

FIGURES = {"error_rate": 0.2, "cost_total_usd": None, "severity": {"low", "high"}, "flag": {"secret"}, "data.x": 3}
SCALES = {"severity": ("low", "medium", "high", "critical")}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        *(("error_rate>0.1", True), ("error_rate>0.2", False), ("error_rate>=0.2", True), ("error_rate<0.1", False)),
        *(
            ("error_rate=0.2", True),
            ("error_rate==0.2", True),
            ("error_rate!=0.2", False),
            (" error_rate > 0.1 ", True),
        ),
        *(("cost_total_usd>0", False), ("cost_total_usd<1", False), ("cost_total_usd!=5", False)),
        *(("severity>=high", True), ("severity>high", False), ("severity=medium", False), ("severity<medium", True)),
        *(("flag=secret", True), ("flag=injection", False), ("flag!=injection", True), ("data.x=3", True)),
    ],
)
def test_a_condition_is_met_or_not(condition: str, met: bool) -> None:
    assert [met] == [one.failed for one in checks_of([condition], FIGURES, SCALES)]


def test_one_of_several_is_enough() -> None:
    assert [False, True] == [c.failed for c in checks_of(["error_rate>0.9", "error_rate>0.1"], FIGURES, SCALES)]
    assert checks_of([], FIGURES, SCALES) == ()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("eror_rate>0.1", "did you mean 'error_rate'"),
        ("error_rate", "is not a condition"),
        ("error_rate>", "is not a condition"),
        ("error_rate>much", "'much' is not a number"),
        ("severity>=hihg", "did you mean 'high'"),
        ("", "is not a condition"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_even_after_one_that_is_met(condition: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checks_of(["error_rate>0.1", condition], FIGURES, SCALES)
