"""Who comes with a token of the identity provider: its keys are fetched beforehand, never on the way.

`prepare` may wait for the provider and is awaited before a request is looked at; `caller` only looks
at what is known, and answers at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.app.access import reached
from rexecop.app.door import ServiceRole, ServiceScope
from rexecop.app.errors import NEEDED, CallerUnknown, ServiceRefused
from rexecop.app.service_file import Provider, ServiceFileReader
from rexecop.app.tokens import RESERVED
from rexecop.engines.errors import NotFetched
from rexecop.engines.fetching import fetch
from rexecop.governance.bearer import (
    KEYS_BYTES_MAX,
    Bearer,
    Keys,
    read_bearer,
    read_keys,
    require_good,
    require_signed,
)
from rexecop.governance.entities import is_name
from rexecop.governance.errors import BearerRefused
from rexecop.operations.ports import Clock
from rexecop.proof.errors import ProofError
from rexecop.proof.kinship import person_key
from rexecop.proof.payload import Value, parse_payload
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established

DISCOVERY: Final = "/.well-known/openid-configuration"
DISCOVERY_BYTES_MAX: Final = 256 * 1024
FETCH_SECONDS: Final = 4.0  # A person waits meanwhile; twice, as discovery comes before the keys.
WAIT_MS: Final = 10_000  # Between two tries: whoever invents keys makes us ask no more often.
FRESH_MS: Final = 600_000  # Keys are asked for again after this, so that one taken back counts no longer.
SIGNED_MAX: Final = 512  # Tokens of up to 16 KiB; as many people as are here at one time.
KEPT_MS: Final = 3_600_000  # So long those of before count where the provider does not answer.


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who a token of the provider says it is, and what its claims mean here."""

    principal: Principal
    roles: frozenset[ServiceRole]
    scope: ServiceScope


@dataclass(frozen=True, slots=True)
class _Ring:
    """Keys of the provider, and tokens that they were seen to have signed: to check that takes its time."""

    keys: Keys
    signed: dict[str, Bearer]

    def require_signed(self, token: str, bearer: Bearer) -> None:
        """Return only if one of the keys signed `token`, which reads as `bearer`. Raises BearerRefused."""
        if token in self.signed:
            return
        require_signed(bearer, self.keys)
        if len(self.signed) >= SIGNED_MAX:
            self.signed.clear()
        self.signed[token] = bearer


