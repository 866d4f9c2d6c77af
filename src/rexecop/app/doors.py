"""The door of one root: who holds a token that counts is let in, and what they may is asked of the rules.

Three kinds of bearer tokens are known: API tokens of this root, tokens that its identity provider signed,
and those of the callers in `authzen.yaml`, who ask for decisions and tell events.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, TypeAlias

from rexecop.app.access import AccessPoint
from rexecop.app.authority import RootAuthority
from rexecop.app.door import Act, Caller, Matter, ServiceRole, ServiceScope
from rexecop.app.errors import NEEDED, CallerThrottled, CallerUnknown, Forbidden, TokenRefused
from rexecop.app.identity import Identity
from rexecop.app.oidc import Login, is_person
from rexecop.app.requests import note
from rexecop.app.root import Root
from rexecop.app.service_file import SECRET_HEADER, ServiceFileReader, read_service_file
from rexecop.app.tokens import NEVER_AGENT, PREFIX, TokenReader, read_tokens
from rexecop.governance.service_rules import allows
from rexecop.operations.ports import Clock
from rexecop.proof.canonical import digest_of, same
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established

if TYPE_CHECKING:
    from rexecop.app.instance import Instance

BEARER_LENGTH_MAX: Final = 16 * 1024  # Tokens of providers that list hundreds of groups; more is none.
FAILURES_MAX: Final = 20  # Of one address within `FAILURES_SECONDS`: a script with an old token, not a guess.
FAILURES_SECONDS: Final = 60
PEERS_MAX: Final = 4096  # Addresses remembered; who has more may guess more, at tokens nobody can guess.
SENSITIVE: Final = NEVER_AGENT | {ServiceRole.AGENT}  # Who has one of these is looked up in the packs.
ENDING_NOTICE: Final = timedelta(days=7)  # Long enough to hand out another.

Shown: TypeAlias = tuple[Principal, frozenset[ServiceRole], ServiceScope, str | None]
"""Whom something that was shown is of: with their roles, scope and sponsor, before the packs are asked."""


class Throttle:
    """How many tokens that do not count came from each address of late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._peers: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def wait(self, peer: str | None) -> int:
        """Return in how many seconds another guess of `peer` is looked at; 0: now."""
        count, began = self._peers.get(peer or "", (0, 0))
        left = began + FAILURES_SECONDS * 1000 - self._clock.boot_ms()
        return -(-left // 1000) if count >= FAILURES_MAX and left > 0 else 0

    def failed(self, peer: str | None) -> None:
        """Count one token of `peer` that does not count."""
        key, now = peer or "", self._clock.boot_ms()
        count, began = self._peers.pop(key, (0, now))
        if now >= began + FAILURES_SECONDS * 1000:
            count, began = 0, now
        self._peers[key] = (count + 1, began)
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)


