"""`llmmon summarize`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import By, fields_of, limit_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query


@with_logs
def summarize(
    query: "Query",
    output: "Output",
    config: "Config",
    by: By = None,
    every: Annotated[
        str | None,
        typer.Option(help="Add a time series with this bucket width: 1h, day, week, month.", metavar="WIDTH"),
    ] = None,
    sort: Annotated[str, typer.Option(help="Sort groups by this metric.", metavar="METRIC")] = "request_count",
    limit: Annotated[int, limit_of("groups")] = 20,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if this holds: 'error_rate>0.05'.", metavar="COND")
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="Score answers by their texts where no quality is logged.")
    ] = False,
) -> int:
    """Show totals, a table by model, errors, and a time series.

    Examples:
      llmmon summarize sample_logs/
      llmmon summarize sample_logs/ --by user --sort cost
      llmmon summarize sample_logs/ --every day --where 'model=gpt-4o*'
    """
    from llmmon.metrics.filters import checks_of, statistics_in
    from llmmon.output.views.summary import view_summary
    from llmmon.reports.summary import summarize as run
    from llmmon.text.times import width_us

    fields = fields_of(by, "model")
    every_us = width_us(every) if every else None
    if score:
        from llmmon.quality.scoring import checked_thresholds, with_quality

        query = with_quality(query, checked_thresholds(config.score_thresholds, config.path, config.score_assumed_rate))
    series_by = fields if by and every else ()
    also = statistics_in(fail_on or ())
    report, found = run(query, by=fields, every_us=every_us, series_by=series_by, sort=sort, limit=limit, also=also)
    failed = checks_of(fail_on or (), report.totals, {})
    return output.finish("summarize", view_summary(report, found.source), found.source, {found.exit_code}, failed)
