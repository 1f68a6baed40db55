"""`cost --every month`: what was spent in each period, by group: a bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from llmmon.metrics.aggregates import GroupKey
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import FIELDS
from llmmon.pricing.audit import FIGURES, CostPlan, CostTally, Totals


class BillRow(msgspec.Struct, frozen=True):
    """What some calls cost, in US dollars; `cost_usd` is None where nothing is known, else perhaps not complete.

    `saved_usd` is what the providers' caches saved, net of what writing to them cost. `usage` is what else is billed:
    searches, tokens of audio and so on, by field of the record.
    """

    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float | None
    complete: bool
    saved_usd: float
    unpriced_calls: int
    usage: Mapping[str, float] = {}


class Period(msgspec.Struct, frozen=True):
    """One period, microseconds UTC (None: calls without a time), with all of its calls."""

    start_us: int | None
    end_us: int | None
    total: BillRow


class Line(msgspec.Struct, frozen=True):
    """One group: its calls in each period (None where it has none), in their order, and all together."""

    key: Mapping[str, str | None]
    cells: tuple[BillRow | None, ...]
    total: BillRow


class Bill(msgspec.Struct, frozen=True):
    """Periods in order of time, empty ones between them too, and groups, the most expensive first."""

    every_us: int
    tz: str
    by: tuple[str, ...]
    periods: tuple[Period, ...]
    lines: tuple[Line, ...]
    total: BillRow


_DOLLARS = 1e9


def bill_of(tallied: CostTally, plan: CostPlan) -> Bill:
    """The bill of all tallies merged; the plan says which periods in which zone."""
    grouping = Grouping(plan.by, plan.every_us, plan.tz)
    numbers = [group[0] for group in tallied.periods]
    dated = list(range(min(numbers), max(numbers) + 1)) if numbers else []
    if len(dated) * max(1, len(tallied.groups)) > _MOST_CELLS:
        dated = sorted(set(numbers))
    undated = _undated(tallied)
    places: list[int | None] = [*dated, *([None] if undated else [])]
    cells: dict[GroupKey, Totals] = dict(tallied.periods) | {(None, *group): sums for group, sums in undated.items()}
    usage = _Usage(tallied)
    return Bill(
        every_us=plan.every_us,
        tz=plan.tz,
        by=plan.by,
        periods=tuple(_period(place, cells, grouping, usage) for place in places),
        lines=_lines(tallied, places, cells, plan.by, usage),
        total=_row(_summed(tallied.groups.values()), usage.of()),
    )


_MOST_CELLS = 200_000


class _Usage:
    """What is billed apart from tokens in and out, of calls with a time."""

    def __init__(self, tallied: CostTally) -> None:
        self._kinds = tallied.kinds

    def of(self, place: int | None = None, group: GroupKey | None = None) -> dict[str, float]:
        """The usage of a period, a group or both, in public units; None is all of them."""
        found: dict[str, float] = {}
        for (kind, number, *names), (amount,) in self._kinds.items():
            if (place is None or place == number) and (group is None or group == tuple(names)):
                found[kind] = found.get(kind, 0.0) + amount / FIELDS[kind].scale
        return found


def _undated(tallied: CostTally) -> dict[GroupKey, Totals]:
    """The calls of each group that have no time: those that are in no period."""
    inside: dict[GroupKey, list[Totals]] = {}
    for group, sums in tallied.periods.items():
        inside.setdefault(group[1:], []).append(sums)
    left = {
        group: tuple(whole - part for whole, part in zip(sums, _summed(inside.get(group, ())), strict=True))
        for group, sums in tallied.groups.items()
    }
    return {group: sums for group, sums in left.items() if any(sums)}


def _period(place: int | None, cells: Mapping[GroupKey, Totals], grouping: Grouping, usage: _Usage) -> Period:
    sums = _summed([sums for group, sums in cells.items() if group[0] == place])
    if place is None:
        return Period(None, None, _row(sums))
    total = _row(sums, usage.of(place))
    return Period(grouping.bucket_start(place), grouping.bucket_start(place + 1), total)


def _lines(
    tallied: CostTally,
    places: Sequence[int | None],
    cells: Mapping[GroupKey, Totals],
    by: tuple[str, ...],
    usage: _Usage,
) -> tuple[Line, ...]:
    apart = {(kind[1], *kind[2:]) for kind in tallied.kinds}
    with_usage = {group[1:] for group in apart}
    lines = []
    for group, sums in tallied.groups.items():
        found = [(place, cells.get((place, *group))) for place in places]
        row = tuple(
            None if cell is None else _row(cell, usage.of(place, group) if (place, *group) in apart else {})
            for place, cell in found
        )
        total = _row(sums, usage.of(None, group) if group in with_usage else {})
        lines.append(Line(dict(zip(by, group, strict=True)), row, total))
    return tuple(sorted(lines, key=lambda line: (-(line.total.cost_usd or 0.0), [str(v) for v in line.key.values()])))


def _summed(rows: Iterable[Totals]) -> Totals:
    columns = list(zip(*rows, strict=True))
    return tuple(map(sum, columns)) if columns else (0,) * len(FIGURES)


def _row(sums: Totals, usage: Mapping[str, float] | None = None) -> BillRow:
    found = dict(zip(FIGURES, sums, strict=True))
    cost = found["logged"] + found["calculated"]
    return BillRow(
        calls=found["calls"],
        prompt_tokens=found["prompt_tokens"],
        cached_tokens=found["cached_tokens"],
        completion_tokens=found["completion_tokens"],
        cost_usd=cost / _DOLLARS if found["priced_calls"] else None,
        complete=not found["unpriced_calls"],
        saved_usd=(found["read_saved"] - found["write_extra"]) / _DOLLARS,
        unpriced_calls=found["unpriced_calls"],
        usage=usage or {},
    )
