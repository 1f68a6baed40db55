"""The application: every endpoint, errors in one shape, a description that is true."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from llmmon import __version__
from llmmon.server import alert_routes, reading_routes, recording_routes
from llmmon.server.gate import App, Gate
from llmmon.server.refusals import Fault, RefusedError, error_body
from llmmon.server.replies import schemas
from llmmon.server.service import Service


def application(service: Service) -> App:
    """The service as an ASGI application, behind its gate."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="llmmon",
        version=__version__,
        description="Records LLM calls durably, and says what they cost, how fast and how broken they are.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    for routes in (
        recording_routes.router(service),
        reading_routes.router(service),
        alert_routes.router(service),
        alert_routes.rules_router(service),
        reading_routes.health_router(service),
    ):
        app.include_router(routes)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, lambda request, error: _failed(service, request, error))
    _describe(app)
    return Gate(app, service.plan.host, service.plan.token)


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


async def _refused(_: Request, error: Any) -> Response:
    return _json(error.status, msgspec.json.encode(error.reply), error.headers)


async def _not_found(_: Request, error: Any) -> Response:
    return _json(error.status_code, error_body(str(error.detail)), error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    faults = [Fault(one["msg"], field=str(one["loc"][-1])) for one in error.errors()]
    return _json(422, error_body("a parameter is not as it must be", items=faults))


async def _failed(service: Service, request: Request, error: Exception) -> Response:
    service.say(f"internal error: {request.method} {request.url.path}: {type(error).__name__}: {error}")
    return _json(500, error_body("internal error"))
