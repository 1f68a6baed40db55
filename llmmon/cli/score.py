"""`llmmon score`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.pipeline import Query


@with_logs
def score(
    query: "Query",
    output: "Output",
    overall: Annotated[
        str, typer.Option(help="How the overall score is made: defects or weighted.", metavar="FORMULA")
    ] = "defects",
    limit: Annotated[int, typer.Option(help="Worst answers shown; 0 shows all that have a flag.", min=0)] = 10,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show the worst ones' prompts and outputs.")] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit 1 if this holds: 'overall_avg<0.8', flag=secret.", metavar="COND"),
    ] = None,
) -> int:
    """Score each answer from its text: refused, cut off, looping, leaking, off-topic, broken; with -o, all rows.

    Example: llmmon score sample_logs/prompts.jsonl -o scored.jsonl
    """
    from llmmon.conditions import any_met
    from llmmon.scoring import check_flags, score_calls
    from llmmon.views.scores import view_scores

    check_flags(fail_on or ())
    report, found = score_calls(query, overall=overall, limit=limit, show_text=show_text)
    raised = {name for name, number in report.flags.items() if number}
    failed = any_met(fail_on or (), {**report.summary, "flag": raised}, {})
    return output.finish_rows("score", view_scores(report), found.source, {found.exit_code}, failed)
