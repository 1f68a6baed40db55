"""`llmmon report`."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import StateOption, accepted_of, fields_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.reports.overview_fold import Overview


@with_logs
def report(
    query: "Query",
    output: "Output",
    config: "Config",
    by: Annotated[
        list[str] | None,
        typer.Option(help="Break down by this field; repeatable. Default: model, user, feature.", metavar="FIELD"),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(help="Width of the charts' buckets: 1h, day, month. Default: by the time range.", metavar="WIDTH"),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Also compare the calls before this time with those from it on.", metavar="TIME")
    ] = None,
    state: StateOption = None,
    score: Annotated[bool, typer.Option("--score", help="Also score the answers' texts.")] = False,
) -> int:
    """Write a self-contained HTML page with charts and incidents.

    Examples:
      llmmon report sample_logs/ -o report.html
      llmmon report sample_logs/ --since 2026-03-09 -o monday.html
    """
    from llmmon import __version__
    from llmmon.ingest.reread import rereadable
    from llmmon.reports.overview import ReportPlan, make_report
    from llmmon.text.times import time_point, width_us

    _check(output)
    plan = ReportPlan(
        command=shlex.join(["llmmon", *sys.argv[1:]]),
        version=__version__,
        anomalies_command=_anomalies_command(sys.argv[1:]),
        by=fields_of(by, "model", "user", "feature"),
        every_us=width_us(every) if every else None,
        score=score,
        thresholds=_thresholds(config) if score else {},
        slos=config.slos,
        state=_state(config, state),
        at=time_point(at, query.tz) if at else None,
        accepted=accepted_of(config, state),
    )
    with rereadable(query) as again:
        overview, found = make_report(again, plan)
    _write(overview, output)
    return found.exit_code


_ONLY_OF_REPORT = ("-o", "--output", "--by", "--every", "--at", "--state")  # options with a value


def _anomalies_command(arguments: list[str]) -> str:
    """The command that finds the incidents of this report: the same without what only `report` takes."""
    kept, rest = [], iter(arguments)
    for word in rest:
        name, _, value = word.partition("=")
        if name in _ONLY_OF_REPORT:
            if not value:
                next(rest, None)
        elif word not in ("--score", "-q", "--quiet", "--force"):
            kept.append("anomalies" if word == "report" and "anomalies" not in kept else word)
    return shlex.join(["llmmon", *kept])


def _write(overview: "Overview", output: "Output") -> None:
    from llmmon.output.report_page import report_page
    from llmmon.text.figures import size

    page = report_page(overview)
    output.write(page)
    if output.file is not None:
        output.say(f"wrote {output.file} ({size(len(page.encode()))})")
    output.account(overview.source, set())


def _thresholds(config: "Config") -> "Mapping[str, float]":
    from llmmon.quality.scoring import checked_thresholds

    return checked_thresholds(config.score_thresholds, config.path, config.score_assumed_rate)


def _state(config: "Config", chosen: Path | None) -> Path | None:
    """The state file with the alerts, if any; raises `UsageError` if a named one does not exist."""
    from llmmon.errors import UsageError

    if chosen is not None and not chosen.exists():
        raise UsageError(f"--state {chosen}: no such file", hint="`llmmon check` creates one")
    return config.state_path(chosen, os.environ)


def _check(output: "Output") -> None:
    """Raise `UsageError` where the page would go to a terminal, or in a format other than HTML."""
    from llmmon.errors import UsageError

    if output.format != "table":
        raise UsageError("a report is HTML", hint="-o report.html; `llmmon summarize` writes figures in other formats")
    if output.file is None and sys.stdout.isatty():
        raise UsageError("a report is a page to open in a browser", hint="name its file: -o report.html")
