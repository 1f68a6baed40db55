"""The body of a request: bounded in size, in time, and as it unpacks."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from llmmon.server.plan import Limits
from llmmon.server.refusals import RefusedError

_LINES: Final = frozenset(
    {"application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines"}
)
_JSON: Final = frozenset({"application/json", ""})


class Bodies:
    """Receives bodies; all that are on their way together are bounded too."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._in_flight = 0

    async def receive(self, request: Request) -> tuple[bytes, bool]:
        """The bytes of a JSON body, unpacked, and whether it has one object a line; raises `RefusedError`."""
        lines = _is_lines(request)
        unpack = _unpacker(request)
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._limits.body:
            raise self._too_large()
        data = await self._collect(request)
        if unpack is not None:
            data = self._unpacked(data, unpack)
        if not data.strip():
            raise RefusedError(400, "the body is empty")
        return data, lines

    async def _collect(self, request: Request) -> bytes:
        taken: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for piece in _pieces(request):
                    size += len(piece)
                    self._in_flight += len(piece)
                    taken.append(piece)
                    if size > self._limits.body:
                        raise self._too_large()
                    if self._in_flight > self._limits.in_flight:
                        raise RefusedError(429, "too many bodies at once", hint="send it again later", retry_after="1")
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time", connection="close") from None
        finally:
            self._in_flight -= size
        return b"".join(taken)

    def _unpacked(self, data: bytes, unpack: zlib._Decompress) -> bytes:
        try:
            found = unpack.decompress(data, self._limits.body + 1)
        except zlib.error as error:
            raise RefusedError(400, f"the body is no gzip: {error}") from None
        if len(found) > self._limits.body:
            raise self._too_large()
        if not unpack.eof:
            raise RefusedError(400, "the body is no gzip: it is cut off")
        return found

    def _too_large(self) -> RefusedError:
        most = f"{self._limits.body:,} bytes"
        return RefusedError(413, f"the body is larger than {most}", hint="send fewer items at once", connection="close")


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise RefusedError(400, "the body was cut off") from None


def _is_lines(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _LINES:
        return True
    if kind in _JSON:
        return False
    raise RefusedError(
        415,
        f"the body's type is {kind[:100]!r}, not JSON",
        hint="Content-Type: application/json, or application/x-ndjson for one object a line",
    )


def _unpacker(request: Request) -> zlib._Decompress | None:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"gzip", "x-gzip"}:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    if coding == "identity":
        return None
    raise RefusedError(415, f"the body's encoding is {coding[:100]!r}", hint="send it as gzip, or as it is")