class Login:
    """The identity provider that `file` names, if it names one."""

    def __init__(self, file: ServiceFileReader, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._provider: Provider | None = None
        self._ring = _Ring({}, {})
        self._fetched_ms: int | None = None
        self._tried_ms: int | None = None
        self._failure: NotFetched | None = None
        self._one = asyncio.Lock()

    async def prepare(self, token: str) -> None:
        """Return once the keys are known that `token` may be signed with, if they can be.

        Raises:
            NotFetched: the provider does not say. RootUnsafe, ServiceRefused: as `read_service_file`.
        """
        provider, bearer = self._named(token)
        if provider is None or bearer is None or not self._lacks(bearer):
            return
        async with self._one:
            if self._lacks(bearer) and not self._is_soon():
                await self._fetch(provider)
        # A key that the provider has not is none; but whether it has it is not known while it is silent.
        if self._failure is not None and not self._knows(bearer):
            raise self._failure

    def caller(self, token: str) -> Known | None:
        """Return who comes with `token`, None where the provider did not sign it.

        Raises:
            CallerUnknown: it did, and yet it does not count here, or not now.
            RootUnsafe, ServiceRefused: as `read_service_file`.
        """
        provider, bearer = self._named(token)
        if provider is None or bearer is None or not self._knows(bearer):
            return None
        try:
            self._ring.require_signed(token, bearer)
        except BearerRefused:
            return None
        try:
            now = self._clock.now()
            require_good(bearer, issuer=provider.issuer, audiences=provider.audiences, now=now)
        except BearerRefused as error:
            raise CallerUnknown(NEEDED) from error
        return known(provider, bearer.claims)

    def _named(self, token: str) -> tuple[Provider | None, Bearer | None]:
        """Return the provider, and `token` where it says that it is of that provider."""
        if token.count(".") != 2:
            return None, None
        provider = self._file.read().provider
        if provider != self._provider:
            self._provider, self._ring = provider, _Ring({}, {})
            self._fetched_ms = self._tried_ms = self._failure = None
        if self._provider is None:
            return None, None
        bearer = self._ring.signed.get(token)
        if bearer is not None:
            return self._provider, bearer
        try:
            bearer = read_bearer(token)
        except BearerRefused:
            return self._provider, None
        return self._provider, bearer if bearer.claims.get("iss") == self._provider.issuer else None

    def _age_ms(self) -> int | None:
        return None if self._fetched_ms is None else self._clock.boot_ms() - self._fetched_ms

    def _lacks(self, bearer: Bearer) -> bool:
        age = self._age_ms()
        return age is None or age >= FRESH_MS or (bearer.kid, bearer.algorithm) not in self._ring.keys

    def _knows(self, bearer: Bearer) -> bool:
        age = self._age_ms()
        return age is not None and age < KEPT_MS and (bearer.kid, bearer.algorithm) in self._ring.keys

    def _is_soon(self) -> bool:
        return self._tried_ms is not None and self._clock.boot_ms() - self._tried_ms < WAIT_MS

    async def _fetch(self, provider: Provider) -> None:
        self._tried_ms = self._clock.boot_ms()
        try:
            keys = await fetch_keys(provider)
        except NotFetched as error:
            self._failure = error
            return
        if provider == self._provider:  # Else the file changed meanwhile, and these are somebody else's.
            self._ring, self._fetched_ms, self._failure = _Ring(keys, {}), self._clock.boot_ms(), None


async def fetch_keys(provider: Provider) -> Keys:
    """Return the keys that `provider` signs with, found by its discovery document.

    Raises:
        NotFetched: it does not answer, or says something else.
    """
    place, tls = await reach(provider, await discover(provider), "jwks_uri")
    found = await fetch(place, tls, seconds=FETCH_SECONDS, bytes_max=KEYS_BYTES_MAX)
    try:
        return read_keys(found)
    except BearerRefused as error:
        raise NotFetched(f"what is at `{place}` cannot be used: {error.message}", url=place) from error


async def discover(provider: Provider) -> Mapping[str, Value]:
    """Return what `provider` says of itself; raises as `fetch_keys`."""
    where = provider.issuer.rstrip("/") + DISCOVERY
    _, tls = await reach(provider, {"issuer": provider.issuer}, "issuer")
    found = await fetch(where, tls, seconds=FETCH_SECONDS, bytes_max=DISCOVERY_BYTES_MAX)
    try:
        said = parse_payload(found, bytes_max=DISCOVERY_BYTES_MAX)
    except ProofError as error:
        raise NotFetched(f"what is at `{where}` cannot be used: {error.message}", url=where) from error
    if not isinstance(said, dict) or said.get("issuer") != provider.issuer:
        raise NotFetched(f"`{where}` is of another issuer", url=where)
    return said


async def reach(
    provider: Provider, said: Mapping[str, Value], name: str
) -> tuple[str, ssl.SSLContext | None]:
    """Return where `said` of `provider` has its `name`, and by which TLS; raises as `fetch_keys`."""
    place = said.get(name)
    if not isinstance(place, str):
        raise NotFetched(f"`{provider.issuer}` says no `{name}`", url=provider.issuer)
    try:
        # Reading authorities takes tens of milliseconds, which others would wait for.
        _, _, tls = await asyncio.to_thread(reached, place, provider.ca_file, name, ServiceRefused)
    except ServiceRefused as error:
        raise NotFetched(error.message, url=provider.issuer) from error
    return place, tls


def known(provider: Provider, claims: Mapping[str, Value]) -> Known:
    """Return who `claims`, which the provider signed, speak of.

    Raises:
        CallerUnknown: they name nobody who could be somebody here.
    """
    name, subject = claim(claims, provider.name), claims.get("sub")
    # Whoever may write any address into their profile could be anybody.
    verified = provider.name != "email" or claims.get("email_verified") is True
    named = isinstance(name, str) and is_person(name) and isinstance(subject, str) and is_name(subject)
    if not (named and verified):
        raise CallerUnknown(NEEDED) from BearerRefused("its claims name nobody who could be somebody here")
    meaning = provider.meaning
    return Known(
        principal=Principal(
            person=str(name), established=Established.OIDC, credential=f"{provider.issuer}#{subject}"
        ),
        roles=meaning.roles_of(_texts(claim(claims, provider.roles_claim))),
        scope=meaning.scope_of(_texts(claim(claims, provider.scopes_claim))),
    )


def is_person(name: str) -> bool:
    """Return whether `name` can be that of somebody who comes in."""
    return is_name(name) and person_key(name) not in RESERVED


def claim(claims: Mapping[str, Value], name: str) -> Value:
    """Return the claim `name`: as it is written, or else part by part, as in `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Value = dict(claims)
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(value: Value) -> Iterator[str]:
    yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))
