"""What leaves the machine: a request, a mail, or what a program is given; and the sending of one of them."""

from __future__ import annotations

import random
import time
from typing import Final, Self

import msgspec

from llmmon.errors import DeliveryError
from llmmon.mail import Mail, send_mail
from llmmon.program import Program, run_program
from llmmon.transport import Client, RefusedError, Request, Retries

TRY_S: Final = 8.0  # how long one try may take
BUDGET_S: Final = 20.0
_LEAST_S: Final = 0.25  # kept for telling what failed
_RETRIES: Final = Retries(attempts=3, timeout_s=TRY_S, first_wait_s=0.4)

Payload = Request | Mail | Program


class Outgoing(msgspec.Struct, frozen=True):
    """One message; `covers` are the positions of the notifications that it tells of."""

    payload: Payload
    covers: tuple[int, ...]

    @property
    def place(self) -> str:
        """Where it goes, without anything secret: a host, or a program's name."""
        payload = self.payload
        if isinstance(payload, Request):
            return payload.host
        return payload.server.address if isinstance(payload, Mail) else payload.name


class Sender:
    """Sends messages, each tried a few times while there is time; use as `async with`."""

    def __init__(self, budget_s: float = BUDGET_S) -> None:
        self._budget_s = budget_s
        self._client: Client | None = None
        self._ends = 0.0

    async def __aenter__(self) -> Self:
        self._ends = time.monotonic() + self._budget_s
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._client is not None:
            await self._client.__aexit__(*error)

    @property
    def left_s(self) -> float:
        """Seconds that are left for all that is to be sent."""
        return self._ends - time.monotonic()

    async def send(self, payload: Payload) -> str:
        """Send one message; what is to be said of it though it was delivered.

        Raises `DeliveryError` once it failed for good, or as often as there was time.
        """
        import asyncio

        tried = 0
        while True:
            tried += 1
            try:
                return await self._try(payload)
            except DeliveryError as error:
                asked = error.retry_after_s if isinstance(error, RefusedError) else None
                chance = random.random()  # noqa: S311 - only spreads tries
                wait = asked if asked is not None else _RETRIES.wait_s(tried, None, chance)
                if not error.retryable or tried >= _RETRIES.attempts or wait >= self.left_s - _LEAST_S:
                    raise
            await asyncio.sleep(wait)

    async def _try(self, payload: Payload) -> str:
        limit = max(_LEAST_S, min(TRY_S, self.left_s - _LEAST_S))
        if isinstance(payload, Mail):
            return await send_mail(payload, limit)
        if isinstance(payload, Request):
            await self._request(payload, limit)
        else:
            await run_program(
                msgspec.structs.replace(payload, timeout_s=min(payload.timeout_s, self.left_s - _LEAST_S))
            )
        return ""

    async def _request(self, request: Request, limit: float) -> None:
        import asyncio

        client = await self._open()
        try:
            async with asyncio.timeout(limit):
                await client.send(request)
        except TimeoutError:
            raise DeliveryError(f"{request.host} did not answer within {limit:.2g} s") from None

    async def _open(self) -> Client:
        if self._client is None:
            self._client = Client(Retries(attempts=1, timeout_s=max(_LEAST_S, min(TRY_S, self._budget_s))))
            await self._client.__aenter__()
        return self._client
