"""Secrets of a Vault or OpenBao server, over its HTTP API (version 1).

A token comes from a file or variable, or from an AppRole login that lasts for one call:
its token is revoked after the call, and the server revokes with it what it gave out.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secrets import Held, Source
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import Value, parse_payload

if TYPE_CHECKING:
    from aiohttp import ClientResponse

ANSWER_BYTES_MAX: Final = 1 << 20  # Vault's own limit for what it stores is 1 MiB.
SECONDS_MAX: Final = 10.0  # For one request; a permit lasts 60 s at most.
# Busy, not yet replicated, sealed, standing by: the same request may end better later.
_LATER: Final = frozenset({412, 429, 472, 473, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultServer:
    """One server, and how to be known there: by a token or, with a `role_id`, by an AppRole's secret id.

    `approle` is where that way of logging in is mounted.
    """

    name: str
    address: str
    namespace: str
    ca_file: str
    known_by: Source
    role_id: str
    approle: str

    @property
    def where(self) -> str:
        """The server."""
        return f"vault `{self.name}`"

    async def give(self, read: Callable[[str], Awaitable[Held]]) -> Held:
        """Return what `read` gets with a token. One of a login is revoked with it, or at once where it fails.

        Raises:
            RequestRefused: there is no token to be had, or what `read` raises.
        """
        known = (await self.known_by.read()).fields.get("", b"").strip().decode("latin-1")
        if not known or not (known.isascii() and known.isprintable()):
            raise RequestRefused(Failure.SECRET_UNUSABLE, f"{self.known_by.where} holds no token")
        if not self.role_id:
            return await read(known)
        body: Json = {"role_id": self.role_id, "secret_id": known}
        answer = await self.ask("", "POST", f"auth/{self.approle}/login", body)
        token = mapping(answer.get("auth")).get("client_token")
        if not isinstance(token, str) or not token:
            raise RequestRefused(Failure.SECRET_REFUSED, f"{self.where} gave no token for its AppRole")
        try:
            held = await read(token)
        except BaseException:
            with suppress(RequestRefused):
                await self._forget(token)
            raise

        async def revoke() -> None:
            try:
                if held.revoke is not None:
                    await held.revoke()
            finally:
                await self._forget(token)

        return replace(held, revoke=revoke)

    async def _forget(self, token: str) -> None:
        """Revoke `token`, and with it every lease it was given."""
        await self.ask(token, "POST", "auth/token/revoke-self")

    async def doubt(self) -> str | None:
        """Return why it will give nothing: no way to be known there, or it does not answer."""
        if (doubt := await self.known_by.doubt()) is not None:
            return f"{self.known_by.where}: {doubt}"
        try:
            await self.ask("", "GET", "sys/health?standbyok=true")
        except RequestRefused as refused:
            return refused.message
        return None

    async def ask(self, token: str, method: str, path: str, body: Json = None) -> Mapping[str, Value]:
        """Return the answer to one request; an empty one for status 204.

        Raises:
            RequestRefused: it was not answered, or with something else; the answer is not repeated.
        """
        import aiohttp

        named = {"X-Vault-Token": token, "X-Vault-Namespace": self.namespace}
        headers = {"X-Vault-Request": "true"} | {name: text for name, text in named.items() if text}
        url = f"{self.address}/v1/{path}"
        data = None if body is None else canonical_bytes(body)
        limit = aiohttp.ClientTimeout(total=SECONDS_MAX)
        try:
            # Made for each request, so that a new file counts; plain HTTP is for this machine only.
            tls = (
                ssl.create_default_context(cafile=self.ca_file or None) if url.startswith("https:") else True
            )
            async with (
                aiohttp.ClientSession(timeout=limit, headers=headers) as client,
                # A redirect would carry the token to somebody else.
                client.request(method, url, data=data, ssl=tls, allow_redirects=False) as answer,
            ):
                return self._understood(answer.status, await _body(answer))
        except (aiohttp.ClientSSLError, ssl.SSLError, FileNotFoundError) as error:
            words = f"{self.where}: its certificate does not hold ({type(error).__name__})"
            raise RequestRefused(Failure.SECRET_REFUSED, words) from None
        except (aiohttp.ClientError, OSError) as error:
            words = f"{self.where} does not answer ({type(error).__name__})"
            raise RequestRefused(Failure.SECRET_SOURCE_DOWN, words) from None

    def _understood(self, status: int, data: bytes) -> Mapping[str, Value]:
        try:
            answer = mapping(parse_payload(data, bytes_max=ANSWER_BYTES_MAX)) if data else {}
        except NotCanonical:
            answer = {}
        if status == 204 or (status == 200 and answer):
            return answer
        about = mapping(mapping(answer.get("data")).get("metadata"))
        failure, words = Failure.SECRET_REFUSED, f"it answers {status}"
        if status == 200:
            words = "what it answers is no JSON of its API"
        elif status in _LATER:
            failure, words = Failure.SECRET_SOURCE_DOWN, f"busy, sealed or not ready ({status})"
        elif status == 404 and (about.get("destroyed") is True or about.get("deletion_time")):
            failure, words = Failure.SECRET_EXPIRED, "that version was deleted"
        elif status == 404:
            failure, words = Failure.SECRET_MISSING, "nothing is there"
        raise RequestRefused(failure, f"{self.where}: {words}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecret(ABC):
    """What every secret of a server shares; a kind of them says `where` it is and how to `get` it."""

    server: VaultServer

    async def read(self) -> Held:
        """Return what is there; see `secrets.Source.read`."""
        return await self.server.give(self.get)

    @abstractmethod
    async def get(self, token: str) -> Held:
        """Return what is there for `token`."""

    async def doubt(self) -> str | None:
        """Return why the server will give nothing."""
        return await self.server.doubt()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValueSecret(VaultSecret):
    """The texts of one secret of a KV engine, version 2: of `version`, or of the current one (0)."""

    mount: str
    path: str
    version: int

    @property
    def where(self) -> str:
        """The secret, with the version where it is pinned."""
        version = f", version {self.version}" if self.version else ""
        return f"{self.server.where}, `{self.mount}/{self.path}`{version}"

    async def get(self, token: str) -> Held:
        """Return its texts."""
        pinned = f"?version={self.version}" if self.version else ""
        answer = await self.server.ask(token, "GET", f"{self.mount}/data/{self.path}{pinned}")
        return Held(fields=_texts(mapping(answer.get("data")).get("data")))


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicSecret(VaultSecret):
    """Credentials that the server makes for one call, like `database/creds/ROLE`, and revokes after it."""

    path: str

    @property
    def where(self) -> str:
        """The path."""
        return f"{self.server.where}, `{self.path}`, made for each call"

    async def get(self, token: str) -> Held:
        """Return new credentials."""
        answer = await self.server.ask(token, "GET", self.path)
        lease = answer.get("lease_id")
        if not isinstance(lease, str) or not lease:
            words = f"{self.where}: what it gave has no lease, so it cannot be revoked"
            raise RequestRefused(Failure.SECRET_REFUSED, words)

        async def revoke() -> None:
            await self.server.ask(token, "POST", "sys/leases/revoke", {"lease_id": lease, "sync": True})

        return Held(fields=_texts(answer.get("data")), revoke=revoke)


async def _body(answer: ClientResponse) -> bytes:
    data = bytearray()
    async for part in answer.content.iter_chunked(1 << 16):
        data += part
        if len(data) > ANSWER_BYTES_MAX:
            raise RequestRefused(Failure.SECRET_REFUSED, f"an answer of more than {ANSWER_BYTES_MAX} bytes")
    return bytes(data)


def mapping(value: Value) -> Mapping[str, Value]:
    """Return `value`, or an empty mapping where it is none."""
    return value if isinstance(value, dict) else {}


def _texts(value: Value) -> dict[str, bytes]:
    """Return the fields that are texts: only those are secrets of ours."""
    return {name: text.encode() for name, text in mapping(value).items() if isinstance(text, str)}
