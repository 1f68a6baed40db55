"""Mail over a real server: TLS both ways, login, refusals, and servers that say nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmmon.alerting.senders import Mail, MailServer, send_mail
from llmmon.errors import DeliveryError
from tests.support.mail_server import PASSWORD, USER, Certificates, MailBox, mail_server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def server_at(box: MailBox, **more: Any) -> MailServer:
    given = {"username": USER, "password": PASSWORD, "ca_file": box.ca_file, **more}
    return MailServer(host=box.host, port=box.port, **given)


def mail_to(server: MailServer, *recipients: str, **more: Any) -> Mail:
    return Mail(
        server=server,
        sender="llmmon <alerts@example.com>",
        recipients=recipients or ("team@example.com",),
        subject=more.pop("subject", "[ERROR] Latenz über 5 s"),
        text=more.pop("text", "größer " * 400 + "\n.\nend\n"),
        html="<p>größer</p>",
        message_id="<1@llmmon>",
        references=("<0@llmmon>",),
        **more,
    )


def send(mail: Mail, timeout_s: float = 5.0) -> str:
    return asyncio.run(send_mail(mail, timeout_s))


@pytest.mark.parametrize(("mode", "settings"), [("starttls", {}), ("tls", {"tls": True, "starttls": False})])
def test_a_mail_arrives_over_tls_with_a_login(certificates: Certificates, mode: str, settings: dict[str, Any]) -> None:
    with mail_server(certificates, mode) as box:
        assert "" == send(mail_to(server_at(box, **settings)))
    ((sender, recipients, message),) = box.mails
    assert [True] == box.secure
    assert ("alerts@example.com", ["team@example.com"]) == (sender, recipients)
    assert "[ERROR] Latenz über 5 s" == message["Subject"]
    assert ("<1@llmmon>", "<0@llmmon>") == (message["Message-ID"], message["References"])
    text = message.get_body(("plain",))
    assert text is not None
    assert "größer größer" in text.get_content()
    assert text.get_content().splitlines()[-2:] == [".", "end"]


def test_a_mail_goes_in_the_clear_only_where_that_was_asked_for(certificates: Certificates) -> None:
    with mail_server(certificates, "clear", login=False) as box:
        with pytest.raises(DeliveryError, match="STARTTLS") as caught:
            send(mail_to(server_at(box, username="", password="")))
        assert not caught.value.retryable
        assert not box.mails
        send(mail_to(server_at(box, username="", password="", starttls=False)))
    assert [False] == box.secure


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused(certificates: Certificates, mode: str) -> None:
    with mail_server(certificates, mode) as box, pytest.raises(DeliveryError, match="certificate is not trusted"):
        send(mail_to(server_at(box, ca_file="", tls=mode == "tls", starttls=mode != "tls")))
    assert not box.mails


def test_a_wrong_password_is_no_use_trying_again(certificates: Certificates) -> None:
    with mail_server(certificates) as box, pytest.raises(DeliveryError, match=r"refused the login \(535\)") as caught:
        send(mail_to(server_at(box, password="wrong-s3cret")))  # noqa: S106
    assert not caught.value.retryable
    assert "s3cret" not in str(caught.value)


def test_recipients_that_are_refused_are_told_of(certificates: Certificates) -> None:
    refuse = {"gone@example.com": "550 no such user", "busy@example.com": "451 later"}
    with mail_server(certificates, refuse=refuse) as box:
        note = send(mail_to(server_at(box), "team@example.com", "gone@example.com"))
        assert "1 of 2 recipients were refused" == note
        assert ["team@example.com"] == box.mails[0][1]
        for address, passing in (("gone@example.com", False), ("busy@example.com", True)):
            with pytest.raises(DeliveryError, match="refused the recipients") as caught:
                send(mail_to(server_at(box), address))
            assert passing is caught.value.retryable


@pytest.mark.parametrize(("answer", "passing"), [("451 try later", True), ("554 never", False)])
def test_an_answer_says_whether_trying_again_helps(certificates: Certificates, answer: str, passing: bool) -> None:
    refused = pytest.raises(DeliveryError, match=f"answered {answer[:3]}")
    with mail_server(certificates, refuse={"DATA": answer}) as box, refused as caught:
        send(mail_to(server_at(box)))
    assert passing is caught.value.retryable


def test_a_server_that_says_nothing_is_left_when_time_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = MailServer(host="127.0.0.1", port=silent.getsockname()[1])
        started = time.monotonic()
        with pytest.raises(DeliveryError, match=r"within 0\.3 s"):
            send(mail_to(server), 0.3)
    assert time.monotonic() - started < 30


def test_a_server_that_drips_is_left_when_time_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as dripping:
        stop = threading.Event()

        def drip() -> None:
            client, _ = dripping.accept()
            with client:
                while not stop.wait(0.05):
                    try:
                        client.sendall(b"220-x\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        with pytest.raises(DeliveryError, match="did not answer within"):
            send(mail_to(MailServer(host="127.0.0.1", port=dripping.getsockname()[1])), 0.4)
        assert time.monotonic() - started < 30
        stop.set()
        thread.join()


def test_nobody_there_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeliveryError, match="refused") as caught:
        send(mail_to(MailServer(host="127.0.0.1", port=port)))
    assert caught.value.retryable


def test_a_header_that_breaks_its_line_is_never_sent(certificates: Certificates) -> None:
    with mail_server(certificates) as box, pytest.raises(DeliveryError, match="cannot be written") as caught:
        send(mail_to(server_at(box), subject="x\r\nBcc: spy@example.com"))
    assert not caught.value.retryable
    assert not box.mails


def test_a_missing_ca_file_is_an_error_that_names_it(certificates: Certificates, tmp_path: Path) -> None:
    with mail_server(certificates) as box, pytest.raises(DeliveryError, match=r"ca_file .*none\.pem: no such file"):
        send(mail_to(msgspec.structs.replace(server_at(box), ca_file=str(tmp_path / "none.pem"))))


def test_names_with_umlauts_need_nothing_of_the_server(certificates: Certificates) -> None:
    with mail_server(certificates, "starttls") as box:
        people = ("Jörg Müller <joerg@example.com>", "ann@bücher.example")
        mail = msgspec.structs.replace(mail_to(server_at(box), *people), sender="Wächter <alerts@example.com>")
        assert "" == send(mail)
    ((sender, recipients, message),) = box.mails
    assert ("alerts@example.com", ["joerg@example.com", "ann@xn--bcher-kva.example"]) == (sender, recipients)
    assert "Wächter <alerts@example.com>" == message["From"]
    assert "Jörg Müller <joerg@example.com>" in message["To"]
