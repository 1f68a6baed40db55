"""`llmmon cost`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import By, fields_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


@with_logs
def cost(
    query: "Query",
    output: "Output",
    by: By = None,
    as_model: Annotated[
        list[str] | None,
        typer.Option("--as", help="What the same calls would have cost with this model; repeatable.", metavar="MODEL"),
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if this holds: 'certain_share<0.9'.", metavar="COND")
    ] = None,
) -> int:
    """Check what was spent: logged against recalculated, and how certain the total is.

    Example: llmmon cost sample_logs/ --as gpt-4o-mini
    """
    import msgspec

    from llmmon.metrics.filters import any_met
    from llmmon.output.views.costs import view_costs
    from llmmon.reports.costs import audit_costs

    fields = fields_of(by, "model")
    report, found = audit_costs(query, by=fields, as_models=tuple(as_model or ()))
    figures = {k: v for k, v in msgspec.to_builtins(report.totals).items() if k != "key"}
    failed = any_met(fail_on or (), figures, {})
    return output.finish("cost", view_costs(report), found.source, {found.exit_code}, failed)