class RootDoor:
    """Lets in who the root knows; see `app.door.Door`."""

    def __init__(
        self, root: Root, authority: RootAuthority, access: AccessPoint, clock: Clock, throttle: Throttle
    ) -> None:
        self._authority = authority
        self._access = access
        self._clock = clock
        self._tokens = TokenReader(root)
        self._file = ServiceFileReader(root)
        self._login = Login(self._file, clock)
        self.throttle: Final = throttle

    async def knock(self, headers: Mapping[str, str], peer: str | None) -> None:
        """Return once `caller` can say at once who sent this.

        It waits for the identity provider where it has to, and for packs that are read anew.

        Raises:
            CallerThrottled, NotFetched: nobody is let in now. As `caller`, where a file cannot be followed.
        """
        if not self._authority.is_at_hand():
            await asyncio.to_thread(self._authority.policy)
        given = bearer(headers)
        if given is not None:
            await self._login.prepare(given)
            if self._shown(given) is None:
                self._require_patience(peer)

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        """Return who sent a request with `headers` (names in lower case) from the address `peer`.

        What nobody can guess lets in whatever else came from there; guesses are counted.

        Raises:
            CallerUnknown: nobody who may. CallerThrottled: too many guesses came from there.
            RootUnsafe, TokenRefused, YamlRefused, AccessRefused: a file of the root cannot be followed.
        """
        given = bearer(headers)
        found = self._from_proxy(headers, peer) if given is None else self._with(given, peer)
        note(caller=found.name)
        return found

    def _with(self, given: str, peer: str | None) -> Caller:
        """Return who comes with the token `given`; raises as `caller`."""
        shown = self._shown(given)
        if shown is None:
            self._require_patience(peer)
            shown = self._gateway(given)
        if shown is None:
            self.throttle.failed(peer)
            raise CallerUnknown(NEEDED)
        return self._let_in(*shown)

    def require(self, caller: Caller, act: Act, matter: Matter | None = None) -> None:
        """Return only if `caller` may do `act`, about `matter` where it is about one thing.

        Raises:
            Forbidden: he may not; or the matter is none of his business, which reads as if it did not exist.
        """
        if allows(caller.roles, act, in_scope=matter is None or caller.scope.covers(matter)):
            return
        if not allows(caller.roles, act, in_scope=True):
            has = ", ".join(sorted(caller.roles)) or "no role"
            raise Forbidden(f"`{caller.name}` may not {act} here, as {has}", act=str(act), hidden=False)
        raise Forbidden("there is no such thing", act=str(act), hidden=True)

    def _shown(self, given: str) -> Shown | None:
        """Return who comes with what nobody can guess, None where it may be a guess.

        Raises:
            CallerUnknown: it is none, and yet does not count: it is over, or not meant for here.
        """
        if given.startswith(PREFIX):
            return self._by_token(given)
        known = self._login.caller(given)
        return None if known is None else (known.principal, known.roles, known.scope, None)

    def _require_patience(self, peer: str | None) -> None:
        seconds = self.throttle.wait(peer)
        if seconds:
            raise CallerThrottled("too many tokens that do not count came from there", seconds=seconds)

    def _from_proxy(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        """Return whom the proxy in front speaks for, where it is that proxy."""
        proxy = self._file.read().proxy
        name = None if proxy is None else only(headers, proxy.user)
        if proxy is None or name is None or not _is_among(peer, proxy.peers):
            raise CallerUnknown(NEEDED)
        shown = digest_of((only(headers, SECRET_HEADER) or "").encode())
        if not same(shown, proxy.secret):
            self._require_patience(peer)
            self.throttle.failed(peer)
            raise CallerUnknown(NEEDED)
        if not is_person(name):
            raise CallerUnknown(NEEDED)
        listed = "" if proxy.groups is None else only(headers, proxy.groups) or ""
        groups = [one.strip() for one in listed.split(",")]
        # What establishes them is the secret of the proxy; who they are is its word.
        principal = Principal(person=name, established=Established.TOKEN, credential=f"proxy:{peer}")
        return self._let_in(principal, proxy.meaning.roles_of(groups), proxy.meaning.scope_of(groups), None)

    def _by_token(self, given: str) -> Shown | None:
        token = self._tokens.known(given)
        if token is None:
            return None
        if not token.stands_at(self._clock.now()):
            raise CallerUnknown(NEEDED) from TokenRefused(f"token `{token.id}` is revoked or has expired")
        principal = Principal(person=token.name, established=Established.TOKEN, credential=token.id)
        return principal, frozenset(token.roles), token.scope, token.sponsor

    def _gateway(self, given: str) -> Shown | None:
        try:
            name = self._access.caller(given)
        except CallerUnknown:
            return None
        principal = Principal(person=name, established=Established.TOKEN, credential="authzen.yaml")
        return principal, frozenset((ServiceRole.GATEWAY,)), ServiceScope(), None

    def _let_in(
        self, principal: Principal, roles: frozenset[ServiceRole], scope: ServiceScope, sponsor: str | None
    ) -> Caller:
        """Return the caller; who is an agent by the packs in force is one here, whatever a token says."""
        if roles & SENSITIVE:
            entities = self._authority.policy().entities
            agent = entities.type_of(principal.person) == "Agent"
            sponsor = entities.agents[principal.person] if agent and sponsor is None else sponsor
            roles = roles | {ServiceRole.AGENT} if agent else roles
        if ServiceRole.AGENT in roles and sponsor is None:
            roles = frozenset()  # An agent for whom nobody answers may nothing, whatever else it is.
        identity = Identity(principal=principal, sponsor=sponsor)
        return Caller(identity=identity, roles=roles, scope=scope, sponsor=sponsor)


def _is_among(peer: str | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    return any(address in network for network in networks)


def only(headers: Mapping[str, str], name: str) -> str | None:
    """Return the header `name`; None where there is none, or more than one: whose would it be?"""
    return headers[name] if sum(key == name for key in headers) == 1 else None


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token among `headers`, None where there is none."""
    scheme, _, token = (only(headers, "authorization") or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and 0 < len(token) <= BEARER_LENGTH_MAX else None


async def looked_at(instance: Instance, token: str) -> Caller:
    """Return whom `token` would let in at the service of this root now.

    Raises:
        CallerUnknown: nobody; it says why, as nobody is told who sends it. Else as `RootDoor.knock`.
    """
    root, parts = Root(instance.settings.root), instance.parts
    authority, clock = parts.authority, parts.world.clock
    door = RootDoor(root, authority, AccessPoint(root, authority, clock.now), clock, Throttle(clock))
    headers = {"authorization": f"Bearer {token}"}
    try:
        await door.knock(headers, None)
        return door.caller(headers, None)
    except CallerUnknown as error:
        why = error.__cause__
        unheard = "no token of this root or of a caller, and none that a key of its provider signed"
        raise CallerUnknown(why.message if isinstance(why, RexecopError) else unheard) from error


def callers_in_words(root: Root, now: datetime) -> tuple[str, bool]:
    """Return who may come in, in words, and whether a token ends soon.

    Raises:
        RootUnsafe, TokenRefused, ServiceRefused: a file cannot be followed, so lets nobody in.
    """
    standing = [one for one in read_tokens(root).tokens if one.stands_at(now)]
    ending = sorted({one.name for one in standing if one.expires <= now + ENDING_NOTICE})
    said = read_service_file(root)
    signs = "no identity provider" if said.provider is None else f"identity provider {said.provider.issuer}"
    signs += "" if said.proxy is None else f"; a proxy at {', '.join(map(str, said.proxy.peers))}"
    soon = f"; within {ENDING_NOTICE.days} days ends that of {', '.join(ending)}" if ending else ""
    return f"tokens that let somebody in: {len(standing)}{soon}; {signs}", bool(ending)
