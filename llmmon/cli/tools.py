"""`llmmon tools`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import limit_of, names_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


@with_logs
def tools(
    query: "Query",
    output: "Output",
    by: Annotated[
        list[str] | None,
        typer.Option(help="Group by tool, server, session, or a field of calls; repeatable.", metavar="FIELD"),
    ] = None,
    limit: Annotated[int, limit_of("rows of each table")] = 20,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Also show arguments and results of loops and failures.")
    ] = False,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if this holds: 'failure_rate>0.1'.", metavar="COND")
    ] = None,
) -> int:
    """Show failures, loops and costs of tool calls of agents.

    Examples:
      llmmon tools ~/.claude/projects
      llmmon tools ~/.claude/projects --by session --limit 5
    """
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.tools import view_tools
    from llmmon.reports.tools import report_tools

    report, found = report_tools(query, by=names_of(by, "tool"), show_text=show_text)
    failed = checks_of(fail_on or (), report.figures, {})
    return output.finish("tools", view_tools(report, query.tz, limit), found.source, {found.exit_code}, failed)
