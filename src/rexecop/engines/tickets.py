"""Notices as tickets of GLPI, by its REST API (`apirest.php`): one ticket for one notice.

A session is begun with the token of a user and ended again. Before a ticket is made, one that holds
the notice's id is looked for: a notice that is sent again, because its answer was lost, makes no second.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from rexecop.engines.errors import NotDelivered
from rexecop.engines.senders import Given
from rexecop.engines.telling import Notice
from rexecop.proof.codec import encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.payload import Value, parse_payload

if TYPE_CHECKING:
    from aiohttp import ClientSession

ANSWER_BYTES_MAX: Final = 64 * 1024  # A session, a list of one ticket or an id; more is no answer.
NAME_LENGTH_MAX: Final = 250  # GLPI keeps 255 characters of a ticket's name.
_CONTENT: Final = "21"  # GLPI's number of a ticket's description, to search by.


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketSender:
    """Makes tickets at `url`, as whom `user_token` is of; `app_token` where the API client asks for one."""

    url: str
    host: str
    user_token: str
    app_token: str
    ca_file: str | None

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.user_token, self.app_token) if self.app_token else (self.user_token,)

    async def send(self, notice: Notice, given: Given) -> None:
        """See `Sender.send`: it was accepted where there is a ticket that holds its id."""
        import aiohttp  # Whoever tells nobody by it need not wait for it.

        tls = ssl.create_default_context(cafile=self.ca_file) if self.url.startswith("https:") else True
        connector = aiohttp.TCPConnector(ssl=tls)
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as client,
                self._session(client, given.values) as headers,
            ):
                if not await self._is_there(client, headers, notice):
                    await self._make(client, headers, notice)
        except aiohttp.ClientError as error:
            raise NotDelivered(f"{self.host} does not answer ({type(error).__name__})") from error

    @asynccontextmanager
    async def _session(
        self, client: ClientSession, values: Mapping[str, bytes]
    ) -> AsyncIterator[Mapping[str, str]]:
        """Begin a session, yield the headers of its requests, and end it whatever became of them."""
        app = {"app-token": _token(values[self.app_token])} if self.app_token else {}
        user = {"authorization": f"user_token {_token(values[self.user_token])}"}
        begun = await self._asked(client, "GET", "initSession", {**app, **user})
        token = begun.get("session_token") if isinstance(begun, dict) else None
        if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            raise NotDelivered(f"{self.host} began no session")
        headers = {**app, "session-token": token}
        try:
            yield headers
        finally:
            with suppress(NotDelivered):  # It ends by itself in a while.
                await self._asked(client, "GET", "killSession", headers)

    async def _is_there(self, client: ClientSession, headers: Mapping[str, str], notice: Notice) -> bool:
        criteria = {"field": _CONTENT, "searchtype": "contains", "value": notice.id}
        asked = {f"criteria[0][{name}]": value for name, value in criteria.items()}
        found = await self._asked(client, "GET", "search/Ticket", headers, asked)
        count = found.get("totalcount") if isinstance(found, dict) else None
        if not isinstance(count, int):
            raise NotDelivered(f"{self.host} does not say whether there is a ticket")
        return count > 0

    async def _make(self, client: ClientSession, headers: Mapping[str, str], notice: Notice) -> None:
        # GLPI shows a description as HTML.
        link = (
            "" if notice.link is None else f'<p><a href="{escape(notice.link)}">{escape(notice.link)}</a></p>'
        )
        told = f"<p>{escape(notice.text)}</p>{link}<pre>{escape(encode(notice).decode())}</pre>"
        ticket = {"name": f"rexecop: {notice.text}"[:NAME_LENGTH_MAX], "content": told}
        made = await self._asked(client, "POST", "Ticket", headers, body={"input": ticket})
        if not isinstance(made, dict) or not isinstance(made.get("id"), int):
            raise NotDelivered(f"{self.host} names no ticket that it made")

    async def _asked(
        self,
        client: ClientSession,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Value:
        """Return what is answered to one request.

        Raises:
            NotDelivered: it is refused, or answered with anything but JSON.
        """
        url = f"{self.url.rstrip('/')}/{path}"
        async with client.request(
            method, url, headers=headers, params=query, json=body, allow_redirects=False
        ) as answer:
            if not 200 <= answer.status < 300:
                raise NotDelivered(f"{self.host} answered with status {answer.status}")
            data = bytearray()
            async for part in answer.content.iter_chunked(ANSWER_BYTES_MAX):
                data += part
                if len(data) > ANSWER_BYTES_MAX:
                    raise NotDelivered(f"{self.host} answers without end")
        if path == "killSession":
            return None
        try:
            return parse_payload(bytes(data), bytes_max=ANSWER_BYTES_MAX)
        except RexecopError as error:
            raise NotDelivered(f"{self.host} answered with what is no JSON") from error


def _token(secret: bytes) -> str:
    token = secret.strip().decode("ascii", "replace")
    if not token or not token.isprintable():
        raise NotDelivered("the token holds what no header can")
    return token
