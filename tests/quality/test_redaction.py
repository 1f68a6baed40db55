"""Nothing of a key leaves the machine; prose stays readable."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from llmmon.quality.redaction import redact, redact_keys

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PLAIN = NoEncryption()
BLOCKS = {
    "rsa": RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, PLAIN),
    "rsa in pkcs8": RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN),
    "rsa for openssh": RSA.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, PLAIN),
    "encrypted": RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    "encrypted with headers": RSA.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")
    ),
    "elliptic": EC.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, PLAIN),
    "edwards": ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN),
}
WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda pem: pem,
    "with CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "indented": lambda pem: "".join(f"    {line}\n" for line in pem.splitlines()),
    "quoted lines": lambda pem: "\n".join(f'"{line}\\n" +' for line in pem.splitlines()),
    "in JSON": json.dumps,
    "quoted mail": lambda pem: "".join(f"> {line}\n" for line in pem.splitlines()),
    "on one line": lambda pem: " ".join(pem.splitlines()),
    "cut at its end": lambda pem: pem[: len(pem) * 2 // 3],
    "cut at its beginning": lambda pem: pem[len(pem) // 3 :],
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("written", WRITTEN)
def test_nothing_of_a_private_key_is_left(block: str, written: str) -> None:
    pem = BLOCKS[block].decode()
    shown = WRITTEN[written](pem)
    left = redact(f"Here is the key that you asked for: {shown}\nDo keep it in a safe place.")
    lines = [line for line in pem.splitlines() if not line.startswith("-----") and ": " not in line]
    for line in lines:
        for at in range(max(1, len(line) - 12)):
            assert line[at : at + 12] not in left or len(line) < 12
    assert left.startswith("Here is the key that you asked for:")
    assert "safe place." in left


def test_two_keys_with_words_between_them_are_two_and_the_words_stay() -> None:
    pem = BLOCKS["elliptic"].decode()
    left = redact(f"{pem}\nand the other one is\n{pem}")
    assert left.split() == ["[redacted", "secret]", "and", "the", "other", "one", "is", "[redacted", "secret]"]


def test_keys_that_happen_to_hold_words_of_placeholders_are_taken_out() -> None:
    dice = random.Random(7)  # noqa: S311 - made up
    for word in ("foo", "your", "fake", "bar", "test", "example", "xxxx", "sample", "dummy", "123456"):
        for prefix, size in (("sk-proj-", 90), ("sk-ant-api03-", 80), ("ghp_", 36), ("AIza", 35)):
            text = "".join(dice.choices(string.ascii_letters + string.digits, k=size - len(word)))
            at = dice.randrange(len(text))
            key = prefix + text[:at] + word + text[at:]
            assert key not in redact(f"the key {key} works")
            assert key not in redact_keys(f"Incorrect API key provided: {key}.")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("redis://:hunter2hunter@h:6379/0", "hunter2hunter"),
        ("Passwort: Geheim2024!", "Geheim2024"),
        ("contraseña: Secreto99", "Secreto99"),
        ("password = 'foobar1'", "foobar1"),
        ("Authorization: Bearer yourtoken1234567", "yourtoken1234567"),
        ("AccountKey=" + "aB3/" * 21 + "==", "aB3/aB3/"),
        ("card 4111 1111 1111 1111", "4111 1111"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzKEYkey", "K7MDENG"),
    ],
)
def test_what_may_be_a_secret_goes(text: str, secret: str) -> None:
    left = redact(f"It is {text} as you know.")
    assert secret not in left
    assert left.startswith("It is ")
    assert left.endswith(" as you know.")


@pytest.mark.parametrize(
    "text",
    [
        "The password is required, and the token is expired.",
        "Tokens: 1,234 in and 56 out; the secret: patience.",
        "BEGIN PRIVATE KEY is the first line of such a file.",
        "See https://docs.example.org/en/latest/user-guide/how-to-write-a-test-in-12-steps.html for more.",
        "def some_function_with_a_long_name_v2(first_argument, second_argument): return first_argument + 1",
        "The commit 3f786850e387550fdab836ed7e6dc881de23001b fixed it.",
        "Donaudampfschifffahrtsgesellschaftskapitän ist ein langes Wort aus dem 20. Jahrhundert.",
        "",
    ],
)
def test_prose_and_code_stay(text: str) -> None:
    assert redact(text) == text


def test_errors_keep_what_names_a_request() -> None:
    text = "overloaded (request id: req_011CSHoEeqs5C35K2UUqR7Fy1234)"
    assert redact_keys(text) == text
