"""API tokens of the service: made once, shown once, kept as digests in `tokens.json` of the root.

The file is asked anew whenever it changed, so what is revoked lets nobody in from then on.
That a token was made or revoked, for whom and by whom, is a note in the instance's own chain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

from rexecop.app.door import ServiceRole, ServiceScope
from rexecop.app.errors import TokenRefused
from rexecop.app.files import Stamp, locked, read_file, reason_of, replace_file, require_secret, stamp_of
from rexecop.app.identity import os_user
from rexecop.app.keyring import require_name
from rexecop.app.root import Root
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError
from rexecop.proof.kinship import person_key
from rexecop.proof.times import format_time

if TYPE_CHECKING:
    from rexecop.app.instance import Instance

PREFIX: Final = "rxo_"  # So that who finds one somewhere knows what it opens.
LIFETIME_MAX: Final = timedelta(days=366)  # A year: who still needs it then is asked again.
DAYS: Final = 30
TOKENS_MAX: Final = 1000  # People come by their provider; these are for programs.
FILE_BYTES_MAX: Final = 4 << 20
PATTERNS_MAX: Final = 64
PATTERN_LENGTH_MAX: Final = 256
NEVER_AGENT: Final = frozenset({ServiceRole.APPROVER, ServiceRole.ADMIN})  # What no agent can be as well.
RESERVED: Final = frozenset({"engine", "instance"})  # Names by which the program speaks of itself.
_LASTS: Final = re.compile(r"([1-9][0-9]{0,4})([dh])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token: known again by `digest`, named in records by `id`; `name` is whose requests they are."""

    id: str
    name: str
    digest: Digest
    roles: tuple[ServiceRole, ...]
    scope: ServiceScope
    created: datetime
    expires: datetime
    sponsor: str | None = None
    revoked: datetime | None = None

    def stands_at(self, moment: datetime) -> bool:
        """Return whether it lets somebody in at `moment`."""
        return self.revoked is None and moment < self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBook:
    """The file of tokens."""

    kind: ClassVar[str] = "service-tokens/1"

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token as people see it; `token` is there once, when it is made."""

    id: str
    name: str
    roles: tuple[str, ...]
    scope: ServiceScope
    created: datetime
    expires: datetime
    state: str
    sponsor: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAsked:
    """What somebody wants a token for."""

    name: str
    roles: Sequence[str]
    scope: ServiceScope = field(default_factory=ServiceScope)
    expires: str = f"{DAYS}d"
    sponsor: str | None = None


class TokenReader:
    """The tokens of a root, by what they are known again by; read when the file changed."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._stamp: Stamp = None
        self._found: dict[Digest, Token] = {}

    def known(self, token: str) -> Token | None:
        """Return the token that was made as `token`, also one that is over; None where it is none.

        Raises:
            RootUnsafe, FileRefused, TokenRefused: the file cannot be followed.
        """
        stamp = stamp_of(self._root.tokens)
        if stamp != self._stamp:
            self._found = {one.digest: one for one in read_tokens(self._root).tokens}
            self._stamp = stamp
        return self._found.get(digest_of(token.encode()))


