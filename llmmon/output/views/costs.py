"""What is shown of `cost`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.output.views.bill import bill_data, bill_rows, bill_tables
from llmmon.reports.costs import CostReport, CostRow, Spread
from llmmon.reports.prices import ModelPrices
from llmmon.text.figures import count, key_text, many, money_text, name, percent
from llmmon.text.times import iso, local

_MOST_ROWS: Final = 10


def view_costs(report: CostReport) -> View:
    """Totals and how certain they are; groups, disagreements by cause, what has no price, what-if."""
    bill = report.bill
    tables = [*bill_tables(bill)] if bill is not None else []
    tables += [_groups(report)]
    tables += [_uncertain(report)] if report.uncertain else []
    tables += [_causes(report), _disagreements(report)] if report.causes else []
    tables += [_unpriced(report)] if report.unpriced else []
    tables += [_zeros(report)] if report.zero_cost else []
    tables += [_what_if(report)] if report.what_if else []
    return View(
        data=_data(report),
        rows=bill_rows(bill) if bill is not None else [_group_row(row) for row in report.models],
        title=f"cost, by {report.price_table}",
        headline=_headline(report),
        tables=tuple(tables),
    )


def _data(report: CostReport) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for row in plain["disagreements"]:
        row["timestamp"] = iso(row.pop("timestamp_us"))
        row.pop("position")
    plain["bill"] = None if report.bill is None else bill_data(report.bill)
    return plain


def _group_row(row: CostRow) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return plain


def _headline(report: CostReport) -> tuple[tuple[str, str], ...]:
    total, caching = report.totals, report.caching
    certain = percent(report.certain_share)
    pairs = [
        ("total", money_text(total.cost_usd, complete=total.complete)),
        ("certain", certain if certain == "-" else f"{certain} of it"),
        ("logged", money_text(total.logged_usd)),
        ("calculated", money_text(total.calculated_usd)),
        ("unpriced calls", count(total.unpriced_calls)),
        ("disagreeing calls", count(total.disagreeing_calls)),
        ("per request", _spread(report.per_request)),
        ("per user", _spread(report.per_user)),
        ("prices", report.price_hash[:12]),
    ]
    if caching.cached_tokens:
        pairs.append(("saved by caching", money_text(caching.read_saved_usd - caching.write_extra_usd)))
    if caching.gateway_hits:
        hits = f"{money_text(caching.gateway_saved_usd)} ({many(caching.gateway_hits, 'call')})"
        pairs.append(("saved by the gateway", hits))
    if report.duplicates is not None and report.duplicates.calls:
        left_out = f"{many(report.duplicates.calls, 'call')}, {money_text(report.duplicates.cost_usd)}"
        pairs.append(("duplicates excluded", left_out))
    return tuple((label, text) for label, text in pairs if text != "-")


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "-"
    return f"p50 {money_text(spread.p50_usd)}, p95 {money_text(spread.p95_usd)}, max {money_text(spread.max_usd)}"


def _groups(report: CostReport) -> Table:
    columns = (
        Column("/".join(report.by), right=False),
        Column("calls"),
        Column("cost"),
        Column("certain", rank=1),
        Column("logged", rank=2),
        Column("calculated", rank=2),
        Column("recalculated", rank=3),
        Column("difference", rank=3),
        Column("unpriced", rank=4),
        Column("tokens in", rank=5),
        Column("cached", rank=6),
        Column("tokens out", rank=5),
    )
    rows = tuple(
        (
            key_text(row.key),
            count(row.calls),
            money_text(row.cost_usd, complete=row.complete),
            percent(row.certain_share),
            money_text(row.logged_usd),
            money_text(row.calculated_usd),
            money_text(row.recalculated_usd),
            money_text(row.difference_usd),
            count(row.unpriced_calls),
            count(row.prompt_tokens),
            count(row.cached_tokens),
            count(row.completion_tokens),
        )
        for row in report.models
    )
    return Table("by " + ", ".join(report.by), columns, rows)


def _table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]], left: frozenset[int]) -> Table:
    columns = tuple(Column(head, right=i not in left) for i, head in enumerate(heads))
    return Table(title, columns, tuple(rows), most=_MOST_ROWS)


def _uncertain(report: CostReport) -> Table:
    rows = [
        (row.explanation, count(row.calls), count(row.tokens), money_text(row.cost_usd)) for row in report.uncertain
    ]
    return _table("not certain", ("reason", "calls", "tokens", "cost"), rows, frozenset({0}))


def _causes(report: CostReport) -> Table:
    rows = [
        (row.cause.value, count(row.calls), money_text(row.difference_usd), row.explanation) for row in report.causes
    ]
    heads = ("likely cause", "calls", "difference", "explanation")
    return _table("logged and recalculated cost disagree", heads, rows, frozenset({0, 3}))


def _disagreements(report: CostReport) -> Table:
    rows = [
        (row.request_id or "-", name(row.model), money_text(row.logged_usd), money_text(row.recalculated_usd),
         row.cause.value)
        for row in report.disagreements
    ]  # fmt: skip
    heads = ("request", "model", "logged", "recalculated", "likely cause")
    return _table("largest disagreements", heads, rows, frozenset({0, 1, 4}))


def _unpriced(report: CostReport) -> Table:
    rows = [
        (name(row.model), row.why, count(row.calls), count(row.prompt_tokens), count(row.completion_tokens))
        for row in report.unpriced
    ]
    heads = ("model", "why", "calls", "tokens in", "tokens out")
    table = _table("without a price", heads, rows, frozenset({0, 1}))
    return Table(table.title, table.columns, table.rows, table.note or 'add [prices."model"] to llmmon.toml')


def _zeros(report: CostReport) -> Table:
    rows = [
        (name(row.model), count(row.calls), count(row.tokens), money_text(row.recalculated_usd))
        for row in report.zero_cost
    ]
    return _table("logged at $0 with tokens", ("model", "calls", "tokens", "recalculated"), rows, frozenset({0}))


def _what_if(report: CostReport) -> Table:
    rows = [
        (row.model, count(row.calls), money_text(row.actual_usd), money_text(row.cost_usd),
         f"{money_text(row.low_usd)} to {money_text(row.high_usd)}", count(row.left_out))
        for row in report.what_if
    ]  # fmt: skip
    heads = ("model", "calls", "actual", "estimate", "range (tokenizers differ)", "excluded")
    return _table("what if", heads, rows, frozenset({0}))


def view_prices(found: ModelPrices, tz: str) -> View:
    """The prices of one model, each with what it is for, and where they come from."""
    plain: dict[str, Any] = msgspec.to_builtins(found)
    plain["time"] = iso(plain.pop("time_us"))
    headline = [("model", found.listed_as or "-"), ("from", found.source)]
    if found.explanation:
        headline.append(("note", found.explanation))
    tiers = list(dict.fromkeys(tier for row in found.prices for tier in row.tiers))
    heads = [
        "kind",
        "for",
        "USD",
        *tiers,
        *(["prompts above"] if any(row.above_tokens for row in found.prices) else ()),
    ]
    rows = [
        (
            row.kind,
            _PER.get(row.per, f"{row.per:,.0f}"),
            _usd(row.usd),
            *(_usd(row.tiers[tier]) if tier in row.tiers else "" for tier in tiers),
            *((f"{row.above_tokens:,} tokens" if row.above_tokens else "",) if len(heads) > 3 + len(tiers) else ()),
        )
        for row in found.prices
    ]
    columns = tuple(Column(head, right=at > 1) for at, head in enumerate(heads))
    note = "" if found.prices else 'add [prices."model"] to llmmon.toml'
    return View(
        data=plain,
        rows=plain["prices"],
        title=f"prices of {found.model} on {local(found.time_us, tz)[:10]}",
        headline=tuple(headline),
        tables=(Table("prices", columns, tuple(rows), note),) if rows else (),
        notes=(note,) if note else (),
    )


_PER: Final = {1e6: "1 million", 1e3: "1,000", 3600.0: "1 hour"}


def _usd(price: float) -> str:
    return f"${price:.6f}".rstrip("0").rstrip(".")
