"""`llmmon anomalies`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import accepted_of, fields_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query


Texts = list[str] | None
By = Annotated[
    Texts, typer.Option(help="Also monitor each group of this field; repeatable. Default: model.", metavar="FIELD")
]
Metrics = Annotated[Texts, typer.Option(help="Monitor only this metric; repeatable.", metavar="METRIC")]
Level = Annotated[
    str, typer.Option(help="low, medium or high: about 0.25, 1 or 5 false alarms per week.", metavar="LEVEL")
]
Methods = Annotated[
    Texts, typer.Option(help="Use these detectors instead of the default monitor; repeatable.", metavar="NAME")
]
Limits = Annotated[Texts, typer.Option(help="Fixed limit, such as 'latency_p95_ms>5000'.", metavar="COND")]
Ranges = Annotated[Texts, typer.Option(help="Ignore this time range: a deploy, a known incident.", metavar="START/END")]
Explain = Annotated[str | None, typer.Option(help="Show one incident bucket by bucket.", metavar="ID")]
Flat = Annotated[bool, typer.Option("--flat", help="List the series that make up the incidents.")]
Scores = Annotated[bool, typer.Option("--scores", help="Output a row for every bucket with its score.")]
FailOn = Annotated[Texts, typer.Option(help="Exit 1 if this holds: 'severity>=high'.", metavar="COND")]


@with_logs
def anomalies(
    query: "Query",
    output: "Output",
    config: "Config",
    by: By = None,
    metric: Metrics = None,
    sensitivity: Level = "medium",
    method: Methods = None,
    threshold: Limits = None,
    exclude: Ranges = None,
    explain: Explain = None,
    flat: Flat = False,
    scores: Scores = False,
    fail_on: FailOn = None,
) -> int:
    """Find incidents: what broke, when, and what contributed.

    Learns from the whole history and reports the incidents of the time range.

    Examples:
      llmmon anomalies sample_logs/
      llmmon anomalies sample_logs/ --window 1d --by feature
      llmmon anomalies sample_logs/ --metric error_rate --fail-on 'severity>=high'
    """
    import msgspec

    from llmmon.anomaly.analysis import MonitorPlan, find_anomalies, parse_threshold
    from llmmon.anomaly.detectors import Sensitivity, Severity
    from llmmon.anomaly.panel import parse_range
    from llmmon.ingest.reread import rereadable
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.anomalies import nothing_judged, view_anomalies
    from llmmon.text.names import lookup

    lookup({level.value: level for level in Sensitivity}, sensitivity, "sensitivity")
    plan = MonitorPlan(
        by=fields_of(by, "model"),
        metrics=tuple(metric or ()),
        sensitivity=sensitivity,
        methods=tuple(method or ()),
        thresholds=tuple(parse_threshold(text) for text in threshold or ()),
        exclude=tuple(parse_range(text, query.tz, query.wall_us) for text in exclude or ()),
        explain=explain,
        with_scores=scores,
        accepted=accepted_of(config),
    )
    with rereadable(query) as again:  # a pipe is read twice: the calls of incidents once more
        asked = msgspec.structs.replace(again.query, rejects=query.rejects, progress=query.progress)
        report, found = find_anomalies(asked, plan)
        report, found = report.renamed(again.names), again.named(found)
    if reason := nothing_judged(report):
        output.say(reason)
    failed = checks_of(fail_on or (), report.figures, {"severity": [severity.value for severity in Severity]})
    return output.finish(
        "anomalies", view_anomalies(report, found.source, flat=flat), found.source, {found.exit_code}, failed
    )
