"""What is shown of `cost --every`: periods and groups, with totals of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table
from llmmon.reports.bill import Bill, BillRow, Period
from llmmon.text.figures import count, key_text, money_text
from llmmon.text.times import CALENDAR_US, DAY_US, duration_text, iso, local

_MOST_COLUMNS: Final = 6  # periods that stand beside each other
_MOST_LINES: Final = 20  # groups below each other
_MOST_ROWS: Final = 1000
_NO_TIME: Final = "no time"
_YEARLY: Final = frozenset({CALENDAR_US["year"]})
_MONTHLY: Final = frozenset({CALENDAR_US["month"], CALENDAR_US["quarter"]})


def bill_data(bill: Bill) -> dict[str, Any]:
    """The bill as JSON: times in UTC, and each period as it is called in the reader's zone."""
    plain: dict[str, Any] = msgspec.to_builtins(bill)
    plain["every"] = duration_text(plain.pop("every_us"))
    plain["timezone"] = plain.pop("tz")
    for period, found in zip(plain["periods"], bill.periods, strict=True):
        period["start"], period["end"] = iso(period.pop("start_us")), iso(period.pop("end_us"))
        period["period"] = _named(bill, found)
    return plain


def bill_rows(bill: Bill) -> list[dict[str, Any]]:
    """One row a period and group that has calls, with the period's first day (or time) in the reader's zone."""
    rows = []
    for at, period in enumerate(bill.periods):
        for line in bill.lines:
            if (cell := line.cells[at]) is not None:
                named = {"period": _named(bill, period), "start": iso(period.start_us), "end": iso(period.end_us)}
                rows.append({**named, **line.key, **msgspec.to_builtins(cell)})
    return rows


def _named(bill: Bill, period: Period) -> str | None:
    """What a period is called in the reader's zone: its day, or its time where periods are shorter."""
    if period.start_us is None:
        return None
    return local(period.start_us, bill.tz)[: 10 if bill.every_us >= DAY_US else 16]


def bill_tables(bill: Bill) -> Iterator[Table]:
    """What was spent in each period, and by each group in it."""
    yield _by_period(bill)
    if bill.lines and len(bill.periods) <= _MOST_COLUMNS:
        yield _crosswise(bill)
    elif bill.lines:
        yield _lengthwise(bill)


def _head(bill: Bill, period: Period) -> str:
    named = _named(bill, period)
    if named is None:
        return _NO_TIME
    return named[:4] if bill.every_us in _YEARLY else named[:7] if bill.every_us in _MONTHLY else named


def _by_period(bill: Bill) -> Table:
    columns = (
        Column(duration_text(bill.every_us) if bill.every_us in _MONTHLY | _YEARLY else "from", right=False),
        *(Column("calls"), Column("tokens in", rank=2), Column("cached", rank=2), Column("tokens out", rank=2)),
        *(Column("saved by caching", rank=1), Column("cost")),
    )
    rows = [(_head(bill, period), *_cells(period.total)) for period in bill.periods]
    more = len(rows) - _MOST_ROWS
    note = f"and {more:,} earlier ones (all with -f csv)" if more > 0 else ""
    return Table(_title(bill), columns, (*rows[-_MOST_ROWS:], ("total", *_cells(bill.total))), note)


def _title(bill: Bill) -> str:
    names = {width: name for name, width in CALENDAR_US.items()}
    return f"cost every {names.get(bill.every_us) or duration_text(bill.every_us)}, {bill.tz}"


def _cells(row: BillRow) -> tuple[str, ...]:
    counts = (row.calls, row.prompt_tokens, row.cached_tokens, row.completion_tokens)
    saved = money_text(row.saved_usd) if row.saved_usd else "-"
    return (*map(count, counts), saved, _money(row))


def _money(row: BillRow | None) -> str:
    return "-" if row is None else money_text(row.cost_usd, complete=row.complete)


def _crosswise(bill: Bill) -> Table:
    """One row a group and one column a period, the oldest hidden first where the terminal is narrow."""
    newest = len(bill.periods)
    columns = [Column("/".join(bill.by), right=False)]
    columns += [Column(_head(bill, period), rank=newest - at) for at, period in enumerate(bill.periods)]
    rows = [(key_text(line.key), *map(_money, line.cells), _money(line.total)) for line in bill.lines[:_MOST_LINES]]
    if rest := bill.lines[_MOST_LINES:]:
        others = [_together([line.cells[at] for line in rest]) for at in range(newest)]
        rows.append((f"{len(rest):,} others", *map(_money, others), _money(_together([each.total for each in rest]))))
    total = ("total", *(_money(period.total) for period in bill.periods), _money(bill.total))
    return Table("by " + ", ".join(bill.by), (*columns, Column("total")), (*rows, total), _note(len(rest)))


def _lengthwise(bill: Bill) -> Table:
    """One row a period and one column a group, the cheapest hidden first, where there are many periods."""
    shown, rest = bill.lines[:_MOST_COLUMNS], bill.lines[_MOST_COLUMNS:]
    columns = [Column("from", right=False)]
    columns += [Column(key_text(line.key), rank=at) for at, line in enumerate(shown)]
    columns += [Column(f"{len(rest):,} others"), Column("total")] if rest else [Column("total")]
    rows = []
    for at, period in enumerate(bill.periods):
        others = (_money(_together([line.cells[at] for line in rest])),) if rest else ()
        rows.append((_head(bill, period), *(_money(line.cells[at]) for line in shown), *others, _money(period.total)))
    others = (_money(_together([line.total for line in rest])),) if rest else ()
    rows = [*rows[-_MOST_ROWS:], ("total", *(_money(line.total) for line in shown), *others, _money(bill.total))]
    return Table("by " + ", ".join(bill.by), tuple(columns), tuple(rows), _note(len(rest)))


def _note(others: int) -> str:
    return "all of them with -f csv" if others else ""


def _together(rows: Sequence[BillRow | None]) -> BillRow | None:
    """Several rows as one, None where none of them is there."""
    found = [row for row in rows if row is not None]
    known = [row.cost_usd for row in found if row.cost_usd is not None]
    return (
        BillRow(
            calls=sum(row.calls for row in found),
            prompt_tokens=sum(row.prompt_tokens for row in found),
            cached_tokens=sum(row.cached_tokens for row in found),
            completion_tokens=sum(row.completion_tokens for row in found),
            cost_usd=sum(known) if known else None,
            complete=all(row.complete for row in found),
            saved_usd=sum(row.saved_usd for row in found),
            unpriced_calls=sum(row.unpriced_calls for row in found),
        )
        if found
        else None
    )
