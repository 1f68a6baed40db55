"""`llmmon export`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import StateOption, with_logs
from llmmon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.output.export.metrics import Made
    from llmmon.output.export.rows import Wanted


To = Annotated[
    str | None,
    typer.Option(
        help="prometheus, openmetrics, otlp, csv, jsonl, parquet or grafana. Default: by the suffix of -o.",
        metavar="FORMAT",
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        help="SEND the metrics by OTLP/HTTP to this URL; `env` takes it from $OTEL_EXPORTER_OTLP_ENDPOINT.",
        metavar="URL",
    ),
]
Push = Annotated[str | None, typer.Option(help="SEND the metrics to the Pushgateway at this URL.", metavar="URL")]
LabelLimit = Annotated[
    int, typer.Option(help="Maximum values per label, such as models; the rest become `other`.", min=1, metavar="N")
]


KeepText = Annotated[bool, typer.Option("--keep-text", help="Of calls: include prompts and outputs.")]
Tag = Annotated[
    list[str] | None,
    typer.Option(
        help="Of calls: include this tag even if it is not in the head of the logs; repeatable.", metavar="TAG"
    ),
]
FillCosts = Annotated[
    bool, typer.Option("--fill-costs", help="Of calls: calculate costs from prices where none is logged.")
]


Cumulative = Annotated[
    bool, typer.Option("--cumulative", help="Add new calls since the last run to the counters in the state file.")
]


def _export(
    query: "Query",
    output: "Output",
    config: "Config",
    to: To = None,
    endpoint: Endpoint = None,
    push: Push = None,
    label_limit: LabelLimit = 100,
    keep_text: KeepText = False,
    tag: Tag = None,
    fill_costs: FillCosts = False,
    cumulative: Cumulative = False,
    state: StateOption = None,
) -> int:
    """Export metrics (Prometheus, OpenTelemetry) or calls (CSV).

    Calls can be exported as CSV, JSON lines or Parquet; `--to grafana` writes a dashboard for the metrics.

    Examples:
      llmmon export sample_logs/ -o llmmon.prom
      llmmon export sample_logs/ --to csv --where error -o errors.csv
    """
    from llmmon.alerting.state import BusyError
    from llmmon.output.export import metrics, otlp
    from llmmon.output.export.rows import ROW_FORMATS, Wanted

    if to == _DASHBOARD:
        return _dashboard(output)
    to = to or ("prometheus" if push is not None else None)
    kind = metrics.format_called(to, output.file, output.format, sending=endpoint is not None)
    if push is not None and (kind != "prometheus" or endpoint is not None):
        raise UsageError("--push takes metrics in the format prometheus", hint="remove --to or --endpoint")
    of_rows = {"--keep-text": keep_text, "--tag": tag, "--fill-costs": fill_costs}
    of_metrics = {"--cumulative": cumulative, "--state": state}
    _check_meaning(kind, of_metrics if kind in ROW_FORMATS else of_rows)
    for name, given in {"--endpoint": endpoint, "--push": push}.items():
        if given is not None and output.file is not None:
            raise UsageError(f"{name} and -o cannot be combined", hint="run llmmon export once for each")
    if kind in ROW_FORMATS:
        return _rows(query, output, kind, Wanted(keep_text, tuple(tag or ()), fill_costs))
    request = None if endpoint is None else otlp.endpoint(endpoint, os.environ)
    try:
        made = _metrics(query, kind, label_limit, config.state_path(state, os.environ), cumulative=cumulative)
    except BusyError as error:
        output.say(str(error))
        return 0
    if push is not None:
        from llmmon.output.export import pushgateway

        pushgateway.push(push, made.text)
    elif request is None:
        output.write(made.text, durable=True)
    elif refused := otlp.send(request, made.text):
        output.say(f"{request.host}: {refused}")
    return output.account(made.source, {made.exit_code})


def _dashboard(output: "Output") -> int:
    from llmmon.output.export.grafana import dashboard

    output.write(dashboard(), durable=True)
    return 0


def _check_meaning(kind: str, options: "Mapping[str, object]") -> None:
    """Raise `UsageError` for an option that does not apply to this format."""
    for name, given in options.items():
        if given:
            raise UsageError(f"{name} does not apply to {kind}", hint=f"remove {name}")


def _metrics(query: "Query", kind: str, label_limit: int, state: Path | None, *, cumulative: bool) -> "Made":
    from llmmon.output.export import metrics

    if not cumulative:
        if kind != "otlp" and query.time.has_start:
            query.say("counters cover only this time range and can decrease between runs; --cumulative prevents that")
        return metrics.export_metrics(query, kind, label_limit)
    for name, given in {"window": query.time.window_us, "since": query.time.since, "until": query.time.until}.items():
        if given is not None:
            raise UsageError(f"--cumulative counts all calls, so --{name} does not apply", hint=f"remove --{name}")
    if state is None:
        raise UsageError(
            "--cumulative needs a state file",
            hint="name one with --state FILE, or create a configuration (`llmmon init`)",
        )
    return metrics.export_cumulative(query, kind, label_limit, state)


def _rows(query: "Query", output: "Output", kind: str, wanted: "Wanted") -> int:
    from llmmon.output.export.rows import export_records

    if kind == "parquet" and output.file is None and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal", hint="-o calls.parquet")
    with output.sink() as write:
        written = export_records(query, kind, wanted, write)
    source = written.read.source
    if left := source.samples - written.samples:
        output.say(f"{left:,} metric sample{'s' * (left != 1)} not written")
    return output.account(source, {written.read.exit_code})


_DASHBOARD: Final = "grafana"
export = with_logs(_export, optional=lambda given: given["to"] == _DASHBOARD)
export.__name__ = "export"
