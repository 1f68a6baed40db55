"""`llmmon cache`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import By, fields_of, limit_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


@with_logs
def cache(
    query: "Query",
    output: "Output",
    by: By = None,
    limit: Annotated[int, limit_of("sessions")] = 10,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if this holds: 'read_share<0.5'.", metavar="COND")
    ] = None,
) -> int:
    """Show what prompt caching saved and missed, and why.

    Examples:
      llmmon cache ~/.claude/projects
      llmmon cache ~/.claude/projects --by session --fail-on 'read_share<50%'
    """
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.cache import view_cache
    from llmmon.reports.prompt_cache import report_cache

    report, found = report_cache(query, by=fields_of(by, "model"))
    failed = checks_of(fail_on or (), report.figures, {})
    return output.finish("cache", view_cache(report, limit), found.source, {found.exit_code}, failed)
