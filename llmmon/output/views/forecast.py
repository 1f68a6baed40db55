"""What is shown of `cost --forecast`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.reports.forecast import Forecast, ForecastRow
from llmmon.text.figures import counted, key_text, money_text, percent
from llmmon.text.times import DAY_US, iso, local

_MOST_ROWS: Final = 20


def view_forecast(found: Forecast, by: tuple[str, ...], tz: str, title: str) -> View:
    """What the period will come to, with the interval, the past error, the budget, and the groups."""
    return View(
        data={"forecast": _data(found)},
        rows=[_flat(row) for row in found.groups],
        title=title,
        headline=_headline(found, tz),
        tables=(_groups(found, by), *((_earlier(found, tz),) if found.earlier else ())),
    )


def _data(found: Forecast) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(found)
    for name in ("start", "end", "now", "budget_crossed"):
        plain[name] = iso(plain.pop(f"{name}_us"))
    for row in plain["earlier"]:
        row["start"] = iso(row.pop("start_us"))
    return plain


def _flat(row: ForecastRow) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return {**plain.pop("key"), **plain}


def _headline(found: Forecast, tz: str) -> tuple[tuple[str, str], ...]:
    total = found.total
    pairs = [
        ("period", f"{_day(found.start_us, tz)} to {_day(found.end_us - DAY_US // 2, tz)} {tz}"),
        ("spent", f"{money_text(total.spent_usd)} until {local(found.now_us, tz, seconds=False)}"),
        ("expected", f"{money_text(total.expected_usd)} in all"),
        (f"{found.coverage:.0%} interval".replace("%", " %"), _interval(total)),
        ("off in the past", _error(found)),
    ]
    if found.budget_usd is not None:
        crossed = found.budget_crossed_us
        when = f"exceeded on {_day(crossed, tz)}" if crossed is not None else "not exceeded"
        pairs.append((f"budget {money_text(found.budget_usd)}", when))
    return tuple(pairs)


def _day(us: int, tz: str) -> str:
    return local(us, tz)[:10]


def _interval(row: ForecastRow) -> str:
    if row.low_usd is None or row.high_usd is None:
        return "unknown: it takes two weeks of history"
    return f"{money_text(row.low_usd)} to {money_text(row.high_usd)}"


def _error(found: Forecast) -> str:
    if found.error is None:
        return f"unknown: {counted(found.days_of_history, 'day')} of history"
    return f"{percent(found.error)} of the days ahead, from {found.origins} earlier days of this log"


def _groups(found: Forecast, by: tuple[str, ...]) -> Table:
    columns = (Column("/".join(by), right=False), Column("spent"), Column("expected"), Column("interval", rank=1))
    rows = [
        (key_text(row.key), money_text(row.spent_usd), money_text(row.expected_usd), _short(row))
        for row in found.groups
    ]
    return Table("by " + ", ".join(by), columns, tuple(rows), most=_MOST_ROWS)


def _short(row: ForecastRow) -> str:
    return "-" if row.low_usd is None else _interval(row)


def _earlier(found: Forecast, tz: str) -> Table:
    heads = ("from", "expected", "came to", "off", "pace so far", "off by that")
    rows = tuple(
        (
            _day(row.start_us, tz),
            money_text(row.expected_usd),
            money_text(row.actual_usd),
            percent(row.error),
            money_text(row.pace_usd),
            percent(row.pace_error),
        )
        for row in found.earlier
    )
    columns = tuple(Column(head, right=at > 0, rank=2 * (at > 3)) for at, head in enumerate(heads))
    return Table("the same forecast at this point of earlier periods", columns, rows)
