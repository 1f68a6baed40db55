"""How often answers have each flag, how sure that is, and how many of the flags are expected to be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.metrics.aggregates import GroupIndex
from llmmon.metrics.columns import IntArray
from llmmon.metrics.grouping import Grouping
from llmmon.quality.scored import Scored
from llmmon.quality.scorers.flags import FLAGS, Flag
from llmmon.text.times import iso

ASSUMED_RATE: Final = 0.01  # of answers that have any one defect, before the log says more
_ASSUMED_ANSWERS: Final = 100.0  # what the assumption weighs, in answers
_Z95: Final = 1.959964
_CERTAIN: Final = 0.999


class FlagRate(msgspec.Struct, frozen=True):
    """One flag over some answers: how many have it, the share with its 95 % interval, the share expected wrong."""

    flagged: int
    rate: float
    low: float
    high: float
    expected_wrong: float | None


class GroupRates(msgspec.Struct, frozen=True):
    """The answers of one group (a name by field), or of one period of it (`start`, ISO): average and rates."""

    group: Mapping[str, str | None]
    start: str | None
    answers: int
    overall_avg: float | None
    flags: Mapping[str, FlagRate]


def flag_rates(scored: Scored, rows: IntArray, assumed: float = ASSUMED_RATE) -> dict[str, FlagRate]:
    """The rate of each flag among those of `rows` that have output text."""
    answered = rows[scored.has_text[rows]]
    flags = [scored.quality.flags[i] for i in answered.tolist()]
    found = {}
    for name, flag in FLAGS.items():
        has = np.array([name in names for names in flags], np.bool_)
        sure = int((scored.quality.signals[name][answered] >= _CERTAIN)[has].sum()) if len(has) else 0
        found[name] = _rate(flag, int(has.sum()), sure, len(flags), assumed)
    return found


def _rate(flag: Flag, flagged: int, sure: int, answers: int, assumed: float) -> FlagRate:
    low, high = wilson(flagged, answers)
    wrong = None
    if flagged and flag.false_rate is not None:
        wrong = round((flagged - sure) / flagged * (1.0 - precision(flag, flagged, answers, assumed)), 4)
    return FlagRate(flagged, round(flagged / answers, 6) if answers else 0.0, low, high, wrong)


def precision(flag: Flag, flagged: int, answers: int, assumed: float = ASSUMED_RATE) -> float:
    """The share of raised flags that is expected to be right.

    p hit / (p hit + (1 - p) false), with `hit` and `false_rate` of the flag as measured on labelled answers, and p
    the share of answers that have the defect: assumed, and corrected by what the log shows,
    (share - false) / (hit - false), where the assumption weighs as much as 100 answers.
    """
    hit, false = flag.hit, flag.false_rate or 0.0
    shown = min(1.0, max(0.0, (flagged / answers - false) / (hit - false))) if answers else 0.0
    p = (_ASSUMED_ANSWERS * assumed + answers * shown) / (_ASSUMED_ANSWERS + answers)
    right = p * hit
    return right / max(1e-12, right + (1.0 - p) * false)


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); (0, 1) for none.

    >>> wilson(0, 100)
    (0.0, 0.036995)
    """
    if not total:
        return 0.0, 1.0
    z2, share = _Z95**2, count / total
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return round(max(0.0, middle - half), 6) if count else 0.0, round(min(1.0, middle + half), 6)


def grouped(scored: Scored, grouping: Grouping, assumed: float = ASSUMED_RATE) -> list[GroupRates]:
    """The rates of each group, the largest first, or in the order of time where there are periods."""
    index = GroupIndex()
    numbers, kept = grouping.rows(scored.calls, index)
    rows = np.arange(scored.calls.size) if kept is None else kept
    keys: Sequence[Any] = list(index)
    found = [_group(scored, rows[numbers == number], keys[number], grouping, assumed) for number in range(len(keys))]
    found = [group for group in found if group.answers]
    if grouping.every_us:
        return sorted(found, key=lambda g: (g.start or "", *(str(name) for name in g.group.values())))
    return sorted(found, key=lambda g: -g.answers)


def _group(scored: Scored, rows: IntArray, key: Any, grouping: Grouping, assumed: float) -> GroupRates:
    start = iso(grouping.bucket_start(key[0])) if grouping.every_us else None
    names = key[1:] if grouping.every_us else key
    overall = scored.quality.overall[rows]
    known = overall[~np.isnan(overall)]
    return GroupRates(
        group=dict(zip(grouping.by, names, strict=True)),
        start=start,
        answers=int(scored.has_text[rows].sum()),
        overall_avg=round(float(known.mean()), 6) if len(known) else None,
        flags=flag_rates(scored, rows, assumed),
    )
