"""Senders against real peers: a program, an HTTP server, a mail server; and what these refuse."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_string
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any, Final

import pytest

from rexecop.engines.errors import NotDelivered
from rexecop.engines.senders import CommandSender, Given, MailSender, NtfySender, Sender, WebhookSender
from rexecop.engines.telling import Notice
from rexecop.proof.codec import encode
from tests.engines.smtp import mail_server
from tests.lanes.web import Authority, Web, authority, issue, reply, server_context, serving

NOW: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
NOTICE: Final = Notice(
    id="ntc_0123",
    event="operation-ended",
    at=NOW,
    text="#7 restart on db-1: ended completed",
    groups=("sre",),
)
SOURCE: Final = "urn:rexecop:ins_1"
KEY: Final = b"0123456789abcdef0123456789abcdef"
SECRETS: Final = {
    "signing": b"whsec_" + base64.b64encode(KEY) + b"\n",
    "mail": b"open sesame\n",
    "short": b"short",
}


async def send(sender: Sender, notice: Notice = NOTICE, seconds: float = 20) -> str | None:
    """Return why `sender` did not take the notice, None where it did."""
    try:
        await sender.send(notice, Given(now=NOW, seconds=seconds, values=SECRETS, source=SOURCE))
    except NotDelivered as error:
        return error.message
    return None


def sent(sender: Sender, seconds: float = 20) -> str | None:
    return asyncio.run(send(sender, seconds=seconds))


# --- a program ---


def command(script: str) -> CommandSender:
    return CommandSender(argv=("/bin/sh", "-c", script), environ={"PATH": "/usr/bin:/bin", "TOKEN": "x"})


def test_a_command_gets_the_notice_on_its_input_and_nothing_else_of_ours(tmp_path: Path) -> None:
    assert sent(command(f"cat > {tmp_path}/in; echo ${{TOKEN:-none}} > {tmp_path}/token")) is None
    said = json.loads((tmp_path / "in").read_text())
    assert (said["kind"], said["id"], said["text"]) == ("notice/1", NOTICE.id, NOTICE.text)
    assert (tmp_path / "token").read_text() == "none\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 7", "ended with 7"),
        ("exec sleep 60", "did not end in 0.2 s"),
        ("exec yes", "put out more than"),
    ],
)
def test_a_command_that_fails_hangs_or_floods_did_not_take_it(script: str, words: str) -> None:
    assert words in str(sent(command(script), seconds=0.2 if "sleep" in script else 20))


def test_a_command_that_is_not_there_did_not_take_it() -> None:
    found = sent(CommandSender(argv=("/no/such/program",), environ={}))
    assert found is not None and "does not start" in found


# --- ntfy ---


def test_ntfy_gets_the_line_under_a_title_with_the_token(web: Web) -> None:
    host = f"127.0.0.1:{web.port}"
    sender = NtfySender(url=f"http://{host}/ops", host=host, token="mail", ca_file=None)
    web.routes["/ops"] = reply(status=200)
    assert sent(sender) is None
    assert sent(replace(sender, token="")) is None
    with_token, without = web.asked
    assert (with_token.method, with_token.body) == ("POST", NOTICE.text.encode())
    assert with_token.headers["title"] == "rexecop: operation-ended"
    assert with_token.headers["authorization"] == "Bearer open sesame"
    assert "authorization" not in without.headers
    assert "click" not in without.headers
    assert (
        asyncio.run(send(sender, replace(NOTICE, link="https://ops.example/console/operations/op_1"))) is None
    )
    assert web.asked[-1].headers["click"] == "https://ops.example/console/operations/op_1"
    web.routes["/ops"] = reply(status=403)
    assert sent(sender) == f"{host} answered with status 403"


# --- a webhook ---


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def tls(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_text(ca.pem)
    return server_context(folder, issue(ca, "127.0.0.1")), str(folder / "ca.pem")


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as found:
        yield found


def webhook(web: Web, path: str = "/hook?a=b", **more: Any) -> WebhookSender:  # noqa: ANN401 - any field
    host = f"127.0.0.1:{web.port}"
    sender = WebhookSender(url=f"http://{host}{path}", host=host, secret="signing", ca_file=None)
    return replace(sender, **more)


def test_a_webhook_is_signed_over_id_time_and_body_as_the_standard_has_it(web: Web) -> None:
    web.routes["/hook"] = reply(status=204)
    assert sent(webhook(web)) is None
    (asked,) = web.asked
    assert (asked.method, asked.target) == ("POST", "/hook?a=b")
    stamp = str(int(NOW.timestamp()))
    assert (asked.headers["webhook-id"], asked.headers["webhook-timestamp"]) == (NOTICE.id, stamp)
    mac = hmac.new(KEY, f"{NOTICE.id}.{stamp}.".encode() + asked.body, hashlib.sha256).digest()
    assert asked.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
    assert json.loads(asked.body)["event"] == NOTICE.event


def test_a_notice_is_the_data_of_a_signed_cloudevent_where_those_are_wanted(web: Web) -> None:
    web.routes["/hook"] = reply(status=204)
    about = replace(NOTICE, operation="op_7")
    assert asyncio.run(send(webhook(web, events=True), about)) is None
    assert sent(webhook(web, events=True, source="https://ops.example/eu")) is None
    first, second = web.asked
    assert first.headers["content-type"] == "application/cloudevents+json"
    stamp = str(int(NOW.timestamp()))
    mac = hmac.new(KEY, f"{NOTICE.id}.{stamp}.".encode() + first.body, hashlib.sha256).digest()
    assert first.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
    event = json.loads(first.body)
    assert event.pop("data") == json.loads(encode(about))
    assert event == {
        "specversion": "1.0",
        "id": NOTICE.id,
        "source": SOURCE,
        "type": "rexecop.operation-ended",
        "subject": "op_7",
        "time": "2026-01-31T09:30:00.000Z",
        "datacontenttype": "application/json",
    }
    other = json.loads(second.body)
    assert other["source"] == "https://ops.example/eu" and "subject" not in other


def test_what_may_work_later_is_tried_again_under_the_same_id_a_few_times(web: Web) -> None:
    answers = iter((503, 429, 200))
    web.routes["/hook"] = lambda asked: reply(status=next(answers))
    assert sent(webhook(web)) is None
    assert [asked.headers["webhook-id"] for asked in web.asked] == [NOTICE.id] * 3
    web.routes["/hook"] = reply(status=500)
    assert sent(webhook(web)) == f"127.0.0.1:{web.port} answered with status 500"
    assert len(web.asked) == 6


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_what_will_not_change_is_not_tried_again_and_no_redirect_is_followed(web: Web, status: int) -> None:
    web.routes["/hook"] = reply(status=status, Location="/other")
    assert str(sent(webhook(web))).endswith(f"status {status}")
    assert len(web.asked) == 1


def test_a_secret_that_proves_nothing_is_not_used(web: Web) -> None:
    assert "shorter than 24 bytes" in str(sent(webhook(web, secret="short")))
    assert web.asked == []


def test_a_webhook_over_tls_believes_the_named_authority_and_nobody_else(
    tls: tuple[ssl.SSLContext, str],
) -> None:
    context, ca_file = tls
    with serving(context) as web:
        web.routes["/hook"] = reply()
        trusted = webhook(web, url=f"https://127.0.0.1:{web.port}/hook", ca_file=ca_file)
        assert sent(trusted) is None
        assert "does not answer" in str(sent(replace(trusted, ca_file=None)))
        assert len(web.asked) == 1


# --- a mail ---


def mail(port: int, **more: str) -> MailSender:
    sender = MailSender(
        host="127.0.0.1",
        port=port,
        tls="none",
        sender="rexecop@example.org",
        to=("sre@example.org", "oncall@example.org"),
        user="",
        password="",
        ca_file=None,
    )
    return replace(sender, **more)  # type: ignore[arg-type]


def test_a_mail_reaches_every_recipient_with_what_happened_in_its_subject() -> None:
    async def story() -> None:
        async with mail_server() as server:
            link = "https://ops.example/console/operations/op_1"
            odd = replace(NOTICE, text="#7 restart on db-1: zuständig ist müller", link=link)
            assert await send(mail(server.port), odd) is None
            assert [line for line in server.lines if line.startswith("rcpt")] == [
                "rcpt TO:<sre@example.org>",
                "rcpt TO:<oncall@example.org>",
            ]
            found = message_from_string(server.mails[0])
            subject = str(make_header(decode_header(str(found["Subject"]))))
            assert subject == f"[rexecop] operation-ended: {odd.text}"
            assert found["Message-ID"] == f"<{NOTICE.id}@rexecop.invalid>"
            body = found.get_payload(decode=True)
            assert isinstance(body, bytes) and body.decode().startswith(f"{odd.text}\r\n\r\n{link}\r\n")

    asyncio.run(story())


@pytest.mark.parametrize("at_once", [False, True])
def test_a_password_goes_over_tls_to_who_is_believed_only(
    tls: tuple[ssl.SSLContext, str], *, at_once: bool
) -> None:
    context, ca_file = tls

    async def story() -> None:
        async with mail_server(context, at_once=at_once) as server:
            word = "tls" if at_once else "starttls"
            sender = mail(server.port, tls=word, user="ops", password="mail", ca_file=ca_file)
            assert await send(sender) is None
            assert server.login == "ops open sesame" and len(server.mails) == 1
            seen = len(server.lines)
            with pytest.raises(ssl.SSLError):
                await send(replace(sender, ca_file=None))
            assert not any(line.startswith("AUTH") for line in server.lines[seen:])

    asyncio.run(story())


@pytest.mark.parametrize(
    ("verb", "answer", "words"),
    [
        ("AUTH", "535 no: open sesame", "answered 535"),
        ("RCPT", "550 unknown", "SMTPRecipientsRefused"),
        ("rcpt TO:<sre@example.org>", "550 unknown", "for some recipients only"),
        ("DATA", "451 later", "answered 451"),
        ("mail", "552 too large", "answered 552"),
        ("STARTTLS", "454 not now", "answered 454"),
    ],
)
def test_what_the_mail_server_refuses_is_said_without_what_it_said(
    tls: tuple[ssl.SSLContext, str], verb: str, answer: str, words: str
) -> None:
    context, ca_file = tls

    async def story() -> None:
        async with mail_server(context) as server:
            server.answers[verb] = answer
            sender = mail(server.port, tls="starttls", user="ops", password="mail", ca_file=ca_file)
            found = await send(sender)
            assert found is not None and words in found and "sesame" not in found

    asyncio.run(story())


def test_a_mail_server_without_tls_gets_neither_password_nor_mail_where_tls_is_asked() -> None:
    async def story() -> None:
        async with mail_server() as server:
            found = await send(mail(server.port, tls="starttls", user="ops", password="mail"))
            assert found == "127.0.0.1: SMTPNotSupportedError"
            assert not any(line.startswith(("AUTH", "mail")) for line in server.lines)

    asyncio.run(story())


def test_a_mail_server_that_says_nothing_holds_nobody_up() -> None:
    async def story() -> None:
        async with mail_server() as server:
            server.answers["DATA"] = "nothing"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await send(mail(server.port), seconds=0.2)

    asyncio.run(story())
