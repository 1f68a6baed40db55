"""The settings of `serve`: its options, its limits, and the errors that it replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from llmmon.alerting.check import CheckPlan
from llmmon.ingest.query import Query


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


class ServePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `serve` does; `query.logs` are followed beside the log that is written, `token` None asks for none."""

    query: Query
    check: CheckPlan = CheckPlan()
    state: Path
    journal: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    keep_text: bool = False
    every_s: float = 15.0
    limits: Limits = Limits()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    reload: Callable[[], CheckPlan] | None = None  # reads the configuration again on SIGHUP; raises `LlmmonError`
