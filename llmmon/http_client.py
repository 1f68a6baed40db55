"""Outgoing HTTP requests, the only ones: with time limits, retries, and errors that reveal no secrets."""

from __future__ import annotations

import contextlib
import errno
import math
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from llmmon.errors import DeliveryError, UsageError, reason_of

if TYPE_CHECKING:
    import ssl

    import httpx2


LARGEST_REPLY: Final = 4 << 20  # bytes; a larger reply is refused
_LONGEST_WORD: Final = 60
_WORD: Final = re.compile(rb"[a-z]+(_[a-z]+)+")
_WORTH_ANOTHER_TRY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `headers` and `url` may hold secrets, so that no error names more than the host."""

    url: str
    body: bytes = b""
    method: str = "POST"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    ca_file: str = ""  # certificate authorities to trust, instead of the system's

    @property
    def host(self) -> str:
        """`https://host:port`, without user, path or query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Reply(msgspec.Struct, frozen=True):
    """A reply of status 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Download(NamedTuple):
    """A reply of any status whose body has yet to be read; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often to try, in seconds how long each try may take, and how long to wait in between."""

    attempts: int = 4
    timeout_s: float = 60.0  # of one try, from connecting to the last byte
    first_wait_s: float = 0.5  # doubles with every try, and is shortened at random so that not all come at once
    longest_wait_s: float = 30.0

    def wait_s(self, tried: int, asked_s: float | None, chance: float) -> float:
        """Seconds before the next try: what the server asked for, else the back-off; bounded."""
        if asked_s is not None:
            return min(max(asked_s, 0.0), self.longest_wait_s)
        doubled: float = self.first_wait_s * 2.0 ** min(tried - 1, 30)
        return min(doubled, self.longest_wait_s) * (0.5 + chance / 2)


class RefusedError(DeliveryError):
    """A server answered with a status that is no success; another try may help where `retryable`."""

    def __init__(self, host: str, status: int, retry_after_s: float | None = None, word: str = "") -> None:
        super().__init__(f"{host} answered {status}{f' ({word})' * bool(word)}", retryable=status in _WORTH_ANOTHER_TRY)
        self.status = status
        self.retry_after_s = retry_after_s


Sleep = Callable[[float], Awaitable[None]]
Result = TypeVar("Result")


async def retried(
    send: Callable[[], Awaitable[Result]],
    retries: Retries,
    *,
    left_s: Callable[[], float] = lambda: math.inf,
    sleep: Sleep | None = None,
) -> Result:
    """Call `send` until it succeeds; raises its last `DeliveryError`.

    It gives up where another try cannot help, after `attempts`, or where the wait would take all of the `left_s`
    seconds.
    """
    import asyncio  # as all that is loaded here and there, only by those who send

    tried = 0
    while True:
        tried += 1
        try:
            return await send()
        except DeliveryError as error:
            asked = error.retry_after_s if isinstance(error, RefusedError) else None
            wait_s = retries.wait_s(tried, asked, random.random())  # noqa: S311 - only spreads tries
            if not error.retryable or tried >= retries.attempts or wait_s >= left_s():
                raise
        await (sleep or asyncio.sleep)(wait_s)


class Client:
    """Sends requests over kept connections; use as `async with`."""

    def __init__(
        self, retries: Retries | None = None, *, connections: int = 8, sleep: Sleep | None = None, ca_file: str = ""
    ) -> None:
        self._ca_file = ca_file
        self._retries = retries or Retries()
        self._connections = connections
        self._sleep = sleep
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx2  # loaded only by those who send

        self._http = httpx2.AsyncClient(
            timeout=self._retries.timeout_s,
            limits=httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
            follow_redirects=False,  # a redirect could carry the headers elsewhere
            verify=trusting(self._ca_file) if self._ca_file else True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def send(self, request: Request) -> Reply:
        """The reply to a request, tried as often as is allowed; raises `DeliveryError`."""
        return await retried(lambda: self.send_once(request), self._retries, sleep=self._sleep)

    async def send_once(self, request: Request) -> Reply:
        """The reply to a request, tried once; raises `DeliveryError`, `UsageError` for an address that is none."""
        check_url(request.url)
        import asyncio

        import httpx2

        try:
            async with asyncio.timeout(self._retries.timeout_s):
                return await self._exchange(request)
        except (TimeoutError, httpx2.TimeoutException):
            raise DeliveryError(f"{request.host} did not answer within {self._retries.timeout_s:g} s") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError, ValueError):
            raise DeliveryError(f"{request.host}: the request cannot be sent", retryable=False) from None
        except httpx2.HTTPError as error:  # its text can name the whole URL; its type is enough
            raise DeliveryError(f"{request.host}: {connection_fault(error)}") from None

    async def _exchange(self, request: Request) -> Reply:
        if self._http is None:
            raise RuntimeError("the client is used outside `async with`")
        async with self._http.stream(
            request.method, request.url, content=request.body, headers=dict(request.headers)
        ) as reply:
            if not 200 <= reply.status_code < 300:
                asked_s = retry_after_s(reply.headers.get("retry-after"))
                raise RefusedError(request.host, reply.status_code, asked_s, await _word_of(reply))
            body = bytearray()
            async for piece in reply.aiter_bytes():
                body += piece
                if len(body) > LARGEST_REPLY:
                    raise DeliveryError(f"{request.host}: the reply is too large", retryable=False)
            return Reply(reply.status_code, dict(reply.headers), bytes(body))


async def _word_of(reply: httpx2.Response) -> str:
    """The reason that a service gives as one bare word, such as Slack's `no_service`; no other text is passed on."""
    import httpx2

    said = b""
    with contextlib.suppress(httpx2.HTTPError):
        async for piece in reply.aiter_bytes():
            said += piece
            if len(said) > _LONGEST_WORD:
                return ""
    return said.strip().decode() if _WORD.fullmatch(said.strip()) else ""