class Tokens:
    """Makes and revokes tokens of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._root = Root(instance.settings.root)
        self._path = self._root.tokens
        self._clock = instance.parts.world.clock

    def view(self) -> tuple[TokenView, ...]:
        """Return every token that was made, oldest first; raises as `read_tokens`."""
        return tuple(map(self._shown, read_tokens(self._root).tokens))

    async def new(self, asked: TokenAsked) -> TokenView:
        """Make a token and return it, this once with what opens the door.

        Raises:
            TokenRefused: it would be for nobody, for nothing, for ever, or for an agent without a person.
            IdentityRefused, ExpiryRefused: the name cannot be one, the time is none.
            RootUnwritable: the file cannot be written. As `read_tokens`.
        """
        now, ids = self._clock.now(), self._instance.parts.world.ids
        secret = PREFIX + ids.key().hex()
        token = Token(
            id=f"tok_{ids.nonce()[:12]}",
            name=asked.name,
            digest=digest_of(secret.encode()),
            roles=tuple(sorted({_role(word) for word in asked.roles})),
            scope=asked.scope,
            created=now,
            expires=self._expiry(asked.expires, now),
            sponsor=asked.sponsor,
        )
        require_name(token.name)
        if person_key(token.name) in RESERVED:
            raise TokenRefused(f"`{token.name}` is a reserved name", name=token.name)
        require_fit(token)
        self._require_person(token)
        if len(read_tokens(self._root).tokens) >= TOKENS_MAX:
            raise TokenRefused(f"there are {TOKENS_MAX} tokens, and no more are kept", limit=TOKENS_MAX)
        # Recorded first: a token that nothing tells of would be worse than a record of one that was not made.
        await self._note("token-added", f"{token.id} of {token.name}: {_in_words(token)}")
        self._change(lambda found: (*found, token))
        return replace(self._shown(token), token=secret)

    async def revoke(self, name: str) -> tuple[TokenView, ...]:
        """Revoke the standing tokens of `name`, or the one with that id; return them.

        Raises:
            TokenRefused: there is none. RootUnwritable. As `read_tokens`.
        """
        now, gone = self._clock.now(), list[Token]()

        def without(found: tuple[Token, ...]) -> tuple[Token, ...]:
            gone.extend(replace(one, revoked=now) for one in found if _is_meant(one, name, now))
            ended = {one.id: one for one in gone}
            return tuple(ended.get(one.id, one) for one in found)

        self._change(without)
        if not gone:
            steps = ("rexecop token list",)
            raise TokenRefused(f"no standing token of `{name:.60}`", name=name[:60], next_steps=steps)
        # Recorded after: what lets somebody in has to end even where nothing can be recorded.
        await self._note("token-revoked", ", ".join(f"{one.id} of {one.name}" for one in gone))
        return tuple(map(self._shown, gone))

    async def _note(self, topic: str, text: str) -> None:
        await self._instance.parts.keyring.note(topic, text, os_user())

    def _change(self, change: Callable[[tuple[Token, ...]], tuple[Token, ...]]) -> None:
        with locked(self._path.with_name(f"{self._path.name}.lock")):
            found = read_tokens(self._root).tokens
            changed = change(found)
            if changed == found:
                return
            try:
                replace_file(self._path, encode(TokenBook(tokens=changed)), mode=0o600)
            except OSError as error:
                message = f"`{self._path}` cannot be written: {reason_of(error)}"
                raise TokenRefused(message, path=str(self._path)) from error

    def _require_person(self, token: Token) -> None:
        """Return only if the packs in force agree about who is an agent, and who a person."""
        known = self._instance.parts.authority.policy().entities
        if known.type_of(token.name) == "Agent" and ServiceRole.AGENT not in token.roles:
            words = f"`{token.name}` is an agent, by the policy packs in force: its role is `agent`"
            raise TokenRefused(words, name=token.name)
        if token.sponsor is not None and token.sponsor not in known.people:
            words = f"`{token.sponsor:.60}` is no person of the policy packs in force"
            raise TokenRefused(words, person=token.sponsor[:60], next_steps=("rexecop policy check",))

    def _expiry(self, text: str, now: datetime) -> datetime:
        lasts = _LASTS.fullmatch(text)
        if lasts is None:
            found = self._instance.parts.keyring.expiry(text)
            assert found is not None
            return found
        number = int(lasts[1])
        return now + (timedelta(days=number) if lasts[2] == "d" else timedelta(hours=number))

    def _shown(self, token: Token) -> TokenView:
        return TokenView(
            id=token.id,
            name=token.name,
            roles=tuple(map(str, token.roles)),
            scope=token.scope,
            created=token.created,
            expires=token.expires,
            state=_state(token, self._clock.now()),
            sponsor=token.sponsor,
        )


def read_tokens(root: Root) -> TokenBook:
    """Return the tokens of `root`; none where there is no such file.

    Raises:
        RootUnsafe: others could read or change the file. FileRefused: it cannot be read.
        TokenRefused: it holds what no token may be.
    """
    path = root.tokens
    if not path.exists() and not path.is_symlink():
        return TokenBook(tokens=())
    require_secret(path)
    try:
        book = decode(TokenBook, read_file(path, bytes_max=FILE_BYTES_MAX), bytes_max=FILE_BYTES_MAX)
    except ProofError as error:
        raise TokenRefused(f"`{path.name}` holds no tokens: {error.message}", path=str(path)) from error
    for token in book.tokens:
        require_fit(token)
    return book


def require_fit(token: Token) -> None:
    """Return only if there may be such a token.

    Raises:
        TokenRefused: it is for nothing, for ever, for a scope that is none, or for an agent without a person.
    """
    roles = set(token.roles)
    scoped = (token.scope.intents, token.scope.targets, token.scope.environments)
    patterns = [pattern for part in scoped for pattern in part]
    what: str | None = None
    if not roles:
        what = f"it has no role; allowed: {', '.join(ServiceRole)}"
    elif token.expires > token.created + LIFETIME_MAX:
        what = f"it ends in more than {LIFETIME_MAX.days} days"
    elif not all(scoped) or max(map(len, scoped)) > PATTERNS_MAX:
        what = f"its scope is 1 to {PATTERNS_MAX} patterns each of intents, targets and environments"
    elif not all(0 < len(one) <= PATTERN_LENGTH_MAX and one.isprintable() for one in patterns):
        what = f"a pattern is 1 to {PATTERN_LENGTH_MAX} printable characters"
    elif ServiceRole.AGENT in roles and (token.sponsor is None or roles & NEVER_AGENT):
        what = "an agent has a sponsor, who is a person, and is never `approver` or `admin` as well"
    elif token.sponsor is not None and ServiceRole.AGENT not in roles:
        what = "only an agent has a sponsor"
    elif token.sponsor is not None and person_key(token.sponsor) == person_key(token.name):
        what = "nobody is their own sponsor"
    if what is not None:
        raise TokenRefused(f"token of `{token.name:.60}`: {what}", name=token.name[:60])


def _role(word: str) -> ServiceRole:
    if word not in tuple(ServiceRole):
        raise TokenRefused(f"`{word:.40}` is no role; allowed: {', '.join(ServiceRole)}", found=word[:40])
    return ServiceRole(word)


def _is_meant(token: Token, name: str, now: datetime) -> bool:
    return name in (token.id, token.name) and token.stands_at(now)


def _state(token: Token, now: datetime) -> str:
    ended = "expired" if token.revoked is None else "revoked"
    return "standing" if token.stands_at(now) else ended


def _in_words(token: Token) -> str:
    """Return what a token is for, as its record has it."""
    scope = token.scope
    parts = {"intents": scope.intents, "targets": scope.targets, "environments": scope.environments}
    said = [f"{name} {', '.join(found)}" for name, found in parts.items() if found != ("*",)]
    sponsor = [f"sponsor {token.sponsor}"] if token.sponsor is not None else []
    return "; ".join([", ".join(token.roles), *said, *sponsor, f"until {format_time(token.expires)}"])
