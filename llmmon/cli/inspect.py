"""`llmmon inspect`."""

from typing import TYPE_CHECKING

from llmmon.cli.options import with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.ingest.query import Query


@with_logs
def inspect(query: "Query", output: "Output") -> int:
    """Show what each file is, how it is read and what is missing.

    Examples:
      llmmon inspect sample_logs/
      llmmon inspect sample_logs/prompts.jsonl -f json
    """
    from llmmon.output.views.requests import view_inspection
    from llmmon.reports.inspection import inspect_logs

    report, source, code = inspect_logs(query)
    return output.finish("inspect", view_inspection(report), source, {code})
