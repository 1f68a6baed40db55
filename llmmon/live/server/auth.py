"""Access control: check the host name, the origin and the token of a request before anything else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from llmmon.live.server.settings import Token, error_body

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_OPEN: Final = frozenset({"/health", "/ready", "/healthz", "/readyz"})  # reveal nothing worth protecting
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGES: Final = ((b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="llmmon"'))
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class AccessControl:
    """An ASGI application around another, which passes on only requests that are allowed."""

    def __init__(self, app: App, host: str, tokens: Callable[[], Sequence[Token]], most: int) -> None:
        """Pass on at most `most` requests at a time, health checks not counted.

        `tokens` gives those that are accepted now; none means that none is needed.
        """
        self._app = app
        self._tokens = tokens
        # without a token, the name is what keeps pages of other sites out (DNS rebinding)
        self._hosts = LOOPBACK | {host} if host in LOOPBACK else None
        self._most = most
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def sealed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ALWAYS]
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        headers = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is None:
            self._running += 1
            try:
                await self._app(scope, receive, sealed)
            finally:
                self._running -= 1
            return
        status, text, more = refusal
        start = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode()), *more]
        await sealed({"type": "http.response.start", "status": status, "headers": start})
        await sealed({"type": "http.response.body", "body": text})

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, bytes, Any] | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in _OPEN:
            return None
        if self._running >= self._most:
            return 503, error_body("too many requests at once", hint="send it again later"), ((b"retry-after", b"1"),)
        host = _name_of(headers.get(b"host", b""))
        tokens = self._tokens()
        if self._hosts is not None and not tokens and host not in self._hosts:
            return 403, error_body(f"this is not {host[:100]!r}", hint="use http://127.0.0.1"), ()
        if scope["method"] not in _SAFE and _is_foreign(headers):
            return 403, error_body("a page of another site asks for this"), ()
        if not tokens:
            return None
        given = _given(headers.get(b"authorization", b""))
        # each is compared, so that the time says nothing about which of them is nearly right
        known = [token for token in tokens if hmac.compare_digest(given, token.digest)]
        if not known:
            return 401, error_body("the token is missing or wrong", hint="Authorization: Bearer TOKEN"), _CHALLENGES
        needed = scope_of(scope["method"], path)
        if any(token.allows(needed) for token in known):
            return None
        challenge = f'Bearer error="insufficient_scope", scope="{needed}"'.encode()
        hint = f"a token with the scope {needed} or admin"
        return 403, error_body(f"this token may not {_DONE[needed]}", hint=hint), ((b"www-authenticate", challenge),)


_WRITTEN: Final = frozenset({"/v1/requests", "/v1/metrics", "/v1/traces", "/v1/logs"})
_DONE: Final = {"read": "read figures", "write": "record", "admin": "change alerts, silences and rules"}


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs: `read` for figures, `write` to record, `admin` for all that changes alerting."""
    if method in _SAFE:
        return "read"
    return "write" if path in _WRITTEN else "admin"


def _given(authorization: bytes) -> bytes:
    """The SHA-256 of the token that was sent, as a bearer or as the password of basic authentication."""
    scheme, _, rest = authorization.partition(b" ")
    rest = rest.strip()
    if scheme.lower() == b"basic":
        try:
            rest = base64.b64decode(rest, validate=True).partition(b":")[2]
        except binascii.Error:
            rest = b""
    elif scheme.lower() != b"bearer":
        rest = b""
    return hashlib.sha256(rest).digest()


def _name_of(host: bytes) -> str:
    """The host name without its port."""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def _is_foreign(headers: dict[bytes, bytes]) -> bool:
    if headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}:
        return True
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"//")[2] != headers.get(b"host")
