"""Sending one message: a web request, a mail, or a program's input, each retried while there is time."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Final, Self

import msgspec

from llmmon.errors import DeliveryError
from llmmon.http_client import Client, Request, Retries, connection_fault, retried, trusting

if TYPE_CHECKING:
    import smtplib
    import ssl
    from asyncio.subprocess import Process
    from email.message import EmailMessage


STARTTLS_PORT: Final = 587
TLS_PORT: Final = 465
LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """A mail server. `tls` is TLS from the first byte, `starttls` TLS after the greeting.

    Certificates are verified, against the authorities of `ca_file` if it is set.
    """

    host: str
    port: int
    starttls: bool = True
    tls: bool = False
    username: str = ""
    password: str = ""
    ca_file: str = ""

    @property
    def address(self) -> str:
        """`smtp.example.com:587`."""
        return f"{self.host}:{self.port}"


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail, as text and HTML; `references` are the ids of the threads that it belongs to."""

    server: MailServer
    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    html: str
    message_id: str
    references: tuple[str, ...] = ()

    @property
    def envelope(self) -> tuple[str, list[str]]:
        """The addresses of the sender and the recipients, without names."""
        return _bare(self.sender), [_bare(recipient) for recipient in self.recipients]

    def message(self) -> EmailMessage:
        """The mail as a message; raises `ValueError` for a header that contains a line break."""
        from email.message import EmailMessage
        from email.policy import SMTP
        from email.utils import format_datetime

        from llmmon.text.times import utc_now

        found = EmailMessage(policy=SMTP)
        found["From"] = self.sender
        found["To"] = ", ".join(self.recipients)
        found["Subject"] = self.subject
        found["Date"] = format_datetime(utc_now())
        found["Message-ID"] = self.message_id
        if self.references:
            found["References"] = " ".join(self.references)
            found["In-Reply-To"] = self.references[0]
        found["Auto-Submitted"] = "auto-generated"  # so that no out-of-office message answers
        found.set_content(self.text, cte="quoted-printable")  # lines of any length, over servers of any age
        found.add_alternative(self.html, subtype="html", cte="quoted-printable")
        return found


def _bare(text: str) -> str:
    """The address alone, its domain in ASCII, so that every server takes it."""
    from email.utils import parseaddr

    address = parseaddr(text)[1] or text
    name, at, domain = address.rpartition("@")
    try:
        return f"{name}{at}{domain.encode('idna').decode()}"
    except UnicodeError:
        return address


async def send_mail(mail: Mail, timeout_s: float) -> str:
    """Send a mail; returns a note about refused recipients if others were accepted. Raises `DeliveryError`.

    smtplib blocks, so it runs in a thread of its own, whose socket is closed when time is up.
    """
    attempt = _Attempt(mail, timeout_s)
    try:
        return await _in_thread(attempt.run, timeout_s, mail.server.address)
    finally:
        attempt.cut_off()


