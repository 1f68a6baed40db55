"""Runs the service: the socket, the signals, an orderly end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from llmmon.errors import UsageError
from llmmon.journal import Journal
from llmmon.server.app import application
from llmmon.server.gate import LOOPBACK
from llmmon.server.plan import ServePlan
from llmmon.server.service import Service

_GRACE_S: Final = 10
_KEPT_ALIVE_S: Final = 75  # longer than clients keep a connection: one that closes while a post is sent leaves doubt
_BACKLOG: Final = 1024


def serve(plan: ServePlan, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; raises `UsageError` where it may not or cannot listen."""
    check(plan)
    listening = _listening(plan)
    with listening, Journal(plan.journal) as journal:
        service = Service(plan, journal, say)
        server = uvicorn.Server(_settings(plan, application(service)))
        said = address(*listening.getsockname()[:2])
        say(f"listening on {said}, recording into {plan.journal}, state in {plan.state}")
        if not plan.query.config.rules:
            say("no rules are configured: the two default rules apply (`llmmon init` writes a file)")
        signal.signal(signal.SIGTERM, _ended)  # the server ends in order, then raises what it caught: here it ends
        server.run(sockets=[listening])


def check(plan: ServePlan) -> None:
    """Raises `UsageError` for what would let everyone in."""
    if plan.host not in LOOPBACK and plan.token is None:
        raise UsageError(
            f"--host {plan.host}: without a token only this machine may ask",
            hint="--token env:NAME or file:PATH, or $LLMMON_TOKEN",
        )


def address(host: str, port: int) -> str:
    """As an address to open."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _ended(_number: int, _frame: Any) -> None:
    pass


def _settings(plan: ServePlan, app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        limit_concurrency=plan.limits.connections,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEPT_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _listening(plan: ServePlan) -> socket.socket:
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    # asyncio sends small pieces at once only on sockets that say they are of TCP; otherwise answers take 40 ms
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((plan.host, plan.port))
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot listen on {plan.host}:{plan.port}: {why}", hint="--port N for another") from None
    return found