def ping(url: str, timeout_s: float = 10.0) -> None:
    """GET an address, with one more try; raises `DeliveryError`."""

    async def once() -> None:
        async with Client(Retries(attempts=2, timeout_s=timeout_s)) as client:
            await client.send(Request(url=url, method="GET"))

    import asyncio

    asyncio.run(once())


@contextlib.contextmanager
def download(url: str, headers: Mapping[str, str], silence_s: float) -> Iterator[Download]:
    """GET an address and read the body piece by piece, as it was sent; raises `OSError`, also while it is read."""
    import httpx2

    client = httpx2.Client(timeout=silence_s, follow_redirects=True)
    try:
        with client, client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as reply:
            yield Download(reply.status_code, dict(reply.headers), reply.iter_raw())
    except httpx2.TimeoutException:
        raise OSError(errno.EIO, "timed out") from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError):
        raise OSError(errno.EIO, "the address cannot be used") from None
    except httpx2.HTTPError as error:
        raise OSError(errno.EIO, connection_fault(error)) from None


def check_url(url: str) -> None:
    """Raises `UsageError` for what is no http or https address."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine:
        raise UsageError("an address must begin with http:// or https:// and name a host")


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None where it holds neither."""
    if value is None:
        return None
    from email.utils import parsedate_to_datetime

    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if then.tzinfo is None:
        return None
    return max(0.0, (then - (now or datetime.now(UTC))).total_seconds())


def trusting(ca_file: str) -> ssl.SSLContext:
    """The TLS settings that trust the authorities of a file; raises `DeliveryError` where it cannot be read."""
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise DeliveryError(f"ca_file {ca_file}: holds no certificate", retryable=False) from None
    except OSError as error:
        raise DeliveryError(f"ca_file {ca_file}: {reason_of(error)}", retryable=False) from None


def connection_fault(error: BaseException) -> str:
    """What kept a connection from being made: the name, the port, the certificate; without any text from the server."""
    import socket
    import ssl

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS: {(cause.reason or 'the handshake failed').lower().replace('_', ' ')}"
        if isinstance(cause, socket.gaierror):
            return "its name is not known (DNS)"
        if isinstance(cause, ConnectionRefusedError):
            return "refused the connection: nothing listens there"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return _words(type(error).__name__)


def _words(name: str) -> str:
    """`connect error` for ConnectError."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
