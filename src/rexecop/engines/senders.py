"""Senders of notices: a command, a webhook, ntfy, a mail. Each is bounded by whoever calls it.

A sender accepts a notice or says in a line why not; that line never repeats what the other side
said, which may hold what it was given.
"""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Final, Protocol

from rexecop.engines.errors import NotDelivered
from rexecop.engines.telling import Notice
from rexecop.lanes.errors import ProgramFailed
from rexecop.lanes.program import run
from rexecop.proof.canonical import Json, canonical_bytes, commit
from rexecop.proof.codec import encode, to_json
from rexecop.proof.times import format_time

TRIES: Final = 3  # Of one webhook; what fails longer than that is kept and sent again by a person.
WAIT_SECONDS: Final = 0.2  # Before the second try; before the third twice that.
KEY_BYTES_MIN: Final = 24  # As Standard Webhooks wants it.
COMMAND_OUTPUT_MAX: Final = 64 * 1024  # It is not kept; more than this is no answer to a notice.
PASSED_ON: Final = ("LANG", "PATH")
PLAIN: Final = "application/json"
CLOUDEVENT: Final = "application/cloudevents+json"  # Structured: the event with its attributes is the body.
SUBJECT_LENGTH_MAX: Final = 200  # More is not read in a list of mails.
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SECRET_START: Final = b"whsec_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a sender has to send with: the time it is, that it may take, and the secrets it named.

    `source` is who sends, as CloudEvents have it.
    """

    now: datetime
    seconds: float
    values: Mapping[str, bytes]
    source: str


class Sender(Protocol):
    """One way of telling people. `secrets` are the references its values come from."""

    @property
    def secrets(self) -> tuple[str, ...]: ...

    async def send(self, notice: Notice, given: Given) -> None:
        """Return once `notice` was accepted.

        Raises:
            NotDelivered, OSError: it was not.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSender:
    """Runs `argv` without a shell and next to no environment, the notice on its standard input."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    secrets: tuple[str, ...] = ()

    async def send(self, notice: Notice, given: Given) -> None:
        """See `Sender.send`: it was accepted where the command ends with 0 in time."""
        try:
            ran = await asyncio.to_thread(
                run,
                self.argv,
                stdin=encode(notice) + b"\n",
                environ=self.environ,
                seconds=given.seconds,
                output_bytes=COMMAND_OUTPUT_MAX,
                passed_on=PASSED_ON,
            )
        except ProgramFailed as error:
            raise NotDelivered(error.message) from error
        if ran.returncode:
            raise NotDelivered(f"`{self.argv[0]}` ended with {ran.returncode}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSender:
    """Posts to exactly `url`, signed as Standard Webhooks has it with the secret `secret`.

    With `events` the notice is the data of a CloudEvent, from `source` where that is not empty.
    """

    url: str
    host: str
    secret: str
    ca_file: str | None
    events: bool = False
    source: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.secret,)

    async def send(self, notice: Notice, given: Given) -> None:
        """See `Sender.send`: it was accepted where the answer is a status of 200 to 299."""
        body = cloudevent(notice, self.source or given.source) if self.events else encode(notice)
        headers = {
            "content-type": CLOUDEVENT if self.events else PLAIN,
            **signed(notice.id, given.now, body, given.values[self.secret]),
        }
        await _post(self.url, self.host, self.ca_file, body, headers)


def cloudevent(notice: Notice, source: str) -> bytes:
    """Return `notice` as a CloudEvent 1.0 in JSON; sent again it has the same `source` and `id`."""
    about: dict[str, Json] = {} if notice.operation is None else {"subject": notice.operation}
    return canonical_bytes(
        {
            "specversion": "1.0",
            "id": notice.id,
            "source": source,
            "type": f"rexecop.{notice.event}",
            **about,
            "time": format_time(notice.at),
            "datacontenttype": PLAIN,
            "data": to_json(notice),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NtfySender:
    """Publishes the line of a notice to the topic `url` of an ntfy server, with the access token `token`."""

    url: str
    host: str
    token: str
    ca_file: str | None

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.token,) if self.token else ()

    async def send(self, notice: Notice, given: Given) -> None:
        """See `Sender.send`: it was accepted where the answer is a status of 200 to 299."""
        headers = {"content-type": "text/plain; charset=utf-8", "title": f"rexecop: {notice.event}"}
        if notice.link is not None:
            headers["click"] = notice.link
        if self.token:
            token = given.values[self.token].strip().decode("ascii", "replace")
            if not token.isprintable():
                raise NotDelivered("the token holds what no header can")
            headers["authorization"] = f"Bearer {token}"
        await _post(self.url, self.host, self.ca_file, notice.text.encode(), headers)


async def _post(url: str, host: str, ca_file: str | None, body: bytes, headers: Mapping[str, str]) -> None:
    import aiohttp  # Whoever tells nobody by it need not wait for it.

    tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https:") else True
    words = ""
    async with aiohttp.ClientSession() as client:
        for n in range(TRIES):
            await asyncio.sleep(WAIT_SECONDS * n)
            try:
                async with client.post(
                    url, data=body, headers=headers, ssl=tls, allow_redirects=False
                ) as answer:
                    if 200 <= answer.status < 300:
                        return
                    words = f"{host} answered with status {answer.status}"
                    if answer.status not in _LATER:
                        break
            except aiohttp.ClientError as error:
                words = f"{host} does not answer ({type(error).__name__})"
    raise NotDelivered(words)


def signed(name: str, now: datetime, body: bytes, secret: bytes) -> dict[str, str]:
    """Return the headers that Standard Webhooks signs `body` with, sent under `name`.

    Raises:
        NotDelivered: the secret is too short, or `whsec_` is not followed by base64.
    """
    key, moment = webhook_key(secret), str(int(now.timestamp()))
    return {
        "webhook-id": name,
        "webhook-timestamp": moment,
        "webhook-signature": signature(name, moment, body, key),
    }


def webhook_key(secret: bytes) -> bytes:
    """Return the key that a secret of Standard Webhooks stands for.

    Raises:
        NotDelivered: the secret is too short, or `whsec_` is not followed by base64.
    """
    text = secret.strip()
    try:
        start = text.startswith(_SECRET_START)
        key = base64.b64decode(text.removeprefix(_SECRET_START), validate=True) if start else text
    except ValueError as error:
        raise NotDelivered("the secret is not `whsec_` and base64") from error
    if len(key) < KEY_BYTES_MIN:
        raise NotDelivered(f"the secret is shorter than {KEY_BYTES_MIN} bytes")
    return key


def signature(name: str, moment: str, body: bytes, key: bytes) -> str:
    """Return the signature of Standard Webhooks over `body`, sent under `name` at `moment`."""
    mac = commit(key, f"{name}.{moment}.".encode() + body).removeprefix("sha256:")
    return f"v1,{base64.b64encode(bytes.fromhex(mac)).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSender:
    """Hands a mail to the server at `host`; `tls` is `starttls`, `tls`, or `none` on this machine."""

    host: str
    port: int
    tls: str
    sender: str
    to: tuple[str, ...]
    user: str
    password: str
    ca_file: str | None

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.password,) if self.password else ()

    async def send(self, notice: Notice, given: Given) -> None:
        """See `Sender.send`: it was accepted where the server took the mail for every recipient."""
        opened: list[smtplib.SMTP] = []
        try:
            await asyncio.to_thread(self._hand_over, notice, given, opened)
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"{self.host} answered {error.smtp_code}") from error
        except smtplib.SMTPException as error:
            raise NotDelivered(f"{self.host}: {type(error).__name__}") from error
        finally:
            for server in opened:
                server.close()  # Whatever the thread still waits for ends here.

    def _hand_over(self, notice: Notice, given: Given, opened: list[smtplib.SMTP]) -> None:
        tls, wait = ssl.create_default_context(cafile=self.ca_file), given.seconds
        at, name = (self.host, self.port), "localhost"  # Not looked up: the name says nothing anyway.
        if self.tls == "tls":
            opened.append(smtplib.SMTP_SSL(*at, local_hostname=name, timeout=wait, context=tls))
        else:
            opened.append(smtplib.SMTP(*at, local_hostname=name, timeout=wait))
        (server,) = opened
        if self.tls == "starttls":
            server.starttls(context=tls)
        if self.user:
            server.login(self.user, given.values[self.password].strip().decode())
        if server.send_message(self._mail(notice, given.now), self.sender, self.to):
            raise NotDelivered(f"{self.host} took it for some recipients only")

    def _mail(self, notice: Notice, now: datetime) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Subject"] = f"[rexecop] {notice.event}: {notice.text[:SUBJECT_LENGTH_MAX]}"
        mail["Date"], mail["Message-ID"] = now, f"<{notice.id}@rexecop.invalid>"
        mail["Auto-Submitted"] = "auto-generated"
        link = f"{notice.link}\n\n" if notice.link is not None else ""
        mail.set_content(f"{notice.text}\n\n{link}{encode(notice).decode()}\n", cte="quoted-printable")
        return mail
