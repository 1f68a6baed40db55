"""Aggregates over time whose buckets grow with the time that they cover, so that one reading suits any log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.metrics.aggregates import Aggregates, bounded, in_one_run, merge, regroup
from llmmon.metrics.aggregation import Measures, aggregate
from llmmon.metrics.columns import Columns
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import DAY_US, MINUTE_US, SECOND_US

# widths in which buckets are kept, each a multiple of the one before; days may begin at any quarter of an hour
WIDTHS: Final = (SECOND_US, 10 * SECOND_US, MINUTE_US, 5 * MINUTE_US, 15 * MINUTE_US, DAY_US)
_SHOWN_S: Final = (1, 2, 5, 10, 20, 30)
_SHOWN_MIN: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440, 7 * 1440, 28 * 1440)
SHOWN: Final = (*(n * SECOND_US for n in _SHOWN_S), *(n * MINUTE_US for n in _SHOWN_MIN))
_MOST_BUCKETS: Final = 6000
_MERGE_EVERY: Final = 16
OTHER: Final = "(other)"


class Timelines(msgspec.Struct, frozen=True, eq=False):
    """Aggregates by bucket of `every_us` and by each plan's fields; `parts` in the order of the plans."""

    every_us: int
    parts: tuple[Aggregates, ...]


class TimelineFold:
    """Aggregates by time bucket and by each plan's fields, in the finest of `widths` that keeps the buckets few."""

    def __init__(
        self, plans: Sequence[tuple[Measures, tuple[str, ...]]], tz: str, most_values: int, widths: Sequence[int]
    ) -> None:
        self._plans = plans
        self._tz = tz
        self._most_values = most_values
        self._widths = list(widths)
        self._pending: list[list[Aggregates]] = [[] for _ in plans]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if not columns.size:
            return
        for (measures, by), pending in zip(self._plans, self._pending, strict=True):
            pending.append(aggregate(columns, measures, Grouping(by, self._widths[0], self._tz)))
        if len(self._pending[0]) >= _MERGE_EVERY or len(self._pending[0][-1]) > _MOST_BUCKETS:
            self._compact()

    def _compact(self) -> None:
        merged = [bounded(merge(pending), self._most_values) for pending in self._pending]
        while len(self._widths) > 1 and len(merged[0]) > _MOST_BUCKETS:
            before, after = self._widths[:2]
            merged = [widened(p, by, before, after, self._tz) for p, (_, by) in zip(merged, self._plans, strict=True)]
            self._widths.pop(0)
        self._pending = [[aggregates] for aggregates in merged]

    def result(self) -> Timelines:
        """The aggregates, their values in one sorted run each."""
        self._compact()
        return Timelines(self._widths[0], tuple(in_one_run(pending[0]) for pending in self._pending))


def widened(aggregates: Aggregates, by: tuple[str, ...], before_us: int, after_us: int, tz: str) -> Aggregates:
    """The aggregates by bucket and `by` under wider buckets, or as they are."""
    if before_us == after_us:
        return aggregates
    old, new = Grouping(by, before_us, tz), Grouping(by, after_us, tz)
    numbers = sorted({group[0] for group in aggregates.groups})
    starts = np.array([old.bucket_start(number) for number in numbers], np.int64)
    under = dict(zip(numbers, new.numbers(starts).tolist(), strict=True))
    return regroup(aggregates, [(under[group[0]], *group[1:]) for group in aggregates.groups])


def joined(found: Iterable[Timelines], bys: Sequence[tuple[str, ...]], tz: str) -> Timelines:
    """The timelines of several workers as one, in the widest of their buckets."""
    parts = list(found)
    widest = max(part.every_us for part in parts)
    merged = [
        merge(widened(part.parts[i], by, part.every_us, widest, tz) for part in parts) for i, by in enumerate(bys)
    ]
    return Timelines(widest, tuple(merged))


def shown_width(span_us: int, kept_us: int, most: int) -> int:
    """The narrowest of the usual widths that makes at most `most` buckets and of which kept buckets are parts."""
    usable = [width for width in SHOWN if width % kept_us == 0]
    return next((width for width in usable if span_us / width <= most), usable[-1] if usable else kept_us)


def layers(aggregates: Aggregates, metric: str, scale: int, most: int) -> Mapping[str | None, Mapping[int, float]]:
    """A metric's sum by name and bucket number: the `most` names with the largest sums, the rest as `OTHER`.

    `aggregates` are by bucket and one field.
    """
    sums = aggregates.sums.get(metric)
    if sums is None:
        return {}
    whole: dict[str | None, int] = {}
    for (_, name), total in zip(aggregates.groups, sums.total.tolist(), strict=True):
        whole[name] = whole.get(name, 0) + total
    ranked = sorted((n for n in whole if whole[n]), key=lambda n: (-whole[n], n or ""))
    kept = set(ranked if len(ranked) <= most else ranked[: most - 1])
    found: dict[str | None, dict[int, float]] = {name: {} for name in ranked if name in kept}
    for (number, name), total in zip(aggregates.groups, sums.total.tolist(), strict=True):
        if total:
            into = found.setdefault(name if name in kept else OTHER, {})
            into[number] = into.get(number, 0.0) + total / scale
    return found
