"""`llmmon serve`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmmon.cli.options import StateOption, active_rules, with_logs
from llmmon.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config, Serve
    from llmmon.ingest.query import Query
    from llmmon.live.server.certificate import Certificate
    from llmmon.live.server.settings import Reloaded, ServePlan, Token


_LEFT_OUT: Final = frozenset(
    {"window", "since", "until", "now", "jobs", "engine", "rejects", "no_cache", "format", "output_file"}
)
_PORT: Final = 8080

Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.", metavar="ADDRESS")]
Port = Annotated[
    int | None,
    typer.Option(help="Port to listen on. Default: 8080; 0 picks a free one.", min=0, max=65535, metavar="N"),
]
TokenOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Required token: [read|write|admin=]env:NAME or file:PATH; repeatable. Default: $LLMMON_TOKEN.",
        metavar="[SCOPE=]REF",
    ),
]
TlsCert = Annotated[Path | None, typer.Option("--tls-cert", help="Certificate in PEM, for HTTPS.", metavar="FILE")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="Its private key in PEM.", metavar="FILE")]
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
    token: TokenOption = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    log: Log = None,
    state: StateOption = None,
    every: Every = "15s",
    keep_text: KeepText = False,
    dry_run: DryRun = False,
) -> int:
    """Run an HTTP service: receive records, serve metrics and alerts.

    Records are written durably before they are confirmed.

    Examples:
      llmmon serve --dry-run
      llmmon serve --log requests.jsonl --port 8080
    """
    _need_extra()
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
        tokens=_tokens(token or (), known),
        certificate=_certificate(tls_cert or known.tls_cert, tls_key or known.tls_key),
        keep_text=keep_text,
        every_s=max(0.1, duration_us(every, plain="s") / 1e6),
        environment=os.environ,
        reload=lambda: _reloaded(config, kept, output, token or ()),
    )
    if dry_run:
        output.write(_described(plan, every))
    else:
        from llmmon.live.server.app import serve as run

        active_rules(config, output)
        run(plan, output.say)
    return 0


_AT_START: Final = "logs map root dialect timezone naive_timezone state prices".split()
_SERVE_AT_START: Final = "log host port tls_cert tls_key".split()


def _reloaded(config: "Config", kept: Path, output: "Output", given: Sequence[str]) -> "Reloaded":
    """What the configuration and the tokens are now; raises `ConfigError`."""
    from llmmon.config import load
    from llmmon.live.server.settings import Reloaded

    found = load(str(config.path) if config.path else None, os.environ, Path.cwd())
    changed = [key for key in _AT_START if getattr(found, key) != getattr(config, key)]
    if any(getattr(found.serve, key) != getattr(config.serve, key) for key in _SERVE_AT_START):
        changed.append("serve")
    if changed:
        output.say(
            f"{', '.join(changed)} changed in {found.path}: restart to apply {'it' if len(changed) == 1 else 'them'}"
        )
    active_rules(found, output)
    return Reloaded(found.check_plan(kept, os.environ), _tokens(given, found.serve))


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
        "listen": f"{address(plan.host, plan.port, encrypted=plan.certificate is not None)}, {_access(plan)}",
        "record": f"{plan.journal}, {'with' if plan.keep_text else 'without'} prompts and outputs",
        "follow": ", ".join(plan.query.logs) or "no other logs",
        "rules": f"{', '.join(rule.name for rule in plan.check.rules)}; every {every}",
        "notify": ", ".join(channel.name for channel in plan.check.channels) or "no channel is configured",
        "state": str(plan.state),
    }
    return "".join(f"{name:<8}{plain(text)}\n" for name, text in rows.items())


def _access(plan: "ServePlan") -> str:
    if not plan.tokens:
        return "no token required"
    if len(plan.tokens) == 1:
        return "token required"
    scopes = [", ".join(sorted(token.scopes)) for token in plan.tokens]
    return f"one of {len(plan.tokens)} tokens required ({'; '.join(sorted(set(scopes)))})"


def _certificate(cert: Path | None, key: Path | None) -> "Certificate | None":
    from llmmon.live.server.certificate import Certificate

    if cert is None and key is not None:
        raise UsageError("--tls-key needs --tls-cert, the certificate that it belongs to")
    return None if cert is None else Certificate(cert, key)


_ENVIRONMENT: Final = {
    "LLMMON_TOKEN": ("admin",),
    "LLMMON_READ_TOKEN": ("read",),
    "LLMMON_WRITE_TOKEN": ("write",),
}


def _tokens(given: Sequence[str], known: "Serve") -> "tuple[Token, ...]":
    """The tokens of the options, else of the configuration, else of the environment; each may be several lines."""
    from llmmon.alerting.delivery import resolve_secret
    from llmmon.live.server.settings import Token

    if given:
        named = [_reference(text) for text in given]
    else:
        named = [_reference(known.token)] if known.token else []
        named += [(one.token, one.scopes, "serve.tokens") for one in known.tokens]
    if not named:
        held = {name: os.environ.get(name, "").strip() for name in _ENVIRONMENT}
        named = [(f"env:{name}", _ENVIRONMENT[name], f"${name}") for name, text in held.items() if text]
    return tuple(
        Token.of(line.strip(), scopes)
        for reference, scopes, where in named
        for line in resolve_secret(reference, os.environ, where).splitlines()
        if line.strip()
    )


def _reference(text: str) -> tuple[str, tuple[str, ...], str]:
    """The reference, the scopes and the place of a `--token`."""
    from llmmon.alerting.notifiers.channel import is_reference
    from llmmon.config import SCOPES

    scopes, equals, reference = text.rpartition("=")
    named = tuple(scopes.split(",")) if equals else ("admin",)
    if is_reference(text):
        named, reference = ("admin",), text
    if not is_reference(reference) or not set(named) <= set(SCOPES):
        raise UsageError(
            "--token takes a reference to the token, not the token itself",
            hint="--token env:NAME or file:PATH; read=, write= or admin= before it limits what it allows",
        )
    return reference, named, "--token"


serve = with_logs(_serve, optional=True, without=_LEFT_OUT)
serve.__name__ = "serve"
