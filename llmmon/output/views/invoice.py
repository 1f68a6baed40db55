"""What is shown of `cost --invoice`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llmmon.output.views import Column, Table, View
from llmmon.reports.invoice import CellRow, Gap, InvoiceReport
from llmmon.text.figures import count, many, money_text, percent
from llmmon.text.times import DAY_US, iso, local

_MOST_ROWS: Final = 62
_OTHER: Final = "(no model)"


def view_invoice(report: InvoiceReport) -> View:
    """Period by period and model by model: invoice, log, gap, and what explains it."""
    tables = [_reasons(report)] if report.total.classes else []
    tables += [_table(report, report.periods, "day" if report.every_us <= DAY_US else "month", _period)]
    tables += [_table(report, report.models, "model", _model)]
    return View(
        data={"invoice": _data(report)},
        rows=[_flat(report, row) for row in report.cells],
        title=f"{' and '.join(report.forms)} beside the log, UTC days",
        headline=_headline(report),
        tables=tuple(tables),
        notes=tuple(_notes(report)),
    )


def _headline(report: InvoiceReport) -> tuple[tuple[str, str], ...]:
    total = report.total
    share = total.gap_usd / total.invoice_usd if total.invoice_usd else None
    relative = "" if share is None else f" ({'-' if share < 0 else ''}{percent(abs(share))} of the invoice)"
    pairs = [
        ("invoice", money_text(total.invoice_usd) + (f", at the prices of {report.price_table}" * report.priced)),
        ("log", money_text(total.log_usd)),
        ("gap", f"{_signed(total.gap_usd)}{relative}"),
        ("time", f"{local(report.start_us, 'UTC')[:10]} to {local(report.end_us - 1, 'UTC')[:10]}"),
    ]
    if total.invoice_calls is not None:
        pairs.append(("calls", f"{count(total.invoice_calls)} on the invoice, {count(total.log_calls)} in the log"))
    if report.outside_calls:
        pairs.append(("not compared", f"{many(report.outside_calls, 'call')}, {money_text(report.outside_usd)}"))
    return tuple(pairs)


def _signed(usd: float) -> str:
    return ("+" if usd > 0 else "") + money_text(usd)


def _reasons(report: InvoiceReport) -> Table:
    columns = (Column("why", right=False), Column("gap"), Column("that is", right=False))
    rows = [(_name(kind), _signed(amount), report.explanations[kind]) for kind, amount in report.total.classes.items()]
    explained = sum(report.total.classes.values())
    rest = report.total.gap_usd - explained
    rows.append(("rounding", _signed(rest), "days within 0.5 % or a cent"))
    return Table("what explains the gap", columns, tuple(rows))


def _name(kind: Gap) -> str:
    return kind.value.replace("_", " ")


def _period(row: CellRow, report: InvoiceReport) -> str:
    named = "-" if row.period_us is None else local(row.period_us, "UTC")
    return named[:10] if report.every_us <= DAY_US else named[:7]


def _model(row: CellRow, _report: InvoiceReport) -> str:
    return row.model or _OTHER


def _table(report: InvoiceReport, rows: tuple[CellRow, ...], title: str, name: Any) -> Table:
    columns = (
        *(Column(title, right=False), Column("invoice"), Column("log"), Column("gap")),
        *(Column("calls billed", rank=2), Column("calls logged", rank=2), Column("mostly because of", right=False)),
    )
    shown = [
        (
            *(name(row, report), money_text(row.invoice_usd), money_text(row.log_usd), _signed(row.gap_usd)),
            *(count(row.invoice_calls), count(row.log_calls), _because(row.classes)),
        )
        for row in rows
    ]
    return Table(f"by {title}", columns, tuple(shown), most=_MOST_ROWS)


def _because(classes: Mapping[Gap, float]) -> str:
    largest = max(classes, key=lambda kind: abs(classes[kind]), default=None)
    return "" if largest is None else f"{_name(largest)} {_signed(classes[largest])}"


def _flat(report: InvoiceReport, row: CellRow) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(row)
    plain.pop("period_us")
    classes = plain.pop("classes")
    gaps = {f"{kind.value}_usd": classes.get(kind.value, 0.0) for kind in Gap}
    return {"period": _period(row, report), **plain, **gaps}


def _data(report: InvoiceReport) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for name in ("start", "end"):
        plain[name] = iso(plain.pop(f"{name}_us"))
    plain["every"] = "day" if plain.pop("every_us") <= DAY_US else "month"
    for row in (plain["total"], *plain["periods"], *plain["models"], *plain["cells"]):
        row["period"] = iso(row.pop("period_us"))
    return plain


def _notes(report: InvoiceReport) -> Any:
    yield from report.notes
    if report.outside_calls:
        yield "not compared: calls in the log outside the time of the invoice, or of models of other providers"
    if report.total.invoice_calls is None and report.total.classes:
        yield (
            "the export counts no calls, so that the causes are the likeliest ones; "
            "name the provider's usage export as a second --invoice for certain ones"
        )
