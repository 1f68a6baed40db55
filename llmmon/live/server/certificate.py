"""The certificate of the service: loaded with clear errors, and again when its files are renewed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from llmmon.errors import UsageError, reason_of

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate chain and its key, as PEM files; one file may hold both."""

    def __init__(self, cert: Path, key: Path | None = None) -> None:
        """Load it; raises `UsageError` where it cannot be read or the two do not belong together."""
        self._cert, self._key = cert, key or cert
        self._stamp = self._stamped()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(self.context)

    def renew(self, say: Callable[[str], None]) -> None:
        """Load it again where a file has changed; new connections get it. What is faulty is said, and not loaded."""
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # one that fails leaves a context without a key
            self._load(self.context)
        except UsageError as error:
            say(f"the certificate was not renewed, the one before remains in force: {error}")
        else:
            say(f"certificate renewed from {self._cert}")

    def _stamped(self) -> _Stamp:
        """What changes when a file is written or replaced."""
        found = []
        for option, path in (("--tls-cert", self._cert), ("--tls-key", self._key)):
            try:
                with path.open("rb"):
                    status = path.stat()
            except OSError as error:
                raise UsageError(f"{option}: cannot read {path}: {reason_of(error)}") from None
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _load(self, context: ssl.SSLContext) -> None:
        encrypted = False

        def password() -> str:
            nonlocal encrypted
            encrypted = True
            return ""

        try:
            context.load_cert_chain(self._cert, self._key, password)
        except (ssl.SSLError, OSError, ValueError) as error:
            if encrypted:
                hint = f"openssl pkey -in {self._key} -out KEY decrypts it; keep that file readable for its owner only"
                raise UsageError(f"--tls-key: the key in {self._key} is encrypted", hint=hint) from None
            raise UsageError(self._fault(error), hint="both files are PEM, as certbot and openssl write them") from None

    def _fault(self, error: Exception) -> str:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return f"--tls-key: the key in {self._key} does not belong to the certificate in {self._cert}"
        try:
            ssl.PEM_cert_to_DER_cert(_first_certificate(self._cert))
        except (OSError, ValueError):
            return f"--tls-cert: {self._cert} holds no certificate in PEM"
        if isinstance(error, ssl.SSLError) and "PRIVATE KEY" not in self._key.read_text("utf-8", "replace"):
            return f"--tls-key: {self._key} holds no private key in PEM"
        return f"--tls-cert: {self._cert} and --tls-key {self._key} cannot be used: {reason_of(error)}"


def _first_certificate(path: Path) -> str:
    text = path.read_text("utf-8", "replace")
    start, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    at = text.index(start)
    return text[at : text.index(end, at) + len(end)]
