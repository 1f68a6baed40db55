"""`llmmon serve`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import StateOption, active_rules, with_logs
from llmmon.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.live.server.settings import ServePlan


_LEFT_OUT: Final = frozenset(
    {"window", "since", "until", "now", "jobs", "engine", "rejects", "no_cache", "format", "output_file"}
)
_PORT: Final = 8080

Host = Annotated[str | None, typer.Option(help="Where to listen. Default: 127.0.0.1.", metavar="ADDRESS")]
Port = Annotated[int | None, typer.Option(help="Default: 8080; 0 takes a free one.", min=0, max=65535, metavar="N")]
Token = Annotated[
    str | None, typer.Option(help="env:NAME or file:PATH of the token to ask for. Default: $LLMMON_TOKEN.")
]
Log = Annotated[Path | None, typer.Option("--log", help="The log to write. Default: beside the state.", metavar="FILE")]
Every = Annotated[str, typer.Option(help="How often rules are evaluated.", metavar="DURATION")]
KeepText = Annotated[bool, typer.Option("--keep-text", help="Record prompts and outputs, too.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be served, and end.")]


def _serve(
    query: "Query",
    output: "Output",
    config: "Config",
    host: Host = None,
    port: Port = None,
    token: Token = None,
    log: Log = None,
    state: StateOption = None,
    every: Every = "15s",
    keep_text: KeepText = False,
    dry_run: DryRun = False,
) -> int:
    """Serve over HTTP: take records in durably, tell figures, alerts and anomalies.

    Example: llmmon serve --dry-run --state state.db
    """
    from llmmon.config import state_home
    from llmmon.live.server.settings import ServePlan
    from llmmon.text.times import duration_us

    known = config.serve
    kept = config.state_path(state, os.environ) or state_home(os.environ) / "serve.db"
    plan = ServePlan(
        query=_following(query, config),
        check=config.check_plan(kept, os.environ),
        state=kept,
        journal=log or known.log or kept.with_suffix(".jsonl"),
        host=host or known.host or "127.0.0.1",
        port=next(one for one in (port, known.port, _PORT) if one is not None),
        token=_token(token or known.token),
        keep_text=keep_text,
        every_s=max(0.1, duration_us(every, plain="s") / 1e6),
        environment=os.environ,
    )
    _need_extra()
    if dry_run:
        output.write(_described(plan, every))
    else:
        from llmmon.live.server.app import serve as run

        active_rules(config, output)
        run(plan, output.say)
    return 0


def _need_extra() -> None:
    try:
        import llmmon.live.server.app  # noqa: F401 - what it stands on may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"fastapi", "uvicorn", "starlette"}:
            raise
        raise missing_extra("serve", "llmmon serve") from None


def _following(query: "Query", config: "Config") -> "Query":
    """The query with the logs that are followed beside the one that is written."""
    import msgspec

    logs = query.logs or config.logs or tuple(filter(None, os.environ.get("LLMMON_LOGS", "").split(os.pathsep)))
    if "-" in logs:
        raise UsageError("serve follows files, not standard input", hint="post to /v1/requests, or name files")
    return msgspec.structs.replace(query, logs=logs)


def _described(plan: "ServePlan", every: str) -> str:
    from llmmon.live.server.app import address, check
    from llmmon.text.figures import plain

    check(plan)
    rows = {
        "listen": f"{address(plan.host, plan.port)}, {'a token is asked' if plan.token else 'no token is asked'}",
        "record": f"{plan.journal}, {'with' if plan.keep_text else 'without'} texts",
        "follow": ", ".join(plan.query.logs) or "no other log",
        "rules": f"{', '.join(rule.name for rule in plan.check.rules)}; every {every}",
        "tell": ", ".join(channel.name for channel in plan.check.channels) or "nobody: no channel is configured",
        "state": str(plan.state),
    }
    return "".join(f"{name:<8}{plain(text)}\n" for name, text in rows.items())


def _token(named: str) -> str | None:
    from llmmon.alerting.delivery import resolve_secret
    from llmmon.alerting.notifiers.channel import is_reference

    if not named:
        return os.environ.get("LLMMON_TOKEN") or None
    if not is_reference(named):
        raise UsageError("--token names where the token is, not the token", hint="--token env:NAME or file:PATH")
    return resolve_secret(named, os.environ, "--token")


serve = with_logs(_serve, optional=True, without=_LEFT_OUT)
serve.__name__ = "serve"
