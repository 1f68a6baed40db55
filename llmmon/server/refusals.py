"""Why a request is not done: the one shape of every error reply."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


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
