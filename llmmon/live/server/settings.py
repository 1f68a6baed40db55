"""The settings of `serve`: its options, its limits, and the errors that it replies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from llmmon.alerting.check import CheckPlan
from llmmon.ingest.query import Query
from llmmon.live.server.certificate import Certificate


class Fault(msgspec.Struct, omit_defaults=True):
    """What is wrong with one value: which item of the body (from 0; none where there is one), which field."""

    error: str
    item: int | None = None
    field: str | None = None


class Error(msgspec.Struct, omit_defaults=True):
    """Nothing was done; `error` says why, `hint` what to do, `items` what is wrong where."""

    error: str
    hint: str | None = None
    items: Annotated[list[Fault], msgspec.Meta(description="at most 20")] = []


class RefusedError(Exception):
    """A request that is refused, as a status and the reply."""

    def __init__(
        self, status: int, error: str, *, hint: str | None = None, items: tuple[Fault, ...] = (), **headers: str
    ) -> None:
        super().__init__(error)
        self.status = status
        self.reply = Error(error, hint, list(items))
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def error_body(error: str, **more: Any) -> bytes:
    """An error reply as JSON."""
    return msgspec.json.encode(Error(error, **more))


MEBIBYTE: Final = 1 << 20


class Limits(msgspec.Struct, frozen=True):
    """How much is accepted before the reply is 413 or 429; sizes in bytes."""

    body: int = 8 * MEBIBYTE  # of one request, decompressed
    queued: int = 32 * MEBIBYTE  # lines that wait to be written
    in_flight: int = 64 * MEBIBYTE  # bodies that are being received
    body_s: float = 30.0  # for a body to arrive
    requests: int = 1000  # at a time, health checks not counted


class Token(msgspec.Struct, frozen=True):
    """A token that is accepted, as its SHA-256, and what it allows; `admin` allows everything."""

    digest: bytes
    scopes: frozenset[str] = frozenset({"admin"})

    @classmethod
    def of(cls, secret: str, scopes: Iterable[str] = ("admin",)) -> Token:
        """The token of a secret."""
        return cls(hashlib.sha256(secret.encode()).digest(), frozenset(scopes))

    def allows(self, scope: str) -> bool:
        """Whether it allows what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes


class Reloaded(msgspec.Struct, frozen=True):
    """What is read again on SIGHUP."""

    check: CheckPlan
    tokens: tuple[Token, ...] = ()


class ServePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `serve` does; `query.logs` are followed beside the log that is written; without `tokens` none is needed."""

    query: Query
    check: CheckPlan = CheckPlan()
    state: Path
    journal: Path
    host: str = "127.0.0.1"
    port: int = 8080
    tokens: tuple[Token, ...] = ()
    certificate: Certificate | None = None  # without one, HTTP is not encrypted
    keep_text: bool = False
    every_s: float = 15.0
    limits: Limits = Limits()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    reload: Callable[[], Reloaded] | None = None  # reads the configuration again on SIGHUP; raises `LlmmonError`
