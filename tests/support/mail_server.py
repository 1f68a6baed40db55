"""A mail server on this machine: in the clear, with STARTTLS or with TLS, that remembers what it took."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "alerts", "s3cret-of-mail"


@dataclass
class MailBox:
    """Where the server listens, and the mails so far as (sender, recipients, message)."""

    host: str
    port: int
    ca_file: str
    tls: bool = False  # from the first byte
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)


class _Handler:
    def __init__(self, box: MailBox, refuse: dict[str, str]) -> None:
        self._box = box
        self._refuse = refuse

    async def handle_RCPT(self, *given: Any) -> str:  # noqa: N802 - the name is the library's
        _, _, envelope, address, _ = given
        if address in self._refuse:
            return self._refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, *given: Any) -> str:  # noqa: N802 - the name is the library's
        _, session, envelope = given
        if "DATA" in self._refuse:
            return self._refuse["DATA"]
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self._box.secure.append(session.ssl is not None or self._box.tls)
        self._box.mails.append((envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"


class Certificates:
    """An authority of one's own, and a certificate for localhost by it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        self._mine = authority.issue_cert("localhost", "127.0.0.1")

    def context(self) -> ssl.SSLContext:
        """What a server shows."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._mine.configure_cert(context)
        return context


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    fine = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=fine, handled=fine)


@contextlib.contextmanager
def mail_server(
    certificates: Certificates, mode: str = "starttls", *, login: bool = True, refuse: dict[str, str] | None = None
) -> Iterator[MailBox]:
    """A server in the mode `starttls`, `tls` or `clear`; `refuse` has an answer by recipient, or for DATA."""
    box = MailBox("localhost", 0, certificates.ca_file, mode == "tls")
    given: dict[str, Any] = {"hostname": "localhost"}
    if mode == "starttls":
        given |= {"tls_context": certificates.context(), "require_starttls": True}
    if login:
        given |= {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": mode == "starttls"}
    handler = _Handler(box, refuse or {})
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def smtp() -> SMTP:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")  # it has TLS already
            return SMTP(handler, loop=loop, **given)

    async def serve() -> None:
        context = certificates.context() if mode == "tls" else None
        server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=context)
        box.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports close in the next rounds

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
