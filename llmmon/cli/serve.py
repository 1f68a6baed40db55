"""`llmmon serve`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import StateOption, active_rules, with_logs
from llmmon.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from llmmon.alerting.check import CheckPlan
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.live.server.settings import ServePlan


_LEFT_OUT: Final = frozenset(
    {"window", "since", "until", "now", "jobs", "engine", "rejects", "no_cache", "format", "output_file"}
)
_PORT: Final = 8080

Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.", metavar="ADDRESS")]
Port = Annotated[
    int | None,
    typer.Option(help="Port to listen on. Default: 8080; 0 picks a free one.", min=0, max=65535, metavar="N"),
]
Token = Annotated[str | None, typer.Option(help="Required token, as env:NAME or file:PATH. Default: $LLMMON_TOKEN.")]
Log = Annotated[
    Path | None,
    typer.Option("--log", help="Log file for received records. Default: next to the state file.", metavar="FILE"),
]
Every = Annotated[str, typer.Option(help="How often rules are evaluated.", metavar="DURATION")]
KeepText = Annotated[bool, typer.Option("--keep-text", help="Also record prompts and outputs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the settings and exit.")]


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
    """Run an HTTP service: receive records, serve metrics and alerts.

    Records are written durably before they are confirmed.

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
        reload=lambda: _reloaded(config, kept, output),
    )
    _need_extra()
    if dry_run:
        output.write(_described(plan, every))
    else:
        from llmmon.live.server.app import serve as run

        active_rules(config, output)
        run(plan, output.say)
    return 0


_AT_START: Final = "logs map root dialect timezone naive_timezone state prices serve".split()


def _reloaded(config: "Config", kept: Path, output: "Output") -> "CheckPlan":
    """What the configuration says now; raises `ConfigError`."""
    from llmmon.config import load

    found = load(str(config.path) if config.path else None, os.environ, Path.cwd())
    if changed := [key for key in _AT_START if getattr(found, key) != getattr(config, key)]:
        output.say(
            f"{', '.join(changed)} changed in {found.path}: restart to apply {'it' if len(changed) == 1 else 'them'}"
        )
    active_rules(found, output)
    return found.check_plan(kept, os.environ)


def _need_extra() -> None:
    try:
        import llmmon.live.server.app  # noqa: F401 - its dependencies may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"fastapi", "uvicorn", "starlette"}:
            raise
        raise missing_extra("serve", "llmmon serve") from None


def _following(query: "Query", config: "Config") -> "Query":
    """The query with the logs that are followed in addition to the service's own."""
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
        "listen": f"{address(plan.host, plan.port)}, {'token required' if plan.token else 'no token required'}",
        "record": f"{plan.journal}, {'with' if plan.keep_text else 'without'} prompts and outputs",
        "follow": ", ".join(plan.query.logs) or "no other logs",
        "rules": f"{', '.join(rule.name for rule in plan.check.rules)}; every {every}",
        "notify": ", ".join(channel.name for channel in plan.check.channels) or "no channel is configured",
        "state": str(plan.state),
    }
    return "".join(f"{name:<8}{plain(text)}\n" for name, text in rows.items())


def _token(named: str) -> str | None:
    from llmmon.alerting.delivery import resolve_secret
    from llmmon.alerting.notifiers.channel import is_reference

    if not named:
        return os.environ.get("LLMMON_TOKEN", "").strip() or None
    if not is_reference(named):
        raise UsageError(
            "--token takes a reference to the token, not the token itself", hint="--token env:NAME or file:PATH"
        )
    return resolve_secret(named, os.environ, "--token")


serve = with_logs(_serve, optional=True, without=_LEFT_OUT)
serve.__name__ = "serve"
