"""`llmmon export`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.pipeline import Query
    from llmmon.recording import Wanted

To = Annotated[
    str | None,
    typer.Option(help="prometheus, openmetrics, otlp, csv or jsonl. Default: by the ending of -o.", metavar="FORMAT"),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        help="SEND the metrics by OTLP/HTTP to this address, or to that of $OTEL_EXPORTER_OTLP_ENDPOINT: env.",
        metavar="URL",
    ),
]
LabelLimit = Annotated[
    int, typer.Option(help="Most values of a label, such as models; the rest is `other`.", min=1, metavar="N")
]


KeepText = Annotated[bool, typer.Option("--keep-text", help="csv, jsonl: prompts and outputs, too.")]
Tag = Annotated[
    list[str] | None,
    typer.Option(help="csv, jsonl: this tag, too, where the head of the logs does not show it; repeatable."),
]
FillCosts = Annotated[bool, typer.Option("--fill-costs", help="csv, jsonl: costs from prices where none is logged.")]


@with_logs
def export(
    query: "Query",
    output: "Output",
    to: To = None,
    endpoint: Endpoint = None,
    label_limit: LabelLimit = 100,
    keep_text: KeepText = False,
    tag: Tag = None,
    fill_costs: FillCosts = False,
) -> int:
    """Export metrics for Prometheus or OpenTelemetry, or the calls themselves as CSV or JSON lines.

    Example: llmmon export logs/ -o /var/lib/node_exporter/llmmon.prom
    """
    from llmmon import exporting
    from llmmon.recording import ROW_FORMATS, Wanted

    kind = exporting.format_called(to, output.file, output.format, sending=endpoint is not None)
    if kind in ROW_FORMATS:
        return _rows(query, output, kind, Wanted(keep_text, tuple(tag or ()), fill_costs))
    request = None if endpoint is None else exporting.endpoint(endpoint, os.environ)
    text, found = exporting.export_metrics(query, kind, label_limit)
    if request is None:
        output.write(text, durable=True)
    elif refused := exporting.send(request, text):
        output.say(f"{request.host}: {refused}")
    return output.account(found.source, {found.exit_code})


def _rows(query: "Query", output: "Output", kind: str, wanted: "Wanted") -> int:
    from llmmon.recording import export_records

    with output.sink() as write:
        written = export_records(query, kind, wanted, write)
    source = written.read.source
    if left := source.samples - written.samples:
        output.say(f"{left:,} metric sample{'s' * (left != 1)} not written")
    return output.account(source, {written.read.exit_code})
