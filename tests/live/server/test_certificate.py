"""HTTPS: the certificate is served, renewed, and its faults are said in plain words."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from llmmon.errors import UsageError
from llmmon.live.server.certificate import Certificate
from tests.conftest import Run
from tests.support.server_process import served

AUTHORITY = trustme.CA()


def issued(folder: Path, name: str = "a") -> tuple[Path, Path]:
    """A new certificate for 127.0.0.1 and its key, under the same names each time."""
    made = AUTHORITY.issue_cert("127.0.0.1")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    for path, data in ((cert, chain), (key, made.private_key_pem.bytes())):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(path)
    return cert, key


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def test_it_is_served_over_https_with_a_token(tmp_path: Path) -> None:
    cert, key = issued(tmp_path)
    options = ("--tls-cert", str(cert), "--tls-key", str(key), "--token", "env:T")
    with served(tmp_path, *options, env={"T": "hunter2"}, verify=trusting()) as server:
        assert server.url.startswith("https://")
        assert server.client.get("/health").json() == {"status": "healthy"}
        assert server.client.get("/v1/alerts").status_code == 401
        assert server.client.get("/v1/alerts", headers={"authorization": "Bearer hunter2"}).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https:", "http:") + "/health", trust_env=False)


def handshake(certificate: Certificate) -> bytes:
    """The certificate that a client gets, without a socket between the two."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = trusting()
    client = context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_given_to_new_connections(tmp_path: Path) -> None:
    said: list[str] = []
    certificate = Certificate(*issued(tmp_path))
    before = handshake(certificate)
    certificate.renew(said.append)
    assert (handshake(certificate), said) == (before, [])
    issued(tmp_path)
    certificate.renew(said.append)
    assert handshake(certificate) != before
    assert [text.startswith("certificate renewed") for text in said] == [True]


def test_a_renewal_that_is_faulty_keeps_the_one_before_and_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    cert, key = issued(tmp_path)
    certificate = Certificate(cert, key)
    before = handshake(certificate)
    other, _ = issued(tmp_path, "b")
    other.replace(cert)
    for _ in range(3):
        certificate.renew(said.append)
    assert handshake(certificate) == before
    assert len(said) == 1
    assert "does not belong to the certificate" in said[0]
    issued(tmp_path)
    certificate.renew(said.append)
    assert handshake(certificate) != before


def test_what_is_wrong_with_the_files_is_said(tmp_path: Path, run: Run) -> None:
    cert, key = issued(tmp_path)
    _, other_key = issued(tmp_path, "b")
    junk = tmp_path / "junk"
    junk.write_text("junk\n")
    for first, second, words in (
        (tmp_path / "none", key, "no such file"),
        (cert, tmp_path / "none", "no such file"),
        (tmp_path, key, "is a directory"),
        (cert, other_key, "does not belong to the certificate"),
        (junk, key, "holds no certificate in PEM"),
        (key, key, "holds no certificate in PEM"),
        (cert, junk, "holds no private key in PEM"),
        (cert, None, "holds no private key in PEM"),
    ):
        with pytest.raises(UsageError, match=words):
            Certificate(first, second)
    refused = run("serve", "--dry-run", "--tls-cert", str(cert), "--tls-key", str(other_key))
    assert (refused.code, "does not belong" in refused.stderr) == (2, True)
    assert run("serve", "--dry-run", "--tls-key", str(key)).code == 2
    assert "https://127.0.0.1:8080" in run("serve", "--dry-run", "--tls-cert", str(cert), "--tls-key", str(key)).stdout


def test_an_encrypted_key_is_named_as_such(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    cert, key = issued(tmp_path)
    private = load_pem_private_key(key.read_bytes(), None)
    locked = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass"))
    key.write_bytes(locked)
    with pytest.raises(UsageError, match="is encrypted"):
        Certificate(cert, key)


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    cert, key = issued(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    assert handshake(Certificate(both))
