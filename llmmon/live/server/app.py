"""Runs the service: the socket, the signals, an orderly end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from llmmon import __version__
from llmmon.config import load, state_home
from llmmon.errors import InputError, UsageError, reason_of
from llmmon.live.server import alert_routes, health, metric_routes
from llmmon.live.server.auth import LOOPBACK, AccessControl, App, Receive, Scope, Send
from llmmon.live.server.connections import PatientProtocol
from llmmon.live.server.journal import Journal
from llmmon.live.server.replies import schemas
from llmmon.live.server.service import Service, clock
from llmmon.live.server.settings import Fault, RefusedError, ServePlan, Token, error_body


def application(service: Service) -> App:
    """The service as an ASGI application, behind its gate."""
    plan = service.plan
    return AccessControl(_fastapi(service), plan.host, lambda: service.plan.tokens, plan.limits.requests)


def create_app(
    config: str | None = None,
    *,
    log: str | Path | None = None,
    state: str | Path | None = None,
    token: str | None = None,
    keep_text: bool = False,
) -> FastAPI:
    """The service as a FastAPI application: to mount in one's own, or for `uvicorn --factory llmmon:create_app`.

    `config` is a configuration file (default: as `llmmon serve` finds it), `log` the file that records are written to,
    `state` the state file. Without a token everyone may ask who can reach it. It begins to work with its server's
    lifespan or, mounted, with the first request. Raises `LlmmonError`.
    """
    found = load(config, os.environ, Path.cwd())
    kept = Path(state) if state else found.state_path(None, os.environ) or state_home(os.environ) / "serve.db"
    plan = ServePlan(
        query=found.query(logs=found.logs, wall_us=clock()),
        check=found.check_plan(kept, os.environ),
        state=kept,
        journal=Path(log) if log else found.serve.log or kept.with_suffix(".jsonl"),
        host="",
        tokens=(Token.of(token),) if token else (),
        keep_text=keep_text,
        environment=os.environ,
    )
    service = Service(plan, Journal(plan.journal), lambda text: logging.getLogger("llmmon").warning("%s", text))
    app = _fastapi(service)
    app.add_middleware(AccessControl, host="", tokens=lambda: service.plan.tokens, most=plan.limits.requests)
    app.add_middleware(_Started, service=service)
    return app


class _Started:
    """Starts the parts of a service with the first request, where no lifespan has: that of a mounted one is not run."""

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._service.start()
        await self._app(scope, receive, send)


def _fastapi(service: Service) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="llmmon",
        version=__version__,
        description="Records LLM calls durably, and says what they cost, how fast and how broken they are.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    for routes in (
        metric_routes.recording_router(service),
        metric_routes.otlp_router(service),
        metric_routes.reading_router(service),
        alert_routes.router(service),
        alert_routes.silences_router(service),
        alert_routes.rules_router(service),
        health.router(service),
    ):
        app.include_router(routes)
    app.add_exception_handler(RefusedError, _refusing(service))
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failing(service))
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Let the description know our schemas, and the token."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = generated()
            components = found.setdefault("components", {})
            components["schemas"] = schemas()
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}, {}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _json(status: int, body: bytes, headers: Any = None) -> Response:
    return Response(body, status, headers=headers, media_type="application/json")


def _refusing(service: Service) -> Callable[[Request, Any], Awaitable[Response]]:
    async def refused(_: Request, error: Any) -> Response:
        service.refused[str(error.status)] += 1
        return _json(error.status, msgspec.json.encode(error.reply), error.headers)

    return refused


async def _not_found(_: Request, error: Any) -> Response:
    return _json(error.status_code, error_body(str(error.detail)), error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    faults = [Fault(one["msg"], field=str(one["loc"][-1])) for one in error.errors()]
    return _json(422, error_body("a parameter is not as it must be", items=faults))


def _failing(service: Service) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler of errors that nothing else handles: what cannot be read now is 503; all else is reported, and 500."""

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, (InputError, sqlite3.OperationalError)):
            place = "" if isinstance(error, InputError) else f"state file {service.plan.state}: "
            return _json(503, error_body(f"{place}{error}"), {"retry-after": "5"})
        service.say(f"internal error: {request.method} {request.url.path}: {type(error).__name__}: {error}")
        return _json(500, error_body("internal error"))

    return failed


_GRACE_S: Final = 10
_KEPT_ALIVE_S: Final = 75  # longer than clients keep a connection: one that closes while a post is sent leaves doubt
_BACKLOG: Final = 1024


def serve(plan: ServePlan, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; raises `UsageError` where it may not or cannot listen."""
    check(plan)
    listening = _listening(plan)
    with listening, Journal(plan.journal) as journal:
        service = Service(plan, journal, say)
        settings = _settings(application(service))
        settings.load()
        if plan.certificate is not None:
            settings.ssl = plan.certificate.context
        server = uvicorn.Server(settings)
        said = address(*listening.getsockname()[:2], encrypted=plan.certificate is not None)
        say(f"listening on {said}, recording into {plan.journal}, state in {plan.state}")
        # before the server has its own handlers; and it ends in order, then raises what it caught
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        signal.signal(signal.SIGHUP, _ended)  # until the service runs, and reloads
        server.run(sockets=[listening])


def check(plan: ServePlan) -> None:
    """Raises `UsageError` for what would let everyone in."""
    if plan.host not in LOOPBACK and not plan.tokens:
        raise UsageError(
            f"--host {plan.host}: without a token only this machine may ask",
            hint="--token env:NAME or file:PATH, or $LLMMON_TOKEN",
        )


def address(host: str, port: int, *, encrypted: bool = False) -> str:
    """As an address to open."""
    named = f"[{host}]" if ":" in host else host
    return f"http{'s' * encrypted}://{named}:{port}"


def _ended(_number: int, _frame: Any) -> None:
    pass


def _settings(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_level="critical",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
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
        why = reason_of(error)
        raise UsageError(f"cannot listen on {plan.host}:{plan.port}: {why}", hint="--port N for another") from None
    return found
