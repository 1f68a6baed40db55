"""`llmmon compare`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import fields_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query


@with_logs
def compare(
    query: "Query",
    output: "Output",
    config: "Config",
    at: Annotated[
        str | None, typer.Option(help="Compare the calls before this time with those from it on.", metavar="TIME")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Compare two values of a field: prompt_version, model=A,B, tag.X.", metavar="FIELD[=A,B]"),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Match both sides by this field; repeatable. Default: model, feature.", metavar="FIELD"),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Compare only this metric; repeatable. Default: all the logs have.", metavar="METRIC"),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit 1 if this holds: 'latency_p95_ms worse by 10%', 'error_rate>5%'.", metavar="COND"),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="Score answers by their texts where no quality is logged.")
    ] = False,
) -> int:
    """Compare two logs, or before and after: what changed.

    Examples:
      llmmon compare sample_logs/ --at 2026-03-06
      llmmon compare sample_logs/ --split model=gpt-4o,gpt-4o-mini
      llmmon compare sample_logs/ --at 2026-03-06 --fail-on 'p95 worse by 10%'
    """
    from llmmon.output.views.compare import view_compare
    from llmmon.quality.scoring import checked_thresholds, with_quality
    from llmmon.reports.compare import ComparePlan, checks, compare, parse_condition
    from llmmon.reports.sides import Split
    from llmmon.text.times import time_point

    conditions = [parse_condition(text) for text in fail_on or ()]
    thresholds = checked_thresholds(config.score_thresholds, config.path, config.score_assumed_rate)
    if score:
        query = with_quality(query, thresholds)
    plan = ComparePlan(
        split=Split.parse(split, time_point(at, query.tz) if at else None),
        by=fields_of(by, "model", "feature"),
        metrics=tuple(metric or ()),
        also=tuple(one.metric for one in conditions if one.metric),
        thresholds=thresholds,
    )
    report, source, code = compare(query, plan)
    for one in conditions:
        if one.metric and not report.has(one.metric):
            output.say(f"--fail-on: no call carries what {one.metric} is made of")
    failed = checks(conditions, report)
    return output.finish("compare", view_compare(report, query.tz), source, {code}, failed)
