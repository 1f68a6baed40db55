"""`llmmon check`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import StateOption, active_rules, with_logs
from llmmon.errors import EXIT_DELIVERY, EXIT_FOUND, EXIT_INPUT, EXIT_OK, first_exit_code

if TYPE_CHECKING:
    from llmmon.alerting.check import CheckPlan, CheckReport
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query


@partial(with_logs, without={"engine"})  # what is new is read here
def check(
    query: "Query",
    output: "Output",
    config: "Config",
    state: StateOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the notifications; send and store nothing.")] = False,
    explain: Annotated[
        str | None, typer.Option(help="Show the last hour of this rule, and why it fires or not.", metavar="RULE")
    ] = None,
    nagios: Annotated[bool, typer.Option("--nagios", help="Print one line for Nagios; exit 0, 1, 2 or 3.")] = False,
    heartbeat: Annotated[
        str | None, typer.Option(help="URL to ping after each run: a dead man's switch.", metavar="URL")
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 even while alerts fire.")] = False,
) -> int:
    """Evaluate alert rules, update alerts, send notifications.

    Made for cron; each run evaluates every minute since the last one.

    Examples:
      llmmon check sample_logs/ --now log
      llmmon check sample_logs/ --dry-run --explain 'High Error Rate'
    """
    from llmmon.alerting.check import remembered
    from llmmon.alerting.state import BusyError
    from llmmon.output.views.alerts import nagios_line, nagios_status

    active_rules(config, output)
    plan = config.check_plan(state, os.environ, dry_run=dry_run, explain=explain)
    if state is None and plan.state is not None and (other := _other_calls(query, config)):
        import msgspec

        output.say(f"{other}: nothing is remembered or sent")
        plan = msgspec.structs.replace(plan, state=None)
    try:
        report = _checked(query, output, plan, config)
    except BusyError as error:
        if not nagios:
            raise
        output.say(str(error))
        report = remembered(query, plan)
    codes = _codes(report)
    if nagios:
        typer.echo(nagios_line(report, codes - {EXIT_FOUND}))
        code = 3 if codes - {EXIT_FOUND, EXIT_OK} else nagios_status(report)
    else:
        code = _shown(report, query, output, codes - ({EXIT_FOUND} if exit_zero else set()))
    if heartbeat is not None and not dry_run:
        code = _ping(heartbeat, output, code, failed=bool(codes & {EXIT_DELIVERY, EXIT_INPUT}))
    return code


def _other_calls(query: "Query", config: "Config") -> str:
    """Why a run is not about the calls that the remembered alerts are about; empty if it is."""
    if query.where is not None:
        return "only some of the calls are read (--where)"
    if config.logs and set(query.logs) != set(config.logs):
        return f"other logs than those of {config.path} are read"
    return ""


def _checked(query: "Query", output: "Output", plan: "CheckPlan", config: "Config") -> "CheckReport":
    from llmmon.alerting.check import check
    from llmmon.ingest.time_range import Now

    if query.time.now is not Now.LOG and plan.state is None and config.path is None:
        output.say("without a configuration, no state is kept and no notifications are sent")
    return check(query, plan)


def _codes(report: "CheckReport") -> set[int]:
    from llmmon.alerting.alert import State
    from llmmon.alerting.dispatch import BEING_SENT

    codes = {report.exit_code}
    if any(row.status == "queued" and row.reason not in {"dry run", BEING_SENT} for row in report.notifications):
        codes.add(EXIT_DELIVERY)
    if any(alert.state is State.FIRING for alert in report.alerts):
        codes.add(EXIT_FOUND)
    return codes


def _shown(report: "CheckReport", query: "Query", output: "Output", codes: set[int]) -> int:
    from llmmon.output.views.alerts import view_check

    for path, why in report.source.failed:
        output.say(f"{path}: {why}")
    view = view_check(report, query.tz)
    if output.format == "table" and not (view.lines or view.tables or view.notes):
        from llmmon.text.figures import counted

        output.say(f"{counted(report.minutes, 'minute')} evaluated, nothing changed")
        for warning in report.source.warnings:
            output.say(f"warning: {warning}")
        for standing in report.slos:
            output.say(standing.sentence)
        return first_exit_code(codes)
    return output.finish("check", view, report.source, codes)


def _ping(url: str, output: "Output", code: int, *, failed: bool) -> int:
    """Ping the dead man's switch; a run that could not read the logs or reach a channel pings `/fail`."""
    from llmmon.errors import DeliveryError
    from llmmon.http_client import ping

    try:
        ping(f"{url.rstrip('/')}/fail" if failed else url)
    except DeliveryError as error:
        output.say(f"heartbeat: {error}")
        return first_exit_code({code, EXIT_DELIVERY})
    return code
