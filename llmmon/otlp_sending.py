"""Metrics to an OTLP/HTTP receiver: where `--endpoint` points, and what the receiver says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
import orjson

from llmmon.errors import UsageError
from llmmon.transport import Client, Request, check_url

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PATH: Final = "/v1/metrics"


def endpoint(given: str, environment: Mapping[str, str]) -> Request:
    """The request, without a body yet, for `--endpoint`: an address, or `env` for that of the OTEL_ variables.

    Headers come from the OTEL_ variables in both cases. Raises `UsageError`.
    """
    url = given if given != "env" else _from_environment(environment)
    check_url(url)
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        url = urlunsplit(parts._replace(path=_PATH))
    named = next((environment[name] for name in _HEADERS if environment.get(name)), "")
    return Request(url=url, headers={"content-type": "application/json", **_headers(named)})


def _from_environment(environment: Mapping[str, str]) -> str:
    whole, base = (environment.get(name, "").strip() for name in _ENDPOINTS)
    if whole:
        return whole
    if not base:
        raise UsageError(f"--endpoint env: ${_ENDPOINTS[1]} is not set", hint="--endpoint http://localhost:4318")
    return base.rstrip("/") + _PATH


def _headers(text: str) -> dict[str, str]:
    """`key=value,key2=value2`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def send(request: Request, text: str) -> str:
    """Send metrics; what the receiver did not take, in its words. Raises `DeliveryError`."""

    async def sent() -> bytes:
        async with Client() as client:
            return (await client.send(msgspec.structs.replace(request, body=text.encode()))).body

    return _complaint(asyncio.run(sent()))


def _complaint(body: bytes) -> str:
    try:
        partial = orjson.loads(body or b"{}").get("partialSuccess") or {}
        number, why = partial.get("rejectedDataPoints") or 0, partial.get("errorMessage") or ""
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return f"{number} points were refused: {why}" if int(number) else str(why)
