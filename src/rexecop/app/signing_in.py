"""Signing in by the identity provider: the authorization code flow of OpenID Connect, with PKCE.

Nothing is kept here from when somebody goes to the provider to when they come back: what state, nonce and
verifier are follows from the cookie of that one browser and a key of this process. What the provider gives
in the end is an ID token, which is shown to the door like any other token and judged there.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from rexecop.app.clock import SystemIds
from rexecop.app.errors import CallerUnknown
from rexecop.app.oidc import FETCH_SECONDS, FRESH_MS, WAIT_MS, discover, reach
from rexecop.app.service_file import Client, Provider, ServiceFileReader
from rexecop.engines.errors import NotFetched
from rexecop.engines.fetching import fetch
from rexecop.governance.bearer import TOKEN_BYTES_MAX, read_bearer, require_good
from rexecop.governance.errors import BearerRefused
from rexecop.lanes.secrets import Secrets
from rexecop.operations.ports import Clock
from rexecop.proof.canonical import commit, same, sha256
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.payload import Value, parse_payload

AWAY_SECONDS: Final = 600  # To find a password, and the other device that asks whether it is really you.
USED_MAX: Final = 4096  # Remembered as used; each is good for no longer than the minutes above.
ANSWER_BYTES_MAX: Final = 4 * TOKEN_BYTES_MAX  # Other tokens come beside the one that is wanted.
WORDS_MAX: Final = 200  # Of what the provider says of an error.
NOBODYS: Final = "nobody signs in by an identity provider here"
AGAIN: Final = "that sign-in is too old, was used, or was not begun in this browser; begin again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """Where somebody is sent, and the `cookie` that their browser has to bring back."""

    url: str
    cookie: str


class SigningIn:
    """The way in by the provider that `file` names, where it names one with a client of ours."""

    def __init__(self, file: ServiceFileReader, clock: Clock, secrets: Secrets) -> None:
        self._file = file
        self._clock = clock
        self._secrets = secrets
        self._key = SystemIds().key()
        self._used: dict[str, float] = {}
        self._said: tuple[Provider, int, Mapping[str, Value] | NotFetched] | None = None
        self._one = asyncio.Lock()

    def title(self) -> str | None:
        """Return what the provider is called; None where nobody can sign in by one now."""
        try:
            provider = self._file.read().provider
        except RexecopError:
            return None  # Who comes otherwise is told what is wrong with the file.
        return None if provider is None or provider.client is None else provider.client.title

    async def begin(self, back: str, next_: str) -> Away:
        """Return where somebody goes who is to come back to `back`, and from there to `next_`.

        Raises:
            CallerUnknown: nobody can sign in by a provider here. NotFetched: it does not say where.
            RootUnsafe, ServiceRefused: as `read_service_file`.
        """
        provider, client = self._named()
        place, _ = await reach(provider, await self._discovered(provider), "authorization_endpoint")
        ends = int(self._clock.now().timestamp()) + AWAY_SECONDS
        cookie = f"{SystemIds().key().hex()}.{ends}.{next_.encode().hex()}"
        challenge = sha256(self._of("verifier", back, cookie).encode())
        asked = {
            "response_type": "code",
            "client_id": client.id,
            "redirect_uri": back,
            "scope": client.scope,
            "state": self._of("state", back, cookie),
            "nonce": self._of("nonce", back, cookie),
            "code_challenge": urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return Away(url=f"{place}?{urlencode(asked, quote_via=quote)}", cookie=cookie)

    async def end(self, back: str, cookie: str, given: Mapping[str, str]) -> tuple[str, str]:
        """Return the token of who came back to `back` with `cookie` and `given`, and where they go next.

        That the provider signed it is still to be seen; what else it has to say of this sign-in it says.

        Raises:
            CallerUnknown: nobody comes in by that. NotFetched: the provider does not answer.
            RequestRefused: the secret cannot be had. RootUnsafe, ServiceRefused: as `read_service_file`.
        """
        provider, client = self._named()
        state = given.get("state", "")
        self._use(state, self._of("state", back, cookie), cookie)
        if given.get("iss", provider.issuer) != provider.issuer:
            raise CallerUnknown("another provider answered than was asked")
        if "error" in given or not given.get("code"):
            said = f"{given.get('error', 'no code')}: {given.get('error_description', '')}".strip(": ")
            raise CallerUnknown(f"the provider says: {said[:WORDS_MAX]}")
        form = {
            "grant_type": "authorization_code",
            "code": given["code"],
            "redirect_uri": back,
            "client_id": client.id,
            "code_verifier": self._of("verifier", back, cookie),
        }
        token = await self._exchanged(provider, client, form)
        self._require_meant(provider, client, token, self._of("nonce", back, cookie))
        return token, bytes.fromhex(cookie.rpartition(".")[2]).decode()

    def _named(self) -> tuple[Provider, Client]:
        provider = self._file.read().provider
        if provider is None or provider.client is None:
            raise CallerUnknown(NOBODYS)
        return provider, provider.client

    def _of(self, what: str, back: str, cookie: str) -> str:
        """Return what only this process can make of a cookie, for one use of it."""
        return commit(self._key, f"{what}\n{back}\n{cookie}".encode())[len("sha256:") :]

    def _use(self, state: str, expected: str, cookie: str) -> None:
        """Return once and in time, and only for who brings the cookie that `state` was made of."""
        now = self._clock.now().timestamp()
        self._used = {one: ends for one, ends in self._used.items() if now < ends}
        if not state.isascii() or not same(state, expected) or state in self._used:
            raise CallerUnknown(AGAIN)
        ends = int(cookie.split(".")[1])  # It is of ours: the state was made of it.
        if now >= ends:
            raise CallerUnknown(AGAIN)
        if len(self._used) >= USED_MAX:
            del self._used[next(iter(self._used))]
        self._used[state] = ends

    async def _discovered(self, provider: Provider) -> Mapping[str, Value]:
        """Return what the provider says of itself, asked anew after minutes, or soon where it failed."""
        async with self._one:
            now, said = self._clock.boot_ms(), self._said
            good = said is not None and said[0] == provider
            if said is None or not good or now >= said[1]:
                try:
                    said = (provider, now + FRESH_MS, await discover(provider))
                except NotFetched as error:
                    said = (provider, now + WAIT_MS, error)
                self._said = said
        if isinstance(said[2], NotFetched):
            raise said[2]
        return said[2]

    async def _exchanged(self, provider: Provider, client: Client, form: Mapping[str, str]) -> str:
        """Return the ID token that the provider gives for a code."""
        said = await self._discovered(provider)
        place, tls = await reach(provider, said, "token_endpoint")
        ways = said.get("token_endpoint_auth_methods_supported")
        in_form = isinstance(ways, list) and "client_secret_basic" not in ways
        async with self._secrets.lease([client.secret] if client.secret else []) as values:
            secret = "".join(value.decode("utf-8", "replace").strip() for value in values.values())
            pair = f"{quote(client.id, safe='')}:{quote(secret, safe='')}"
            basic = f"Basic {b64encode(pair.encode()).decode()}" if secret and not in_form else None
            sent = {**form, "client_secret": secret} if secret and in_form else form
            try:
                answer = await fetch(
                    place,
                    tls,
                    seconds=FETCH_SECONDS,
                    bytes_max=ANSWER_BYTES_MAX,
                    form=sent,
                    authorization=basic,
                )
                found = parse_payload(answer, bytes_max=ANSWER_BYTES_MAX)
            except NotFetched as error:
                if error.facts.get("status") in (400, 401, 403):
                    raise CallerUnknown("the provider gave no token for that; begin again") from error
                raise
            except ProofError as error:
                raise NotFetched(
                    f"what `{place}` answers cannot be used: {error.message}", url=place
                ) from error
        token = found.get("id_token") if isinstance(found, dict) else None
        if not isinstance(token, str):
            raise NotFetched(f"`{place}` gave no `id_token`", url=place)
        return token

    def _require_meant(self, provider: Provider, client: Client, token: str, nonce: str) -> None:
        """Return only if `token` says that it is for this client and this sign-in."""
        try:
            bearer = read_bearer(token)
            now = self._clock.now()
            require_good(bearer, issuer=provider.issuer, audiences=(client.id,), now=now)
        except BearerRefused as error:
            raise CallerUnknown(f"the token of the provider does not count: {error.message}") from error
        said, party = bearer.claims.get("nonce"), bearer.claims.get("azp", client.id)
        if not (isinstance(said, str) and said.isascii() and same(said, nonce) and party == client.id):
            raise CallerUnknown("the token of the provider is not for this sign-in")
