"""`llmmon requests`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import limit_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


@with_logs
def requests(
    query: "Query",
    output: "Output",
    sort: Annotated[
        str | None,
        typer.Option(help="Largest first by this metric, such as latency_ms. Default: time.", metavar="METRIC"),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="Smallest first.")] = False,
    limit: Annotated[int, limit_of("calls")] = 20,
    show_text: Annotated[bool, typer.Option("--show-text", help="Also show prompts and outputs.")] = False,
) -> int:
    """List individual calls with their file and line.

    Examples:
      llmmon requests sample_logs/ --where error
      llmmon requests sample_logs/ --sort latency --limit 5
      llmmon requests sample_logs/ --where 'user=user-003 and latency>10s'
    """
    from llmmon.output.views.requests import view_requests
    from llmmon.reports.requests import list_requests

    report, found = list_requests(query, sort=sort, limit=limit, show_text=show_text, ascending=ascending)
    return output.finish("requests", view_requests(report), found.source, {found.exit_code})
