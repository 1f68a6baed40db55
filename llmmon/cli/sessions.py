"""`llmmon sessions`."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import limit_of, logs_of, names_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query


@with_logs
def sessions(
    query: "Query",
    output: "Output",
    config: "Config",
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="What counts as one: session, trace or task; or group by user, feature, folder or tag.X; repeatable.",
            metavar="FIELD",
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="Largest first by this figure: cost_usd, calls, duration_ms, ...", metavar="FIGURE")
    ] = "cost_usd",
    limit: Annotated[int, limit_of("sessions, or of steps of one,")] = 20,
    long_context: Annotated[
        int, typer.Option("--long-context", help="Tokens from which on a context is long.", min=1, metavar="N")
    ] = 150_000,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if this holds: 'session_cost_p95_usd>2'.", metavar="COND")
    ] = None,
) -> int:
    """Show what sessions of agents cost and how they ended.

    An argument that is no file names a session, or the beginning of its id: it is shown step by step.

    Examples:
      llmmon sessions ~/.claude/projects
      llmmon sessions sample_logs/ --map session=user --sort calls
    """
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.sessions import view_sessions
    from llmmon.reports.sessions import report_sessions

    query, named = _named(query, config)
    if named is not None:
        return _one(query, output, named, names_of(by), limit)
    report, found = report_sessions(query, by=names_of(by), sort=sort, long_context=long_context)
    failed = checks_of(fail_on or (), report.figures, {})
    return output.finish("sessions", view_sessions(report, query.tz, limit), found.source, {found.exit_code}, failed)


def _named(query: "Query", config: "Config") -> "tuple[Query, str | None]":
    """The query without the argument that names a session, and that name; None where all are logs."""
    import msgspec

    from llmmon.errors import UsageError
    from llmmon.ingest.sources import names_a_log

    names = [log for log in query.logs if not names_a_log(log)]
    if not names:
        return query, None
    if len(names) > 1:
        raise UsageError(f"{names[0]} and {names[1]} are no files", hint="llmmon sessions ID LOGS shows one session")
    left = [log for log in query.logs if log != names[0]]
    return msgspec.structs.replace(query, logs=logs_of(left, config)), names[0]


def _one(query: "Query", output: "Output", named: str, by: tuple[str, ...], limit: int) -> int:
    from llmmon.output.views.sessions import view_timeline
    from llmmon.reports.session_timeline import session_timeline

    timeline, found = session_timeline(query, named, by)
    view = view_timeline(timeline, query.tz, limit)
    return output.finish("sessions", view, found.source, {found.exit_code})
