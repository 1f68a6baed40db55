"""Connections that say nothing: they are ended after a while, and make room for others where there are too many."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 30.0  # for the head of a request to arrive
_MOST: Final = 800  # connections, below the usual limit of open files


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits for the head of a request for so long, and no longer.

    Where there are too many connections, the one that has waited longest is closed, so that `/health` has room.
    """

    _waiting: dict[PatientProtocol, None] = {}  # noqa: RUF012 - of all connections, those that waited longest first
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > _MOST and self._waiting:
            next(iter(self._waiting)).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Wait on while the head of a request is incomplete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting[self] = None
        self._timer = self.loop.call_later(HEAD_S, self.transport.abort)

    def _rest(self) -> None:
        self._waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
