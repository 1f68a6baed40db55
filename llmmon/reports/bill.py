"""`cost --every month`: what was spent in each period, by group: a bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from llmmon.metrics.aggregates import Group
from llmmon.metrics.grouping import Grouping
from llmmon.pricing.audit import FIGURES, CostPlan, CostTally, Sums


class BillRow(msgspec.Struct, frozen=True):
    """What some calls cost, in US dollars; `cost_usd` is None where nothing is known, else perhaps not complete.

    `saved_usd` is what the providers' caches saved, net of what writing to them cost.
    """

    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float | None
    complete: bool
    saved_usd: float
    unpriced_calls: int


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
    cells: dict[Group, Sums] = dict(tallied.periods) | {(None, *group): sums for group, sums in undated.items()}
    return Bill(
        every_us=plan.every_us,
        tz=plan.tz,
        by=plan.by,
        periods=tuple(_period(place, cells, grouping) for place in places),
        lines=_lines(tallied, places, cells, plan.by),
        total=_row(_summed(tallied.groups.values())),
    )


_MOST_CELLS = 200_000


def _undated(tallied: CostTally) -> dict[Group, Sums]:
    """The calls of each group that have no time: those that are in no period."""
    inside: dict[Group, list[Sums]] = {}
    for group, sums in tallied.periods.items():
        inside.setdefault(group[1:], []).append(sums)
    left = {
        group: tuple(whole - part for whole, part in zip(sums, _summed(inside.get(group, ())), strict=True))
        for group, sums in tallied.groups.items()
    }
    return {group: sums for group, sums in left.items() if any(sums)}


def _period(place: int | None, cells: Mapping[Group, Sums], grouping: Grouping) -> Period:
    total = _row(_summed([sums for group, sums in cells.items() if group[0] == place]))
    if place is None:
        return Period(None, None, total)
    return Period(grouping.bucket_start(place), grouping.bucket_start(place + 1), total)


def _lines(
    tallied: CostTally, places: Sequence[int | None], cells: Mapping[Group, Sums], by: tuple[str, ...]
) -> tuple[Line, ...]:
    lines = []
    for group, sums in tallied.groups.items():
        found = [cells.get((place, *group)) for place in places]
        row = tuple(None if cell is None else _row(cell) for cell in found)
        lines.append(Line(dict(zip(by, group, strict=True)), row, _row(sums)))
    return tuple(sorted(lines, key=lambda line: (-(line.total.cost_usd or 0.0), [str(v) for v in line.key.values()])))


def _summed(rows: Iterable[Sums]) -> Sums:
    columns = list(zip(*rows, strict=True))
    return tuple(map(sum, columns)) if columns else (0,) * len(FIGURES)


def _row(sums: Sums) -> BillRow:
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
    )
