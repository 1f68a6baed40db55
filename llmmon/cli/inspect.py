"""`llmmon inspect`."""

from typing import TYPE_CHECKING

from llmmon.cli.options import with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.pipeline import Query


@with_logs
def inspect(query: "Query", output: "Output") -> int:
    """Show what each file is, how it is read, what is missing.

    Example: llmmon inspect sample_logs/
    """
    from llmmon.inspection import inspect_logs
    from llmmon.views.inspection import view_inspection

    report, source, code = inspect_logs(query)
    return output.finish("inspect", view_inspection(report), source, {code})
