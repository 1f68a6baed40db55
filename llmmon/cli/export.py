"""`llmmon export`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.pipeline import Query

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


@with_logs
def export(
    query: "Query",
    output: "Output",
    to: To = None,
    endpoint: Endpoint = None,
    label_limit: LabelLimit = 100,
) -> int:
    """Export metrics for Prometheus or OpenTelemetry, or the calls themselves as CSV or JSON lines.

    Example: llmmon export logs/ -o /var/lib/node_exporter/llmmon.prom
    """
    from llmmon import exporting

    kind = exporting.format_called(to, output.file, output.format, sending=endpoint is not None)
    request = None if endpoint is None else exporting.endpoint(endpoint, os.environ)
    text, found = exporting.export_metrics(query, kind, label_limit)
    if request is None:
        output.write(text, durable=True)
    elif refused := exporting.send(request, text):
        output.say(f"{request.host}: {refused}")
    return output.account(found.source, {found.exit_code})