async def _in_thread(run: Callable[[], str], timeout_s: float, place: str) -> str:
    """Run what blocks in a thread of its own, which is left alone when time is up; raises `DeliveryError`."""
    import asyncio
    import threading

    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def finish(note: str, error: Exception | None) -> None:
        if not done.done():
            done.set_result(note) if error is None else done.set_exception(error)

    def work() -> None:
        note, error = "", None
        try:
            note = run()
        except Exception as found:  # noqa: BLE001 - raised where the result is awaited
            error = found
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(finish, note, error)

    threading.Thread(target=work, name="llmmon-send", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            return await done
    except TimeoutError:
        raise DeliveryError(f"{place} did not answer within {timeout_s:g} s") from None


class _Attempt:
    """One conversation with a mail server."""

    def __init__(self, mail: Mail, timeout_s: float) -> None:
        self._mail = mail
        self._timeout_s = timeout_s + 1  # of one word; when time is up the socket is closed, which says it better
        self._smtp: smtplib.SMTP | None = None

    def run(self) -> str:
        """Connect, secure, log in, send; raises `DeliveryError`."""
        import smtplib
        import ssl

        where = self._mail.server.address
        try:
            return self._converse()
        except ssl.SSLError as error:
            raise DeliveryError(f"{where}: {connection_fault(error)}") from None
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(f"{where}: {error}", retryable=False) from None
        except smtplib.SMTPAuthenticationError as error:
            passing = 400 <= error.smtp_code < 500
            raise DeliveryError(f"{where} refused the login ({error.smtp_code})", retryable=passing) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            passing = any(code < 500 for code in codes)
            names = "/".join(map(str, codes))
            raise DeliveryError(f"{where} refused the recipients ({names})", retryable=passing) from None
        except smtplib.SMTPResponseException as error:
            passing = not 500 <= error.smtp_code < 600
            raise DeliveryError(f"{where} answered {error.smtp_code}", retryable=passing) from None
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryError(f"{where}: {_reason(error)}") from None
        except ValueError:
            raise DeliveryError(f"{where}: the mail cannot be written", retryable=False) from None

    def cut_off(self) -> None:
        """Close the socket of a conversation that is still going on."""
        import socket

        sock = getattr(self._smtp, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _converse(self) -> str:
        import smtplib

        mail, server = self._mail, self._mail.server
        message = mail.message()  # before connecting, so that a faulty mail is not reported as the server's fault
        if server.tls:
            self._smtp = smtplib.SMTP_SSL(timeout=self._timeout_s, context=_context(server))
        else:
            self._smtp = smtplib.SMTP(timeout=self._timeout_s)
        self._smtp._host = server.host  # type: ignore[attr-defined]  # noqa: SLF001 - TLS checks the name against it
        try:
            self._smtp.connect(server.host, server.port)
            if server.starttls and not server.tls:
                self._smtp.starttls(context=_context(server))
            if server.username:
                self._smtp.login(server.username, server.password)
            refused = self._smtp.send_message(message, *mail.envelope)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self._smtp.quit()  # the mail is accepted already
        finally:
            self._smtp.close()
        return f"{len(refused)} of {len(mail.recipients)} recipients were refused" if refused else ""


def _context(server: MailServer) -> ssl.SSLContext:
    import ssl

    return trusting(server.ca_file) if server.ca_file else ssl.create_default_context()


def _reason(error: Exception) -> str:
    """What happened, without any text from the server."""
    if isinstance(error, OSError) and error.strerror:
        return connection_fault(error)
    return "the connection was closed" if "Disconnected" in type(error).__name__ else type(error).__name__


_SHOWN: Final = 200  # characters of its error message


class Program(msgspec.Struct, frozen=True):
    """A program with its arguments, run without a shell."""

    argv: tuple[str, ...]
    stdin: bytes
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """The program's file name; its arguments may hold secrets."""
        return self.argv[0].rpartition("/")[2]


async def run_program(program: Program) -> None:
    """Run it to its end; raises `DeliveryError` with the first line of its standard error where it fails."""
    import asyncio
    import tempfile

    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:  # files: no pipe can fill up or hang
        given.write(program.stdin)
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *program.argv, stdin=given, stdout=asyncio.subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except (OSError, ValueError) as error:
            why = (getattr(error, "strerror", None) or "cannot be run").lower()
            raise DeliveryError(f"{program.name}: {why}", retryable=False) from None
        try:
            async with asyncio.timeout(program.timeout_s):
                code = await process.wait()
        except TimeoutError:
            raise DeliveryError(f"{program.name} did not finish within {program.timeout_s:g} s") from None
        finally:
            await _end(process)
        if code != 0:
            raise DeliveryError(f"{program.name} {_outcome(code)}{_first_line(said)}")


async def _end(process: Process) -> None:
    """Stop a program that still runs, with all that it started."""
    if process.returncode is None:
        import signal

        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _outcome(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _first_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read(4096).decode("utf-8", "replace").strip().splitlines()
    return f": {lines[0].strip()[:_SHOWN]}" if lines else ""


class AppriseMessage(msgspec.Struct, frozen=True):
    """A message by the library apprise: an address of its own kind, which holds secrets, a title and a text.

    `kind` is info, success, warning or failure.
    """

    url: str
    title: str
    text: str
    kind: str

    @property
    def place(self) -> str:
        """`apprise discord`: the service, without any secret."""
        return f"apprise {self.url.partition('://')[0]}"


def run_apprise(message: AppriseMessage) -> str:
    """Send it; raises `DeliveryError`. What the library logs may hold secrets, so that only a status is passed on."""
    import logging

    import apprise

    said: list[str] = []
    logger = logging.getLogger("apprise")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        service = apprise.Apprise()
        if not service.add(message.url):
            raise DeliveryError(f"{message.place}: the url is not one that apprise knows", retryable=False)
        if not service.notify(message.text, title=message.title, notify_type=message.kind, body_format="text"):
            status = next((found[1] for text in said if (found := re.search(r"error=(\d{3})\b", text))), "")
            raise DeliveryError(f"{message.place} {f'answered {status}' if status else 'could not be reached'}")
    finally:
        logger.removeHandler(handler)
    return ""


TRY_S: Final = 8.0  # how long one try may take
BUDGET_S: Final = 20.0
_LEAST_S: Final = 0.25  # kept for reporting a failure
_RETRIES: Final = Retries(attempts=3, timeout_s=TRY_S, first_wait_s=0.4)

Payload = Request | Mail | Program | AppriseMessage


class Outgoing(msgspec.Struct, frozen=True):
    """One message; `covers` are the positions of the notifications that it contains."""

    payload: Payload
    covers: tuple[int, ...]

    @property
    def place(self) -> str:
        """The host or the name of the program that it goes to, without any secret."""
        payload = self.payload
        if isinstance(payload, Request):
            return payload.host
        if isinstance(payload, AppriseMessage):
            return payload.place
        return payload.server.address if isinstance(payload, Mail) else payload.name


class Sender:
    """Sends messages, each tried a few times while there is time; use as `async with`."""

    def __init__(self, budget_s: float = BUDGET_S) -> None:
        self._budget_s = budget_s
        self._clients: dict[str, Client] = {}  # by the file of authorities that they trust
        self._ends = 0.0

    async def __aenter__(self) -> Self:
        self._ends = time.monotonic() + self._budget_s
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in self._clients.values():
            await client.__aexit__(*error)

    @property
    def left_s(self) -> float:
        """Seconds left for everything that is still to be sent."""
        return self._ends - time.monotonic()

    async def send(self, payload: Payload) -> str:
        """Send one message, with retries; returns a note about a partial delivery, usually empty.

        Raises `DeliveryError` if it cannot be delivered, or not in time.
        """
        return await retried(lambda: self._try(payload), _RETRIES, left_s=lambda: self.left_s - _LEAST_S)

    async def _try(self, payload: Payload) -> str:
        limit = max(_LEAST_S, min(TRY_S, self.left_s - _LEAST_S))
        if isinstance(payload, Mail):
            return await send_mail(payload, limit)
        if isinstance(payload, AppriseMessage):
            return await _in_thread(lambda: run_apprise(payload), limit, payload.place)
        if isinstance(payload, Request):
            await self._request(payload, limit)
        else:
            await run_program(
                msgspec.structs.replace(payload, timeout_s=min(payload.timeout_s, self.left_s - _LEAST_S))
            )
        return ""

    async def _request(self, request: Request, limit: float) -> None:
        import asyncio

        client = await self._open(request.ca_file)
        try:
            async with asyncio.timeout(limit):
                await client.send_once(request)
        except TimeoutError:
            raise DeliveryError(f"{request.host} did not answer within {limit:.2g} s") from None

    async def _open(self, ca_file: str) -> Client:
        if ca_file not in self._clients:
            client = Client(Retries(timeout_s=max(_LEAST_S, min(TRY_S, self._budget_s))), ca_file=ca_file)
            await client.__aenter__()
            self._clients[ca_file] = client
        return self._clients[ca_file]
