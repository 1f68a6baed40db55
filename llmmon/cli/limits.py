"""`llmmon limits`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import By, fields_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


@with_logs
def limits(
    query: "Query",
    output: "Output",
    by: By = None,
    tpm: Annotated[float | None, typer.Option(help="Tokens a minute that are allowed.", min=1, metavar="N")] = None,
    rpm: Annotated[float | None, typer.Option(help="Requests a minute that are allowed.", min=1, metavar="N")] = None,
    itpm: Annotated[
        float | None, typer.Option(help="Input tokens a minute, as Anthropic counts them.", min=1, metavar="N")
    ] = None,
    otpm: Annotated[float | None, typer.Option(help="Output tokens a minute.", min=1, metavar="N")] = None,
    who: Annotated[
        list[str] | None,
        typer.Option(help="Who uses it up: fields or tag.X; repeatable. Default: user, feature.", metavar="FIELD"),
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if this holds: 'peak_share>0.8'.", metavar="COND")
    ] = None,
) -> int:
    """Show how close calls come to rate limits.

    Limits that are not given are taken from headers and errors in the log, where it has them.

    Examples:
      llmmon limits sample_logs/
      llmmon limits sample_logs/ --tpm 200000 --rpm 500 --fail-on 'peak_share>80%'
    """
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.limits import view_limits
    from llmmon.reports.limits import given_limits, report_limits

    given = given_limits(tpm, rpm, itpm, otpm)
    report, found = report_limits(query, by=fields_of(by, "model"), given=given, who=fields_of(who, "user", "feature"))
    failed = checks_of(fail_on or (), report.figures, {})
    return output.finish("limits", view_limits(report, query.tz), found.source, {found.exit_code}, failed)
