"""`llmmon cost`."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import By, fields_of, with_logs
from llmmon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


Waste = Annotated[
    bool, typer.Option("--waste", help="Money that bought nothing: retries, failures, unread caches, ...")
]
FailOn = Annotated[list[str] | None, typer.Option(help="Exit 1 if this holds: 'certain_share<90%'.", metavar="COND")]
Show = Annotated[
    str | None, typer.Option(help="With --waste: list the calls of this class, such as retried.", metavar="CLASS")
]
Invoice = Annotated[
    list[str] | None,
    typer.Option(help="Compare with a provider's usage or cost export (CSV, JSON); repeatable.", metavar="FILE"),
]


@partial(with_logs, unless="prices")
def cost(
    query: "Query",
    output: "Output",
    by: By = None,
    every: Annotated[
        str | None, typer.Option(help="A bill: what was spent in each month, week, day or 1h.", metavar="WIDTH")
    ] = None,
    forecast: Annotated[
        str | None,
        typer.Option(help="What this month (week, quarter, year) will come to.", metavar="PERIOD"),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="With --forecast: when this much will be spent.", min=0, metavar="USD")
    ] = None,
    waste: Waste = False,
    show: Show = None,
    invoice: Invoice = None,
    as_model: Annotated[
        list[str] | None,
        typer.Option("--as", help="Show what the same calls would cost with this model; repeatable.", metavar="MODEL"),
    ] = None,
    prices: Annotated[
        str | None, typer.Option(help="Show what a call of this model costs now; reads no logs.", metavar="MODEL")
    ] = None,
    fail_on: FailOn = None,
) -> int:
    """Check spending: logged against recalculated cost.

    Shows how certain the total is, and why logged and recalculated costs disagree.

    Examples:
      llmmon cost sample_logs/
      llmmon cost sample_logs/ --every week --by user
      llmmon cost sample_logs/ --as gpt-4o-mini
      llmmon cost sample_logs/ --forecast month --budget 100
    """
    import msgspec

    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.costs import view_costs
    from llmmon.reports.costs import audit_costs
    from llmmon.text.times import width_us

    forecast = "month" if forecast is None and budget is not None else forecast
    _check_one({"prices": prices, "waste": waste or show, "forecast": forecast, "invoice": invoice, "every": every})
    if prices:
        return _prices(query, output, prices)
    fields = fields_of(by, "model")
    if waste or show is not None:
        return _waste(query, output, fields, show, fail_on or ())
    if invoice:
        return _invoice(query, output, invoice, by, fail_on or ())
    if forecast:
        return _forecast(query, output, fields, forecast, budget)
    report, found = audit_costs(
        query, by=fields, as_models=tuple(as_model or ()), every_us=width_us(every) if every else 0
    )
    figures = {k: v for k, v in msgspec.to_builtins(report.totals).items() if k != "key"}
    failed = checks_of(fail_on or (), figures, {})
    return output.finish("cost", view_costs(report), found.source, {found.exit_code}, failed)


def _check_one(given: "Mapping[str, object]") -> None:
    """Raise `UsageError` for options that ask for different reports."""
    names = [f"--{name}" for name, value in given.items() if value]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} cannot be combined", hint="run llmmon cost once for each")


def _prices(query: "Query", output: "Output", model: str) -> int:
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.costs import view_prices
    from llmmon.reports.prices import prices_of

    found = prices_of(model, query.prices, query.wall_us)
    return output.finish("cost", view_prices(found, query.tz), SourceReport(), set())


def _waste(query: "Query", output: "Output", by: tuple[str, ...], show: str | None, fail_on: "Sequence[str]") -> int:
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.waste import figures_of, view_waste
    from llmmon.pricing.waste import CLASSES
    from llmmon.reports.waste import find_waste
    from llmmon.text.names import lookup

    classes = {waste.value: waste for waste in CLASSES}
    chosen = None if show is None else lookup(classes, show.replace(" ", "_").replace("-", "_"), "class of waste")
    report, found = find_waste(query, by=by, show=chosen)
    failed = checks_of(fail_on, figures_of(report), {})
    return output.finish("cost", view_waste(report, query.tz), found.source, {found.exit_code}, failed)


def _invoice(
    query: "Query", output: "Output", files: "Sequence[str]", by: list[str] | None, fail_on: "Sequence[str]"
) -> int:
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.invoice import view_invoice
    from llmmon.reports.invoice import match_invoice

    if by:
        raise UsageError("--by does not apply to --invoice", hint="its rows are days and models")
    report, found = match_invoice(query, files)
    total = report.total
    share = abs(total.gap_usd) / total.invoice_usd if total.invoice_usd else None
    failed = checks_of(fail_on, {"gap_usd": total.gap_usd, "gap_share": share}, {})
    return output.finish("cost", view_invoice(report), found.source, {found.exit_code}, failed)


def _forecast(query: "Query", output: "Output", by: tuple[str, ...], period: str, budget: float | None) -> int:
    from llmmon.output.views.forecast import view_forecast
    from llmmon.reports.costs import forecast_costs
    from llmmon.text.names import lookup
    from llmmon.text.times import CALENDAR_US

    periods = {name: width for name, width in CALENDAR_US.items() if name not in ("hour", "day")}
    width = lookup(periods, period, "period")
    report, found, prices = forecast_costs(query, by=by, width_us=width, budget_usd=budget)
    title = f"forecast of the {period}, cost by {prices}"
    return output.finish("cost", view_forecast(report, by, query.tz, title), found.source, {found.exit_code})
